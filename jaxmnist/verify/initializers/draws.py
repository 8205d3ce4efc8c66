"""Arrays drawn by an initializer of each framework."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.blame import blamed
from jaxmnist.verify.precision import precision
from jaxmnist.verify.programs import compiled


def number_of_arrays(shape: tuple[int, ...], draws: int) -> int:
    """Return how many arrays have at least so many elements, two at least.

    >>> number_of_arrays((10, 10), 950)
    10
    """
    return max(2, math.ceil(draws / max(math.prod(shape), 1)))


def drawn_here(
    init: Callable[..., Any], shape: tuple[int, ...], arrays: int, dtype: str, seed: int
) -> np.ndarray:
    """Draw arrays by an initializer of JAX.

    Args:
        init: ``init(key, shape, dtype)``.
        shape: Of one array.
        arrays: Their number.
        dtype: float64 or float32.
        seed: Of the keys.

    Returns:
        They, float64[arrays, ...shape].

    Raises:
        InputError: It raises, or returns another shape.
    """
    with precision(dtype), blamed("init", f"for shape {shape}"):
        keys = jax.random.split(jax.random.key(seed), arrays)
        # The generator takes seconds to optimise, and no time to run.
        draw = compiled(
            jax.vmap(lambda key: init(key, shape, jnp.dtype(dtype))),
            {"xla_backend_optimization_level": 0},
        )
        found = draw(keys)
    return _checked(np.asarray(found, np.float64), shape, "init")


def drawn_there(
    torch: Any,
    torch_init: Callable[[Any], Any],
    shape: tuple[int, ...],
    arrays: int,
    dtype: str,
    seed: int,
) -> np.ndarray:
    """Draw arrays by an initializer of PyTorch.

    Args:
        torch: The library.
        torch_init: From a tensor to fill to that, or to another one of its shape; or None.
        shape: Of one array.
        arrays: Their number.
        dtype: float64 or float32.
        seed: Of PyTorch's generator, whose state is restored.

    Returns:
        They, float64[arrays, ...shape].

    Raises:
        InputError: It raises, or returns another shape.
    """
    found = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(arrays):
            tensor = torch.full(shape, float("nan"), dtype=getattr(torch, dtype))
            with blamed("torch_init", f"for shape {shape}"), torch.no_grad():
                returned = torch_init(tensor)
            kept = tensor if returned is None else returned
            if not isinstance(kept, torch.Tensor):
                raise InputError(
                    f"torch_init returned a {type(kept).__name__}; it must fill the tensor that "
                    "it is given, or return one"
                )
            found.append(kept.detach().to(torch.float64).numpy().copy())
            _checked(found[-1][None], shape, "torch_init")
    return np.stack(found)


def _checked(arrays: np.ndarray, shape: tuple[int, ...], who: str) -> np.ndarray:
    if arrays.shape[1:] != shape:
        raise InputError(f"{who} returned shape {arrays.shape[1:]}; it must be {shape}")
    if not np.all(np.isfinite(arrays)):
        raise InputError(f"{who} left a number that is NaN or infinite for shape {shape}")
    return arrays
