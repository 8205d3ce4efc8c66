"""How far two computations are apart, step by step, and where they part first.

Every comparison of this package ends here: two mappings from names to arrays, given step after
step, and one result that says how far they were apart at most and at which step and in which leaf
they first left the tolerance.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax.numpy as jnp
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
    actual: float | complex
    """What it was here: a float unless the leaf is complex."""
    expected: float | complex
    """What it was in the reference."""

    def __str__(self) -> str:
        where = self.leaf + (str(list(self.position)) if self.position else "")
        values = f"{self.actual} here, {self.expected} in the reference"
        return f"step {self.step}, {where}: {values}"


class Errors(NamedTuple):
    """The largest differences over all leaves and elements."""

    absolute: float
    """|actual - expected|."""
    relative: float
    """The same, over the largest |expected| that the element, or its leaf, has had so far."""
    ulp: float
    """The same, in units in the last place of that largest |expected|, in the coarser dtype."""


@dataclass(frozen=True)
class Comparison:
    """What was compared, how far apart it was, and where it first parted.

    Attributes:
        name: What was compared with what.
        steps: How many steps were compared.
        tolerance: The relative error allowed; where it may grow with the steps, the last one.
        errors: The largest differences over all steps.
        first_divergence: Where the relative error first exceeded the tolerance, or None.
        growth: The relative error that one unit in the last place of the start grew to, where the
            tolerance was made from it, or None.
    """

    name: str
    steps: int
    tolerance: float
    errors: Errors
    first_divergence: Divergence | None
    growth: float | None = None

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing left the tolerance."""
        return self.steps > 0 and self.first_divergence is None

    @property
    def max_error(self) -> float:
        """The largest relative error."""
        return self.errors.relative

    def __str__(self) -> str:
        return str(Comparisons(self.name, (self,)))


@dataclass(frozen=True)
class Comparisons:
    """Several comparisons of one pair: what they do together, and each by itself.

    Attributes:
        name: What was compared with what.
        parts: The comparisons, the most telling first.

    >>> comparer = Comparer("displacement", tolerance=1e-12)
    >>> _ = comparer.add(0, {"w": np.array([1.0, 3.0])}, {"w": np.array([1.0, 2.0])})
    >>> print(Comparisons("mine and theirs", (comparer.result(),)))
    mine and theirs: FAILED
      compared                steps   absolute   relative        ulp  tolerance
      displacement                1      1e+00      5e-01      2e+15      1e-12  FAILED
        first apart at step 0, w[1]: 3.0 here, 2.0 in the reference
    """

    name: str
    parts: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Whether there is something to compare and all of it passed."""
        return bool(self.parts) and all(part.passed for part in self.parts)

    @property
    def max_error(self) -> float:
        """The largest relative error of any part."""
        return max((part.max_error for part in self.parts), default=0.0)

    @property
    def first_divergence(self) -> Divergence | None:
        """The divergence with the lowest step, of the first part that has one there, or None."""
        found = [part.first_divergence for part in self.parts if part.first_divergence]
        return min(found, key=lambda divergence: divergence.step, default=None)

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.parts)

    def __getitem__(self, name: str) -> Comparison:
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(f"{name!r} was not compared; {[part.name for part in self.parts]} were")

    def __str__(self) -> str:
        titles = ("steps", "absolute", "relative", "ulp", "tolerance")
        lines = [
            f"{self.name}: {'passed' if self.passed else 'FAILED'}",
            f"  {'compared':20} {titles[0]:>8}" + "".join(f" {title:>10}" for title in titles[1:]),
        ]
        for part in self.parts:
            figures = "".join(f" {x:10.0e}" for x in (*part.errors, part.tolerance))
            verdict = "passed" if part.passed else "FAILED"
            lines.append(f"  {part.name:20} {part.steps:8}{figures}  {verdict}")
            if part.first_divergence:
                lines.append(f"    first apart at {part.first_divergence}")
        return "\n".join(lines)


@dataclass
class Comparer:
    """Takes two computations step by step and keeps only the extremes, whatever their length.

    An element's error is measured against the largest value that the element has had, so that an
    element passing through zero does not make a rounding error infinite, and a large element
    cannot hide an error in a small one beside it.

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
    _largest: np.ndarray | float = 0.0
    _shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(
        self,
        step: int,
        actual: Leaves,
        expected: Leaves,
        tolerance: float | None = None,
        slack: Leaves | None = None,
    ) -> Errors:
        """Compare one more step.

        Args:
            step: Its number, for the report.
            actual: Arrays by name.
            expected: Arrays of the same names and shapes, and those of the steps before.
            tolerance: From this step on, in place of the one before.
            slack: How much of each element's difference is not an error, or None.

        Returns:
            This step's largest differences.

        Raises:
            InputError: The names or shapes differ.
        """
        self._check_shapes(actual, expected)
        if tolerance is not None:
            self.tolerance = tolerance
        self._steps += 1
        if not sum(math.prod(shape) for shape in self._shapes.values()):
            return Errors(0.0, 0.0, 0.0)
        return self._add_flat(
            step,
            _flatten(actual, self._shapes),
            _flatten(expected, self._shapes),
            _flatten(slack, self._shapes)[0] if slack else None,
        )

    def result(self, growth: float | None = None) -> Comparison:
        """Return what has been found so far."""
        return Comparison(self.name, self._steps, self.tolerance, self._errors, self._first, growth)

    def _check_shapes(self, actual: Leaves, expected: Leaves) -> None:
        if actual.keys() != expected.keys():
            raise InputError(
                f"{self.name}: the leaves are {sorted(actual)} here and {sorted(expected)} in the "
                "reference; they must have the same names"
            )
        for leaf, array in expected.items():
            if np.shape(actual[leaf]) != np.shape(array):
                raise InputError(
                    f"{self.name}: {leaf} has shape {np.shape(actual[leaf])} here and "
                    f"{np.shape(array)} in the reference"
                )
        shapes = {leaf: np.shape(array) for leaf, array in expected.items()}
        if self._steps and shapes != self._shapes:
            raise InputError(
                f"{self.name}: the leaves were {self._shapes}, and are {shapes} one step later"
            )
        self._shapes = shapes

    def _add_flat(
        self,
        step: int,
        actual: tuple[np.ndarray, ...],
        expected: tuple[np.ndarray, ...],
        slack: np.ndarray | None,
    ) -> Errors:
        (a, *a_precision), (e, *e_precision) = actual, expected
        epsilon, smallest = (
            np.maximum(*both) for both in zip(a_precision, e_precision, strict=True)
        )
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            absolute = np.abs(a - e)
            unbounded = ~np.isfinite(absolute)
            if unbounded.any():
                # Equal infinities are equal; any other NaN or infinity is without bound.
                same = (a == e) | (np.isnan(a) & np.isnan(e))
                absolute = np.where(unbounded, np.where(same, 0.0, math.inf), absolute)
            if slack is not None:
                absolute = np.maximum(absolute - slack, 0.0)
            largest = self._largest_after(np.abs(e))
            # Zero differences stay zero errors, also where the largest value is zero.
            relative = np.divide(absolute, largest, out=np.zeros_like(absolute), where=absolute > 0)
            relative[np.isnan(relative)] = math.inf
            # A unit in the last place of x is epsilon times the power of two at or below |x|.
            unit = np.ldexp(epsilon, np.frexp(largest)[1] - 1)
            ulp = absolute / np.maximum(np.where(largest > 0, unit, 0.0), smallest)
        worst = int(relative.argmax())
        errors = Errors(float(absolute.max()), float(relative[worst]), float(ulp.max()))
        self._errors = Errors(*map(max, self._errors, errors))
        if self._first is None and errors.relative > self.tolerance:
            self._first = Divergence(step, *self._locate(worst), a[worst].item(), e[worst].item())
        return errors

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
    precisions = [_precision(array.dtype) for array in arrays]
    if len(set(precisions)) == 1:
        return flat, *(np.asarray(x) for x in precisions[0])
    sizes = [array.size for array in arrays]
    return flat, *(np.repeat(column, sizes) for column in zip(*precisions, strict=True))


def _precision(dtype: np.dtype) -> tuple[float, float]:
    """Epsilon and the smallest positive number of a dtype; an integer is held as a double."""
    info = jnp.finfo(dtype if jnp.issubdtype(dtype, jnp.inexact) else np.float64)
    return float(info.eps), float(info.smallest_subnormal)
