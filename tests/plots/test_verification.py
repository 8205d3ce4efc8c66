"""`.plot()` of every kind of result: what is drawn of one that passed, and of one that did not."""

import io
import json

import numpy as np
import pytest

from jaxmnist import plots
from jaxmnist.verify import Comparer, Comparison, Comparisons, Errors, FunctionResult
from jaxmnist.verify.compare import Divergence
from jaxmnist.verify.identify.alike import Cause
from jaxmnist.verify.identify.explain import Explanation
from jaxmnist.verify.initializer import InitializerResult
from jaxmnist.verify.model_runs.result import Layer, Located, ModelResult
from jaxmnist.verify.schedule import ScheduleResult
from jaxmnist.verify.whole_run.verdict import TrainingResult


def drawn(result):
    """The picture, which can be written."""
    figure = result.plot()
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    return figure


def labels(axes) -> dict:
    handles, names = axes.get_legend_handles_labels()
    return dict(zip(names, handles, strict=True))


def compared(name: str, errors: dict[str, list[float]], tolerance: float = 1e-12) -> Comparison:
    """A comparison whose leaves have these relative errors at each step."""
    comparer = Comparer(name, tolerance)
    for step in range(len(next(iter(errors.values())))):
        expected = {leaf: np.ones(2) for leaf in errors} | {"empty": np.zeros(0)}
        actual = {leaf: 1 + np.array([0.0, own[step]]) for leaf, own in errors.items()}
        comparer.add(step, actual | {"empty": np.zeros(0)}, expected)
    return comparer.result()


def test_comparison_has_the_error_of_every_leaf_at_every_step():
    found = compared("steps", {"a": [0.0, 0.5], "b": [0.25, 0.125]}).curves
    assert found is not None
    np.testing.assert_array_equal(found.steps, [0, 1])
    np.testing.assert_array_equal(found.allowed, [1e-12, 1e-12])
    assert {leaf: curve.tolist() for leaf, curve in found.errors.items()} == {
        "a": [0.0, 0.5],
        "b": [0.25, 0.125],
    }


def test_result_taken_early_has_the_steps_until_then():
    comparer = Comparer("early", 1e-12)
    comparer.add(0, {"w": np.ones(1)}, {"w": np.ones(1)})
    early = comparer.result()
    comparer.add(1, {"w": np.ones(1)}, {"w": np.ones(1)})
    assert early.curves is not None
    assert early.curves.steps.tolist() == [0]


def test_steps_are_drawn_by_leaf_and_the_first_divergence_marked():
    parts = (
        compared("displacement", {"w": [2**-50, 0.125], "b": [0.0, 2**-50]}),
        compared("velocity", {"w": [2**-50, 2**-50], "b": [0.0, 0.0]}),
    )
    figure = drawn(Comparisons("a$b$", parts))
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("displacement", "velocity")
    assert figure.get_suptitle() == r"a\$b\$: FAILED"
    assert labels(left)["first divergence"].get_xdata() == [1, 1]
    assert "first divergence" not in labels(right)
    np.testing.assert_array_equal(labels(left)["w"].get_ydata(), [2**-50, 0.125])
    assert left.get_ylabel().endswith("0 at the lower end")
    assert 0 < labels(right)["b"].get_ydata()[0] < 1e-17
    assert labels(left)["w"].get_color() == labels(right)["w"].get_color()


def test_many_leaves_share_one_look_but_for_the_worst():
    errors = {f"leaf {i}": [2.0 ** (i - 40)] * 2 for i in range(9)}
    (axes,) = drawn(compared("displacement", errors, tolerance=1e-9)).axes
    assert list(labels(axes)) == [*(f"leaf {i}" for i in range(3, 9)), "3 others", "allowed"]
    colors = [line.get_color() for name, line in labels(axes).items() if name.startswith("leaf")]
    assert len(set(colors)) == 6


def test_errors_that_are_not_finite_are_drawn_at_the_upper_end():
    (axes,) = drawn(compared("displacement", {"w": [1e-16, np.inf, np.nan]})).axes
    shown = labels(axes)["w"].get_ydata()
    assert np.isfinite(shown).all()
    assert shown[1] == shown[2] < axes.get_ylim()[1]


def test_one_step_is_drawn_by_leaf_with_what_differs_ringed():
    parts = compared("values", {"value": [1e-16]}), compared("gradients", {"p": [0.0], "t": [0.1]})
    (axes,) = drawn(FunctionResult("f", parts)).axes
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ["values: value", "gradients: p", "gradients: t"]
    assert labels(axes)["differs"].get_ydata().tolist() == [2]
    assert axes.get_xlabel().endswith("0 at the left end")
    (passing,) = drawn(FunctionResult("f", parts[:1])).axes
    assert "differs" not in labels(passing)


def test_parts_without_leaves_have_one_error_each():
    part = Comparison("epoch loss", 3, 1e-9, Errors(1.0, 1e-3, 1.0), None)
    (axes,) = drawn(Comparisons("a run", (part,))).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["epoch loss"]


def test_schedules_are_drawn_together_and_their_difference():
    here, there = np.array([0.1, 0.05, 0.02]), np.array([0.1, 0.05, 0.0])
    part = Comparison("rates", 3, 1e-14, Errors(1, 1, 1), Divergence(2, "rate", (), 0.02, 0.0))
    above, below = drawn(ScheduleResult("s", (part,), here, there)).axes
    np.testing.assert_array_equal(labels(above)["JAX"].get_ydata(), here)
    np.testing.assert_array_equal(labels(above)["PyTorch"].get_ydata(), there)
    assert labels(below)["first divergence"].get_xdata() == [2, 2]
    np.testing.assert_array_equal(labels(below)["difference"].get_ydata(), [np.nan, np.nan, 0.02])
    same = Comparison("rates", 3, 1e-14, Errors(0, 0, 0), None)
    _, below = drawn(ScheduleResult("s", (same,), here, here)).axes
    assert below.texts[0].get_text() == "no difference at any step"


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.0])
def test_initializers_are_drawn_by_their_distributions_and_quantiles(scale):
    reference = np.random.default_rng(0).normal(size=400) * (scale > 0)
    here = scale * reference
    left, right = drawn(InitializerResult("i", (), (), here, reference, 400)).axes
    assert list(labels(left)) == ["JAX", "PyTorch"]
    quantiles = labels(right)["every hundredth"]
    np.testing.assert_allclose(quantiles.get_ydata(), scale * quantiles.get_xdata(), atol=1e-12)
    for sample in left.containers:
        if hasattr(sample, "datavalues"):
            assert sum(sample.datavalues) == pytest.approx(1)


@pytest.mark.parametrize("is_perturbed", [True, False])
def test_run_is_drawn_with_what_the_perturbed_runs_allow(is_perturbed):
    error = np.array([0.0, 1e-16, 1e-3, np.inf])
    part = Comparison("batch loss", 4, 1e-12, Errors(1, 1, 1), Divergence(2, "loss", (0, 2), 1, 2))
    perturbation = np.full(4, 1e-15) if is_perturbed else None
    result = TrainingResult("a run", (part,), 4, error, perturbation, np.full(4, 1e-14))
    (axes,) = drawn(result).axes
    assert ("JAX from weights one ULP away" in labels(axes)) == is_perturbed
    assert labels(axes)["first divergence"].get_xdata() == [2, 2]
    assert axes.get_title() == "a run: FAILED"
    assert np.isfinite(labels(axes)["JAX against PyTorch"].get_ydata()).all()


def test_pictures_are_drawn_in_both_themes():
    part = compared("displacement", {"w": [1e-16, 1e-3]})
    for theme in ("light", "dark"):
        with plots.theme(theme):
            drawn(part)


def every_result() -> dict:
    """One of each kind that did not pass, from errors of two steps."""
    steps = compared("displacement", {"w": [1e-16, 0.5]})
    numbers = np.array([0.25, 0.5, 0.75])
    cause = Cause("dampening", "none", "used", 0.5)
    layer = Layer("0", 0.5, None, False)
    return {
        "comparison": steps,
        "optimizer": Comparisons("o", (steps,)),
        "explain": Explanation(Comparisons("e", (steps,)), (cause,), None, None),
        "function": FunctionResult("f", (steps,), lambda: "a factor"),
        "schedule": ScheduleResult("s", (steps,), numbers, numbers / 2),
        "initializer": InitializerResult("i", (steps,), (), numbers, numbers / 2, 3),
        "model": ModelResult("m", (steps,), search=lambda: Located("0", "an epsilon", (layer,))),
        "training": TrainingResult("t", (steps,), 2, np.ones(2), None, np.ones(2)),
    }


@pytest.mark.slow_except("model", "function", "optimizer")
@pytest.mark.parametrize("kind", every_result())
def test_every_result_is_drawn_and_is_json(kind):
    result = every_result()[kind]
    assert drawn(result).axes
    written = json.loads(result.to_json())
    assert written["passed"] is False
    if kind == "explain":
        assert written["explanation"].startswith("They differ by dampening: none here")
    if kind in ("function", "schedule", "model"):
        assert written["cause"]
