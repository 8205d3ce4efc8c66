"""Momentum: SGD with a velocity, fast along a valley and damped across it."""

from functools import partial
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Inexact, Int, PyTree

from jaxmnist.conventions import check_arguments
from jaxmnist.optim import arithmetic
from jaxmnist.optim.arithmetic import Hyperparameter, LearningRate
from jaxmnist.optim.entry import Entry, TorchCounterpart


class MomentumState(NamedTuple):
    """State of momentum between two updates."""

    count: Int[Array, ""]  # updates made so far  # pyright: ignore[reportIncompatibleMethodOverride]
    velocity: PyTree[Inexact[Array, "..."]]  # the decaying sum of the gradients


def momentum(
    learning_rate: LearningRate = 0.01,
    momentum: Hyperparameter = 0.9,
    learning_rate_in_velocity: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """Momentum, which steps along a decaying sum of the gradients.

    With gradient g, and the learning rate in the velocity:

        velocity ← momentum · velocity + learning_rate · g
        w ← w - velocity

    or, with the learning rate outside it:

        velocity ← momentum · velocity + g
        w ← w - learning_rate · velocity

    `velocity` starts at 0. Under a constant g the step grows to learning_rate · g / (1 - momentum),
    ten times SGD's at 0.9. The two forms agree while the learning rate is constant; when it falls,
    the second slows at once, the first as its velocity decays.

    Args:
        learning_rate: What multiplies g; a number, or an Optax schedule, called with 0 for the
            first update.
        momentum: The share of the velocity that each update keeps, in [0, 1).
        learning_rate_in_velocity: Where the learning rate enters; a Python bool.

    Returns:
        An `optax.GradientTransformationExtraArgs` whose updates are to be added to w; it needs no
        extra argument and ignores any.

    Raises:
        InputError: A Python number is outside its range.

    Conventions: the tutorial's is the default. PyTorch and Optax share the second form,
    `learning_rate_in_velocity=False`, as do `create("momentum", convention="pytorch")` or "optax";
    PyTorch's first velocity is the first g, which is what starting at 0 gives. The tutorial
    calls momentum an adaptive learning rate; the rate is one number for all of w, and only the
    velocity differs. It also asks for a factor less than 0, and means less than 1.

    References: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964,
    https://doi.org/10.1016/0041-5553(64)90137-5; tutorial row D21.

    >>> import jax.numpy as jnp
    >>> optimizer = momentum(learning_rate=0.5, momentum=0.5)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (1.0, 4.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(f"{update:.4f}")
    -0.5000
    -2.2500
    """
    check_arguments(
        "momentum",
        learning_rate=learning_rate,
        momentum=momentum,
        learning_rate_in_velocity=learning_rate_in_velocity,
    )
    step = _step_rate_inside if learning_rate_in_velocity else _step_rate_outside

    def init(params: optax.Params) -> MomentumState:
        return MomentumState(
            count=arithmetic.start_count(), velocity=arithmetic.accumulators_like(params)
        )

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, MomentumState]:
        del params, extra_args
        rate = arithmetic.learning_rate_at(learning_rate, state.count)
        updates, velocity = step(updates, state.velocity, rate=rate, momentum=momentum)
        return updates, MomentumState(arithmetic.increment(state.count), velocity)

    return optax.GradientTransformationExtraArgs(init, update)


@arithmetic.leafwise
def _step_rate_inside(g, velocity, *, rate, momentum):
    velocity = momentum * velocity + rate * g
    return -velocity, velocity


@arithmetic.leafwise
def _step_rate_outside(g, velocity, *, rate, momentum):
    velocity = momentum * velocity + g
    return -rate * velocity, velocity


ENTRY = Entry(
    factory=momentum,
    recurrence="v ← momentum·v + {inside}g; w ← w - {outside}v",
    meanings={"velocity": "velocity"},
    torch=TorchCounterpart(
        "SGD",
        {"learning_rate": "lr", "momentum": "momentum"},
        {"velocity": "momentum_buffer"},
        counts=False,
        off={"dampening": 0, "nesterov": False},
        arguments={"momentum": 0.9},
    ),
    optax=partial(optax.sgd, learning_rate=0.01, momentum=0.9),
)
