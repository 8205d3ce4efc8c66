"""The distance of two arrays, element by element: absolute, relative, and in ULPs."""

from collections.abc import Mapping
from typing import Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

Leaves = Mapping[str, Shaped[np.ndarray, "..."]]
"""Arrays by name."""
_EXPONENT: Final = np.int64(0x7FF << 52)
"""The bits of a float64's exponent; with them alone it is the power of two at or below it."""


def distance(
    actual: Shaped[np.ndarray, "..."],
    expected: Shaped[np.ndarray, "..."],
    *,
    equal_nan: bool = True,
) -> Shaped[np.ndarray, "..."]:
    """Take ``|actual - expected|``, without bound where either is NaN or infinite.

    Equal infinities are equal.

    Args:
        actual: Real or complex numbers.
        expected: The reference's, of the same shape.
        equal_nan: Whether two NaNs are equal too.

    Returns:
        The distance of each element.

    >>> distance(np.array([3.0, np.inf, np.nan]), np.array([1.0, np.inf, 0.0])).tolist()
    [2.0, 0.0, inf]
    """
    with np.errstate(invalid="ignore", over="ignore"):
        absolute = np.asarray(np.abs(actual - expected))
    unbounded = ~np.isfinite(absolute)
    if unbounded.any():
        same = actual == expected
        if equal_nan:
            same |= np.isnan(actual) & np.isnan(expected)
        absolute = np.where(unbounded, np.where(same, 0.0, np.inf), absolute)
    return absolute


def relative_error(
    absolute: Shaped[np.ndarray, "..."], scale: Shaped[np.ndarray, "..."] | float
) -> Shaped[np.ndarray, "..."]:
    """Divide a distance by a scale; no distance is no error, also where the scale is 0 or NaN.

    Args:
        absolute: What `distance` returns.
        scale: What to measure it against.

    Returns:
        The quotients; infinite where they have no value.

    >>> relative_error(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 4.0])).tolist()
    [0.0, inf, 0.25]
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        quotient = np.asarray(absolute / scale)
    quotient[np.isnan(quotient)] = np.inf
    quotient[absolute == 0] = 0.0
    return quotient


def unit_in_last_place(
    size: Shaped[np.ndarray, "..."],
    epsilon: Shaped[np.ndarray, "..."] | float,
    smallest: Shaped[np.ndarray, "..."] | float,
) -> Shaped[np.ndarray, "..."]:
    """Take a unit in the last place: epsilon times the power of two at or below the size.

    Args:
        size: Magnitudes.
        epsilon: Of the dtype, `precision_of`.
        smallest: The smallest positive number of the dtype, which no unit is below.

    Returns:
        The unit of each element.

    >>> float(unit_in_last_place(np.array(3.0), *precision_of(np.dtype("float32")))) == 2.0**-22
    True
    """
    bits = np.asarray(size, np.float64).view(np.int64)
    power = (bits & _EXPONENT).view(np.float64)  # 0 where it is below all normal numbers.
    return np.asarray(np.maximum(epsilon * power, smallest))


def precision_of(dtype: np.dtype) -> tuple[float, float]:
    """Return epsilon and the smallest positive number of a dtype; an integer counts as a double."""
    info = jnp.finfo(dtype if jnp.issubdtype(dtype, jnp.inexact) else np.float64)
    return float(info.eps), float(info.smallest_subnormal)
