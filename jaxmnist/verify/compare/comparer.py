"""The comparison of two computations step by step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.compare.measures import (
    Leaves,
    distance,
    precision_of,
    relative_error,
    unit_in_last_place,
)
from jaxmnist.verify.compare.results import Comparison, Divergence, ErrorCurves, Errors


@dataclass
class Comparer:
    """Compares two computations step by step; stores the extremes, and each leaf's error by step.

    An element's error is measured against the largest value that the element has had, so that an
    element passing through zero does not make a rounding error infinite, and a large element
    cannot hide an error in a small one next to it.

    Attributes:
        name: What is compared with what.
        tolerance: The relative error allowed.
        by_leaf: Measure against the largest value of the element's whole leaf instead. That is
            for what comes out of sums, such as a network's gradients: an element that cancels to
            almost nothing is wrong by a part of what was added up, not of itself.

    >>> comparer = Comparer("a displacement", tolerance=1e-12)
    >>> _ = comparer.add(0, {"w": np.array([1.0, 2.0])}, {"w": np.array([1.0, 2.0])})
    >>> comparer.add(1, {"w": np.array([1.0, 3.0])}, {"w": np.array([1.0, 2.0])}).relative
    0.5
    >>> print(comparer.result().first_divergence)
    step 1, w[1]: 3.0 here, 2.0 in the reference
    """

    name: str
    tolerance: float
    by_leaf: bool = False
    _steps: int = 0
    _errors: Errors = field(default_factory=lambda: Errors(0.0, 0.0, 0.0))
    _first: Divergence | None = None
    _worst: Divergence | None = None
    _nonzero: set[str] = field(default_factory=set)
    _largest: np.ndarray | float = 0.0
    _shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _curves: list[tuple[int, float, np.ndarray]] = field(default_factory=list)

    def add(
        self,
        step: int,
        actual: Leaves,
        expected: Leaves,
        tolerance: float | None = None,
        slack: Leaves | None = None,
        scale: Leaves | None = None,
    ) -> Errors:
        """Compare one more step.

        Args:
            step: Its number, for the report.
            actual: Arrays by name.
            expected: Arrays of the same names and shapes, and those of the steps before.
            tolerance: From this step on, in place of the one before.
            slack: How much of each element's difference is not an error, or None.
            scale: The least magnitude to measure each element's error against, or None. That is
                for what cancels: the size of the terms, where the sum is almost nothing.

        Returns:
            This step's largest differences.

        Raises:
            InputError: The names or shapes differ.
        """
        self._check_shapes(actual, expected)
        if tolerance is not None:
            self.tolerance = tolerance
        self._steps += 1
        self._nonzero |= {
            leaf for leaf in expected if np.any(actual[leaf]) or np.any(expected[leaf])
        }
        if not sum(math.prod(shape) for shape in self._shapes.values()):
            return Errors(0.0, 0.0, 0.0)
        return self._add_flat(
            step,
            _flatten(actual, self._shapes),
            _flatten(expected, self._shapes),
            _flatten(slack, self._shapes)[0] if slack else None,
            _flatten(scale, self._shapes)[0] if scale else None,
        )

    def result(self, growth: float | None = None) -> Comparison:
        """Return what has been found so far."""
        return Comparison(
            self.name,
            self._steps,
            self.tolerance,
            self._errors,
            self._first,
            growth,
            self._worst if self._first else None,
            tuple(leaf for leaf in self._shapes if leaf not in self._nonzero),
            bool(self._nonzero),
            curves=ErrorCurves(tuple(self._starts), self._curves, len(self._curves))
            if self._curves
            else None,
        )

    def _check_shapes(self, actual: Leaves, expected: Leaves) -> None:
        if actual.keys() != expected.keys():
            raise InputError(
                f"{self.name}: the leaves are {sorted(actual)} here and {sorted(expected)} in the "
                "reference; both must have the same names"
            )
        for leaf, array in expected.items():
            if np.shape(actual[leaf]) != np.shape(array):
                raise InputError(
                    f"{self.name}: {leaf} has shape {np.shape(actual[leaf])} here and "
                    f"{np.shape(array)} in the reference; both must have the same shape"
                )
        shapes = {leaf: np.shape(array) for leaf, array in expected.items()}
        if self._steps and shapes != self._shapes:
            raise InputError(
                f"{self.name}: the leaves were {self._shapes}, and are {shapes} one step later; "
                "every step must have the same leaves"
            )
        self._shapes = shapes

    def _add_flat(
        self,
        step: int,
        actual: tuple[np.ndarray, ...],
        expected: tuple[np.ndarray, ...],
        slack: np.ndarray | None,
        scale: np.ndarray | None,
    ) -> Errors:
        (a, *a_precision), (e, *e_precision) = actual, expected
        epsilon, smallest = (
            np.maximum(*both) for both in zip(a_precision, e_precision, strict=True)
        )
        absolute = distance(a, e)
        if slack is not None:
            absolute = np.maximum(absolute - slack, 0.0)
        largest = self._largest_after(np.abs(e))
        if scale is not None:
            largest = np.maximum(largest, scale)
        relative = relative_error(absolute, largest)
        with np.errstate(divide="ignore", over="ignore"):
            ulp = absolute / unit_in_last_place(largest, epsilon, smallest)
        worst = int(relative.argmax())
        errors = Errors(float(absolute.max()), float(relative[worst]), float(ulp.max()))

        def divergence(index: int) -> Divergence:
            return Divergence(step, *self._locate(index), a[index].item(), e[index].item())

        if errors.relative > self._errors.relative:
            self._worst = divergence(worst)
        self._errors = Errors(*map(max, self._errors, errors))
        by_leaf = np.maximum.reduceat(relative, [*self._starts.values()])
        self._curves.append((step, self.tolerance, by_leaf))
        if self._first is None and errors.relative > self.tolerance:
            self._first = divergence(int((relative > self.tolerance).argmax()))
        return errors

    @property
    def _starts(self) -> dict[str, int]:
        """Where each leaf begins among the flattened ones, but those without elements."""
        sizes = [math.prod(shape) for shape in self._shapes.values()]
        starts = [0, *np.cumsum(sizes).tolist()]
        return {
            leaf: start
            for leaf, start, size in zip(self._shapes, starts, sizes, strict=False)
            if size
        }

    def _largest_after(self, magnitude: np.ndarray) -> np.ndarray:
        """What to measure errors against: the largest finite |expected| so far."""
        magnitude[~np.isfinite(magnitude)] = 0.0
        if self.by_leaf:
            sizes = [math.prod(shape) for shape in self._shapes.values()]
            leaves = np.split(magnitude, np.cumsum(sizes)[:-1])
            magnitude = np.repeat([leaf.max(initial=0.0) for leaf in leaves], sizes)
        self._largest = np.maximum(self._largest, magnitude)
        return self._largest

    def _locate(self, index: int) -> tuple[str, tuple[int, ...]]:
        """The leaf and the position in it of an element of the flattened leaves."""
        for leaf, shape in self._shapes.items():
            size = math.prod(shape)
            if index < size:
                return leaf, tuple(int(i) for i in np.unravel_index(index, shape))
            index -= size
        raise IndexError(index)


def _flatten(leaves: Leaves, order: Mapping[str, object]) -> tuple[np.ndarray, ...]:
    """One vector of all elements, with each element's epsilon and smallest unit, by its dtype."""
    arrays = [np.asarray(leaves[leaf]) for leaf in order]
    is_complex = any(array.dtype.kind == "c" for array in arrays)
    wide = np.complex128 if is_complex else np.float64
    flat = np.concatenate([array.astype(wide).ravel() for array in arrays])
    precisions = [precision_of(array.dtype) for array in arrays]
    if len(set(precisions)) == 1:
        return flat, *(np.asarray(x) for x in precisions[0])
    sizes = [array.size for array in arrays]
    return flat, *(np.repeat(column, sizes) for column in zip(*precisions, strict=True))
