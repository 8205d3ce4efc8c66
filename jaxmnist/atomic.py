"""Files are replaced by whole new ones, which are on the disk by then, or stay as they were.

A file is written under a name that nobody can guess, flushed to the disk, and renamed; then its
folder is flushed. What is at the target is never followed: a link is replaced, and what it points
to is left alone. Only regular files are replaced, appended to or read: a device or a FIFO at a
file's place is refused.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxmnist.errors import InputError

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
# A FIFO that nobody writes to would stop the process when it is opened.
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_ENDING = ".partial"


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file, so that no reader and no interruption ever finds half of it.

    Args:
        path: The file; its folder exists. If it is a link, the link is replaced.
        content: All of it.

    Raises:
        InputError: It cannot be written, or is no regular file; what was there is still there,
            and nothing else.
    """
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that replaces another when the block ends without an error.

    Args:
        path: The file; its folder exists. If it is a link, the link is replaced.

    Yields:
        What to write to, for content that is not in memory as a whole.

    Raises:
        InputError: As of `write_whole`.
    """
    with _saying_what(path):
        _check_regular(path)
        # In the same folder, so that it can be renamed; not longer than a name may be.
        partial = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}{_ENDING}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
        # A signal may interrupt between any two of these, and the first is within what cleans up.
        try:
            with os.fdopen(os.open(partial, flags, 0o666), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException as error:
            # Of that name there may be somebody else's, whoever guessed it.
            if not (isinstance(error, FileExistsError) and error.filename == str(partial)):
                partial.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)


def check_writable(path: Path) -> None:
    """Refuse a place for a new file before the work that it is to hold.

    Args:
        path: The file.

    Raises:
        InputError: Its folder is none, or it is a folder itself.
    """
    try:
        writable = path.parent.is_dir() and not path.is_dir()
    except OSError:  # Such as a name that is too long.
        writable = False
    if not writable:
        raise InputError(f"cannot write {path}: it must be a file in a folder that exists")


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, which is made if it is not there; all of it, or nothing.

    Args:
        path: The file; its folder exists. A link is refused.
        content: What to add.

    Raises:
        InputError: It cannot be written, or is no regular file.
    """
    with _saying_what(path):
        is_new = not path.exists()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK | _NO_WAIT
        # Unbuffered: what could not be written is not tried again when the file is closed.
        with os.fdopen(os.open(path, flags, 0o666), "ab", buffering=0) as file:
            before = _regular(file.fileno()).st_size
            left = memoryview(content)
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), before)  # No half line stays.
                raise
        if is_new:
            flush_folder(path.parent)


def read_whole(path: Path, largest: int | None = None) -> bytes:
    """Read a regular file; a link to one is followed.

    Args:
        path: The file.
        largest: How many bytes it may have; None for any number.

    Returns:
        Its content.

    Raises:
        OSError: It cannot be read, is too large, or is a device, a FIFO or a socket.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_WAIT), "rb") as file:
        size = _regular(file.fileno()).st_size
        if largest is not None and size > largest:
            raise OSError(errno.EFBIG, f"it has {size} bytes, and at most {largest} are read")
        return file.read()


def remove_partial(folder: Path) -> None:
    """Remove what writers that were killed left in a folder; nobody else may be writing there.

    Args:
        folder: The folder.
    """
    for path in folder.glob(f".*{_ENDING}"):
        path.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Have the disk know a folder's new names.

    Args:
        folder: The folder.

    Raises:
        OSError: The disk reports an error.
    """
    if os.name != "posix":  # Elsewhere a folder cannot be opened.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # A file system without it.
            raise
    finally:
        os.close(descriptor)


def _check_regular(path: Path) -> None:
    """Refuse to replace a device, a FIFO, a socket or a folder, through a link too."""
    with contextlib.suppress(FileNotFoundError):
        _refuse_other(path.stat())


def _regular(descriptor: int) -> os.stat_result:
    return _refuse_other(os.fstat(descriptor))


def _refuse_other(status: os.stat_result) -> os.stat_result:
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "a device, FIFO or socket, and no file")
    return status


@contextlib.contextmanager
def _saying_what(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
