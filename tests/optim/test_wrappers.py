"""Optax's wrappers around the optimizers here: extra arguments, and injected hyperparameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from jaxmnist import optim

PARAMS = {"w": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
GRADIENTS = {"w": jnp.array([0.3, 0.1]), "b": jnp.array(-0.7)}

WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "none": lambda tx: tx,
    "chain": lambda tx: optax.chain(optax.clip(10.0), tx),
    "named_chain": lambda tx: optax.named_chain(("a", optax.identity()), ("b", tx)),
    "partition": lambda tx: optax.partition({"w": tx, "b": tx}, {"w": "w", "b": "b"}),
    "masked": lambda tx: optax.masked(tx, True),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, every_k_schedule=1).gradient_transformation(),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, max_consecutive_errors=3),
    "conditionally": lambda tx: optax.conditionally_transform(tx, lambda step, **_: True),
}


@pytest.mark.slow_except(
    "sgd-named_chain",
    "momentum-masked",
    "adagrad-masked",
    "adam-masked",
    "sgd-partition",
    "sgd-masked",
)
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", optim.NAMES)
def test_extra_arguments_are_taken_and_change_nothing(name: str, wrapper: str) -> None:
    plain, wrapped = optim.create(name), WRAPPERS[wrapper](optim.create(name))
    expected, _ = plain.update(GRADIENTS, plain.init(PARAMS), PARAMS)
    state, extra = wrapped.init(PARAMS), {"value": jnp.array(2.0), "grad": GRADIENTS, "other": 7}
    with jax.numpy_dtype_promotion("standard"):  # As Optax's own wrappers need.
        actual, _ = wrapped.update(GRADIENTS, state, PARAMS, **extra)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("name", optim.NAMES)
def test_factory_itself_takes_extra_arguments(name: str) -> None:
    tx: Any = optim.ENTRIES[name].factory()
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    tx.update(GRADIENTS, tx.init(PARAMS), PARAMS, value=1.0)


def test_reduce_on_plateau_after_an_optimizer_sees_the_loss() -> None:
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1, cooldown=0)
    tx: Any = optax.chain(optim.sgd(1.0), plateau)
    state = tx.init(PARAMS)
    steps = []
    for _ in range(4):  # The loss stands still.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(GRADIENTS, state, PARAMS, value=jnp.array(2.0))
        steps.append(float(updates["b"]))
    assert steps[0] == pytest.approx(0.7)
    assert steps[-1] <= 0.35


@pytest.mark.parametrize("name", optim.NAMES)
def test_inject_hyperparams_takes_create(name: str) -> None:
    tx: Any = optax.inject_hyperparams(optim.create)(name, learning_rate=0.25)
    state = tx.init(PARAMS)
    assert {key: float(value) for key, value in state.hyperparams.items()} == {
        "learning_rate": 0.25
    }
    direct = optim.create(name, 0.25)
    expected, _ = direct.update(GRADIENTS, direct.init(PARAMS), PARAMS)
    updates, state = jax.jit(tx.update)(GRADIENTS, state, PARAMS, value=3.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, expected)


def test_inject_hyperparams_injects_what_create_is_given_and_no_more() -> None:
    def factory(**arguments: Any) -> Any:
        return optax.inject_hyperparams(optim.create, static_args="eps_root")(**arguments)

    tx = factory(name="adam", convention="pytorch", b1=lambda count: 0.5, eps_root=0.0, eps=1e-3)
    state = tx.init(PARAMS)
    assert sorted(state.hyperparams) == ["b1", "eps"]
    state.hyperparams["eps"] = jnp.array(0.0)
    updates, _ = tx.update(GRADIENTS, state, PARAMS)
    expected = optim.create("adam", convention="pytorch", b1=0.5, eps=0.0)
    right, _ = expected.update(GRADIENTS, expected.init(PARAMS), PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, right)


def test_inject_hyperparams_names_what_the_optimizer_lacks(refused: Any) -> None:
    tx = optax.inject_hyperparams(optim.create)("sgd", b1=0.9)
    with refused("sgd has no argument 'b1'"):
        tx.init(PARAMS)


def test_inject_hyperparams_leaves_the_form_of_momentum_alone() -> None:
    tx: Any = optax.inject_hyperparams(optim.momentum)(0.5, learning_rate_in_velocity=False)
    assert sorted(tx.init(PARAMS).hyperparams) == ["learning_rate", "momentum"]
    named: Any = optax.inject_hyperparams(optim.create)("momentum", learning_rate_in_velocity=False)
    assert sorted(named.init(PARAMS).hyperparams) == []
