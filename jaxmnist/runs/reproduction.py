"""A run made again from its folder's record, and its numbers compared with the recorded ones.

The folder is only read. The run is made again in another one, by what trained it, and what is
written there is compared: every metric of every epoch, and the digest of the final weights.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax

from jaxmnist import training
from jaxmnist.atomic import read_whole
from jaxmnist.data import load_arrays, load_dataset, open_arrays, open_stream, stored_arrays
from jaxmnist.data.stream import Stream
from jaxmnist.distributed import data_parallel
from jaxmnist.errors import InputError
from jaxmnist.runs import digests
from jaxmnist.runs.folder import create, is_finished, read
from jaxmnist.runs.machines import HOW, differences, here
from jaxmnist.runs.metrics import read_metrics
from jaxmnist.runs.names import CONFIG, MODEL
from jaxmnist.runs.records import read_about
from jaxmnist.runs.run import Run
from jaxmnist.runs.session import record_epoch
from jaxmnist.runs.task_file import SIZES
from jaxmnist.runs.weights import check_model, recorded_models

_NOT_COMPARED: Final = ("epoch",)


class Compared(NamedTuple):
    """A metric of all epochs, or the weights, as recorded and as they came out again."""

    name: str
    recorded: Sequence[Any]
    """A value for each epoch; of the weights their one digest."""
    found: Sequence[Any]
    """The same; fewer, if the run diverged."""

    @property
    def first_different(self) -> int | None:
        """The index of the first value that is not the same; None if all are."""
        for index, value in enumerate(self.recorded):
            if index >= len(self.found) or not _is_same(value, self.found[index]):
                return index
        return None


class Reproduction(NamedTuple):
    """What came of making a run again."""

    epochs: int
    """How many were compared."""
    metrics: list[Compared]
    """Each metric."""
    weights: Compared
    """The final weights."""
    changes: list[str]
    """What is not as it was when the run was trained, a line each."""

    @property
    def first_different_epoch(self) -> int | None:
        """The first epoch with another metric; the number of epochs if only the weights differ."""
        found = [each.first_different for each in self.metrics]
        if self.weights.first_different is not None:
            found.append(self.epochs)
        return min((index for index in found if index is not None), default=None)


class _Part(NamedTuple):
    """Epochs that were trained in one way."""

    first: int
    devices: int
    stream: bool


def reproduce(
    path: Path, place: Path, on_epoch: Callable[[int, int], None] = lambda *_: None
) -> Reproduction:
    """Make a run again, as far as it was trained, and compare its numbers.

    Args:
        path: The run's folder, which is only read.
        place: An empty folder to make it in.
        on_epoch: Called after each epoch with the number of those that are done, and of all.

    Returns:
        What came of it.

    Raises:
        InputError: The folder holds no run, or a damaged one; it has no whole epoch; its data are
            missing or have changed; or its task's file was replaced while it was trained.
    """
    run = read(path)
    rows = read_metrics(run).rows
    if not rows:
        raise InputError(f"{path} has no whole epoch to compare; train it first")
    check_model(path)
    if run.task_file is not None and any(epochs for _, epochs in run.task_file.earlier):
        until = max(epochs for _, epochs in run.task_file.earlier)
        raise InputError(
            f"the first {until} epochs of {path} were trained with another text of "
            f"{run.task_file.path}, which is not kept: they cannot be made again"
        )
    parts, changes = _plan(run)
    again = replace(
        run,
        path=place,
        config=replace(run.config, epochs=len(rows)),
        checkpoint_every=0,
        machines=(),
    )
    create(again)
    _train(again, parts, lambda done: on_epoch(done, len(rows)))
    found = read_metrics(again).rows
    names = [name for name in rows[0] if name not in _NOT_COMPARED]
    metrics = [
        Compared(name, [row[name] for row in rows], [row.get(name) for row in found])
        for name in names
    ]
    weights = Compared("weights", [_digest(path)], [_digest(place)] if found else [])
    if not is_finished(run) and weights.recorded[0] in recorded_models(place).get(
        "model_sha256", []
    ):
        weights = weights._replace(found=weights.recorded)  # Of the epoch before the last.
    changes += [line for entry in _entries(run) for line in _changed(entry, run)]
    return Reproduction(len(rows), metrics, weights, list(dict.fromkeys(changes)))


def _plan(run: Run) -> tuple[list[_Part], list[str]]:
    """Return how the epochs were trained, as far as it can be done here, and what cannot be."""
    changes = []
    parts: list[_Part] = []
    for entry in run.machines or ({"epoch": 0},):
        how = {**HOW, **entry}
        devices, there = how["devices"], len(jax.devices())
        if type(devices) is not int or not 1 <= devices <= there:
            changes.append(f"it was trained on {devices} devices, and {there} are here")
            devices = 1
        part = _Part(entry["epoch"], devices, bool(how["stream"]))
        if not parts or parts[-1][1:] != part[1:]:
            parts.append(part)
    return [parts[0]._replace(first=0), *parts[1:]], changes


def _train(run: Run, parts: Sequence[_Part], on_epoch: Callable[[int], None]) -> None:
    """Train a run in parts, and record each epoch; a loss that diverges ends it early."""
    state = None
    ends = [*(part.first for part in parts[1:]), run.config.epochs]
    whole = run.config

    def record(index: int, reached: training.TrainState, metrics: Any) -> None:
        record_epoch(run, index, reached, metrics)
        on_epoch(index + 1)

    for part, end in zip(parts, ends, strict=True):
        if part.first >= (end := min(end, whole.epochs)):
            continue
        config = replace(whole, epochs=end)
        of_task = {name: getattr(config, name) for name in SIZES} if run.task_file else {}
        what = config if run.task_file is None else run.task
        start = {"state": state, "epoch": part.first, "on_epoch": record}
        data = _data(run, part.stream)
        try:
            if part.devices == 1:
                state, _ = training.fit(what, data, **of_task, **start)
            else:
                mesh = data_parallel.data_mesh(jax.devices()[: part.devices])
                state, _ = data_parallel.fit(what, data, mesh, **of_task, **start)
        except training.DivergedError:
            return


def _data(run: Run, stream: bool) -> Any:
    """Return what a run was trained on, and refuse other data."""
    if run.task_file is None:
        load: Callable[..., Any] = open_stream if stream else load_dataset
    else:
        load = open_arrays if stream else load_arrays
    data = run.data(load)
    if stream and not isinstance(data, Stream):
        data = stored_arrays(*training.split_pair(data))
    digest = digests.of_data(data, run)
    if run.data_sha256 not in (None, digest):
        raise InputError(
            f"the data have changed since the run was trained: {run.dataset or 'what data returns'}"
            f" has the SHA-256 {digest}, and {run.data_sha256} is recorded: restore them"
        )
    return data


def _entries(run: Run) -> list[Mapping[str, Any]]:
    """Return where a run was trained; of runs of earlier versions what else is recorded."""
    about = read_about(run.path / CONFIG)
    versions = about.get("versions")
    last = {name: about[name] for name in ("device", "xla_flags") if name in about}
    last |= versions if isinstance(versions, dict) else {}
    *others, newest = run.machines or ({"epoch": 0},)
    return [*others, {**last, **newest}]


def _changed(entry: Mapping[str, Any], run: Run) -> Iterator[str]:
    """Describe what is not here as it was recorded."""
    how = {name: entry[name] for name in HOW if name in entry}
    now = here(entry["epoch"], how)
    since = f", from epoch {entry['epoch']} on" if len(run.machines) > 1 else ""
    for name, before, after in differences(entry, now):
        yield f"{name}: {before} when it was trained{since}, {after} now"


def unrecorded(run: Run) -> list[str]:
    """Return what a run's record lacks of what versions of today record.

    Args:
        run: A run.

    Returns:
        Names as `jaxmnist.provenance.machine` has them, in words.
    """
    now = here(0, {})
    missing = {name for entry in _entries(run) for name in now if name not in entry}
    return [name.replace("_", " ") for name in now if name in missing]


def _digest(path: Path) -> str:
    return digests.of_bytes(read_whole(path / MODEL))


def _is_same(one: Any, other: Any) -> bool:
    both_nan = all(isinstance(value, float) and math.isnan(value) for value in (one, other))
    return one == other or both_nan
