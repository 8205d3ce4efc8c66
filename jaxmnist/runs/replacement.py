"""A run that replaces another in its folder: next to it at first, in its place after an epoch."""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from jaxmnist import locks
from jaxmnist.atomic import flush_folder
from jaxmnist.errors import InputError
from jaxmnist.runs.names import (
    CHECKPOINTS,
    CONFIG,
    LOGS,
    NEW,
    OLD,
    OWN,
    REMOVED,
    REPLACING,
    RESULTS,
    SUPERSEDED,
    TASK,
)
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
        for left in path.glob(f"{REMOVED}-*"):
            shutil.rmtree(left, ignore_errors=True)
        if (path / NEW).exists():
            shutil.rmtree(path / NEW)


def replace_old(path: Path) -> None:
    """Replace the run in a folder by the one next to it, or change nothing.

    The old run's files are moved aside first: if one cannot be, all are put back. From the second
    renaming of a folder on, the new run is the folder's, though its files are in two places until
    the last one. If the process dies meanwhile, `settle` puts the old run back or finishes.

    Args:
        path: The folder; its lock is held.

    Raises:
        InputError: A file cannot be replaced.
    """
    with writing(path):
        try:
            _move(path, path / OLD)
            (path / NEW).rename(path / REPLACING)
        except OSError:
            _put_back(path)
            raise
        flush_folder(path)
        _finish(path)


def settle(path: Path) -> None:
    """End a replacement in which a process died, or wait for one that is going on.

    Args:
        path: The folder, which need not exist.

    Raises:
        InputError: It cannot be ended: the folder cannot be written.
    """
    for attempts_left in reversed(range(20)):
        if not any((path / name).exists() for name in (REPLACING, OLD)):
            return
        try:
            with locks.released_at_end(), writing(path):
                locks.take(path)
                if (path / REPLACING).exists():
                    _finish(path)
                else:
                    _put_back(path)
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
    for name in (CONFIG, TASK, *RESULTS, LOGS):
        (path / name).unlink(missing_ok=True)
    for name in (CHECKPOINTS, SUPERSEDED):
        if (path / name).exists() and _is_own(path, name):
            shutil.rmtree(path / name)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line that a folder cannot be written.

    Args:
        path: The run's folder.

    Raises:
        InputError: In place of an OSError; it names the file, if that is one in the folder.
    """
    try:
        yield
    except OSError as error:
        name = Path(os.fsdecode(error.filename or ""))
        what = f"{name.relative_to(path)}: " if path in name.parents else ""
        raise InputError(f"cannot write the run to {path}: {what}{error.strerror}") from error


def _is_own(path: Path, name: str) -> bool:
    return name != SUPERSEDED or (path / name / CHECKPOINTS).exists()


def _move(path: Path, place: Path) -> None:
    place.mkdir(exist_ok=True)
    for name in (*OWN, SUPERSEDED):
        if (path / name).exists() and _is_own(path, name):
            (path / name).rename(place / name)
    flush_folder(place)


def _put_back(path: Path) -> None:
    if not (path / OLD).exists():
        return
    for each in (path / OLD).iterdir():
        each.rename(path / each.name)
    flush_folder(path)
    (path / OLD).rmdir()


def _finish(path: Path) -> None:
    new = path / REPLACING
    if (path / OLD).exists():
        (path / OLD).rename(new / OLD)
    for name in OWN:
        if (new / name).exists():
            (new / name).rename(path / name)
    flush_folder(path)
    try:
        shutil.rmtree(new)
    except OSError:  # Under another name it does not keep anyone from the new run.
        new.rename(path / f"{REMOVED}-{secrets.token_hex(4)}")
