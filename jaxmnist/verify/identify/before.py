"""What happens to gradients before an update rule gets them: accumulation, and clipping."""

from collections.abc import Iterator
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


def accumulated(probe: Probe, counts: list[int]) -> Probe:
    """Take the mean gradient of every group of steps for one step.

    Args:
        probe: What an optimizer did that moves every few steps only.
        counts: The sizes of the groups.

    Returns:
        A probe of as many steps as there are groups.
    """
    ends = np.cumsum(counts) - 1

    def mean(gradients: np.ndarray) -> np.ndarray:
        starts = np.concatenate([[0], ends[:-1] + 1])
        return np.array(
            [gradients[a : b + 1].mean(axis=0) for a, b in zip(starts, ends, strict=True)]
        )

    return probe._replace(
        gradients=mean(probe.gradients),
        weights=probe.weights[ends],
        changes=probe.changes[ends],
        tree={leaf: (mean(g), w[ends]) for leaf, (g, w) in probe.tree.items()},
    )
