"""The results of a suite, as a table to print and as JSON."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from jaxmnist import provenance
from jaxmnist.verify.compare import Comparison, Comparisons, Divergence
from jaxmnist.verify.suite import Check

_DISTRIBUTIONS = ("python", "jaxlib", "optax", "torch")


class Outcome(NamedTuple):
    """A check and its result."""

    check: Check
    result: Comparisons | None
    """None where it was not run, because PyTorch is not installed."""
    explanation: str | None = None
    """Why it failed, where that is known."""

    @property
    def failed(self) -> bool:
        """Whether it was run and did not pass."""
        return self.result is not None and not self.result.passed


def outcome(check: Check) -> Outcome:
    """Run a check, and explain a failure.

    Args:
        check: A check of a suite.

    Returns:
        Its outcome; no result where it needs PyTorch and that is not installed.
    """
    if check.against == "torch":
        try:
            import torch as torch
        except ImportError:
            return Outcome(check, None)
    result = check.run()
    explain = None if result.passed else check.explain
    return Outcome(check, result, str(explain()) if explain else None)


def table(outcomes: Sequence[Outcome]) -> Table:
    """Lay the outcomes out as a table, one line for each comparison.

    An optimizer has one line: that of its comparison which came closest to its tolerance, or
    exceeded it most.

    Args:
        outcomes: Those of a suite.

    Returns:
        A table for `rich` to print.
    """
    drawn = Table(
        "check",
        "against",
        "steps",
        "max abs",
        "max rel",
        "ULP",
        "tolerance",
        "first divergence",
        "",
    )
    for outcome in outcomes:
        for name, part in _lines(outcome):
            if part is None:
                drawn.add_row(name, outcome.check.against, *[""] * 5, "not run", "")
                continue
            drawn.add_row(
                name,
                outcome.check.against,
                str(part.steps),
                *(f"{x:.1e}" if x else "0" for x in part.errors[:2]),
                f"{part.errors.ulp:.3g}",
                f"{part.tolerance:.1e}",
                _place(part.first_divergence),
                Text("✓", "green") if part.passed else Text("✗", "bold red"),
            )
    return drawn


def as_json(outcomes: Sequence[Outcome], command: str) -> dict[str, Any]:
    """Convert the outcomes to JSON's own types.

    Args:
        outcomes: Those of a suite.
        command: The command line that made them.

    Returns:
        The command, whether all that ran passed, versions, machine, and the checks with all their
        comparisons. Numbers that JSON lacks are text: "inf", "nan".
    """
    return {
        **provenance.record(command, *_DISTRIBUTIONS),
        "passed": not any(outcome.failed for outcome in outcomes),
        "checks": [
            {
                "check": outcome.check.name,
                "against": outcome.check.against,
                "passed": None if outcome.result is None else outcome.result.passed,
                "explanation": outcome.explanation,
                "comparisons": [_comparison(part) for part in parts(outcome.result)],
            }
            for outcome in outcomes
        ],
    }


def parts(result: Comparisons | None) -> tuple[Comparison, ...]:
    """List the comparisons of a result; none where the check was not run."""
    return () if result is None else result.parts


def _lines(outcome: Outcome) -> Iterator[tuple[str, Comparison | None]]:
    check, result = outcome.check, outcome.result
    if result is None:
        yield check.name, None
    elif check.what == "optimizers":
        yield check.name, max(result, key=_strain)
    else:
        for part in result:
            own_name = check.name == check.what  # Named by the tutorial's rows.
            yield part.name if own_name else f"{check.name}: {part.name}", part


def _strain(part: Comparison) -> tuple[bool, float]:
    """Whether a comparison failed, and its error over what is allowed."""
    relative, allowed = part.errors.relative, part.tolerance
    return not part.passed, relative / allowed if allowed else math.inf * bool(relative)


def _place(divergence: Divergence | None) -> str:
    if divergence is None:
        return ""
    position = str(list(divergence.position)) if divergence.position else ""
    return f"step {divergence.step}, {divergence.leaf}{position}"


def _comparison(part: Comparison) -> dict[str, Any]:
    return {
        "name": part.name,
        "passed": part.passed,
        "tested": part.tested,
        "untested": list(part.untested),
        "steps": part.steps,
        "tolerance": _number(part.tolerance),
        "growth": None if part.growth is None else _number(part.growth),
        "errors": {name: _number(x) for name, x in part.errors._asdict().items()},
        "first_divergence": _divergence(part.first_divergence),
        "worst": _divergence(part.worst),
    }


def _divergence(place: Divergence | None) -> dict[str, Any] | None:
    return place and {
        "step": place.step,
        "leaf": place.leaf,
        "position": list(place.position),
        "actual": _number(place.actual),
        "expected": _number(place.expected),
    }


def _number(x: float | complex) -> float | str:
    return x if isinstance(x, float | int) and math.isfinite(x) else str(x)
