"""`jaxmnist verify`: compare this package with PyTorch, Optax and the formulas."""

import json
import sys
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from jaxmnist.cli.console import make_console, progress, say
from jaxmnist.errors import InputError


def verify(
    what: Positional[
        Literal["losses", "model", "optimizers", "training", "calculus", "all", "parity"]
    ] = "all",
    against: Literal["numpy", "torch", "optax"] | None = None,
    convention: Literal["document", "pytorch", "optax"] | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    out: Path | None = None,
) -> None:
    """Compare this package with PyTorch, Optax and the formulas; exit with 1 if anything differs.

    What is yours is compared by jaxmnist verify FILE.py, or without a file by
    jaxmnist verify --ours MODULE:NAME --reference MODULE:NAME; each has its own --help.

    Args:
        what: What to compare; "parity" runs the table of PyTorch's calls and their equals in JAX,
            which is not among "all".
        against: Only with PyTorch, Optax, or the formulas in NumPy.
        convention: Whose arithmetic the optimizers and the training have: the tutorial's
            (document), PyTorch's or Optax's; by default each is compared with its own source.
        dtype: The precision of all arithmetic.
        out: Where to write all results as JSON: verify.json by default, or figures/parity.json for
            the parity table, whose page is written next to it.
    """
    from jaxmnist.atomic import check_writable, write_whole
    from jaxmnist.verify import report, suite

    is_table = what == "parity"
    out = out or Path("figures/parity.json" if is_table else "verify.json")
    if is_table and (against or convention or dtype != "float64"):
        raise InputError("the parity table is compared with PyTorch in float64; omit other options")
    checks = [] if is_table else suite.checks(what, against, convention, dtype)
    check_writable(out)
    screen = make_console()
    if is_table:
        _parity(out, screen)
        return
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


def _parity(out: Path, screen: Any) -> None:
    """Run the parity table, and write it and its page; exit with 1 if a claim is not true."""
    from jaxmnist.atomic import write_whole
    from jaxmnist.parity.table import page

    with progress(screen, "verifying") as (bar, task):

        def on_row(text: str, count: int) -> None:
            bar.update(task, description=text[:60], total=count, advance=1)

        found = page.entries(on_row)
    not_true = [entry for entry in found if entry.proof.failures]
    for entry in not_true:
        say(screen, "\n".join((entry.row.texts[0], *entry.proof.failures)))
    write_whole(out, page.as_json(found, "jaxmnist verify parity").encode())
    write_whole(out.with_suffix(".md"), page.as_markdown(found).encode())
    say(screen, f"{len(found) - len(not_true)} of {len(found)} rows proved")
    if lacking := page.not_there():
        say(screen, f"not run, for jaxmnist.parity has no {', '.join(lacking)}")
    say(screen, f"wrote: {out}, {out.with_suffix('.md')}")
    if not_true:
        sys.exit(1)
