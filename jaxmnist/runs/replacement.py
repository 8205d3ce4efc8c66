"""A run that replaces another in its folder: beside it at first, in its place after an epoch."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from jaxmnist import locks
from jaxmnist.atomic import flush_folder
from jaxmnist.errors import InputError
from jaxmnist.runs.names import CHECKPOINTS, CONFIG, NEW, OWN, REPLACING, RESULTS, SUPERSEDED, TASK
from jaxmnist.runs.run import Run


def has_run(path: Path) -> bool:
    """Return whether a folder has anything that a new run would replace.

    Args:
        path: The folder.
    """
    return any((path / name).exists() for name in OWN)


def beside(run: Run) -> Run:
    """Return the run in the folder that it is written to until it replaces the old one.

    Args:
        run: The run.
    """
    return replace(run, path=run.path / NEW)


def discard_new(path: Path) -> None:
    """Remove a run that was to replace the one in a folder, and has no whole epoch.

    Args:
        path: The folder; its lock is held.

    Raises:
        InputError: It cannot be removed.
    """
    with writing(path):
        if (path / NEW).exists():
            shutil.rmtree(path / NEW)


def replace_old(path: Path) -> None:
    """Replace the run in a folder by the one beside it.

    From the first renaming on the new run is the folder's, though its files are in two places
    until the last one: if the process dies meanwhile, `settle` finishes it.

    Args:
        path: The folder; its lock is held.

    Raises:
        InputError: A file cannot be replaced.
    """
    with writing(path):
        (path / NEW).rename(path / REPLACING)
        flush_folder(path)
        _finish(path)


def settle(path: Path) -> None:
    """Finish a replacement in which a process died, or wait for one that is going on.

    Args:
        path: The folder, which need not exist.

    Raises:
        InputError: It cannot be finished: the folder cannot be written.
    """
    for attempts_left in reversed(range(100)):
        if not (path / REPLACING).exists():
            return
        try:
            with locks.released_at_end(), writing(path):
                locks.take(path)
                _finish(path)
        except InputError:
            if not attempts_left:
                raise
            time.sleep(0.05)


def clear(path: Path) -> None:
    """Remove a run's files from a folder.

    Args:
        path: The folder.

    Raises:
        OSError: One cannot be removed.
    """
    # The configuration first: what is left, if this is stopped, is no run.
    for name in (CONFIG, TASK, *RESULTS):
        (path / name).unlink(missing_ok=True)
    for name in (CHECKPOINTS, SUPERSEDED):
        is_own = name == CHECKPOINTS or (path / name / CHECKPOINTS).exists()
        if (path / name).exists() and is_own:
            shutil.rmtree(path / name)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line that a folder cannot be written.

    Args:
        path: The run's folder.

    Raises:
        InputError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write the run to {path}: {error.strerror}") from error


def _finish(path: Path) -> None:
    new = path / REPLACING
    if (new / CONFIG).exists():  # It is moved first: until then all else is the old run's.
        clear(path)
    for name in OWN:
        if (new / name).exists():
            (new / name).rename(path / name)
    flush_folder(path)
    shutil.rmtree(new)
