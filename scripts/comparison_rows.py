"""Comparisons of optimizers in a JSON file, written as each ends; two scripts share this.

The file's rows for what is not compared this time are kept, if they are of the same versions and of
as many steps.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmnist import verify

Rows = dict[str, Any]
"""What each part of a comparison came to, by the comparison's name."""


def compare_all(
    out: Path,
    about: Mapping[str, Any],
    order: Sequence[str],
    wanted: Iterable[tuple[str, Callable[[], verify.Comparisons]]],
) -> Rows:
    """Run comparisons, and write and print each as it ends.

    Args:
        out: The file.
        about: What was compared how, which the file begins with.
        order: The names of all rows that the file may have.
        wanted: The names of those to run, and what runs them.

    Returns:
        The file's rows.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    found: Any = json.loads(out.read_text()) if out.exists() else None
    rows: Rows = found["rows"] if found is not None and found["about"] == about else {}
    for name, compare in wanted:
        result = compare()
        rows[name] = {
            part.name: {
                **part.errors._asdict(),
                "growth_of_one_ulp": part.growth,
                "passed": part.passed,
            }
            for part in result
        }
        kept = {key: rows[key] for key in order if key in rows}
        out.write_text(json.dumps({"about": about, "rows": kept}, indent=1) + "\n")
        print(f"{name}: {result.max_error:.1e}", file=sys.stderr)
        if not result.passed:
            print(result)
    return rows


def cell(row: Mapping[str, Any] | None) -> str:
    """Return a row's largest relative error; and what one unit grew to, where it may."""
    worst = max((row or {}).values(), key=lambda part: part["relative"], default=None)
    if worst is None:
        return ""
    growth = worst["growth_of_one_ulp"]
    return f"{worst['relative']:.0e}" + ("" if growth is None else f" ({growth:.0e})")


def end(rows: Rows) -> None:
    """End the script with status 1 if any comparison failed."""
    if not all(part["passed"] for row in rows.values() for part in row.values()):
        raise SystemExit(1)
