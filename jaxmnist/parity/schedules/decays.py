"""The schedules of torch.optim.lr_scheduler that multiply a learning rate by a factor."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmnist.parity.optimizers.drop_in import Number
from jaxmnist.parity.schedules.count import Schedule, check_share, check_steps, real, schedule


def step_lr(lr: Number, step_size: Number, gamma: Number = 0.1) -> Schedule:
    """Multiply the rate by `gamma` every `step_size` steps, as ``StepLR`` does.

    Args:
        lr: The optimizer's learning rate.
        step_size: The number of steps between two changes.
        gamma: The factor.

    Returns:
        The schedule lr · gamma^⌊count / step_size⌋.

    Raises:
        InputError: `step_size` is less than 1.

    >>> rate = step_lr(1.0, step_size=2, gamma=0.5)
    >>> [float(rate(count)) for count in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    check_steps("step_lr", "step_size", step_size)
    return schedule(lambda t: lr * gamma ** jnp.floor(t / step_size))


def multi_step_lr(lr: Number, milestones: Sequence[int], gamma: Number = 0.1) -> Schedule:
    """Multiply the rate by `gamma` at each milestone, as ``MultiStepLR`` does.

    Args:
        lr: The optimizer's learning rate.
        milestones: Counts of steps; one that is listed twice counts twice.
        gamma: The factor.

    Returns:
        The schedule.

    >>> rate = multi_step_lr(1.0, milestones=[1, 3], gamma=0.5)
    >>> [float(rate(count)) for count in range(4)]
    [1.0, 0.5, 0.5, 0.25]
    """
    passed = jnp.asarray(milestones, int)
    return schedule(lambda t: lr * gamma ** jnp.sum(passed.astype(t.dtype) <= t).astype(t.dtype))


def constant_lr(lr: Number, factor: Number = 1 / 3, total_iters: Number = 5) -> Schedule:
    """Multiply the rate by `factor` for `total_iters` steps, as ``ConstantLR`` does.

    Args:
        lr: The optimizer's learning rate.
        factor: From 0 to 1.
        total_iters: The count at which the rate is the optimizer's.

    Returns:
        The schedule.

    Raises:
        InputError: `factor` is outside its range.

    >>> rate = constant_lr(1.0, factor=0.5, total_iters=2)
    >>> [float(rate(count)) for count in range(4)]
    [0.5, 0.5, 1.0, 1.0]
    """
    check_share("constant_lr", "factor", factor)
    return schedule(lambda t: lr * jnp.where(t < total_iters, factor, 1.0))


def linear_lr(
    lr: Number, start_factor: Number = 1 / 3, end_factor: Number = 1.0, total_iters: Number = 5
) -> Schedule:
    """Change the rate's factor linearly for `total_iters` steps, as ``LinearLR`` does.

    Args:
        lr: The optimizer's learning rate.
        start_factor: The factor at 0, more than 0 and at most 1.
        end_factor: The factor from `total_iters` on, from 0 to 1.
        total_iters: The number of steps between the two.

    Returns:
        The schedule.

    Raises:
        InputError: A factor is outside its range, or `total_iters` is less than 1.

    >>> rate = linear_lr(1.0, start_factor=0.5, total_iters=2)
    >>> [float(rate(count)) for count in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """
    check_share("linear_lr", "start_factor", start_factor, above=0)
    check_share("linear_lr", "end_factor", end_factor)
    check_steps("linear_lr", "total_iters", total_iters)

    def rate(t: Array) -> Any:
        done = jnp.minimum(t, total_iters) / total_iters
        return lr * (start_factor + (end_factor - start_factor) * done)

    return schedule(rate)


def exponential_lr(lr: Number, gamma: Number) -> Schedule:
    """Multiply the rate by `gamma` at every step, as ``ExponentialLR`` does.

    Args:
        lr: The optimizer's learning rate.
        gamma: The factor.

    Returns:
        The schedule lr · gamma^count.

    >>> rate = exponential_lr(1.0, 0.5)
    >>> [float(rate(count)) for count in range(3)]
    [1.0, 0.5, 0.25]
    """
    return schedule(lambda t: lr * gamma**t)


def polynomial_lr(lr: Number, total_iters: Number = 5, power: Number = 1.0) -> Schedule:
    """Let the rate fall to 0 as a power of the steps that are left, as ``PolynomialLR`` does.

    Args:
        lr: The optimizer's learning rate.
        total_iters: The count from which the rate is 0.
        power: The power.

    Returns:
        The schedule lr · (1 - count / total_iters)^power.

    Raises:
        InputError: `total_iters` is less than 1.

    >>> rate = polynomial_lr(1.0, total_iters=2, power=2.0)
    >>> [float(rate(count)) for count in range(4)]
    [1.0, 0.25, 0.0, 0.0]
    """
    check_steps("polynomial_lr", "total_iters", total_iters)
    return schedule(lambda t: lr * (1 - jnp.minimum(t, total_iters) / total_iters) ** power)


def lambda_lr(lr: Number, lr_lambda: Callable[[Any], Any]) -> Schedule:
    """Multiply the rate by a function of the count, as ``LambdaLR`` does.

    Args:
        lr: The optimizer's learning rate.
        lr_lambda: The function; it is given a traced count, in the widest precision.

    Returns:
        The schedule lr · lr_lambda(count).

    >>> rate = lambda_lr(1.0, lambda count: 1 / (1 + count))
    >>> [float(rate(count)) for count in range(2)]
    [1.0, 0.5]
    """
    return schedule(lambda t: lr * lr_lambda(t))


def multiplicative_lr(lr: Number, lr_lambda: Callable[[Any], Any]) -> Schedule:
    """Multiply the rate by a function of the count at every step, as ``MultiplicativeLR`` does.

    Args:
        lr: The optimizer's learning rate.
        lr_lambda: The function; it is given a traced count from 1 on, in the widest precision.

    Returns:
        The schedule lr · lr_lambda(1) · … · lr_lambda(count). It multiplies anew at every call,
        which takes time proportional to the count.

    >>> rate = multiplicative_lr(1.0, lambda count: 1 / count)
    >>> [float(rate(count)) for count in range(3)]
    [1.0, 1.0, 0.5]
    """

    def rate(t: Float[Array, ""]) -> Any:
        def times(i: Any, product: Array) -> Array:
            return jnp.asarray(product * lr_lambda(real(i)), t.dtype)

        start = jnp.asarray(lr, t.dtype)
        return jax.lax.fori_loop(1, t.astype(jnp.int32) + 1, times, start)

    return schedule(rate)
