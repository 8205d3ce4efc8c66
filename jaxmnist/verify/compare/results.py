"""The result of a comparison: the largest errors, and the first divergence."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np


class Divergence(NamedTuple):
    """A place where two computations were further apart than allowed."""

    step: int
    """From 0, or whatever the steps were numbered by."""
    leaf: str
    """The name of the array."""
    position: tuple[int, ...]
    """The element of it."""
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


class ErrorCurves(NamedTuple):
    """The largest relative error of every leaf at every step, for pictures."""

    leaves: tuple[str, ...]
    """Those that have elements."""
    rows: Sequence[tuple[int, float, np.ndarray]]
    """Of each step its number, what was allowed, and the errors, float64[leaves]; perhaps more."""
    length: int
    """How many of these rows there were."""

    @property
    def steps(self) -> np.ndarray:
        """The numbers of the steps, int[steps]."""
        return np.array([step for step, _, _ in self.rows[: self.length]])

    @property
    def allowed(self) -> np.ndarray:
        """What was allowed, float64[steps]."""
        return np.array([allowed for _, allowed, _ in self.rows[: self.length]])

    @property
    def errors(self) -> dict[str, np.ndarray]:
        """The errors, float64[steps], by leaf."""
        columns = np.array([errors for _, _, errors in self.rows[: self.length]]).T
        return dict(zip(self.leaves, columns, strict=True))


class Result:
    """A result with a verdict, which has to be asked for: its truth says nothing.

    >>> bool(Result())
    Traceback (most recent call last):
        ...
    TypeError: the truth of a Result is not its verdict; use .passed
    """

    def __bool__(self) -> NoReturn:
        raise TypeError(f"the truth of a {type(self).__name__} is not its verdict; use .passed")


@dataclass(frozen=True)
class Comparison(Result):
    """What was compared, its largest errors, and where it first diverged.

    Attributes:
        name: What was compared with what.
        steps: How many steps were compared.
        tolerance: The relative error allowed; where it may grow with the steps, the last one.
        errors: The largest differences over all steps.
        first_divergence: The first element whose relative error exceeded the tolerance, in the
            order of the steps, of the leaves, and of the positions in a leaf; or None.
        growth: The error growth: the relative error that a perturbation of the start by one unit in
            the last place grew to, where the tolerance was derived from it, or None.
        worst: Where the relative error was largest, or None if nothing diverged.
        untested: The leaves that were zero on both sides at every step, which say nothing.
        tested: Whether any leaf was not.
        factor: Where the arrays are those of the reference times one constant at every step, that
            constant; else None.
        curves: The errors of every leaf at every step; None where they were not taken one by one.
    """

    name: str
    steps: int
    tolerance: float
    errors: Errors
    first_divergence: Divergence | None
    growth: float | None = None
    worst: Divergence | None = None
    untested: tuple[str, ...] = ()
    tested: bool = True
    factor: float | None = None
    curves: ErrorCurves | None = field(default=None, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        """Whether something other than zeros was compared, and nothing left the tolerance."""
        return self.steps > 0 and self.tested and self.first_divergence is None

    @property
    def max_error(self) -> float:
        """The largest relative error."""
        return self.errors.relative

    def to_json(self) -> str:
        """Return the result as a JSON object's text."""
        return Comparisons(self.name, (self,)).to_json()

    def plot(self) -> Any:
        """Draw the errors as `Comparisons.plot` does.

        Returns:
            A matplotlib Figure.
        """
        return Comparisons(self.name, (self,)).plot()

    def __str__(self) -> str:
        return str(Comparisons(self.name, (self,)))


@dataclass(frozen=True)
class Comparisons(Result):
    """Several comparisons of one pair: their common verdict, and each by itself.

    Attributes:
        name: What was compared with what.
        parts: The comparisons, the most telling first.

    >>> import numpy as np
    >>> from jaxmnist.verify import Comparer
    >>> comparer = Comparer("displacement", tolerance=1e-12)
    >>> _ = comparer.add(0, {"w": np.array([1.0, 3.0])}, {"w": np.array([1.0, 2.0])})
    >>> print(Comparisons("mine and theirs", (comparer.result(),)))
    mine and theirs: FAILED
      compared                steps   absolute   relative        ulp  tolerance
      displacement                1      1e+00      5e-01      2e+15      1e-12  FAILED
        first divergence at step 0, w[1]: 3.0 here, 2.0 in the reference
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

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it: ``name``, ``passed`` and ``comparisons``."""
        comparisons = [_as_dict(part) for part in self.parts]
        return {"name": self.name, "passed": self.passed, "comparisons": comparisons}

    def to_json(self) -> str:
        """Return the result as a JSON object's text."""
        return json.dumps(self.as_dict())

    def plot(self) -> Any:
        """Draw the errors: of every leaf at every step, or where there was one step, by leaf.

        What was not compared leaf by leaf has one error for each part.

        Returns:
            A matplotlib Figure.
        """
        from jaxmnist.plots import errors_by_leaf, errors_by_step

        title = f"{self.name}: {'passed' if self.passed else 'FAILED'}"
        drawn = {part.name: part for part in self.parts if part.curves is not None}
        if any(part.steps > 1 for part in drawn.values()):
            return errors_by_step(
                {
                    name: (part.curves.steps, part.curves.errors, part.curves.allowed)
                    for name, part in drawn.items()
                    if part.curves is not None
                },
                {
                    name: part.first_divergence.step
                    for name, part in drawn.items()
                    if part.first_divergence is not None
                },
                title,
            )
        return errors_by_leaf(
            {
                part.name: {part.name: part.max_error}
                if part.curves is None
                else {leaf: errors[-1] for leaf, errors in part.curves.errors.items()}
                for part in self.parts
            },
            {part.name: part.tolerance for part in self.parts},
            title,
        )

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
            lines.append(f"  {part.name:20} {part.steps:8}{figures}  {_verdict(part)}")
            if part.first_divergence:
                lines.append(f"    first divergence at {part.first_divergence}")
            if part.worst and part.worst != part.first_divergence:
                lines.append(f"    largest error at {part.worst}")
            if part.factor is not None:
                lines.append(f"    {part.factor:.6g} times the reference's at every step")
            if part.untested:
                lines.append(f"    not tested, zero on both sides: {', '.join(part.untested)}")
        return "\n".join(lines)


def _verdict(part: Comparison) -> str:
    if part.passed:
        return "passed"
    return "FAILED" if part.tested and part.steps else "NOT TESTED"


def _as_dict(part: Comparison) -> dict[str, Any]:
    first = part.first_divergence
    return {
        "name": part.name,
        "passed": part.passed,
        "max_error": _number(part.max_error),
        "tolerance": part.tolerance,
        "first_divergence": first
        and {
            "leaf": first.leaf,
            "position": list(first.position),
            "jax": _number(first.actual),
            "torch": _number(first.expected),
        },
        "untested": list(part.untested),
    }


def _number(x: float | complex) -> Any:
    """As JSON has it: what is no finite real number as text."""
    if isinstance(x, complex):
        return str(x)
    return x if x - x == 0 else str(x)
