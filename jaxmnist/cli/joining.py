"""The options of one of several processes, and what it refuses before it waits for the others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from jaxmnist.distributed import processes
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from jaxmnist.runs import Run
    from jaxmnist.runs.session import Load


def check_given(given: frozenset[str], distributed: bool) -> None:
    """Refuse options of `Processes` where there is one process only.

    Args:
        given: The options on the command line.
        distributed: Whether ``--distributed`` is one of them.

    Raises:
        InputError: There is such an option.
    """
    names = {field.name for field in fields(processes.Processes)}
    if not distributed and (alone := sorted(given & names)):
        raise InputError(f"--{alone[0].replace('_', '-')} is for --distributed")


def without_joining(words: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command line but those that tell how several processes connect.

    Args:
        words: The command line.

    >>> list(without_joining(["--seed", "0", "--distributed", "--process-id", "1", "--out=a"]))
    ['--seed', '0', '--out=a']
    """
    names = {"--" + field.name.replace("_", "-") for field in fields(processes.Processes)}
    is_value = False
    for word in words:
        option, equals, _ = word.partition("=")
        is_joining = option.replace("_", "-") in names
        if not (is_value or is_joining or option == "--distributed"):
            yield word
        is_value = is_joining and not equals


def check_alone(
    joining: processes.Processes,
    new: "Run",
    out: Path | None,
    overwrite: bool,
    reopen: "Callable[[], Run] | None",
    load: "Load",
) -> None:
    """Refuse a folder that cannot be used, or data that cannot be read or are too few.

    The folder is process 0's: one on another machine knows nothing of it. Data that a task's file
    makes are left for later, as they may need JAX, which must not start before the processes meet.

    Args:
        joining: How the processes connect.
        new: The run as the options describe it.
        out: Its folder, if one was asked for.
        overwrite: Whether a run in that folder may be replaced.
        reopen: Returns the run to resume in place of the new one; None for a new one.
        load: How to read the data.

    Raises:
        InputError: The folder or the data cannot be used.
    """
    from jaxmnist import runs
    from jaxmnist.training import check_batches_fit

    run, has_folder = new, processes.is_beside_first(joining)
    if reopen is not None:
        if not has_folder or runs.is_finished(run := reopen()):
            return
    elif has_folder and out is not None:
        runs.check_free(out, overwrite)
    if run.dataset is not None:
        check_batches_fit(run.config, run.data(load))
