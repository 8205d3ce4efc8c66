"""Schedules made of schedules: one after another, and one times another."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmnist.errors import InputError
from jaxmnist.parity.optimizers.drop_in import Number
from jaxmnist.parity.schedules.count import Schedule, schedule


def sequential_lr(schedules: Sequence[Schedule], milestones: Sequence[int]) -> Schedule:
    """Follow one schedule after another, each from its own start, as ``SequentialLR`` does.

    Args:
        schedules: In their order, each made with the optimizer's learning rate.
        milestones: The counts at which the second and every later one begin.

    Returns:
        The schedule.

    Raises:
        InputError: There is not one schedule more than milestones, or these do not rise.

    ``MultiplicativeLR`` after a milestone is another thing: in PyTorch it continues from the rate
    before it, and here from the one that it was made with.

    >>> from jaxmnist.parity import constant_lr, exponential_lr
    >>> rate = sequential_lr([constant_lr(1.0, 0.5), exponential_lr(1.0, 0.5)], [2])
    >>> [float(rate(count)) for count in range(4)]
    [0.5, 0.5, 1.0, 0.5]
    """
    if len(schedules) != len(milestones) + 1:
        raise InputError(
            f"sequential_lr: there are {len(schedules)} schedules and {len(milestones)} "
            "milestones; there must be one schedule more"
        )
    if list(milestones) != sorted(milestones):
        raise InputError(f"sequential_lr: milestones is {list(milestones)}; they must rise")

    def rate(t: Float[Array, ""]) -> Any:
        value = schedules[0](t)
        for start, each in zip(milestones, schedules[1:], strict=True):
            # Kept from negative counts, at which a schedule need not have a value.
            value = jnp.where(t < start, value, each(jnp.maximum(t - start, 0)))
        return value

    return schedule(rate)


def chained(lr: Number, schedules: Sequence[Schedule]) -> Schedule:
    """Apply the factors of several schedules together, as ``ChainedScheduler`` does.

    Args:
        lr: The optimizer's learning rate, which each schedule was made with; not 0.
        schedules: Those that multiply the rate: `step_lr`, `multi_step_lr`, `constant_lr`,
            `linear_lr`, `exponential_lr`, `polynomial_lr` and `multiplicative_lr`. PyTorch's others
            set it anew, or add to it, and what a chain of them gives depends on its order.

    Returns:
        The schedule lr · Π schedule(count) / lr.

    Raises:
        InputError: There is no schedule.

    >>> from jaxmnist.parity import constant_lr, exponential_lr
    >>> rate = chained(2.0, [constant_lr(2.0, 0.5, 2), exponential_lr(2.0, 0.5)])
    >>> [float(rate(count)) for count in range(4)]
    [1.0, 0.5, 0.5, 0.25]
    """
    if not schedules:
        raise InputError("chained: there are no schedules; there must be at least one")

    def rate(t: Float[Array, ""]) -> Any:
        value = jnp.asarray(lr, t.dtype)
        for each in schedules:
            value = value * (each(t) / lr)
        return value

    return schedule(rate)
