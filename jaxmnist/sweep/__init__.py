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
resumed has the bits of the uninterrupted one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmnist.config import Config
from jaxmnist.data.dataset import Dataset
from jaxmnist.errors import InputError
from jaxmnist.sweep import axes as _axes
from jaxmnist.sweep import folder, programs
from jaxmnist.sweep.axes import AXIS_NAMES as AXIS_NAMES
from jaxmnist.sweep.axes import Cell as Cell
from jaxmnist.sweep.axes import parse as parse
from jaxmnist.sweep.results import Sweep as Sweep
from jaxmnist.sweep.results import rows as rows
from jaxmnist.sweep.results import summary as summary
from jaxmnist.sweep.results import table as table
from jaxmnist.sweep.results import without_diverged
from jaxmnist.training import History, check_batches_fit


def run(
    config: Config,
    axes: Mapping[str, Any],
    dataset: Dataset,
    *,
    out: Path | None = None,
    chunk: int | None = None,
    command: str = "jaxmnist.sweep.run",
    on_chunk: Callable[[int, int], None] = lambda *_: None,
) -> Sweep:
    """Train every combination of the axes' values.

    Args:
        config: Everything that is no axis; its `seed` and `learning_rate` count too.
        axes: Lists of values by name: optimizer, hidden, batch_size; seed; init_scale, which
            multiplies the initial parameters; learning_rate and the optimizer's other numbers, as
            in `jaxmnist.default_hyper`.
        dataset: The images.
        out: A folder that stores every chunk's results when it ends. A sweep that was stopped
            resumes when it is run with the same folder again.
        chunk: Models trained in one call, at most; by default what the machine suggests.
        command: The command to record in the folder.
        on_chunk: Called with the finished and all cells, first before the first chunk.

    Returns:
        The metrics of every cell. A run that diverges has none from that epoch on, and no other
        run is affected.

    Raises:
        InputError: An axis or a combination is impossible, or the folder has another sweep.

    >>> images, labels = np.zeros((64, 28, 28), np.uint8), np.arange(64) % 10
    >>> blank = Dataset(images, labels, images, labels, num_classes=10, name="blank")
    >>> config = Config(hidden=(), epochs=2, eval_batch_size=64)
    >>> found = run(config, {"learning_rate": [0.0, 0.1], "seed": range(3)}, blank)
    >>> found.history.eval_loss.shape
    (6, 2)
    """
    checked = _axes.check_axes(axes)
    cells = _axes.cells(config, checked)
    for cell in cells:
        check_batches_fit(cell.config, dataset)
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk is {chunk}; it must be a whole number of at least 1")
    finished: dict[int, History] = {}
    if out is not None:
        finished = folder.enter(out, config, checked, dataset, command)
    on_chunk(len(finished), len(cells))
    for new in _run_missing(cells, finished.keys(), dataset, chunk):
        finished |= new
        if out is not None:
            folder.append(out, new)
        on_chunk(len(finished), len(cells))
    histories = [finished[index] for index in range(len(cells))]
    sweep = Sweep(checked, cells, jax.tree.map(lambda *runs: np.stack(runs), *histories))
    if out is not None:
        folder.write_results(out, sweep)
    return sweep


def _run_missing(
    cells: Sequence[Cell], finished: Iterable[int], dataset: Dataset, chunk: int | None
) -> Iterator[dict[int, History]]:
    """Run what is not finished, group by group, and yield each chunk's histories."""
    done = frozenset(finished)
    arrays, samples = dataset.arrays(), len(dataset.train_labels)
    for config, members in _axes.groups(cells).items():
        missing = [index for index in members if index not in done]
        if not missing:
            continue
        plan = programs.plan(
            config, dataset.num_classes, samples, len(members), jax.devices(), chunk
        )
        program = programs.program(config, dataset.num_classes, plan.devices, plan.vectorized)
        data = programs.replicate(arrays, plan.devices)
        for start in range(0, len(missing), plan.chunk):
            indices = missing[start : start + plan.chunk]
            # The last cell again fills the chunk up: all chunks are the same program.
            filled = indices + indices[-1:] * (plan.chunk - len(indices))
            history = program(
                programs.keys([cells[index].config.seed for index in filled]),
                programs.stack([cells[index].hyper for index in filled]),
                data,
            )
            kept = without_diverged(jax.tree.map(np.asarray, history))
            yield {
                index: jax.tree.map(lambda values, row=row: values[row], kept)
                for row, index in enumerate(indices)
            }
