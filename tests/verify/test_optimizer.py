"""`verify.optimizer`: what agrees passes, and what differs is found where it begins."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmnist import optim, verify
from jaxmnist.verify import Recurrence

REFERENCES = {
    "document": verify.numpy_reference,
    "pytorch": verify.torch_reference,
    "optax": verify.optax_reference,
}
STATES = {
    "sgd": [],
    "momentum": ["velocity"],
    "adagrad": ["sum of squares"],
    "rmsprop": ["average square"],
    "adadelta": ["average square", "average squared change"],
    "adam": ["average gradient", "average square"],
}


# --- What agrees ---


@pytest.mark.slow_except("sgd-pytorch", "sgd-optax", "sgd-document")
@pytest.mark.parametrize("convention", REFERENCES)
@pytest.mark.parametrize("name", optim.NAMES)
def test_every_convention_agrees_with_where_it_comes_from(name: str, convention: str) -> None:
    tx = optim.create(name, convention=convention)
    result = verify.optimizer(tx, REFERENCES[convention](name), steps=100)
    assert result.passed, result
    assert [part.name for part in result] == ["displacement", *STATES[name]]
    assert all(part.steps == 100 and part.growth is None for part in result)
    assert result.max_error < 2e-14  # the tolerance is fifty times what is needed


@pytest.mark.slow_except("sparse-60")
@pytest.mark.parametrize(
    ("gradients", "steps"),
    [("sparse", 60), ("stream", 10), ("quadratic", 60), ("rosenbrock", 60), ("network", 3)],
)
def test_every_source_of_gradients_agrees(gradients: str, steps: int) -> None:
    tx = optim.create("rmsprop", convention="pytorch")
    reference = verify.torch_reference("rmsprop")
    result = verify.optimizer(tx, reference, gradients=gradients, steps=steps)
    assert result.passed, result
    for part in result:
        assert part.steps == steps
        if gradients in ("sparse", "stream"):
            assert (part.growth, part.tolerance) == (None, 1e-12)
        else:
            assert part.growth is not None
            assert part.growth > 0
            assert part.tolerance == max(1e-12, 10 * part.growth)


@pytest.mark.slow_except(
    "sgd-optax", "sgd-pytorch", "sgd-document", "momentum-document", "momentum-pytorch"
)
@pytest.mark.parametrize("convention", REFERENCES)
@pytest.mark.parametrize("name", optim.NAMES)
def test_float32_agrees_to_its_own_tolerance(name: str, convention: str) -> None:
    tx = optim.create(name, convention=convention)
    result = verify.optimizer(tx, REFERENCES[convention](name), steps=30, dtype="float32")
    assert result.passed, result
    assert result["displacement"].tolerance == 5e-4
    assert np.isfinite(result["displacement"].errors.ulp)


def test_optaxs_adam_is_wrong_in_float32_by_its_bias_correction() -> None:
    """Its `1 - b2**t` is a float32 subtraction, 1.3e-5 off at t = 1; if mended, this fails."""
    exact = verify.numpy_reference("adam", convention="optax")
    errors = {
        source: verify.optimizer(tx, exact, steps=5, dtype="float32").max_error
        for source, tx in (
            ("ours", optim.create("adam", convention="optax")),
            ("optax", optax.adam(1e-3)),
        )
    }
    assert errors["ours"] < 1e-6 < 5e-6 < errors["optax"] < 2e-5


def test_optimizer_and_reference_may_be_of_any_kind() -> None:
    """A chain with wrappers around the optimizer, and a subclass made by a factory."""
    tx = optax.chain(
        optax.clip(1e9),
        optax.inject_hyperparams(optax.adam, hyperparam_dtype=jnp.float64)(learning_rate=0.01),
    )
    with jax.enable_x64(True):
        wrapped = optax.with_extra_args_support(tx)
    result = verify.optimizer(wrapped, lambda params: torch.optim.Adam(params, lr=0.01), steps=20)
    assert result.passed, result
    assert len(result.parts) == 3


@pytest.mark.slow
def test_weight_decay_sees_the_weights_that_were_given() -> None:
    params = {"w": np.linspace(-2, 2, 7), "b": np.array(0.5)}
    tx = optax.adamw(0.01, weight_decay=0.1)
    agreeing = verify.optimizer(
        tx, lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1), params=params, steps=50
    )
    coupled = verify.optimizer(
        tx, lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1), params=params, steps=50
    )
    assert agreeing.passed, agreeing
    assert coupled.first_divergence is not None
    assert coupled.first_divergence.step == 0


def harmonic(count: Any) -> Any:
    return 0.1 / (1.0 + count)


def with_scheduler(params: Any) -> Any:
    optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1.0 / (1.0 + t))


def test_a_torch_scheduler_steps_with_its_optimizer() -> None:
    """Only a changing rate shows whether it is inside the velocity: from the second step on."""
    outside = optim.momentum(harmonic, learning_rate_in_velocity=False)
    assert verify.optimizer(outside, with_scheduler, steps=50).passed
    inside = verify.optimizer(optim.momentum(harmonic), with_scheduler, steps=50)
    first = inside["displacement"].first_divergence
    assert first is not None
    assert first.step == 1


def test_the_result_prints_as_a_table() -> None:
    result = verify.optimizer(optim.sgd(), verify.numpy_reference("sgd"), steps=3)
    assert str(result).startswith("random gradients: passed\n")
    assert "displacement" in str(result)


# --- What differs ---


def other_from(step: int, leaf: str, position: int) -> Recurrence:
    """The tutorial's Adagrad but for one element of one size, from one step on."""
    base = verify.numpy_reference("adagrad")

    def update(g: Any, state: Any) -> Any:
        change, new = base.update(g, state)
        if new["count"] > step and abs(g).max() > 0 and f"{g.size}" == leaf:
            change = change.copy()
            change[position] *= 1 + 1e-6
        return change, new

    return Recurrence(base.init, update)


@pytest.mark.parametrize("step", [0, 1, 17, 39])
def test_first_divergence_is_where_the_two_diverge(step: int) -> None:
    params = {"layers": [np.zeros(3), np.zeros(5)]}
    result = verify.optimizer(
        optim.adagrad(), other_from(step, leaf="5", position=2), params=params, steps=40
    )
    first = result.first_divergence
    assert first is not None
    assert (first.step, first.leaf, first.position) == (step, "layers/1", (2,))
    assert not result["displacement"].passed
    assert result["sum of squares"].passed


@pytest.mark.slow_except("no bias correction-tx4")
@pytest.mark.parametrize(
    ("what", "tx"),
    [
        ("epsilon moved", optim.adam(eps=1e-4, eps_root=0.0)),
        ("epsilon times 10", optim.adam(eps_root=1e-7)),
        ("b1's third digit", optim.adam(b1=0.901)),
        ("b2's third digit", optim.adam(b2=0.998)),
        ("no bias correction", optax.chain(optax.ema(0.9, debias=False), optax.scale(-1e-3))),
    ],
)
def test_a_changed_convention_is_found_at_once(what: str, tx: Any) -> None:
    first = verify.optimizer(tx, verify.numpy_reference("adam"), steps=50).first_divergence
    assert first is not None, what
    assert first.step <= 1


def test_a_difference_in_state_alone_is_found() -> None:
    """The velocity with the rate in it is a tenth of PyTorch's, and the steps are the same."""
    result = verify.optimizer(optim.momentum(0.1), lambda p: torch.optim.SGD(p, 0.1, 0.9), steps=20)
    assert result["displacement"].passed
    assert not result["velocity"].passed
    assert not result.passed


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_a_large_weight_neither_hides_an_error_nor_makes_one(size: float) -> None:
    """Steps of 1e-3 from 1e6, where a weight resolves 1e-10: a thousandth of a step still shows."""
    params = {"w": np.full(4, size)}
    same = verify.optimizer(
        optim.create("adam", convention="pytorch"), torch.optim.Adam, params=params, steps=50
    )
    assert same.passed, same
    slower = optim.create("adam", 0.999e-3, convention="pytorch")
    first = verify.optimizer(slower, torch.optim.Adam, params=params, steps=50).first_divergence
    assert first is not None
    assert first.step == 0


@pytest.mark.slow
def test_what_follows_the_trajectory_is_judged_by_its_error_growth() -> None:
    """On a cliff an error grows by e a step: rounding may, and a changed rate may not."""

    def cliff(step: int, params: Any) -> Any:
        return {"w": -params["w"] * np.where(np.arange(3) == 0, np.e - 1, 0.1)}

    params = {"w": np.array([0.3, 0.1, 0.7])}
    tx = optim.sgd(1.0)
    settings: dict[str, Any] = {"params": params, "gradients": cliff, "steps": 60}
    same = verify.optimizer(tx, verify.numpy_reference("sgd", 1.0), **settings)
    assert same.passed, same
    other = verify.optimizer(tx, verify.numpy_reference("sgd", 1.0 + 1e-10), **settings)
    assert not other.passed


def test_a_tolerance_of_ones_own_is_used() -> None:
    moved = optim.sgd(0.1 * (1 + 1e-7))
    reference = verify.numpy_reference("sgd")
    assert verify.optimizer(moved, reference, steps=5, tolerance=2e-7).passed
    assert not verify.optimizer(moved, reference, steps=5, tolerance=5e-8).passed


# --- Gradients of one's own ---


def test_given_gradients_may_end_before_the_steps() -> None:
    trees = [{"w": np.full(2, x)} for x in (1.0, -2.0, 3.0)]
    params = {"w": np.zeros(2)}
    for gradients in (trees, iter(trees), tuple(trees)):
        result = verify.optimizer(
            optim.sgd(), verify.numpy_reference("sgd"), params=params, gradients=gradients
        )
        assert result.passed
        assert result["displacement"].steps == 3


def test_a_single_array_is_a_tree() -> None:
    params, gradients = np.array(0.0), [np.array(1.0), np.array(2.0)]
    for reference in (torch.optim.Adam, verify.numpy_reference("adam", convention="pytorch")):
        tx = optim.create("adam", convention="pytorch")
        result = verify.optimizer(tx, reference, params=params, gradients=gradients)
        assert result.passed, result
        assert len(result.parts) == 3
