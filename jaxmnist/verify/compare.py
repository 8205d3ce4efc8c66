"""How far two computations are apart, step by step, and where they part first.

Every comparison of this package ends here: two mappings from names to arrays, given step after
step, and one result that says how far they were apart at most and at which step and in which leaf
they first left the tolerance.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from jaxmnist.errors import InputError

Leaves = Mapping[str, Shaped[np.ndarray, "..."]]


class Divergence(NamedTuple):
    """The first place where two computations were further apart than allowed."""

    step: int
    """From 0, or whatever the steps were numbered by."""
    leaf: str
    """The name of the array."""
    position: tuple[int, ...]
    """The element of it that was furthest out."""
    actual: float
    expected: float


class Errors(NamedTuple):
    """The largest differences over all steps, leaves and elements."""

    absolute: float
    """|actual - expected|."""
    relative: float
    """The same, over the largest |expected| that the element has had so far."""
    ulp: float
    """The same, in units in the last place of that largest |expected|, in the compared dtype."""


@dataclass(frozen=True)
class Comparison:
    """What was compared, how far apart it was, and where it first parted.

    Attributes:
        name: What was compared with what.
        steps: How many steps were compared.
        tolerance: The relative error allowed.
        errors: The largest differences.
        first_divergence: Where the relative error first exceeded the tolerance, or None.
    """

    name: str
    steps: int
    tolerance: float
    errors: Errors
    first_divergence: Divergence | None

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing left the tolerance."""
        return self.steps > 0 and self.first_divergence is None

    @property
    def max_error(self) -> float:
        """The largest relative error."""
        return self.errors.relative


@dataclass
class Comparer:
    """Takes two computations step by step and keeps only the extremes, whatever their length.

    An element's error is measured against the largest value that the element has had, so that an
    element passing through zero does not make a rounding error infinite, and a large element
    cannot hide an error in a small one beside it.

    Attributes:
        name: What is compared with what.
        tolerance: The relative error allowed.

    >>> comparer = Comparer("a displacement", tolerance=1e-12)
    >>> comparer.add(0, {"w": np.array([1.0, 2.0])}, {"w": np.array([1.0, 2.0])})
    >>> comparer.add(1, {"w": np.array([1.0, 3.0])}, {"w": np.array([1.0, 2.0])})
    >>> comparer.result().first_divergence
    Divergence(step=1, leaf='w', position=(1,), actual=3.0, expected=2.0)
    """

    name: str
    tolerance: float
    _steps: int = 0
    _errors: Errors = field(default_factory=lambda: Errors(0.0, 0.0, 0.0))
    _first: Divergence | None = None
    _largest: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, step: int, actual: Leaves, expected: Leaves) -> None:
        """Compare one more step.

        Args:
            step: Its number, for the report.
            actual: Arrays by name.
            expected: Arrays of the same names and shapes.

        Raises:
            InputError: The names or shapes differ.
        """
        if actual.keys() != expected.keys():
            raise InputError(
                f"{self.name}: the leaves are {sorted(actual)} here and {sorted(expected)} in the "
                "reference; they must have the same names"
            )
        self._steps += 1
        for leaf in expected:
            self._add_leaf(step, leaf, np.asarray(actual[leaf]), np.asarray(expected[leaf]))

    def result(self) -> Comparison:
        """Return what has been found so far."""
        return Comparison(self.name, self._steps, self.tolerance, self._errors, self._first)

    def _add_leaf(self, step: int, leaf: str, actual: np.ndarray, expected: np.ndarray) -> None:
        if actual.shape != expected.shape:
            raise InputError(
                f"{self.name}: {leaf} has shape {actual.shape} here and {expected.shape} in the "
                "reference"
            )
        if not expected.size:
            return
        epsilon = max(
            (np.finfo(a.dtype).eps for a in (actual, expected) if a.dtype.kind in "fc"),
            default=np.finfo(np.float64).eps,
        )
        wide = np.complex128 if "c" in (actual.dtype.kind, expected.dtype.kind) else np.float64
        actual, expected = actual.astype(wide), expected.astype(wide)
        largest = np.maximum(np.abs(expected), self._largest.get(leaf, 0.0))
        self._largest[leaf] = largest
        # Equal infinities are equal; any other NaN or infinity is a difference without bound.
        same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            absolute = np.where(same, 0.0, np.abs(actual - expected))
            relative = np.where(same, 0.0, absolute / largest)
        absolute, relative = (np.where(np.isnan(e), math.inf, e) for e in (absolute, relative))
        worst = np.unravel_index(int(relative.argmax()), relative.shape)
        # A unit in the last place of x is epsilon times the power of two at or below |x|.
        binade = 2.0 ** np.floor(np.log2(largest, where=largest > 0, out=np.zeros_like(largest)))
        ulp = np.where(same, 0.0, absolute / (epsilon * binade))
        self._errors = Errors(
            *(
                max(old, float(new.max()))
                for old, new in zip(self._errors, (absolute, relative, ulp), strict=True)
            )
        )
        if self._first is None and relative[worst] > self.tolerance:
            position = tuple(int(i) for i in worst)
            self._first = Divergence(
                step, leaf, position, complex(actual[worst]).real, complex(expected[worst]).real
            )
