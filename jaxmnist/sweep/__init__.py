"""Many runs as few programs: every combination of values on some axes.

    found = sweep.run(Config(epochs=5), {"learning_rate": [0.03, 0.1], "seed": range(4)}, mnist)
    found.history.eval_accuracy[:, -1]

Runs that differ in numbers and seeds alone are one compiled program; those that differ in the
optimizer, the layers or the batch size are grouped into one each.

**Where they run.** On every device that JAX shows. On CPUs each device trains one model after the
other, which fills a machine whose cores are made devices before JAX starts:
``XLA_FLAGS="--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false"`` for
two; the command `jaxmnist sweep` sets it. On accelerators many models run in lockstep under `vmap`.

**The same numbers.** A row has the metrics of the single run with its seed and numbers. On CPUs
most metrics agree to the last bit and the rest to rounding, because the compiler groups the same
arithmetic otherwise; under `vmap` products also sum in another order. That is so of a step, and of
a run at a rate at which training is stable: near the edge of stability training amplifies rounding,
and a row's accuracy after an epoch may be far from its single run's. A sweep that was stopped and
resumed has the bits of the uninterrupted one, and so has one that several processes share, on
CPUs; on accelerators as many models run in lockstep as there are for each process.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist import locks
from jaxmnist.config import Config
from jaxmnist.errors import InputError
from jaxmnist.sweep import axes as _axes
from jaxmnist.sweep import folder, programs, sharing
from jaxmnist.sweep.axes import AXIS_NAMES as AXIS_NAMES
from jaxmnist.sweep.axes import Cell as Cell
from jaxmnist.sweep.axes import parse as parse
from jaxmnist.sweep.results import LEGEND as LEGEND
from jaxmnist.sweep.results import Sweep as Sweep
from jaxmnist.sweep.results import rows as rows
from jaxmnist.sweep.results import summary as summary
from jaxmnist.sweep.results import table as table
from jaxmnist.sweep.results import without_diverged
from jaxmnist.sweep.sharing import Meeting as Meeting
from jaxmnist.sweep.sharing import UnfinishedSweepError as UnfinishedSweepError
from jaxmnist.sweep.task_axes import TaskRun as TaskRun
from jaxmnist.sweep.task_axes import check_read, task_cells
from jaxmnist.tasks import Batch, Task
from jaxmnist.training import as_task, check_batches_fit, check_labels, split_pair


@locks.released_at_end()
def run(
    task: Config | Task,
    axes: Mapping[str, Any],
    data: Any,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    eval_batch_size: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    chunk: int | None = None,
    max_cells: int = _axes.MAX_CELLS,
    command: str = "jaxmnist.sweep.run",
    recorded: Mapping[str, Any] = MappingProxyType({}),
    on_chunk: Callable[[int, int], None] = lambda *_: None,
    meet: Callable[[], Meeting] | None = None,
) -> Sweep:
    """Train every combination of the axes' values.

    Args:
        task: A config, of which everything counts that is no axis, its `seed` and `learning_rate`
            too; or any task.
        axes: Lists of values by name. Of a config: optimizer, hidden, batch_size; seed;
            init_scale, which multiplies the initial parameters; learning_rate and the optimizer's
            other numbers, as `jaxmnist.default_hyper` names them. Of a task: seed, batch_size, and
            the names in ``task.hyper``.
        data: A `Dataset`, or a pair ``(train, test)`` of pytrees of arrays with a leading sample
            axis.
        epochs: For a task, as in `jaxmnist.make_train`.
        batch_size: For a task.
        eval_batch_size: For a task; by default ``batch_size``.
        seed: For a task whose seed is no axis.
        out: A folder in which every chunk's results are stored when it ends. A sweep that was
            stopped is resumed when it is run with the same folder again.
        chunk: Models trained in one call, at most; by default what the machine suggests.
        max_cells: The most combinations; more are refused before any is trained.
        command: What to write into the folder as the sweep's origin.
        recorded: What a task was built from by name, such as the SHA-256 of its file: it is
            written into the folder, and only a sweep with the same is resumed.
        on_chunk: Called with the finished and all cells, first before the first chunk.
        meet: Connects to other processes that call this with the same arguments and share the
            cells, such as `jaxmnist.distributed.meeting.meet` with an argument; ``out`` is on a
            disk that all of them share. It is called when the arguments are checked.

    Returns:
        The metrics of every cell. A run that diverges has none from that epoch on, and no other
        run is affected by it.

    Raises:
        InputError: An axis or a combination is impossible, the task ignores what is swept, or the
            folder has another sweep or another process is writing to it; or the processes that
            are to share the sweep differ.
        UnfinishedSweepError: Another process that shares the sweep stopped.

    >>> from jaxmnist import Dataset
    >>> images, labels = np.zeros((64, 28, 28), np.uint8), np.arange(64) % 10
    >>> blank = Dataset(images, labels, images, labels, num_classes=10, name="blank")
    >>> config = Config(hidden=(), epochs=2, eval_batch_size=64)
    >>> found = run(config, {"learning_rate": [0.0, 0.1], "seed": range(3)}, blank)
    >>> found.history.eval_loss.shape
    (6, 2)
    """
    classes = getattr(data, "num_classes", 10)
    parts = split_pair(data)
    if isinstance(task, Config):
        as_task(task, classes, epochs, batch_size, eval_batch_size)  # Refuses what a config has.
        check_labels(data, classes)
        checked = _axes.check_axes(axes, max_cells=max_cells)
        cells, fixed = _axes.cells(task, checked), task
    else:
        task, epochs, batches = as_task(task, classes, epochs, batch_size, eval_batch_size)
        one = TaskRun(seed, epochs, *batches)
        checked, cells = task_cells(task, one, axes, max_cells)
        fixed = {**one._asdict(), **task.hyper, **recorded}
    for cell in cells:
        check_batches_fit(cell.config, data)
    if isinstance(task, Task):
        batch = jax.tree.map(lambda leaf: leaf[: cells[0].config.batch_size], parts[0])
        check_read(task, set(checked) - set(TaskRun._fields), cells[0].hyper, batch)
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk is {chunk}; it must be at least 1")
    if meet is not None and out is None:
        raise InputError("processes share a sweep by its folder: give out")
    groups = _axes.groups(cells)
    # One process trains the cells in this order.
    order = [index for members in groups.values() for index in members]
    finished: dict[int, Any] = {}
    own, share = order, None
    if out is not None and meet is not None:
        done, share = sharing.enter(out, fixed, checked, data, command, order, meet())
        own, finished = share.cells[share.process], dict.fromkeys(done)
    elif out is not None:
        finished = folder.enter(out, fixed, checked, data, command)
    on_chunk(len(finished), len(cells))
    before = len(finished)
    todo = frozenset(own) - finished.keys()
    place = out if share is None else share.folder
    processes = 1 if share is None else len(share.folders)
    for new in _run_missing(task, cells, groups, todo, parts, classes, chunk, processes):
        finished |= new
        if place is not None:
            folder.append(place, new)
        on_chunk(len(finished), len(cells))
    if out is not None and share is not None:
        sharing.wait(share, lambda others: on_chunk(before + others, len(cells)))
        finished = sharing.collect(out, share, checked, folder.epochs_of(fixed))
    is_first = share is None or share.process == 0
    histories = [finished[index] for index in range(len(cells))]
    sweep = Sweep(checked, cells, jax.tree.map(lambda *runs: np.stack(runs), *histories))
    if out is not None and is_first:
        if list(finished) != order or share is not None:
            folder.rewrite(out, {index: finished[index] for index in order})
        folder.write_results(out, sweep)
        if share is not None:
            sharing.remove(out, share)
    return sweep


def _run_missing(
    task: Config | Task,
    cells: Sequence[Cell],
    groups: Mapping[Any, Sequence[int]],
    todo: Collection[int],
    parts: tuple[Batch, Batch],
    num_classes: int,
    chunk: int | None,
    processes: int,
) -> Iterator[dict[int, Any]]:
    """Run the cells of a process, group by group, and yield each chunk's histories."""
    parts = jax.tree.map(jnp.array, parts)
    for shared, members in groups.items():
        missing = [index for index in members if index in todo]
        if not missing:
            continue
        group = programs.group_of(task, shared, num_classes)
        hyper = cells[missing[0]].hyper
        plan = programs.plan(
            -(-len(members) // processes),
            jax.devices(),
            partial(programs.bytes_of_model, group, hyper, parts),
            chunk,
        )
        program = programs.program(group, plan.devices, plan.vectorized)
        data = programs.replicate(parts, plan.devices)
        for begin in range(0, len(missing), plan.chunk):
            indices = missing[begin : begin + plan.chunk]
            # The last cell again fills the chunk up: all chunks are the same program.
            filled = indices + indices[-1:] * (plan.chunk - len(indices))
            measured = program(
                programs.keys([cells[index].config.seed for index in filled]),
                programs.stack([cells[index].hyper for index in filled]),
                data,
            )
            kept = without_diverged(jax.tree.map(np.asarray, measured))
            yield {
                index: jax.tree.map(lambda values, row=row: values[row], kept)
                for row, index in enumerate(indices)
            }
