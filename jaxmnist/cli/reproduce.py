"""`jaxmnist reproduce`: make a run again, and say whether its numbers are the same."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from jaxmnist.cli.console import cell, make_console, progress, say
from jaxmnist.cli.precision import in_its_precision

if TYPE_CHECKING:
    from rich.table import Table

    from jaxmnist.runs import Run
    from jaxmnist.runs.reproduction import Reproduction


@in_its_precision
def reproduce(run: Positional[Path]) -> None:
    """Make a run again from its folder's record, and compare every number.

    The folder is only read, and the run is made in a temporary one. The exit status is 0 if the
    numbers are the same to the last bit, 1 if one differs, and 2 if the run cannot be made again.

    Args:
        run: The folder of a run.
    """
    from jaxmnist.runs import read
    from jaxmnist.runs.reproduction import reproduce, unrecorded

    recorded = read(run)
    screen = make_console()
    if note := _note(recorded):
        say(screen, note)
    with (
        tempfile.TemporaryDirectory(prefix="jaxmnist-") as place,
        progress(screen, "making it again") as (bar, task),
    ):
        found = reproduce(
            run,
            Path(place),
            lambda done, of: bar.update(task, completed=done, total=of),
        )
    screen.print(_table(found))
    for change in found.changes:
        say(screen, change)
    first = found.first_different_epoch
    if first is None:
        say(
            screen,
            f"the same: {len(found.metrics)} metrics of {found.epochs} epochs, and the weights",
        )
        return
    if not found.changes:
        say(screen, "nothing that is recorded has changed")
    if missing := unrecorded(recorded):
        say(screen, f"not recorded by the version that trained it: {', '.join(missing)}")
    where = f"from epoch {first} on" if first < found.epochs else "in the final weights"
    say(screen, f"different: {where}")
    sys.exit(1)


def _note(run: "Run") -> str:
    """Say that the text of a task's file is not that at its place any more."""
    file = run.task_file
    if file is None:
        return ""
    try:
        now = Path(file.path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return f"{file.path} is gone: the text that the run recorded is taken"
    if now == file.text:
        return ""
    return f"{file.path} has changed since: the text that the run recorded is taken"


def _table(found: "Reproduction") -> "Table":
    from rich.table import Table

    table = Table("figure", "the same", "different from", "recorded", "now")
    for each in (*found.metrics, found.weights):
        first = each.first_different
        count = len(each.recorded) if first is None else first
        what = "epochs" if each is not found.weights else "digests"
        row = [each.name.replace("_", " "), f"{count} of {len(each.recorded)} {what}"]
        if first is None:
            row += ["", "", each.found[0][:16] if each is found.weights else ""]
        else:
            now = each.found[first] if first < len(each.found) else "none: it diverged"
            row += [f"epoch {first}" if each is not found.weights else "the end"]
            row += [each.recorded[first], now]
        table.add_row(*map(cell, row))
    return table
