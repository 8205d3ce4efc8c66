"""What the commands print on the terminal, and how they end."""

import contextlib
import contextvars
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn

from jaxmnist import signals
from jaxmnist.distributed import meeting, processes
from jaxmnist.errors import printable, shortened

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.text import Text


_verbosity = contextvars.ContextVar("verbosity", default=0)


@contextlib.contextmanager
def speaking(level: int) -> Iterator[None]:
    """Say more or less in the block.

    Args:
        level: 1 for -v, -1 for -q, 0 for neither.
    """
    token = _verbosity.set(level)
    try:
        yield
    finally:
        _verbosity.reset(token)


def make_console(quiet: bool = False) -> "Console":
    """Return where to print: the terminal, or unwrapped text where stdout is none.

    Args:
        quiet: Whether to print nothing, as with -q.
    """
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            """Leave the error to `main`, where Rich would end the process without a word."""
            raise

    made = Screen(quiet=quiet or _verbosity.get() < 0)
    if not made.is_terminal:
        made.width = 1_000_000  # Without a screen, a table is as wide as it needs to be.
    return made


def say(console: "Console", text: str) -> None:
    """Print a line as it is: no colours, no wrapping.

    Args:
        console: Where.
        text: The line.
    """
    console.print(printable(text), soft_wrap=True, highlight=False, markup=False, emoji=False)


def cell(value: object) -> "Text":
    """Return a table's cell for any value: in one line, shortened, as it is.

    Args:
        value: Such as a name, which may have any characters.
    """
    from rich.text import Text

    return Text(shortened(str(value)), overflow="fold")


def say_more(console: "Console", line: Callable[[], str]) -> None:
    """Print a line that only -v asks for.

    Args:
        console: Where.
        line: Makes the line, if it is wanted.
    """
    if _verbosity.get() > 0:
        say(console, line())


@contextlib.contextmanager
def progress(console: "Console", description: str) -> "Iterator[tuple[Progress, TaskID]]":
    """Show a bar with rate and time left while the block runs; nothing if there is no terminal.

    Args:
        console: Where.
        description: What is being done.

    Yields:
        The bar, and the task to update.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield bar, bar.add_task(description, total=None, rate="")


def fail(message: str, status: int = 2) -> NoReturn:
    """Print one line on stderr, and end the process.

    Args:
        message: What is wrong, what is allowed, and what to do.
        status: 2 for a person's mistake, 1 for a run that failed, 128 + a signal's number.
    """
    with contextlib.suppress(OSError):  # Without stderr, the exit status says it.
        sys.stderr.write(f"jaxmnist: {message}\n")
        sys.stderr.flush()
    leave(status)


def unexpected(error: OSError) -> str:
    """Say in a line what an error that no command expected is about.

    The commands say themselves what they cannot write to a file. What is left without a name, of
    an error of writing, is standard output: closed by its reader, or on a full disk.

    Args:
        error: The error.
    """
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        return f"cannot use {os.fsdecode(error.filename)}: {reason}"
    if error.errno in _OF_WRITING:
        return f"cannot write to standard output: {reason}"
    return f"the system refused a call: {reason}"


OUT_OF_MEMORY = (
    "this machine's memory is too small for it: take fewer or smaller hidden layers, a smaller "
    "batch or less data; what was written before is kept"
)


def is_of_memory(error: BaseException) -> bool:
    """Return whether an error is that no memory was left, for Python or for XLA.

    Args:
        error: The error.
    """
    says_so = re.search("RESOURCE_EXHAUSTED|[Oo]ut of memory", str(error))
    is_xlas = type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError")
    return isinstance(error, MemoryError) or (is_xlas and says_so is not None)


_OF_WRITING = (errno.EPIPE, errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EBADF)


def leave(status: int) -> NoReturn:
    """End the process; without Python's shutdown if others or a signal may wait for its end.

    Args:
        status: The exit status.
    """
    try:
        sys.stdout.flush()
    except OSError:  # It is closed or full: Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if processes.joined() or meeting.is_open() or signals.received():
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
