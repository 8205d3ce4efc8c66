"""What a resumed run was further with is set aside, until the run is as far again."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from jaxmnist.atomic import read_whole, write_whole
from jaxmnist.runs.metrics import Epochs
from jaxmnist.runs.names import CHECKPOINTS, METRICS, MODEL, SUMMARY, SUPERSEDED
from jaxmnist.runs.replacement import writing
from jaxmnist.runs.run import Run


def set_aside(run: Run, epoch: int, epochs: Epochs, steps: Iterable[int]) -> None:
    """Set aside what a run has beyond the epoch that it is resumed after.

    The model stays where it is too: it is the run's best until the next epoch's replaces it.

    Args:
        run: The run.
        epoch: How many epochs it is resumed after.
        epochs: Its metrics.
        steps: The checkpoints that it is not resumed from, and that its next epochs will replace.

    Raises:
        InputError: The folder cannot be written.
    """
    place = run.path / SUPERSEDED
    steps = list(steps)
    drawn = [name for name in SUMMARY if (run.path / name).exists()]
    if run.config.epochs <= epoch:
        drawn = []  # They show these epochs, and are drawn again over themselves.
    if not steps and not drawn and len(epochs.lines) <= epoch:
        return
    with writing(run.path):
        (place / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        if len(epochs.lines) > _lines(place):
            write_whole(place / METRICS, "".join(f"{line}\n" for line in epochs.lines).encode())
            if (run.path / MODEL).exists():
                write_whole(place / MODEL, read_whole(run.path / MODEL))
        for name in drawn:
            (run.path / name).replace(place / name)
        for step in steps:
            old = run.path / CHECKPOINTS / str(step)
            old.rename(_free(place / CHECKPOINTS / str(step)))


def drop(run: Run, epochs: int) -> None:
    """Remove what was set aside, if the run is as far again.

    Args:
        run: The run.
        epochs: How many of its epochs are trained, and written.

    Raises:
        InputError: It cannot be removed.
    """
    place = run.path / SUPERSEDED
    if not place.exists():
        return
    steps = [int(each.name.split(".")[0]) for each in (place / CHECKPOINTS).glob("[0-9]*")]
    if epochs >= max([_lines(place), *steps]):
        with writing(run.path):
            shutil.rmtree(place)


def _lines(place: Path) -> int:
    path = place / METRICS
    return read_whole(path).count(b"\n") if path.exists() else 0


def _free(path: Path) -> Path:
    """Return the path, or with a number after it if it is taken."""
    number, free = 0, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free
