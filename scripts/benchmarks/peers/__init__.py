"""Programs of other frameworks that train the same network, and what is missing for some of them.

Each is imported only when it is asked for: a process that runs PyTorch's loads no JAX.
"""

import importlib.util
import os
import shutil
from importlib import import_module
from typing import NamedTuple

from benchmarks.problem import Peer, Problem

OURS = "jaxmnist"


class Source(NamedTuple):
    """Where a peer is, and what it needs."""

    module: str
    function: str
    needs: str


PEERS = {
    OURS: Source("ours", "fit", "jax"),
    "the tutorial's program": Source("pytorch", "tutorial", "torch"),
    "PyTorch in memory": Source("pytorch", "in_memory", "torch"),
    "torch.compile": Source("pytorch", "compiled", "torch"),
    "JAX, a jitted step per batch": Source("stepwise", "plain_jax", "jax"),
    "Equinox": Source("stepwise", "equinox", "equinox"),
    "Keras on JAX": Source("keras_fit", "keras_on_jax", "keras"),
    "NumPy by hand": Source("by_hand", "by_hand", "numpy"),
}


def missing(name: str) -> str | None:
    """Return why a peer cannot run here, or None.

    Args:
        name: One of `PEERS`.

    Returns:
        The reason, for the JSON: a package that is not installed, or no C++ compiler, which
        `torch.compile` translates its kernels with.
    """
    needs = PEERS[name].needs
    if importlib.util.find_spec(needs) is None:
        return f"{needs} is not installed"
    if name == "torch.compile" and compiler() is None:
        return "there is no C++ compiler: neither $CXX, g++, c++ nor clang++ is on the path"
    return None


def compiler() -> str | None:
    """Return the path of the C++ compiler, if there is one."""
    named = os.environ.get("CXX")
    for name in (named,) if named else ("g++", "c++", "clang++"):
        if found := shutil.which(name):
            return found
    return None


def build(name: str, problem: Problem) -> Peer:
    """Build a peer, which begins with the problem's weights.

    Args:
        name: One of `PEERS` that is not `missing`.
        problem: What it trains.
    """
    source = PEERS[name]
    return getattr(import_module(f"{__name__}.{source.module}"), source.function)(problem)
