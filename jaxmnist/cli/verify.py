"""`jaxmnist verify`: compare this package with PyTorch, Optax and the formulas."""

import json
import sys
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxmnist.cli.console import make_console, progress, say
from jaxmnist.errors import InputError


def verify(
    what: Positional[
        Literal["losses", "model", "optimizers", "training", "calculus", "all"]
    ] = "all",
    against: Literal["numpy", "torch", "optax"] | None = None,
    convention: Literal["document", "pytorch", "optax"] | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    out: Path = Path("verify.json"),
) -> None:
    """Compare this package with PyTorch, Optax and the formulas; exit with 1 if anything differs.

    Args:
        what: What to compare.
        against: Only with PyTorch, Optax, or the formulas in NumPy.
        convention: Whose arithmetic the optimizers and the training have: the tutorial's
            (document), PyTorch's or Optax's; by default each is compared with its own source.
        dtype: The precision of all arithmetic.
        out: Where to write all results as JSON.
    """
    from jaxmnist.atomic import write_whole
    from jaxmnist.verify import report, suite

    checks = suite.checks(what, against, convention, dtype)
    try:
        writable = out.parent.is_dir() and not out.is_dir()
    except OSError:  # Such as a name that is too long.
        writable = False
    if not writable:
        raise InputError(f"cannot write {out}: it must be a file in a folder that exists")
    screen = make_console()
    outcomes = []
    with progress(screen, "verifying") as (bar, task):
        for check in checks:
            bar.update(task, description=f"{check.name} against {check.against}")
            outcomes.append(report.outcome(check))
            bar.update(task, total=len(checks), advance=1)
    not_run = sum(outcome.result is None for outcome in outcomes)
    remedy = "PyTorch is not installed; this installs it: pip install 'jaxmnist[torch]'"
    if not_run == len(checks):
        raise InputError(f"nothing could be verified: {remedy}")

    screen.print(report.table(outcomes))
    for outcome in outcomes:
        if outcome.explanation:
            check = outcome.check
            say(screen, f"{check.name} against {check.against}: {outcome.explanation}")
    options = {"against": against, "convention": convention, "dtype": dtype}
    given = [f"--{name} {value}" for name, value in options.items() if value]
    command = " ".join(["jaxmnist verify", what, *given])
    write_whole(out, (json.dumps(report.as_json(outcomes, command), indent=2) + "\n").encode())
    passed = [part.passed for outcome in outcomes for part in report.parts(outcome.result)]
    say(screen, f"{sum(passed)} of {len(passed)} comparisons passed")
    if not_run:
        say(screen, f"{not_run} of {len(checks)} checks were not run: {remedy}")
    say(screen, f"wrote: {out}")
    if not all(passed):
        sys.exit(1)
