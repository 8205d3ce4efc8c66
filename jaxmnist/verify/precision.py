"""The dtypes that comparisons are made in, and JAX's settings for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import jax
import numpy as np

from jaxmnist.errors import InputError

DTYPES: Final = ("float64", "float32")


def check_dtype(dtype: str) -> None:
    """Refuse a dtype that is not one of `DTYPES`.

    Args:
        dtype: Its name.

    Raises:
        InputError: It is another; the message lists those that are allowed.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Set JAX to 64 bits or not, and to its usual promotion of dtypes, which Optax needs.

    NumPy is silent about what overflows: a gradient that is not finite is refused by name, and a
    parameter that is not is a difference.

    Args:
        dtype: One of `DTYPES`.
    """
    with (
        jax.enable_x64(dtype == "float64"),
        jax.numpy_dtype_promotion("standard"),
        np.errstate(all="ignore"),
    ):
        yield
