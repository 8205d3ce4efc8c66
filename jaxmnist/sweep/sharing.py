"""A sweep that several processes share: which cells each trains, and when all of them are done.

They talk only when they start: they agree on the sweep, and process 0 tells what is finished. Each
then trains its cells on its own devices, and writes them to a folder of its own in the sweep's,
whose lock it holds until it ends. So each sees how far the others are, and which have died; and no
start of the command takes a sweep over while one process of another start is at it.
"""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxmnist import locks, provenance
from jaxmnist.config import Config
from jaxmnist.errors import InputError, shortened
from jaxmnist.sweep import folder
from jaxmnist.sweep.axes import Axes

_BLOCKS: Final = 4
"""Into how many pieces of the sweep a process's share is cut."""
_SECONDS: Final = (0.05, 1.0)
"""Between two looks at the other processes, at first and at most."""
_NO_LOCKS: Final = "cannot tell by their locks which processes have stopped"


class UnfinishedSweepError(RuntimeError):
    """A process that shares a sweep stopped, and some of its cells are missing."""


@runtime_checkable
class Meeting(Protocol):
    """The connected processes, as `jaxmnist.distributed.meeting.Meeting` has them."""

    index: int
    count: int

    def from_first(self, decide: Callable[[], Any]) -> Any:
        """Return in every process what a function returns in process 0."""
        ...

    def agree(self, objection: str | None) -> None:
        """Raise `InputError` in every process if one objects."""
        ...

    def leave(self) -> None:
        """Disconnect, when all do."""
        ...


class Share(NamedTuple):
    """What the processes of one start know of each other."""

    process: int
    """Which this process is, from 0."""
    folders: tuple[Path, ...]
    """Where each process writes its cells."""
    cells: tuple[tuple[int, ...], ...]
    """Which cells each of them trains."""

    @property
    def folder(self) -> Path:
        """Where this process writes its cells."""
        return self.folders[self.process]


def deal(cells: Sequence[int], count: int) -> tuple[tuple[int, ...], ...]:
    """Divide cells among processes, whose shares differ by one cell at most.

    Each has a few stretches of neighbours, from all over the sweep: neighbours are one program,
    and cells far from each other may differ in how long they take.

    Args:
        cells: The cells in the order in which one process trains them.
        count: How many processes there are.

    Returns:
        The cells of each process, in the same order.

    >>> deal(range(10), 3)
    ((0, 3, 6, 9), (1, 4, 7), (2, 5, 8))
    >>> [len(own) for own in deal(range(50), 3)], deal(range(50), 3)[0][:7]
    ([17, 17, 16], (0, 1, 2, 3, 4, 14, 15))
    """
    blocks = np.array_split(np.array(cells, int), _BLOCKS * count)
    return tuple(
        tuple(index for block in blocks[process::count] for index in block.tolist())
        for process in range(count)
    )


def enter(
    path: Path,
    config: Config | Mapping[str, Any],
    axes: Axes,
    data: Any,
    command: str,
    order: Sequence[int],
    meeting: Meeting,
) -> tuple[list[int], Share]:
    """Begin or resume a sweep in a folder with other processes, which all call this.

    Args:
        path: The folder, on a disk that all of them share; so is what follows as in
            `jaxmnist.sweep.folder.enter`.
        config: Everything that is no axis.
        axes: The values by the axis's name.
        data: What is trained on.
        command: The command that started it, to be recorded.
        order: All cells in the order in which one process trains them.
        meeting: The processes; they have left it when this returns or raises.

    Returns:
        The cells that are finished, and what each process has to do.

    Raises:
        InputError: In every process: they differ in the sweep, its data or the versions, there are
            more of them than cells, the folder is not shared or has no locks, or process 0 cannot
            use it.
        LostProcessError: Another process stopped.
    """
    about = folder.describe(config, axes, data)
    about["config"] |= {"--out": os.path.normpath(path)}
    about["config"] |= {
        f"the version of {name}": text for name, text in provenance.versions("jaxlib").items()
    }
    meeting.agree(_difference(meeting.from_first(lambda: about), about))
    if meeting.count > len(order):
        meeting.leave()
        raise InputError(
            f"{meeting.count} processes cannot share {len(order)} runs: start at most as many "
            "processes as the sweep has runs"
        )

    def begin() -> dict[str, Any]:
        finished = folder.enter(path, config, axes, data, command)
        start = secrets.token_hex(4)
        names = [f"{start}-{index}" for index in range(meeting.count)]
        try:
            for name in names:
                (path / folder.PROCESSES / name).mkdir(parents=True)
        except OSError as error:
            raise InputError(f"cannot write a sweep to {path}: {error.strerror}") from error
        return {"finished": list(finished), "names": names}

    begun = meeting.from_first(begin)
    folders = tuple(path / folder.PROCESSES / name for name in begun["names"])
    try:
        meeting.agree(_cannot_use(path, folders[meeting.index]))
        # Each holds its own lock by now.
        meeting.agree(_cannot_see(path, folders))
    except InputError:
        if meeting.index == 0:
            shutil.rmtree(path / folder.PROCESSES, ignore_errors=True)
        raise
    meeting.leave()
    done = frozenset(begun["finished"])
    missing = [index for index in order if index not in done]
    return begun["finished"], Share(meeting.index, folders, deal(missing, meeting.count))


def wait(share: Share, on_progress: Callable[[int], None]) -> None:
    """Wait until each process has trained its cells or died, and process 0 has written the tables.

    Process 0 itself waits for the cells alone.

    Args:
        share: What each process does; this one has done it.
        on_progress: Called with how many of all their cells are finished.

    Raises:
        UnfinishedSweepError: One died before.
    """
    pause, longest = _SECONDS
    while True:
        # In this order: a process may finish and end between one look and the next.
        gone = [locks.is_free(each) for each in share.folders]
        left = [
            len(cells) - folder.count_finished(each)
            for each, cells in zip(share.folders, share.cells, strict=True)
        ]
        if not share.folder.exists():  # Process 0 removes all of them, when all is written.
            return
        on_progress(sum(map(len, share.cells)) - sum(left))
        if all(is_gone or not count for is_gone, count in zip(gone, left, strict=True)):
            if any(left):
                raise UnfinishedSweepError(
                    f"the sweep is not whole: {_stopped(share, left)}; the same command trains the "
                    "rest"
                )
            if share.process == 0:
                return
            if gone[0]:
                raise UnfinishedSweepError(
                    "the sweep is not whole: process 0 stopped before it wrote the tables; the "
                    "same command writes them"
                )
        time.sleep(pause)
        pause = min(2 * pause, longest)


def collect(path: Path, share: Share, axes: Axes, epochs: int) -> dict[int, Any]:
    """Return the cells of a whole sweep, after `wait`.

    Args:
        path: The sweep's folder.
        share: What each process did.
        axes: The values by the axis's name.
        epochs: How many every run has.

    Returns:
        The history ``[epochs]`` of each cell by its index.
    """
    # Process 0 has put all of them into the sweep's own file before the others get here.
    places = (path, *share.folders) if share.process == 0 else (path,)
    finished: dict[int, Any] = {}
    for place in places:
        finished |= folder.read_finished(place, axes, epochs)
    return finished


def remove(path: Path, share: Share) -> None:
    """Remove the processes' folders, when all is written: to them the sign that the sweep is whole.

    Args:
        path: The sweep's folder, of which this process has the lock.
        share: What each process did.
    """
    hidden = path / f".{folder.PROCESSES}.{share.folders[0].name}"
    (path / folder.PROCESSES).rename(hidden)  # All at once.
    shutil.rmtree(hidden, ignore_errors=True)


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Return what this process has against the sweep that process 0 is about to begin."""
    for part, entries in here.items():
        for name in dict.fromkeys((*there[part], *entries)):
            one, other = (_shown(each, name) for each in (entries, there[part]))
            if one == other:
                continue
            what = f"{name} is {one}, and {other} in process 0"
            if part == "data":
                return f"has other data than process 0: {what}"
            what = f"the axis {what}" if part == "axes" else what
            return f"was started with different options than process 0: {what}"
    if list(there["axes"]) != list(here["axes"]):
        return (
            "was started with different options than process 0: its axes are in the order "
            f"{', '.join(here['axes'])}"
        )
    return None


def _cannot_use(path: Path, own: Path) -> str | None:
    """Return what this process has against the folder that process 0 made for it."""
    if not own.is_dir():
        return (
            f"does not find what process 0 wrote to {path}; --out must be on a disk that all of "
            "the processes share"
        )
    try:
        if locks.take(own):
            return None
    except InputError as error:
        return f"cannot use the sweep's folder: {error}"
    return f"{_NO_LOCKS}: the file system of {path} has none; choose another --out"


def _cannot_see(path: Path, folders: Sequence[Path]) -> str | None:
    """Return what this process has against the locks of the others."""
    for index, each in enumerate(folders):
        if locks.is_free(each):
            return (
                f"{_NO_LOCKS}: that of process {index} is not seen in {path}, whose file system "
                "must share locks between machines; choose another --out"
            )
    return None


def _stopped(share: Share, left: Sequence[int]) -> str:
    """Say which processes stopped."""
    return ", ".join(
        f"process {index} stopped with {count} of its {len(share.cells[index])} runs unfinished"
        for index, count in enumerate(left)
        if count
    )


def _shown(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name, "missing")
    return shortened(value if isinstance(value, str) else str(value), 200)
