"""Compare the six optimizers, in each convention, with where the convention comes from.

    python scripts/verify_optimizers.py                      # everything
    python scripts/verify_optimizers.py --sources network    # one source, into the same file

In float64, the tutorial's convention against the formulas in NumPy, PyTorch's against
`torch.optim`, Optax's against Optax: every optimizer on every source of gradients for 2,000 steps,
the displacement from the start and every accumulator that both keep.

What is allowed: a relative error of 1e-12 where the gradients are given (random, sparse, stream).
Where they follow the trajectory (quadratic, rosenbrock, network) ten times what one unit in the
last place of the start has grown to by then, or 1e-12 where that is more: a start's perturbation is
made once, rounding at every step, and a trajectory that converges forgets the first and not the
second. Growth is the most of five perturbed starts, or of one for the network with its many
elements: by one alone, RMSProp in Optax's convention was called apart where growth sets in,
1e-12 at step 497 of the quadratic, although both end with the same growth.

Nothing upstream stands in the way in float64; two things bound what the numbers say:

- Optax and PyTorch compute Adam's `1 - b2**t` by subtraction, which at t = 1 and 0.999 is wrong by
  up to 2^-53 / 0.001 = 1.1e-13 of itself, and the first step by half of that. That is most of
  Adam's 1e-14. Optax does it in the default float type, so that in float32 its first steps are
  wrong by 1e-5; PyTorch does it in double precision.
- RMSProp's steps keep their size at the bottom of a valley and take their sign from a gradient
  near zero, so that there a rounding turns a whole step: one unit in the last place grows from
  1e-15 to a hundredth of the way within some steps. In the tutorial's convention this comes after
  400 steps or more, on Rosenbrock too; at PyTorch's rate of 0.01 after 200 on the quadratic and 50
  on Rosenbrock, and on the network nothing is left of the way in the end. Before it both agree to
  1e-15; after it a comparison can say nothing.

Writes `figures/verify_optimizers.json` and exits with 1 if anything fails. The network is the real
one, 243,622 parameters three times over, and takes nearly all of the time: an hour on two cores
shared with other work, the rest six minutes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import tyro

from jaxmnist import optim, provenance, verify

REFERENCES = {
    "document": verify.numpy_reference,
    "pytorch": verify.torch_reference,
    "optax": verify.optax_reference,
}


def main(
    steps: int = 2000,
    sources: tuple[str, ...] = verify.SOURCES,
    optimizers: tuple[str, ...] = optim.NAMES,
    out: Path = Path("figures/verify_optimizers.json"),
) -> None:
    """Run the comparisons, write each as it ends, and print the table.

    Args:
        steps: In each comparison.
        sources: Which gradients; the file's rows for others are kept.
        optimizers: Which optimizers; likewise.
        out: The file.
    """
    rows = _rows_of(out, steps)
    for name in optimizers:
        for convention, reference in REFERENCES.items():
            for gradients in sources:
                tx = optim.create(name, convention=convention)
                result = verify.optimizer(tx, reference(name), gradients=gradients, steps=steps)
                rows[f"{name} {convention} {gradients}"] = {
                    part.name: {
                        **part.errors._asdict(),
                        "growth_of_one_ulp": part.growth,
                        "passed": part.passed,
                    }
                    for part in result
                }
                _write(out, steps, rows)
                print(f"{name} {convention} {gradients}: {result.max_error:.1e}", file=sys.stderr)
                if not result.passed:
                    print(result)
    _print_table(rows)
    if not all(part["passed"] for row in rows.values() for part in row.values()):
        raise SystemExit(1)


def _rows_of(out: Path, steps: int) -> dict[str, Any]:
    """What the file already holds, if it is of as many steps and of the same versions."""
    if not out.exists():
        return {}
    found = json.loads(out.read_text())
    return found["rows"] if found["about"] == _about(steps) else {}


def _about(steps: int) -> dict[str, Any]:
    return {
        **provenance.record("python scripts/verify_optimizers.py", "optax", "torch"),
        "dtype": "float64",
        "steps": steps,
    }


def _write(out: Path, steps: int, rows: dict[str, Any]) -> None:
    order = [
        f"{name} {convention} {gradients}"
        for name in optim.NAMES
        for convention in REFERENCES
        for gradients in verify.SOURCES
    ]
    rows = {key: rows[key] for key in order if key in rows}
    out.write_text(json.dumps({"about": _about(steps), "rows": rows}, indent=1) + "\n")


def _print_table(rows: dict[str, Any]) -> None:
    """The largest relative error of each comparison; and what one unit grew to, where it may."""
    print("| optimizer | convention | " + " | ".join(verify.SOURCES) + " |")
    print("|---" * (2 + len(verify.SOURCES)) + "|")
    for name in optim.NAMES:
        for convention in REFERENCES:
            cells = []
            for gradients in verify.SOURCES:
                parts = rows.get(f"{name} {convention} {gradients}", {}).values()
                worst = max(parts, key=lambda part: part["relative"], default=None)
                growth = worst and worst["growth_of_one_ulp"]
                cells.append(
                    f"{worst['relative']:.0e}" + (f" ({growth:.0e})" if growth is not None else "")
                    if worst
                    else ""
                )
            print(f"| {name} | {convention} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    tyro.cli(main)
