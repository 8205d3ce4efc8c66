"""A probe of an optimizer: gradients that tell the update rules apart, and its steps on them.

The gradients have 16 scales from 1e-12 to 1e3, so that an epsilon of any size shows, at weights of
0 and of 1, so that weight decay shows. Other probes are too small to be clipped, have gradients
that are zero, or last longer, to check by.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from jaxmnist.verify.adapters import Adapter

STEPS: Final = 32
SCALES: Final = 16
EVERY: Final = 2 * SCALES
"""The elements of a probe: of every scale one that starts at 0, and one that starts at 1."""

Tree = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Of every leaf the gradients and the weights before each step, [steps, elements]."""


class Probe(NamedTuple):
    """What an optimizer did with the gradients of a probe; arrays are [steps, elements]."""

    gradients: np.ndarray
    weights: np.ndarray
    """Before each step."""
    changes: np.ndarray
    """By each step."""
    scales: np.ndarray
    """Of an element's changes, to measure an error by; not less than what rounding hides."""
    initial: float | None
    """Where the accumulator of squares starts, if that can be seen."""
    decays: bool | None
    """Whether the weight itself moves it; None if that cannot be seen."""
    velocity: np.ndarray | None
    """The velocity after the last step, if that can be seen."""
    shape: tuple[int, ...]
    """Of the leaf."""
    leaf: str
    """Its name."""
    tree: Tree
    """All leaves, of which a norm may be taken."""


def probe_gradients(
    seed: int = 0, steps: int = STEPS, largest: float = 1e3
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the gradients of a probe, and the weights to start from.

    Args:
        seed: Of the signs and of the sizes within each scale.
        steps: How many.
        largest: The largest scale; the smallest is 1e-12.

    Returns:
        The gradients, [steps, elements], and the weights, [elements].
    """
    rng = np.random.default_rng(seed)
    scales = np.logspace(-12, np.log10(largest), SCALES)
    signs = rng.choice([-1.0, 1.0], (steps, scales.size), p=[0.35, 0.65])
    once = signs * scales * np.exp(rng.normal(size=(steps, scales.size)))
    return np.hstack([once, once]), np.repeat([0.0, 1.0], scales.size)


def present(shape: tuple[int, ...], steps: int) -> np.ndarray:
    """Choose, for every step, half of a leaf's rows: those that have a gradient.

    Args:
        shape: Of the leaf.
        steps: How many.

    Returns:
        Whether an element has one, [steps, elements].
    """
    rows = np.random.default_rng(1).random((steps, *shape[:1])) < 0.5
    return np.repeat(rows.reshape(steps, -1), np.prod(shape[1:], dtype=int), axis=1)


def run_probe(adapter: Adapter, gradients: np.ndarray) -> Probe:
    """Run an optimizer of one leaf, ``w``, on the gradients.

    Args:
        adapter: The optimizer, with `probe_gradients`' weights.
        gradients: [steps, elements].

    Returns:
        What it did.
    """
    return run_probes(adapter, {"w": gradients})["w"]


def probe_columns(size: int) -> np.ndarray:
    """Choose the elements of `probe_gradients` for a leaf: all in turn, or of some scales.

    A small leaf too has every scale that it has twice, at 0 and at 1, as far as it goes: only such
    a pair shows weight decay.

    Args:
        size: Of the leaf.

    Returns:
        Their indices.
    """
    if size >= EVERY:
        return np.arange(size) % EVERY
    count = (size + 1) // 2
    scales = np.linspace(0, SCALES - 1, count) if count > 1 else np.array([SCALES // 2])
    scales = scales.round().astype(int)
    return np.concatenate([scales, scales + SCALES])[:size]


def run_probes(adapter: Adapter, gradients: Mapping[str, np.ndarray]) -> dict[str, Probe]:
    """Run an optimizer on the gradients of every leaf.

    Args:
        adapter: The optimizer, with `probe_gradients`' weights in every leaf, of any shape.
        gradients: [steps, elements] of each leaf, chosen by `probe_columns`.

    Returns:
        What it did, by leaf.
    """
    initials = {
        leaf: float(np.ravel(array)[0])
        for name, leaves in adapter.states().items()
        if name in ("average square", "sum of squares")
        for leaf, array in leaves.items()
    }
    weights = [{leaf: w.ravel().copy() for leaf, w in adapter.params.items()}]
    shapes = {leaf: w.shape for leaf, w in adapter.params.items()}
    for step in range(len(next(iter(gradients.values())))):
        adapter.step({leaf: g[step].reshape(shapes[leaf]) for leaf, g in gradients.items()})
        weights.append({leaf: w.ravel().copy() for leaf, w in adapter.params.items()})
    velocity = adapter.states().get("velocity", {})
    all_weights = {leaf: np.array([w[leaf] for w in weights]) for leaf in gradients}
    tree = {leaf: (g, all_weights[leaf][:-1]) for leaf, g in gradients.items()}
    return {
        leaf: Probe(
            each,
            all_weights[leaf][:-1],
            *_changes(all_weights[leaf]),
            initials.get(leaf),
            _decays(each, all_weights[leaf]),
            velocity[leaf].ravel() if leaf in velocity else None,
            shapes[leaf],
            leaf,
            tree,
        )
        for leaf, each in gradients.items()
    }


def at_zero(probe: Probe) -> Probe:
    """Take the elements that started at 0, whose changes no large weight has rounded."""
    chosen = probe.weights[0] == 0
    gradients, weights, changes = (x[:, chosen] for x in probe[:3])
    return probe._replace(
        gradients=gradients,
        weights=weights,
        changes=changes,
        scales=np.abs(changes).max(axis=0),
        velocity=None,
        shape=(int(chosen.sum()),),
    )


def begun(probe: Probe, steps: int) -> Probe:
    """Take the first steps."""
    gradients, weights, changes = (x[:steps] for x in probe[:3])
    return probe._replace(gradients=gradients, weights=weights, changes=changes)


def _changes(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The changes, and the scale of each element's."""
    changes = np.diff(weights, axis=0)
    return changes, np.abs(changes).max(axis=0) + 1e-6 * np.abs(weights).max(axis=0)


def _decays(gradients: np.ndarray, weights: np.ndarray) -> bool | None:
    """Whether elements with the same gradients move otherwise at 1 than at 0; None without any."""
    changes = np.diff(weights, axis=0)
    at = {0.0: {}, 1.0: {}}
    for column, start in enumerate(weights[0]):
        at[float(start)][gradients[:, column].tobytes()] = changes[:, column]
    pairs = at[0.0].keys() & at[1.0].keys()
    for gradient in pairs:
        zero, one = at[0.0][gradient], at[1.0][gradient]
        if (np.abs(one - zero) > 1e-14 + 1e-9 * np.abs(zero).max()).any():
            return True
    return False if pairs else None
