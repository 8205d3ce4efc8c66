"""What a log is: how one kind of it is opened, and the functions that it has."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Log(NamedTuple):
    """A log that is open."""

    key: str
    """By which it is opened again, to be continued."""
    first: int
    """The first epoch that it does not have yet."""
    write: Callable[[int, Mapping[str, float]], None]
    """``write(epoch, metrics)``: add an epoch's metrics by name."""
    close: Callable[[], None]
    """Write what is left, and close it."""


@runtime_checkable
class Open(Protocol):
    """Opens a log of one kind."""

    def __call__(
        self, folder: Path, options: Mapping[str, Any], key: str | None, written: int, epoch: int
    ) -> Log:
        """Open a log.

        Args:
            folder: The run's folder, whose name is the run's.
            options: What the run was started with, in what JSON can hold.
            key: The log's, to continue it; None for a new one.
            written: How many epochs were handed to it.
            epoch: How many epochs are trained.

        Returns:
            The log.
        """
        ...
