"""A folder that one process at a time writes to: the operating system frees it when that one dies.

The lock is on the file `.lock` in the folder, which tells who holds it. Readers need no lock.
"""

import contextlib
import errno
import json
import os
import shlex
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jaxmnist.atomic import read_whole
from jaxmnist.errors import InputError

NAME: Final = ".lock"

_PATIENCE: Final = 0.2
"""Seconds that another process gets to write who it is, or to end a look at whether it is free."""

_held: dict[Path, contextlib.ExitStack] = {}


def take(folder: Path, at_release: Callable[[], None] = lambda: None) -> bool:
    """Take a folder's lock, until `release` or the end of the process; again changes nothing.

    Args:
        folder: The folder, which exists.
        at_release: Called before the lock is released; not if the process dies.

    Returns:
        Whether this process holds it: not where the file system has no locks.

    Raises:
        InputError: Another process holds it; or the folder cannot be written.
    """
    place = folder.resolve()
    if place in _held:
        return True
    import filelock

    lock = filelock.FileLock(place / NAME, timeout=_PATIENCE, on_acquired=_write_holder)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(f"{folder} is in use by {_holder(place / NAME)}") from None
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP):
            raise InputError(f"cannot write {folder / NAME}: {error.strerror}") from error
        warnings.warn(
            f"the file system of {folder} has no locks: see to it that no other process writes "
            "there",
            stacklevel=2,
        )
        return False
    _held[place] = contextlib.ExitStack()
    _held[place].callback(lock.release)
    # While it is held: whoever opened the file meanwhile finds that it is no longer there.
    _held[place].callback((place / NAME).unlink, missing_ok=True)
    _held[place].callback(at_release)
    return True


def is_free(folder: Path) -> bool:
    """Return whether no process holds a folder's lock, as far as this machine knows.

    Args:
        folder: The folder; where there is none, nobody holds its lock.
    """
    import fcntl

    place = folder.resolve()
    if place in _held:
        return False
    try:
        # Not made where it is not there, as `take` does, and a folder with it.
        descriptor = os.open(place / NAME, os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)  # With it goes the lock.
    return True


def release(folder: Path) -> None:
    """Release a folder's lock, if this process holds it.

    Args:
        folder: The folder.
    """
    if stack := _held.pop(folder.resolve(), None):
        with contextlib.suppress(OSError):  # A folder that is gone.
            stack.close()


@contextlib.contextmanager
def released_at_end() -> Iterator[None]:
    """Release, at the end of the block, the locks that were taken in it; a decorator too."""
    before = set(_held)
    try:
        yield
    finally:
        for folder in set(_held) - before:
            release(folder)


@contextlib.contextmanager
def released_on_error() -> Iterator[None]:
    """Release the locks that were taken in the block, if it raises."""
    before = set(_held)
    try:
        yield
    except BaseException:
        for folder in set(_held) - before:
            release(folder)
        raise


def _write_holder(descriptor: int) -> None:
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": started,
        "command": shlex.join(sys.argv),
    }
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, (json.dumps(holder) + "\n").encode(), 0)


def _holder(path: Path) -> str:
    """Return who holds a lock, in words."""
    try:
        about: Any = json.loads(read_whole(path)[:10_000])
        words = ascii(about["command"])[1:-1]
        where = f"process {int(about['pid'])} on {ascii(about['host'])[1:-1]}"
        return f"{where} since {ascii(about['since'])[1:-1]} ({words}): wait for it, or end it"
    # It may be about to write it, or, where locks are no files' own, may not let it be read.
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "another process: wait for it, or end it"
