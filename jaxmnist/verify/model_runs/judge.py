"""The verdict on two models' arrays: what their arithmetic and their noise allow."""

from collections.abc import Mapping

import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.compare import Comparer, Comparison, Leaves, distance
from jaxmnist.verify.rounding import allowed_by_growth, allowed_without_growth

Parts = dict[str, Leaves]
"""What is compared with what -> leaf -> its array."""


def sum_lengths(weights: Mapping[str, np.ndarray], batch: int, classes: int) -> int:
    """Count the terms of all sums between the inputs and the gradients, one after the other.

    Args:
        weights: Arrays by name; those of two dimensions and more are matrices (out, in ...).
        batch: Inputs.
        classes: Logits of one input.

    Returns:
        Every layer's inputs, which the way there sums over, and its outputs, which the way back
        sums over; the classes, for the loss; and the batch, for its mean.

    >>> sum_lengths({"w": np.zeros((16, 784)), "b": np.zeros(16)}, batch=64, classes=10)
    874
    """
    matrices = [array.shape for array in weights.values() if array.ndim > 1]
    return batch + classes + sum(shape[0] + int(np.prod(shape[1:])) for shape in matrices)


def largest_allowed(expected: Parts, dtype: str) -> float:
    """Return the absolute error that no noise excuses: half the digits of the largest array.

    Args:
        expected: In PyTorch.
        dtype: float64 or float32.

    Returns:
        The error.
    """
    arrays = [array for part in expected.values() for array in part.values() if array.size]
    return allowed_without_growth(dtype) * max(float(np.abs(array).max()) for array in arrays)


def scales(
    ours: tuple[Parts, list[Parts]], theirs: tuple[Parts, list[Parts]], tolerance: float, dtype: str
) -> Parts:
    """Return the size of every array's terms, by its noise: what an error is measured against.

    The noise is the largest distance of the perturbed runs from the plain one, on either side; an
    error of `tolerance` of the size is allowed.

    Args:
        ours: The plain run and the perturbed ones, in JAX.
        theirs: In PyTorch.
        tolerance: The relative error that the arithmetic allows.
        dtype: float64 or float32.

    Returns:
        For every array, one number for all elements.
    """
    limit = largest_allowed(theirs[0], dtype)
    scales: Parts = {}
    for part, leaves in theirs[0].items():
        sizes = {}
        for leaf, array in leaves.items():
            noise = max(
                float(distance(run[part][leaf], plain[part][leaf]).max(initial=0.0))
                for plain, runs in (ours, theirs)
                for run in runs
            )
            sizes[leaf] = np.full(array.shape, min(allowed_by_growth(noise), limit) / tolerance)
        scales[part] = sizes
    return scales


def compared(
    actual: Parts, expected: Parts, sizes: Parts | None, tolerance: float
) -> list[Comparison]:
    """Compare all arrays.

    Args:
        actual: In JAX.
        expected: In PyTorch.
        sizes: What `scales` returned, or None.
        tolerance: The relative error allowed.

    Returns:
        A comparison for each part.
    """
    found = []
    for part, leaves in actual.items():
        comparer = Comparer(part, tolerance, by_leaf=True)
        comparer.add(0, leaves, expected[part], scale=None if sizes is None else sizes[part])
        found.append(comparer.result())
    return found


def check_not_nan(ours: Parts, theirs: Parts, who: str = "the torch module") -> None:
    """Refuse arrays that are NaN on both sides.

    Raises:
        InputError: One is.
    """
    for part, leaves in ours.items():
        for leaf, array in leaves.items():
            bad = np.argwhere(np.isnan(array) & np.isnan(theirs[part][leaf]))
            if bad.size:
                position = str([int(i) for i in bad[0]]) if array.ndim else ""
                raise InputError(
                    f"{part}: {leaf}{position} is nan here and in {who}; it must be a "
                    "number on one side at least to be compared"
                )
