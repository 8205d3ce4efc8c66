"""`verify.explain` on parameters of any tree, on falling rates, and on numbers in float32."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmnist import verify
from jaxmnist.verify.identify.probe import SCALES, probe_columns
from jaxmnist.verify.identify.words import rates_text


def single(x: float) -> float:
    """A constant that was float32 on its way."""
    return float(np.float32(x))


def sgd_with(scheduler: Any, lr: float = 0.1) -> Any:
    def factory(params: Any) -> Any:
        optimizer = torch.optim.SGD(params, lr=lr)
        return optimizer, scheduler(optimizer)

    return factory


SCHEDULERS = torch.optim.lr_scheduler
IN_SINGLE: dict[str, tuple[Any, Any]] = {
    "linear": (
        optax.sgd(optax.linear_schedule(0.1, 0.01, 20)),
        sgd_with(lambda o: SCHEDULERS.LinearLR(o, 1.0, 0.1, 20)),
    ),
    "polynomial": (
        optax.sgd(optax.polynomial_schedule(0.1, 0.0, 2.0, 40)),
        sgd_with(lambda o: SCHEDULERS.PolynomialLR(o, 40, 2.0)),
    ),
    "exponential": (
        optax.sgd(optax.exponential_decay(0.1, 1, 0.7)),
        sgd_with(lambda o: SCHEDULERS.ExponentialLR(o, 0.7)),
    ),
}


@pytest.mark.slow_except("linear")
@pytest.mark.parametrize("schedule", IN_SINGLE)
def test_a_schedule_in_float32_is_named(schedule: str) -> None:
    explanation = verify.explain(*IN_SINGLE[schedule], steps=10)
    assert not explanation.agree
    assert [cause[:3] for cause in explanation.causes] == [
        (
            "the precision of the learning rate",
            "computed in float32 inside a float64 run",
            "in float64",
        )
    ]


@pytest.mark.slow_except("the learning rate-tx0-<lambda>")
@pytest.mark.parametrize(
    ("what", "tx", "reference"),
    [
        ("the learning rate", optax.sgd(single(0.1)), lambda p: torch.optim.SGD(p, lr=0.1)),
        ("b1", optax.adam(1e-3, b1=single(0.9)), torch.optim.Adam),
        ("b2", optax.adam(1e-3), lambda p: torch.optim.Adam(p, betas=(0.9, single(0.999)))),
        ("epsilon", optax.adam(1e-3, eps=single(1e-8)), torch.optim.Adam),
    ],
)
def test_a_constant_in_float32_is_named(what: str, tx: Any, reference: Any) -> None:
    (cause,) = verify.explain(tx, reference, steps=10).causes
    assert cause.what == f"the precision of {what}"
    here = "in float64" if what == "b2" else "computed in float32 inside a float64 run"
    assert cause.here == here


def test_another_small_difference_is_not_called_float32() -> None:
    explanation = verify.explain(
        optax.sgd(0.1 * (1 + 3e-8)), lambda p: torch.optim.SGD(p, lr=0.1), steps=10
    )
    assert not explanation.explained


@pytest.mark.slow
@pytest.mark.parametrize("decades", [6, 8])
def test_a_rate_that_falls_far_is_recognised(decades: int) -> None:
    def falling(count: Any) -> Any:
        return 0.1 * 10.0 ** (-decades / 31 * jnp.asarray(count, jnp.result_type(float)))

    explanation = verify.explain(optax.rmsprop(falling), optax.rmsprop(falling, decay=0.8), steps=5)
    assert explanation.here is not None
    assert [cause.what for cause in explanation.causes] == ["decay"]


def test_the_first_rates_that_differ_are_shown() -> None:
    def late(count: Any) -> Any:
        return jnp.where(count < 7, 0.5, 0.25)

    explanation = verify.explain(optax.sgd(late), optax.sgd(0.5), steps=10)
    assert "the learning rate: 0.25, 0.25, 0.25 ... by step from step 7 here, 0.5" in str(
        explanation
    )
    assert rates_text(np.array([1.0, 2.0, 3.0, 4.0])) == "1, 2, 3 ... by step"


def decayed(mask: Any) -> optax.GradientTransformation:
    return optax.adamw(1e-3, weight_decay=0.01, mask=mask)


def torch_groups(params: Any) -> Any:
    """Weight decay for the matrix alone."""
    matrix, vector = params
    return torch.optim.AdamW(
        [{"params": [matrix], "weight_decay": 0.01}, {"params": [vector], "weight_decay": 0.0}]
    )


PARAMS = {"kernel": np.ones((3, 4)), "offset": np.ones(5)}
MASKS = [
    lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
    {"kernel": True, "offset": False},
]


@pytest.mark.slow_except("a tree")
@pytest.mark.parametrize("mask", MASKS, ids=["a function", "a tree"])
def test_masks_and_parameter_groups_are_compared_leaf_by_leaf(mask: Any) -> None:
    same = verify.explain(decayed(mask), torch_groups, params=PARAMS, steps=5)
    assert same.passed
    assert same.causes == ()
    other = verify.explain(decayed(None), torch_groups, params=PARAMS, steps=5)
    assert [cause[:3] for cause in other.causes] == [
        ("offset: weight decay", "0.01, decoupled from it", "none")
    ]


def test_a_tree_with_a_place_left_empty_is_taken() -> None:
    params = {"kernel": np.ones((3, 4)), "nothing": None}
    assert verify.explain(optax.sgd(0.1), torch.optim.SGD, params=params, steps=3).causes


@pytest.mark.parametrize("size", [2, 3, 12, 31, 32, 48])
def test_a_small_leaf_has_its_scales_at_0_and_at_1(size: int) -> None:
    columns = probe_columns(size)
    assert columns.shape == (size,)
    at_zero, at_one = columns[columns < SCALES], columns[columns >= SCALES] - SCALES
    assert at_one.size
    assert set(at_one) <= set(at_zero)


@pytest.mark.slow
def test_numbers_far_from_the_usual_are_not_another_rule() -> None:
    here, there = (
        optax.adamw(3e-2, b1=0.8, b2=b2, eps=1e-4, weight_decay=0.3) for b2 in (0.97, 0.96)
    )
    explanation = verify.explain(here, there, params={"offset": np.ones(32)}, steps=5)
    assert [cause[:3] for cause in explanation.causes] == [("b2", "0.97", "0.96")]


@pytest.mark.slow
def test_an_optimizer_that_needs_a_matrix_is_given_one() -> None:
    params = {"kernel": np.ones((4, 8)) / 7}
    explanation = verify.explain(optax.contrib.muon(1e-3), torch.optim.Muon, params=params, steps=3)
    assert {cause.what for cause in explanation.causes} == {
        "weight decay",
        "bias correction",
        "the factor for a matrix's shape",
        "the precision of the Newton-Schulz iteration",
    }


@pytest.mark.slow
def test_velocities_of_steps_and_of_gradients_are_not_compared_as_one() -> None:
    tx = optax.rmsprop(0.01, 0.99, 1e-8, eps_in_sqrt=False, momentum=0.9)
    result = verify.optimizer(tx, lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.9), steps=20)
    assert result.passed, result
    assert result["velocity"].factor == pytest.approx(-0.01)
    assert "-0.01 times the reference's at every step" in str(result)
    slower = lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.91)  # noqa: E731
    assert not verify.optimizer(tx, slower, steps=20)["velocity"].passed
