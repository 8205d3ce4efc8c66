"""`jaxmnist runs`: list the runs below a folder, compare them, and draw their curves."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from jaxmnist.cli.console import cell, make_console, say
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from jaxmnist.runs.listing import Listed


def runs(
    folder: Positional[Path] = Path("runs"), json: bool = False, plot: Path | None = None
) -> None:
    """List the runs below a folder, and compare their options and what they reached.

    A run that is damaged, or was stopped, is listed with what is wrong with it.

    Args:
        folder: Where to look.
        json: Print all that is known of them as JSON, every epoch's metrics included.
        plot: A picture to write, such as curves.png: the curves of all of them.
    """
    from jaxmnist.runs.listing import find_runs

    found = find_runs(folder)
    if plot is not None:
        _draw(found, folder, plot)
    if json:
        _print_json(found)
        return
    screen = make_console()
    if not found:
        say(screen, f"there are no runs below {folder}; jaxmnist train writes one")
        return
    kinds: dict[str, list[Listed]] = {}
    for each in found:
        kinds.setdefault(_kind(each), []).append(each)
    for kind, listed in sorted(kinds.items(), key=lambda kind: kind[0] == _UNREADABLE):
        say(screen, f"{kind}:")
        screen.print(_table(listed, folder))
    for each in found:
        if each.wrong:
            say(screen, f"{_name(each, folder)}: {each.wrong}")
    if plot is not None:
        say(screen, f"wrote: {plot}")


def _print_json(found: "Sequence[Listed]") -> None:
    from jaxmnist.runs import about

    listed = [
        {
            "path": str(each.path),
            **({} if each.run is None else about(each.run)),
            "trained": len(each.epochs),
            "finished": each.is_finished,
            "wrong": each.wrong or None,
            "metrics": {
                name: [value if math.isfinite(value) else None for value in values.tolist()]
                for name, values in each.history.items()
            },
        }
        for each in found
    ]
    sys.stdout.write(json.dumps(listed, indent=2) + "\n")


def _draw(found: "Sequence[Listed]", folder: Path, path: Path) -> None:
    from jaxmnist import plots
    from jaxmnist.plots.comparison import MAX_RUNS
    from jaxmnist.plots.save import write_picture

    histories = {_name(each, folder): each.history for each in found if each.epochs}
    if not 1 <= len(histories) <= MAX_RUNS:
        raise InputError(
            f"{len(histories)} runs below {folder} have a whole epoch; 1 to {MAX_RUNS} can be "
            "drawn in one picture: give a folder with so many"
        )
    with plots.theme():
        write_picture(plots.run_comparison(histories), path)


def _kind(listed: "Listed") -> str:
    """Return the title of the table that a run is in: its runs have the same metrics."""
    if listed.run is None:
        return _UNREADABLE
    file = listed.run.task_file
    return "The tutorial's task" if file is None else f"The task of {Path(file.path).name}"


def _table(found: "Sequence[Listed]", folder: Path) -> "Table":
    """Return a row for each run: the options in which they differ, and the last metrics."""
    from rich.table import Column, Table

    options = [_shown_options(each) for each in found]
    names = dict.fromkeys(name for each in options for name in each)
    differing = [
        name
        for name in names
        if name in _ALWAYS or len({each[name] for each in options if name in each}) > 1
    ]
    metrics = dict.fromkeys(
        name for each in found for name in each.history if not name.endswith("_per_sample")
    )
    heads = ["run", *differing, "epochs", *metrics, "state"]
    table = Table(*(Column(cell(head.replace("_", " "))) for head in heads))
    for each, own in zip(found, options, strict=True):
        wanted = each.run.config.epochs if each.run else "?"
        last = each.epochs[-1] if each.epochs else {}
        values = [f"{last[name]:.4f}" if name in last else "" for name in metrics]
        state = "damaged" if each.wrong else "finished" if each.is_finished else "unfinished"
        row = [_name(each, folder), *(own.get(name, "") for name in differing)]
        row += [f"{len(each.epochs)} of {wanted}", *values, state]
        table.add_row(*map(cell, row))
    return table


_ALWAYS = ("dataset", "optimizer")
_UNREADABLE = "Without a configuration that can be read"


def _shown_options(listed: "Listed") -> dict[str, str]:
    """Return a run's options as they are typed, without its epochs; of a path the name."""
    from jaxmnist.runs.resumption import shown

    found = {} if listed.run is None else listed.run.options
    options = {name: value for name, value in found.items() if name not in ("epochs", "task")}
    dataset = options.get("dataset")
    if dataset is not None and Path(dataset).is_absolute():
        options["dataset"] = Path(dataset).name
    return {name: "" if value is None else shown(value) for name, value in options.items()}


def _name(listed: "Listed", folder: Path) -> str:
    """Return a run's path below the folder that was searched."""
    return str(listed.path if listed.path == folder else listed.path.relative_to(folder))
