"""What one of several processes can refuse by itself, before it waits for the others."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jaxmnist.distributed import processes

if TYPE_CHECKING:
    from jaxmnist.runs import Run
    from jaxmnist.runs.session import Load


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
