"""A probe of an optimizer: gradients that tell the update rules apart, and its steps on them.

The gradients have 16 scales from 1e-12 to 1e3, so that an epsilon of any size shows, at weights of
0 and of 1, so that weight decay shows.
"""

from typing import Final, NamedTuple

import numpy as np

from jaxmnist.verify.adapters import Adapter

STEPS: Final = 32


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
    decays: bool
    """Whether the weight itself moves it."""
    velocity: np.ndarray | None
    """The velocity after the last step, if that can be seen."""


def probe_gradients(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw the gradients of a probe, and the weights to start from.

    Args:
        seed: Of the signs and of the sizes within each scale.

    Returns:
        The gradients, [steps, elements], and the weights, [elements].
    """
    rng = np.random.default_rng(seed)
    scales = np.logspace(-12, 3, 16)
    signs = rng.choice([-1.0, 1.0], (STEPS, scales.size), p=[0.35, 0.65])
    once = signs * scales * np.exp(rng.normal(size=(STEPS, scales.size)))
    return np.hstack([once, once]), np.repeat([0.0, 1.0], scales.size)


def run_probe(adapter: Adapter, gradients: np.ndarray) -> Probe:
    """Run an optimizer of one leaf, ``w``, on the gradients.

    Args:
        adapter: The optimizer, with `probe_gradients`' weights.
        gradients: [steps, elements].

    Returns:
        What it did.
    """
    initial = next(
        (
            float(np.ravel(leaves["w"])[0])
            for name, leaves in adapter.states().items()
            if name in ("average square", "sum of squares")
        ),
        None,
    )
    weights = [adapter.params["w"].copy()]
    for gradient in gradients:
        adapter.step({"w": gradient})
        weights.append(adapter.params["w"].copy())
    changes = np.diff(weights, axis=0)
    scales = np.abs(changes).max(axis=0) + 1e-6 * np.abs(weights).max(axis=0)
    at_zero, at_one = np.split(changes, 2, axis=1)
    noise = 1e-14 + 1e-9 * np.abs(at_zero).max(axis=0)
    decays = bool((np.abs(at_one - at_zero) > noise).any())
    velocity = adapter.states().get("velocity", {}).get("w")
    return Probe(gradients, np.array(weights[:-1]), changes, scales, initial, decays, velocity)
