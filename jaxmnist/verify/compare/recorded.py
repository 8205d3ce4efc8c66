"""Comparisons of what whole runs have recorded: curves over the steps, and final weights."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxmnist.verify.compare.measures import (
    Leaves,
    distance,
    precision_of,
    relative_error,
    unit_in_last_place,
)
from jaxmnist.verify.compare.results import Comparison, Divergence, Errors


class Curve(NamedTuple):
    """One metric over a run in both frameworks: [epochs, batches] or [epochs]."""

    leaf: str
    actual: Float[np.ndarray, "*shape"]
    expected: Float[np.ndarray, "*shape"]
    allowed: Float[np.ndarray, "*shape"]
    """How far apart they may be, relative to the scale."""
    scale: Float[np.ndarray, "*shape"] | float
    """|expected| for a loss; 1 for an accuracy, which is a share."""


def compare_curves(
    name: str,
    steps: Int[np.ndarray, "*shape"],
    curves: list[Curve],
    dtype: str,
    growth: float | None = None,
) -> Comparison:
    """Compare curves that each have a scale and a tolerance of their own at every step.

    NaN is infinitely far from everything, from NaN too: a run that breaks does not agree.

    Args:
        name: What is compared.
        steps: The number of each step, in the curves' shape.
        curves: At least one. Of those that diverge at the same step the first one is reported.
        dtype: Of the arithmetic, for the ULPs.
        growth: For the result.

    Returns:
        The largest errors over all curves, and the first divergence.

    >>> loss = Curve("loss", np.array([2.0, 1.1]), np.array([2.0, 1.0]), np.full(2, 1e-9), 1.0)
    >>> print(compare_curves("curves", np.array([10, 20]), [loss], "float64").first_divergence)
    step 20, loss[1]: 1.1 here, 1.0 in the reference
    """
    errors, first, worst = Errors(0.0, 0.0, 0.0), None, None
    for curve in curves:
        absolute = distance(curve.actual, curve.expected, equal_nan=False)
        relative = relative_error(absolute, curve.scale)
        size = np.abs(curve.expected).astype(dtype).astype(np.float64)
        unit = unit_in_last_place(size, *precision_of(np.dtype(dtype)))
        kinds = (absolute, relative, relative_error(absolute, unit))
        if float(relative.max()) > errors.relative:
            worst = _place(curve, steps, np.unravel_index(relative.argmax(), relative.shape))
        errors = Errors(*(max(a, float(b.max())) for a, b in zip(errors, kinds, strict=True)))
        outside = np.argwhere(relative > curve.allowed)
        if outside.size and (first is None or steps[tuple(outside[0])] < first.step):
            first = _place(curve, steps, outside[0])
    tolerance = float(curves[-1].allowed.flat[-1])
    return Comparison(name, steps.size, tolerance, errors, first, growth, worst if first else None)


def _place(curve: Curve, steps: np.ndarray, index: Any) -> Divergence:
    at = tuple(int(i) for i in index)
    values = float(curve.actual[at]), float(curve.expected[at])
    return Divergence(int(steps[at]), curve.leaf, at, *values)


def compare_means(
    name: str,
    actual: Leaves,
    expected: Leaves,
    dtype: str,
    *,
    tolerance: float = 0.0,
    step: int = 0,
    growth: float | None = None,
    start: Leaves | None = None,
) -> Comparison:
    """Compare displacements, leaf by leaf, by the mean error over the mean displacement.

    A displacement is the difference of stored weights, so no better known than to a unit in their
    last place, on average `eps` of the start's size; that much is allowed besides. (A run from
    weights perturbed by exactly such units rounds as the other does, and cannot show it.)

    Not by the largest: where an optimizer divides by the size of the gradient, a weight whose
    first gradient nearly cancels magnifies rounding by the reciprocal of what is left. Of such a
    distribution the mean over many weights says how far rounding goes, and the largest only how
    unlucky one weight was.

    Args:
        name: What is compared.
        actual: Displacements by name.
        expected: The reference's.
        dtype: Of the arithmetic.
        tolerance: The relative error of a leaf's mean that is allowed.
        step: The number of the last step, for the report.
        growth: For the result.
        start: The weights that they are displacements from, or None for no such allowance.

    Returns:
        The comparison: the largest single distance, the largest mean error, and the same in
        epsilons.

    >>> pair = {"w": np.array([1.0, 3.0])}, {"w": np.array([1.0, 2.0])}
    >>> compare_means("weights", *pair, "float64").first_divergence.position
    (1,)
    """
    errors, first, worst, nonzero = Errors(0.0, 0.0, 0.0), None, None, set()
    epsilon = float(np.finfo(dtype).eps)
    for leaf, there in expected.items():
        absolute = distance(actual[leaf], there, equal_nan=False)
        mean, mean_there = (
            np.asarray(each.mean(dtype=np.float64)) for each in (absolute, np.abs(there))
        )
        relative = float(relative_error(mean, mean_there))
        kinds = (float(absolute.max()), relative, relative / epsilon)
        at = tuple(int(i) for i in np.unravel_index(absolute.argmax(), absolute.shape))
        place = Divergence(step, leaf, at, float(actual[leaf][at]), float(there[at]))
        if relative > errors.relative:
            worst = place
        if np.any(actual[leaf]) or np.any(there):
            nonzero.add(leaf)
        errors = Errors(*map(max, errors, kinds))
        unit = 0.0 if start is None else float(np.finfo(dtype).eps * np.abs(start[leaf]).mean())
        if first is None and not absolute.mean() <= tolerance * np.abs(there).mean() + unit:
            first = place
    return Comparison(
        name,
        1,
        tolerance,
        errors,
        first,
        growth,
        worst if first else None,
        tuple(leaf for leaf in expected if leaf not in nonzero),
        bool(nonzero),
    )
