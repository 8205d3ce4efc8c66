"""Counts as numbers, and what schedules check of their arguments."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxmnist.conventions import plain_number
from jaxmnist.errors import InputError

Count = int | Int[Array, ""]
"""The number of updates made so far, which may be traced."""
Schedule = Callable[[Any], Float[Array, ""]]
"""From a count to a number: a plain Optax schedule."""


def real(count: Any) -> Float[Array, ""]:
    """Return a count in the widest precision: float64 under x64, and float32 else.

    From an int32 count, some of Optax's schedules compute in float32 under x64 too.
    """
    return jnp.asarray(count, jnp.result_type(float))


def schedule(rate: Callable[[Float[Array, ""]], Any]) -> Schedule:
    """Return a function of a real count as a schedule of any count.

    Args:
        rate: From a count in the widest precision to a number of it.

    Returns:
        The schedule; it asks for no setting of JAX's promotion of dtypes.
    """

    def at(count: Any) -> Float[Array, ""]:
        with jax.numpy_dtype_promotion("standard"):
            t = real(count)
            return jnp.asarray(rate(t), t.dtype)

    return at


def check_steps(name: str, argument: str, value: Any, least: int = 1) -> None:
    """Refuse a number of steps that is known and too small.

    Raises:
        InputError: It is less than `least`.
    """
    number = plain_number(value)
    if number is not None and not number >= least:
        raise InputError(f"{name}: {argument} is {value}; it must be at least {least}")


def check_share(name: str, argument: str, value: Any, above: int | float | None = None) -> None:
    """Refuse a factor that is known and outside [0, 1], or not above another number.

    Raises:
        InputError: It is.
    """
    number = plain_number(value)
    if number is None:
        return
    if not 0 <= number <= 1 or (above is not None and not number > above):
        low = "at least 0" if above is None else f"more than {above:g}"
        raise InputError(f"{name}: {argument} is {value}; it must be {low} and at most 1")
