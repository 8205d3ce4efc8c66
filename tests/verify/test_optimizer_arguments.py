"""`verify.optimizer` gives optimizers what they ask for: a loss, groups, sparse gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmnist import parity, verify
from jaxmnist.errors import InputError

PARAMS = {"matrix": np.linspace(-1, 1, 6).reshape(2, 3), "vector": np.array([0.5, -2.0])}
STEPS = 5


def bowl(step: Any, params: Any) -> Any:
    """A loss with its least value away from zero, a little another at each step."""
    away = 0.1 * step
    return sum(
        ((leaf - 1) ** 2).sum() + (leaf**4).sum() + away * leaf.sum()
        for leaf in jax.tree.leaves(params)
    )


def scale_by_value() -> optax.GradientTransformationExtraArgs:
    """Gradients times the loss, which is asked for again."""

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        factor = (extra["value"] + extra["value_fn"](params)) / 2
        return jax.tree.map(lambda g: -1e-4 * factor * g, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


class TimesLoss(torch.optim.Optimizer):
    """The same in PyTorch."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    def step(self, closure: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        value = closure()
        with torch.no_grad():
            for weight in self.param_groups[0]["params"]:
                weight -= 1e-4 * value * weight.grad
        return value


@pytest.mark.slow
def test_a_loss_is_given_to_both() -> None:
    result = verify.optimizer(scale_by_value(), TimesLoss, params=PARAMS, loss=bowl, steps=STEPS)
    assert result.passed, result
    assert result.name == "loss's gradients"


@pytest.mark.slow
def test_lbfgs_with_its_closure_is_compared_with_ones_own() -> None:
    """The first step of PyTorch's: along the gradient, min(1, 1 / |g|_1) times the rate."""

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        size = sum(jnp.abs(g).sum() for g in jax.tree.leaves(updates))
        return jax.tree.map(lambda g: -0.5 * jnp.minimum(1.0, 1 / size) * g, updates), state

    tx = optax.GradientTransformation(lambda params: (), update)
    reference = lambda params: torch.optim.LBFGS(params, lr=0.5, max_iter=1)  # noqa: E731
    result = verify.optimizer(tx, reference, params=PARAMS, loss=bowl, steps=2)
    assert result.first_divergence is not None
    assert result.first_divergence.step == 1
    other = optax.lbfgs(0.5, linesearch=None)
    assert not verify.optimizer(other, reference, params=PARAMS, loss=bowl, steps=2).passed


@pytest.mark.slow
def test_polyaks_rate_comes_from_the_loss() -> None:
    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        square = sum((g**2).sum() for g in jax.tree.leaves(updates))
        return jax.tree.map(
            lambda g: -jnp.minimum(extra["value"] / square, 1.0) * g, updates
        ), state

    written = optax.GradientTransformationExtraArgs(lambda params: (), update)
    result = verify.optimizer(optax.polyak_sgd(), written, params=PARAMS, loss=bowl, steps=STEPS)
    assert result.passed, result


def rising(step: Any, params: Any) -> Any:
    """A loss that never gets better."""
    return sum(leaf.sum() for leaf in jax.tree.leaves(params)) * 1e-3 + step


@pytest.mark.slow
def test_a_plateau_is_found_in_the_loss() -> None:
    def reference(params: Any) -> Any:
        optimizer = torch.optim.SGD(params, lr=0.1)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau
        return optimizer, schedule(optimizer, factor=0.5, patience=1)

    plateau = parity.reduce_on_plateau(0.1, factor=0.5, patience=1)
    tx = optax.chain(optax.sgd(0.1), plateau)
    result = verify.optimizer(tx, reference, params=PARAMS, loss=rising, steps=8)
    assert result.passed, result
    with pytest.raises(InputError, match="the reference's ReduceLROnPlateau needs the loss"):
        verify.optimizer(optax.sgd(0.1), reference, params=PARAMS, steps=3)


def test_multisteps_is_taken_as_it_is() -> None:
    class EveryOther(torch.optim.SGD):
        count, total = 0, 0.0

        def step(self, closure: Any = None) -> Any:
            (weight,) = self.param_groups[0]["params"]
            self.total, self.count = self.total + weight.grad / 2, self.count + 1
            if self.count % 2 == 0:
                weight.grad, self.total = self.total, 0.0
                super().step()

    reference = lambda params: EveryOther(params, lr=0.1)  # noqa: E731
    start = {"w": np.zeros(3)}
    accumulating: Any = optax.MultiSteps(optax.sgd(0.1), 2)
    result = verify.optimizer(accumulating, reference, params=start, steps=4, tolerance=1e-6)
    assert result.passed, result  # Optax adds up in float32 in a float64 run too.


def groups(params: Any) -> Any:
    matrix, vector = params
    return torch.optim.Adam([{"params": [matrix], "lr": 0.1}, {"params": [vector], "lr": 0.01}])


def test_the_state_of_parameter_groups_is_compared_leaf_by_leaf() -> None:
    tx = optax.partition(
        {"fast": optax.adam(0.1), "slow": optax.adam(0.01)}, {"matrix": "fast", "vector": "slow"}
    )
    result = verify.optimizer(tx, groups, params=PARAMS, steps=STEPS)
    assert result.passed, result
    assert result["average square"].steps == STEPS
    other = optax.partition(
        {"fast": optax.adam(0.1), "slow": optax.adam(0.01, b2=0.99)},
        {"matrix": "fast", "vector": "slow"},
    )
    first = verify.optimizer(other, groups, params=PARAMS, steps=STEPS)["average square"]
    assert first.first_divergence is not None
    assert first.first_divergence.leaf == "vector"


def test_a_masked_part_has_no_state() -> None:
    tx = optax.chain(
        optax.masked(optax.trace(0.9), {"matrix": True, "vector": False}),
        optax.scale_by_learning_rate(0.1),
    )

    def reference(params: Any) -> Any:
        matrix, vector = params
        plain = {"params": [vector], "momentum": 0.0}
        return torch.optim.SGD([{"params": [matrix]}, plain], lr=0.1, momentum=0.9)

    assert verify.optimizer(tx, reference, params=PARAMS, steps=STEPS).passed


def test_sparse_adam_gets_the_rows_that_have_a_gradient() -> None:
    rng = np.random.default_rng(0)
    present = rng.random((6, 4, 1)) < 0.5
    gradients = [{"w": g} for g in rng.normal(size=(6, 4, 3)) * present]
    start = {"w": np.zeros((4, 3))}
    tx = parity.sparse_adam(lr=0.01)
    assert verify.optimizer(
        tx, torch.optim.SparseAdam, params=start, gradients=gradients
    ).passed is (False)
    reference = lambda params: torch.optim.SparseAdam(params, lr=0.01)  # noqa: E731
    result = verify.optimizer(tx, reference, params=start, gradients=gradients)
    assert result.passed, result


@pytest.mark.slow
def test_complex_parameters_are_compared() -> None:
    start = {"w": np.array([1 + 1j, 2 - 3j, 0.5j])}
    reference = lambda params: torch.optim.Adam(params, lr=0.1)  # noqa: E731
    apart = optax.contrib.split_real_and_imaginary(optax.adam(0.1))
    result = verify.optimizer(apart, reference, params=start, steps=STEPS)
    assert result["displacement"].passed, result
    together = verify.optimizer(optax.adam(0.1), reference, params=start, steps=STEPS)
    assert not together["displacement"].passed

    def loss(step: Any, params: Any) -> Any:
        return (jnp.abs(params["w"] - (1 + 2j)) ** 2).sum()

    sgd = lambda params: torch.optim.SGD(params, lr=0.1)  # noqa: E731
    result = verify.optimizer(optax.sgd(0.1), sgd, params=start, loss=loss, steps=40)
    assert result.passed, result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": bowl}, "a loss needs params"),
        (
            {"loss": lambda step, params: params["no"], "params": PARAMS},
            "the loss raised KeyError at step 0: 'no'",
        ),
        (
            {"reference": torch.optim.Muon, "params": PARAMS},
            r"the reference raised ValueError .* are matrix \(2, 3\), vector \(2,\)",
        ),
        (
            {"tx": optax.polyak_sgd(), "params": PARAMS},
            r"the optimizer raised TypeError on update: .*'value'; the parameters are matrix",
        ),
        (
            {"reference": torch.optim.LBFGS, "params": PARAMS},
            r"the reference raised TypeError on step: .*closure.*; the parameters are matrix",
        ),
    ],
)
def test_what_an_optimizer_refuses_is_named_in_one_line(
    arguments: dict[str, Any], message: str
) -> None:
    arguments = {"tx": optax.sgd(0.1), "reference": torch.optim.SGD, "steps": 2, **arguments}
    with pytest.raises(InputError, match=message) as caught:
        verify.optimizer(**arguments)
    assert "\n" not in str(caught.value)


def test_states_of_other_meaning_are_not_compared_under_one_name() -> None:
    adam = lambda params: torch.optim.Adam(params, lr=0.1)  # noqa: E731
    for other in (optax.adamax(0.1), optax.adabelief(0.1)):
        result = verify.optimizer(other, adam, steps=3)
        assert [part.name for part in result] == ["displacement", "average gradient"]
    names = [part.name for part in verify.optimizer(optax.adam(0.1), adam, steps=3)]
    assert names == ["displacement", "average gradient", "average square"]


@pytest.mark.slow
def test_the_parts_of_complex_numbers_are_named() -> None:
    start = {"w": np.array([1 + 1j, 2 - 3j, 0.5j])}
    adam = lambda params: torch.optim.Adam(params, lr=0.1)  # noqa: E731
    (cause,) = verify.explain(optax.adam(0.1), adam, params=start, steps=9).causes
    assert cause[:3] == (
        "the size of a complex number",
        "by its absolute value",
        "its real and its imaginary part apart",
    )
