"""Stochastic gradient descent: down the gradient, by a fixed multiple of it."""

from functools import partial
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Int

from jaxmnist.conventions import check_arguments
from jaxmnist.optim import arithmetic
from jaxmnist.optim.arithmetic import LearningRate
from jaxmnist.optim.entry import Entry, TorchCounterpart


class SgdState(NamedTuple):
    """State of SGD between two updates."""

    count: Int[Array, ""]  # updates made so far  # pyright: ignore[reportIncompatibleMethodOverride]


def sgd(learning_rate: LearningRate = 0.1) -> optax.GradientTransformationExtraArgs:
    """SGD, which steps against the gradient.

    With gradient g:

        w ← w - learning_rate · g

    Nothing but the count is remembered.

    Args:
        learning_rate: What multiplies g; a number, or an Optax schedule, called with 0 for the
            first update.

    Returns:
        An `optax.GradientTransformationExtraArgs` whose updates are to be added to w; it needs no
        extra argument and ignores any.

    Raises:
        InputError: A Python number is outside its range.

    Conventions: the tutorial, PyTorch and Optax agree. PyTorch's default rate is 0.001,
    `create("sgd", convention="pytorch")`.

    References: Robbins and Monro, "A stochastic approximation method", 1951,
    https://doi.org/10.1214/aoms/1177729586; tutorial rows D14, D18 to D20.

    >>> import jax.numpy as jnp
    >>> optimizer = sgd(learning_rate=0.5)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (1.0, 4.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(f"{update:.4f}")
    -0.5000
    -2.0000
    """
    check_arguments("sgd", learning_rate=learning_rate)

    def init(params: optax.Params) -> SgdState:
        del params
        return SgdState(count=arithmetic.start_count())

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, SgdState]:
        del params, extra_args
        rate = arithmetic.learning_rate_at(learning_rate, state.count)
        (updates,) = _step(updates, rate=rate)
        return updates, SgdState(count=arithmetic.increment(state.count))

    return optax.GradientTransformationExtraArgs(init, update)


@arithmetic.leafwise
def _step(g, *, rate):
    return (-rate * g,)


ENTRY = Entry(
    factory=sgd,
    recurrence="w ← w - ηg",
    torch=TorchCounterpart(
        "SGD",
        {"learning_rate": "lr"},
        counts=False,
        off={"dampening": 0, "nesterov": False, "momentum": 0},
    ),
    optax=partial(optax.sgd, learning_rate=0.1),
)
