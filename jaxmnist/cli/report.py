"""`jaxmnist report`: write an HTML page that shows a run, or compares several."""

from pathlib import Path

from tyro.conf import Positional

from jaxmnist.cli.console import make_console, say
from jaxmnist.errors import InputError


def report(runs: Positional[tuple[Path, ...]] = (), out: Path | None = None) -> None:
    """Write an HTML page that shows a run, or compares several.

    The page is one file that opens from disk. It has the curves, the confusion matrix, the worst
    images, the weights, and a square to draw digits in, which the network in the page recognises.
    With several runs a menu chooses the one whose details are shown, at first the first.

    The page of a run with a task's file has no square to draw in: its network cannot run there.

    Args:
        runs: The folders of one run or several.
        out: The .html to write; by default report.html in the first run's folder.
    """
    if not runs:
        raise InputError("report needs the folder of a run: jaxmnist report RUN")
    from jaxmnist import report as reports
    from jaxmnist.atomic import write_whole

    path = runs[0] / "report.html" if out is None else out
    if out is not None:
        reports.check_out(out)
    screen = make_console()
    page = reports.run_page(runs, lambda line: say(screen, line))
    write_whole(path, page.encode())
    say(screen, f"wrote: {path}")
