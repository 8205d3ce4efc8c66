"""Plant single faults in JAX ports of torch modules, and see whether `verify.model` finds them.

Every case is a torch module, a port of it in Flax Linen, NNX, Equinox or plain functions, and
the name of the submodule where the two first diverge and a word that the cause must contain. Right
ports, in several styles, must pass.

    python scripts/planted_faults.py

Writes `figures/planted_faults.json` and `figures/planted_faults.md`; about half an hour on two
idle cores. With names of cases, or parts of them, it runs these alone, and puts what it found in
the place of what the files say of them.
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
import tyro
from planted import CASES
from planted.case import Case

from jaxmnist import provenance, verify

DTYPES = ("float64", "float32")
COLUMNS = ("model", "library", "fault", "dtype", "expected", "found", "cause", "place", "named")


def main(
    cases: tyro.conf.Positional[tuple[str, ...]] = (),
    dtype: tuple[str, ...] = DTYPES,
    out: Path = Path("figures/planted_faults.json"),
) -> None:
    """Run the cases, print a table, and write both files.

    Args:
        cases: Parts of the names of those to run; none for all.
        dtype: In which dtypes.
        out: The JSON file; the page lies next to it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    if cases and out.exists():
        rows = {(row["case"], row["dtype"]): row for row in json.loads(out.read_text())["cases"]}
    for case in CASES:
        if not cases or any(part in case.name for part in cases):
            for one in dtype:
                if one in case.dtypes:
                    rows[case.name, one] = run(case, one)
                    print(line(rows[case.name, one]), flush=True)
                    about = record(rows)
                    out.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    about = record(rows)
    out.with_suffix(".md").write_text(page(about))
    print("\n".join(f"{one}: {total}" for one, total in about["totals"].items()))


def record(rows: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """Put the rows in the order of the cases, and count what was found out."""
    known = [(case.name, one) for one in DTYPES for case in CASES if one in case.dtypes]
    kept = [rows[key] for key in known if key in rows]
    return {
        **provenance.record("python scripts/planted_faults.py", "torch", "flax", "equinox"),
        "totals": {one: totals([r for r in kept if r["dtype"] == one]) for one in DTYPES},
        "cases": kept,
    }


def run(case: Case, dtype: str) -> dict[str, Any]:
    """Compare a port with its module, and judge what is said about it."""
    started = time.perf_counter()
    row: dict[str, Any] = {
        "case": case.name,
        "model": case.model,
        "library": case.library,
        "fault": case.fault or None,
        "style": case.style or None,
        "dtype": dtype,
        "expected": list(case.locations),
        "keywords": list(case.keywords),
    }
    try:
        with jax.enable_x64(True):
            port = case.build()
        result = verify.model(
            port.apply, port.params, port.module, port.inputs,
            torch_inputs=port.torch_inputs, dtype=dtype,
        )  # fmt: skip
        passed, location, cause = result.passed, result.location, result.cause
        row["raised"] = None
    except Exception as error:
        passed, location, cause = False, None, None
        row["raised"] = f"{type(error).__name__}: {error}"
    row |= {"passed": passed, "location": location, "cause": cause}
    if case.fault:
        row["place_right"] = not passed and location in case.locations
        row["cause_named"] = any(word.lower() in (cause or "").lower() for word in case.keywords)
    return row | {"seconds": round(time.perf_counter() - started, 1)}


def totals(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Count the cases, and what was found out about them."""
    faults = [row for row in rows if row["fault"]]
    right = [row for row in rows if not row["fault"]]
    return {
        "models": len({row["model"] for row in rows}),
        "faults": len(faults),
        "found": sum(not row["passed"] for row in faults),
        "place_right": sum(row["place_right"] for row in faults),
        "cause_named": sum(row["cause_named"] for row in faults),
        "right_ports": len(right),
        "right_ports_passed": sum(row["passed"] for row in right),
    }


def shown(location: str | None) -> str:
    """A location in the table; the module itself has no name."""
    return "(top)" if location == "" else location or "none"


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of the table."""
    said = row["raised"] or row["cause"] or ("" if row["passed"] else "no cause")
    judged = ("yes" if row["passed"] else "NO", "")
    if row["fault"]:
        judged = tuple("yes" if row[name] else "NO" for name in ("place_right", "cause_named"))
    return (
        *(row["model"], row["library"], row["fault"] or f"none ({row['style']})", row["dtype"]),
        " or ".join(map(shown, row["expected"])) or "passes",
        "passes" if row["passed"] else shown(row["location"]),
        " ".join(said.split()),
        *judged,
    )


def line(row: dict[str, Any]) -> str:
    """What is printed of a case."""
    return " | ".join(cells(row)) + f" | {row['seconds']} s"


def page(about: dict[str, Any]) -> str:
    """The results as a Markdown page."""
    lines = [
        "# Planted faults",
        "",
        "Single faults planted in JAX ports of torch modules, and right ports, given to",
        "`jaxmnist.verify.model`. *Place*: the submodule that it names is the expected one (in",
        "forward order the first that differs). *Cause*: its words contain the fault's keyword.",
        "",
        f"Made by `{about['command']}` with torch {about['versions']['torch']}, "
        f"JAX {about['versions']['jax']}, Flax {about['versions']['flax']} and Equinox "
        f"{about['versions']['equinox']}.",
        "",
        "| dtype | models | faults | found | place right | cause named | right ports that pass |",
        "|---|---|---|---|---|---|---|",
    ]
    for dtype, t in about["totals"].items():
        counts = [str(t[name]) for name in ("models", "faults", "found")]
        counts += [
            f"{t[name]} ({t[name] / max(t['faults'], 1):.1%})"
            for name in ("place_right", "cause_named")
        ]
        counts.append(f"{t['right_ports_passed']} of {t['right_ports']}")
        lines.append(f"| {dtype} | {' | '.join(counts)} |")
    lines += ["", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |"
        for row in about["cases"]
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    tyro.cli(main)
