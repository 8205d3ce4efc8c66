"""The compiled programs that every run from Python has, and compiling several at the same time."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
from jaxtyping import Array, Int, Key

from jaxmnist.provenance import cores
from jaxmnist.training.epoch import epoch_key, epoch_order
from jaxmnist.training.setup import start


@contextlib.contextmanager
def compiling() -> Iterator[Callable[[Any], Any]]:
    """Compile programs while others are still traced: XLA needs no Python, and tracing one core.

    Yields:
        What begins to compile a lowered program, ``jit(f).lower(…)``, and returns it. After the
        block every such ``f`` is ready to be called.
    """
    # Beside the core that traces; on more at once XLA's own threads get in each other's way.
    with ThreadPoolExecutor(max(1, cores() - 1)) as threads:
        begun = []

        def begin(lowered: Any) -> Any:
            begun.append(threads.submit(lowered.compile))
            return lowered

        yield begin
        for program in begun:
            program.result()


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


started = jax.jit(start, static_argnums=2)
"""`start`, compiled."""
