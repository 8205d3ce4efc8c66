"""What the commands print on the terminal, and how they end."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from jaxmnist.distributed import processes
from jaxmnist.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


def make_console(quiet: bool = False) -> "Console":
    """Return where to print: the terminal, or unwrapped text where stdout is none.

    Args:
        quiet: Whether to print nothing.
    """
    from rich.console import Console

    made = Console(quiet=quiet)
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
        status: 2 for a person's mistake, 1 for a run that failed.
    """
    sys.stderr.write(f"jaxmnist: {message}\n")
    leave(status)


def leave(status: int) -> NoReturn:
    """End the process; one of several without waiting for the others, who may wait for it.

    Args:
        status: The exit status.
    """
    if processes.joined():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
