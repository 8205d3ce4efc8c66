"""The first submodule whose running statistics differ after a call, and why."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

MOMENTA: Final = (0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9, 0.95, 0.97, 0.99, 0.999)
"""The weights of the batch's statistics that are tried."""


class Place(NamedTuple):
    """Where statistics differ."""

    module: str
    cause: str | None


def place(module: Any, before: Mapping[str, np.ndarray], differing: Mapping[str, Any]) -> Place:
    """Find the first submodule whose buffers differ, and why.

    PyTorch updates ``new = (1 - m)·old + m·batch`` with the unbiased variance of the batch,
    ``n/(n - 1)`` times the biased one.

    Args:
        module: The torch module.
        before: Its buffers before the call.
        differing: The buffers that differ after it: ours and theirs, in the module's order.

    Returns:
        The place, and the cause if a rule explains our values.
    """
    name = next(iter(differing))
    owner = name.rpartition(".")[0]
    submodule = module.get_submodule(owner)
    momentum = getattr(submodule, "momentum", None)
    causes = {
        _cause(n, momentum, before[n], *pair)
        for n, pair in differing.items()
        if n.rpartition(".")[0] == owner
    }
    known = sorted(c for c in causes if c)
    return Place(owner, "; ".join(known) or None)


def _cause(
    name: str, momentum: float | None, old: np.ndarray, ours: np.ndarray, theirs: np.ndarray
) -> str | None:
    kind = name.rpartition(".")[2]
    if np.allclose(ours, old, rtol=1e-9, atol=0):
        return f"BatchNorm: {kind} not updated in JAX"
    if momentum is None or not momentum:
        return None
    batch = (theirs - (1 - momentum) * old) / momentum
    for other in dict.fromkeys((momentum, 1 - momentum, *MOMENTA)):
        if kind == "running_var":
            mine = (ours - (1 - other) * old) / other
            ratio = mine / batch
            constant = np.ptp(ratio) < 1e-6 * abs(ratio.mean())
            if constant and 0.4 < ratio.mean() < 1 - 1e-9:
                rule = "variance of BatchNorm: biased in JAX, unbiased in PyTorch"
                return rule if other == momentum else f"{rule}; {_momentum(other, momentum)}"
        if np.allclose(ours, (1 - other) * old + other * batch, rtol=1e-9, atol=1e-12):
            return None if other == momentum else _momentum(other, momentum)
    return None


def _momentum(ours: float, theirs: float) -> str:
    return (
        f"momentum of BatchNorm: the batch weighs {ours:.4g} in JAX, {theirs:.4g} in PyTorch "
        f"(Flax's momentum would be {1 - theirs:.4g})"
    )
