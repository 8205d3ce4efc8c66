"""The compiled programs that every run from Python has, and compiling several at the same time."""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from jaxmnist.provenance import cores
from jaxmnist.training.epoch import epoch_key, epoch_order
from jaxmnist.training.setup import start


class Compiled(NamedTuple):
    """A program ``jit(f).lower(…)`` that is being compiled beside what Python does meanwhile."""

    out_info: Any
    """The shapes of what it returns."""
    wait: Callable[[], object]
    """Returns when ``f`` is ready to be called, and raises what compiling it raised."""


def compiler() -> Callable[[Any], Compiled]:
    """Compile programs while others are traced or run: XLA needs no Python, and tracing one core.

    Returns:
        What begins to compile a lowered program.
    """
    # Beside the core that traces; on more at once XLA's own threads get in each other's way.
    threads = ThreadPoolExecutor(max(1, cores() - 1))
    return lambda lowered: Compiled(lowered.out_info, threads.submit(lowered.compile).result)


@jax.jit(static_argnums=2)
def shuffled(
    key: Key[Array, ""], index: Int[Array, ""] | int, samples: int
) -> tuple[Int[Array, " samples"], Key[Array, ""]]:
    """Return an epoch's order and the key of its other randomness.

    Args:
        key: The run's key.
        index: The epoch, from 0.
        samples: How many samples there are.
    """
    return epoch_order(key, index, samples), epoch_key(key, index)


def compiled_order(key: Key[Array, ""], samples: int) -> Compiled:
    """Begin to compile `shuffled`, unless that was begun before.

    It needs nothing else of a run, and can be compiled while the rest is still prepared.

    Args:
        key: The run's key, or any other.
        samples: How many samples there are.
    """
    return _compiled_order(key.dtype, samples, jnp.result_type(float))


@functools.cache
def _compiled_order(dtype: Any, samples: int, width: Any) -> Compiled:
    del width  # With 64-bit numbers or without: another program.
    compiled = compiler()(shuffled.lower(jax.ShapeDtypeStruct((), dtype), 0, samples))

    def wait() -> object:
        try:
            return compiled.wait()
        except Exception:  # Of this moment, such as too little memory: the next run tries again.
            _compiled_order.cache_clear()
            raise

    return compiled._replace(wait=wait)


started = jax.jit(start, static_argnums=2)
"""`start`, compiled."""
