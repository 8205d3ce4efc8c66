"""The runs below a folder: what each is and has reached, and of a damaged one what is wrong."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.runs.folder import is_finished, read
from jaxmnist.runs.metrics import read_metrics
from jaxmnist.runs.names import CHECKPOINTS, CONFIG, METRICS, MODEL, OWN, SUPERSEDED
from jaxmnist.runs.run import Run
from jaxmnist.runs.weights import has_its_model


class Listed(NamedTuple):
    """A folder that holds a run, or what is left of one."""

    path: Path
    """The folder."""
    run: Run | None
    """What the run is; None if its configuration cannot be read."""
    epochs: list[dict[str, Any]]
    """The metrics of every trained epoch by name, with ``epoch``."""
    is_finished: bool
    """Whether all of it is there."""
    wrong: str
    """What is damaged or missing, in one line, or ""."""

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The metrics by name, with one value per epoch."""
        names = [name for name in (self.epochs[0] if self.epochs else ()) if name != "epoch"]
        return {name: np.array([row[name] for row in self.epochs], float) for name in names}


def find_runs(folder: Path) -> list[Listed]:
    """List the runs in a folder and in those below it.

    Args:
        folder: Where to look; it may itself be a run's. Links to folders, and folders whose names
            begin with a dot, are not entered.

    Returns:
        The runs, in the order of their paths.

    Raises:
        InputError: It is no folder, or cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one with runs, such as runs")
    return sorted(_found(folder), key=lambda listed: listed.path)


def _found(folder: Path) -> Iterator[Listed]:
    refused: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=refused.append):
        path = Path(place)
        present = [name for name in OWN if name in files or name in folders]
        folders[:] = [
            name for name in folders if name[0] != "." and name not in (CHECKPOINTS, SUPERSEDED)
        ]
        # Others have files of these names too.
        if CONFIG in present or METRICS in present or len(present) > 1:
            yield look_at(path)
    for error in refused:
        path = Path(os.fsdecode(error.filename))
        if path == folder:
            raise InputError(f"cannot read {folder}: {error.strerror}") from error
        yield Listed(path, None, [], False, f"cannot read {path}: {error.strerror}")


def look_at(path: Path) -> Listed:
    """Read what a run's folder has.

    Args:
        path: The folder.

    Returns:
        The run, with what is wrong with it.
    """
    run, rows = None, []
    try:
        run = read(path)
        rows = read_metrics(run).rows
        finished = is_finished(run)
        wrong = ""
        if rows and not has_its_model(path):
            there = "is not what was written" if (path / MODEL).exists() else "is missing"
            wrong = f"{path / MODEL} {there}"
    except InputError as error:
        finished, wrong = False, str(error)
    except OSError as error:
        finished, wrong = False, f"cannot read {path}: {error.strerror}"
    return Listed(path, run, rows, finished, wrong)
