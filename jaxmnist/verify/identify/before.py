"""What happens to gradients before an update rule gets them: accumulation, and clipping."""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Final, NamedTuple

import numpy as np

from jaxmnist.verify.identify.probe import Probe


class Clip(NamedTuple):
    """How gradients are clipped."""

    by: str
    """One of `WORDS`."""
    power: float = 2.0
    """Of a norm."""
    added: float = 0.0
    """To the norm."""
    decayed: bool = False
    """Whether the weight decay has been added to the gradients before."""
    bound: float = 1.0

    def __str__(self) -> str:
        norm = "" if self.power == 2 or "norm" not in self.by else f", the norm {self.power:g}"
        plus = f", with {self.added:.0e} added to it" if self.added else ""
        return f"{WORDS[self.by]}{norm}, at {self.bound:.6g}{plus}"


WORDS: Final = {
    "value": "by the value of each element",
    "norm": "by the norm of all gradients",
    "leaf's norm": "by the norm of each leaf's gradient",
    "leaf's root mean square": "by the root mean square of each leaf's gradient",
}


def clips(decayed: bool) -> Iterator[Clip]:
    """Enumerate the ways to clip, but for the bound.

    Args:
        decayed: Whether there is a weight decay that may have been added before.

    Yields:
        One after another.
    """
    for before in (False, True) if decayed else (False,):
        for power, added in product((2.0, np.inf, 1.0), (0.0, 1e-6)):
            yield Clip("norm", power, added, before)
        yield Clip("value", decayed=before)
        for added in (0.0, 1e-6):
            yield Clip("leaf's norm", added=added, decayed=before)
        yield Clip("leaf's root mean square", decayed=before)


def clipped(clip: Clip, probe: Probe, weight_decay: float = 0.0) -> np.ndarray:
    """Clip the gradients of a probe.

    Args:
        clip: How.
        probe: The gradients, and the weights before each step.
        weight_decay: Of a clip of gradients with the weight decay in them.

    Returns:
        The gradients of the probe's leaf, [steps, elements].
    """

    def decayed(gradients: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return gradients + weight_decay * weights if clip.decayed else gradients

    g = decayed(probe.gradients, probe.weights)
    if clip.by == "value":
        return np.clip(g, -clip.bound, clip.bound)
    if clip.by == "leaf's root mean square":
        return g * _factor(np.sqrt((g * g).mean(axis=1)), clip)
    if clip.by == "leaf's norm":
        return g * _factor(np.linalg.norm(g, clip.power, axis=1), clip)
    together = np.hstack([decayed(*leaf) for leaf in probe.tree.values()])
    return g * _factor(np.linalg.norm(together, clip.power, axis=1), clip)


def _factor(norms: np.ndarray, clip: Clip) -> np.ndarray:
    return np.minimum(1.0, clip.bound / (norms + clip.added))[:, None]


def groups(probe: Probe) -> list[int]:
    """Count the gradients that each change of the weights came from.

    Args:
        probe: What an optimizer did.

    Returns:
        The counts; gradients after the last change are not counted.
    """
    moved = np.flatnonzero(probe.changes.any(axis=1))
    return np.diff(np.concatenate([[-1], moved])).tolist()


def accumulated(probe: Probe, every: int, accumulator: str) -> Probe:
    """Take what is accumulated over every few steps for the gradient of one.

    Args:
        probe: What an optimizer did that moves every so many steps only.
        every: How many.
        accumulator: A key of `ACCUMULATORS`.

    Returns:
        A probe of as many steps as the weights moved.
    """

    def added(gradients: np.ndarray) -> np.ndarray:
        whole = len(gradients) // every * every
        return ACCUMULATORS[accumulator](gradients[:whole].reshape(-1, every, gradients.shape[1]))

    chosen = slice(every - 1, None, every)
    return probe._replace(
        gradients=added(probe.gradients),
        weights=probe.weights[chosen],
        changes=probe.changes[chosen],
        tree={leaf: (added(g), w[chosen]) for leaf, (g, w) in probe.tree.items()},
    )


def _mean_in_float32(groups: np.ndarray) -> np.ndarray:
    """As optax.MultiSteps does by default: all but the last are in a float32 accumulator."""
    total = np.zeros_like(groups[:, 0])
    for n in range(groups.shape[1]):
        total = total.astype(np.float32).astype(np.float64)
        total = total + (groups[:, n] - total) / (n + 1)
    return total


def _sum_in_float32(groups: np.ndarray) -> np.ndarray:
    total = np.zeros_like(groups[:, 0])
    for n in range(groups.shape[1]):
        total = groups[:, n] + total.astype(np.float32).astype(np.float64)
    return total


ACCUMULATORS: Final[Mapping[str, Callable[[np.ndarray], np.ndarray]]] = {
    "mean": lambda groups: groups.mean(axis=1),
    "mean, added up in float32,": _mean_in_float32,
    "sum, added up in float32,": _sum_in_float32,
}
"""From gradients, [groups, steps, elements], to what a step is taken with."""
