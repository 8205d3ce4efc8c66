"""One stretch of training a run: start or resume it, and record its epochs as they end."""

import functools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxmnist import locks, provenance, signals
from jaxmnist.config import Config
from jaxmnist.data import Dataset, PreparedSet, class_names, load_dataset
from jaxmnist.distributed import processes
from jaxmnist.errors import InputError
from jaxmnist.runs import checkpoints, digests, folder, machines, replacement, superseded
from jaxmnist.runs.names import NEW
from jaxmnist.runs.resumption import reopen, shown
from jaxmnist.runs.run import Run, about, from_about
from jaxmnist.runs.task_file import TaskFile
from jaxmnist.runs.weights import check_trains, sample
from jaxmnist.training import TrainState, check_batches_fit
from jaxmnist.training.state import Metered

Data = Any
"""A `Dataset`, data on disk, or a task's pair ``(train, test)``."""
Load = Callable[[str, str | None], Data]
"""``load(dataset, data_dir)`` of `jaxmnist.data`, such as `load_arrays` or `open_stream`."""


class Session(NamedTuple):
    """What to train from. Its process holds the folder's lock until `close` or its own end."""

    run: Run
    """The run, with its folder ready."""
    epoch: int
    """How many epochs are trained: the index of the next one."""
    state: TrainState | None
    """The state after them; None for the start, and in other processes than the first."""
    history: Metered | None
    """Their metrics; None for a new run, and in other processes than the first."""
    data: Data | None
    """The data; None if the run is finished, and was left as it is."""
    notes: tuple[str, ...] = ()
    """What is not as it was when the run was stopped, a line each."""

    def close(self) -> None:
        """Release the folder's lock, and remove a new run without a whole epoch beside an old."""
        locks.release(self.run.path)


def open_run(
    config: Config,
    dataset: str | None = "mnist",
    data_dir: str | None = None,
    *,
    checkpoint_every: int = 0,
    keep: int = 1,
    path: Path | None = None,
    overwrite: bool = False,
    resume: Path | None = None,
    options: Mapping[str, Any] | None = None,
    load: Load = load_dataset,
    task_file: TaskFile | None = None,
    accept_changed_task: bool = False,
    how: Mapping[str, Any] = MappingProxyType({}),
) -> Session:
    """Start a new run, or resume one from its newest whole checkpoint.

    Of several processes the first one alone reads and writes the folder; all return the same run.
    An old run that is to be overwritten stays until the new one's first epoch is recorded.

    Args:
        config: The new run's configuration.
        dataset: The new run's data set, as ``load`` takes it; None for a task's own.
        data_dir: The folder of prepared data sets; None for the default one.
        checkpoint_every: Epochs between checkpoints; 0 for none.
        keep: How many checkpoints to keep, the newest.
        path: The new run's folder; None for a new one under ``runs/``.
        overwrite: Whether a run in that folder may be replaced.
        resume: The folder of the run to resume; the arguments before it are not read.
        options: What was asked for of the run to resume, as `reopen` takes it.
        load: How to read the data.
        task_file: The task's file; None for the tutorial's task, or for that of the run to resume.
        accept_changed_task: Whether a run may be resumed with another text than it began with.
        how: For the record, what is not as `machines.HOW` has it: on how many ``devices`` and by
            how many ``processes`` the run is trained, and whether its data are a ``stream``.

    Returns:
        What to train from.

    Raises:
        InputError: The folder cannot be used, or another process holds it; a batch is larger than
            the data; the run cannot be resumed as asked for, or not with these data; or this
            process was started with other options or data than the first.
        LostProcessError: Another process is gone.
    """
    asked = {
        "--out": None if path is None else os.path.normpath(path),
        "--resume": None if resume is None else os.path.normpath(resume),
        "overwrite": overwrite,
        "the task's file": None if task_file is None else task_file.sha256,
        "accept_changed_task": accept_changed_task,
        **({} if task_file is None else task_file.options),
        **dict(options or {}),
        **{f"the version of {name}": text for name, text in provenance.versions().items()},
    }
    new = Run(
        path or _new_path(dataset, config.optimizer, task_file),
        *(config, 10, dataset, data_dir, checkpoint_every, keep, task_file),
    )
    if resume is None:
        asked |= about(new)["config"] | {"dataset": dataset, "data_dir": data_dir}
        asked |= {"checkpoint_every": checkpoint_every, "keep": keep}
    asked = json.loads(json.dumps(asked))
    opened: Session | None = None

    def begin() -> dict[str, Any]:
        nonlocal opened
        if resume is None:
            opened = _ready_to_start(new, overwrite, load, how)
        else:
            opened = _ready_to_resume(resume, options or {}, task_file, accept_changed_task, load)
        run = opened.run
        text = run.task_file.text if run.task_file else ""
        found = {"asked": asked, "finished": opened.data is None}
        return {"path": str(run.path), "text": text, **found, **about(run)}

    def write() -> dict[str, Any]:
        nonlocal opened
        assert opened is not None
        opened = _started(opened, overwrite) if resume is None else _resumed(opened, how)
        return {"epoch": opened.epoch}

    with locks.released_on_error():
        begun = processes.from_first(begin)
        is_first, objection = opened is not None, None
        if not is_first:
            opened, objection = _as_first(begun, asked, load)
        processes.agree(objection)
        if not begun["finished"]:
            epoch = processes.from_first(write)["epoch"]
            opened = opened if is_first else opened and opened._replace(epoch=epoch)
    assert opened is not None
    return opened


def _ready_to_start(run: Run, overwrite: bool, load: Load, how: Mapping[str, Any]) -> Session:
    """Read and check all that a new run needs; write nothing."""
    replacement.settle(run.path)
    if (run.path / locks.NAME).exists():  # Whoever is at it is named first.
        _lock(run.path)
    folder.check_free(run.path, overwrite)
    data = run.data(load)
    check_batches_fit(run.config, data)
    if run.task_file is None:
        run = replace(run, num_classes=data.num_classes)
    else:
        check_trains(run, data)  # A task that cannot be trained leaves no folder.
    digest, names = digests.of_data(data, run), _class_names(data, run)
    run = replace(run, data_sha256=digest, machines=(machines.here(0, how),), class_names=names)
    return Session(run, 0, None, None, data)


def _started(ready: Session, overwrite: bool) -> Session:
    path = ready.run.path
    with replacement.writing(path):
        path.mkdir(parents=True, exist_ok=True)
    _lock(path)
    folder.check_free(path, overwrite)  # Another process may have been faster.
    replacement.discard_new(path)
    folder.create(replacement.beside(ready.run) if replacement.has_run(path) else ready.run)
    return ready


def _ready_to_resume(
    path: Path,
    options: Mapping[str, Any],
    task_file: TaskFile | None,
    accept_changed_task: bool,
    load: Load,
) -> Session:
    """Read and check all that a resumed run needs, but its checkpoints; write nothing."""

    def finished(run: Run) -> Session:
        return Session(run, run.config.epochs, None, None, None)

    run = reopen(path, options, task_file, accept_changed_task)
    if folder.is_finished(run):
        return finished(run)
    _lock(path)
    run = reopen(path, options, task_file, accept_changed_task)  # Nobody writes to it from here on.
    if folder.is_finished(run):
        return finished(run)
    data = run.data(load)  # First: without its data the run stays as it is.
    digest = digests.of_data(data, run)
    if run.data_sha256 not in (None, digest):  # The first runs recorded none.
        raise InputError(
            f"the data have changed since the run in {path} began: {_source(run)} has the SHA-256 "
            f"{digest}, and {run.data_sha256} is recorded: restore them, or train again with "
            "--overwrite"
        )
    names = run.class_names or _class_names(data, run)  # Nor any names.
    return Session(replace(run, data_sha256=digest, class_names=names), 0, None, None, data)


def _class_names(data: Data, run: Run) -> tuple[str, ...]:
    """Return the names of the classes of what a run is trained on."""
    if run.dataset is None:
        return ()
    if isinstance(data, Dataset | PreparedSet):
        return data.class_names
    return class_names(run.dataset, run.data_dir)


def _resumed(ready: Session, how: Mapping[str, Any]) -> Session:
    notes: list[str] = []
    run, data = ready.run, ready.data
    replacement.discard_new(run.path)
    row = sample(data) if run.task_file else None
    found = checkpoints.rewind(run, row, notes.append, how)
    return Session(run, *found, data, tuple(notes))


def _as_first(
    begun: Mapping[str, Any], asked: Mapping[str, Any], load: Load
) -> tuple[Session | None, str | None]:
    """Return the first process's session, or what this process has against it."""
    there = begun.get("asked", {})
    for name in dict.fromkeys((*there, *asked)):
        if there.get(name) != asked.get(name):
            return None, (
                "was started with different options than process 0: "
                f"{name} is {shown(asked.get(name))}, and {shown(there.get(name))} in process 0"
            )
    run = from_about(Path(begun["path"]), dict(begun), begun.get("text", ""))
    if begun["finished"]:
        return Session(run, run.config.epochs, None, None, None), None
    try:
        data = run.data(load)
        digest = digests.of_data(data, run)
    except InputError as error:
        return None, f"has no such data as process 0: {error}"
    if digest != run.data_sha256:
        return None, (
            f"has other data than process 0: {_source(run)} has the SHA-256 {digest}, and "
            f"{run.data_sha256} in process 0"
        )
    return Session(run, 0, None, None, data), None


def _lock(path: Path) -> None:
    locks.take(path, functools.partial(shutil.rmtree, path / NEW, ignore_errors=True))


def _source(run: Run) -> str:
    return run.dataset or f"what data of {run.task_file.path if run.task_file else 'it'} returns"


def _new_path(dataset: str | None, optimizer: str, task_file: TaskFile | None) -> Path:
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    what = optimizer if task_file is None else Path(task_file.path).stem
    name = f"{what}-{moment}" if dataset is None else f"{Path(dataset).stem}-{what}-{moment}"
    return Path("runs", name.replace(":", "-"))


def record_epoch(run: Run, epoch: int, state: TrainState, metrics: Metered) -> None:
    """Write an epoch's metrics, model and, if it is due, checkpoint; signals wait for all of them.

    The first epoch of a run that overwrites another takes the other's place; and what a resumed
    run was further with is removed when it is as far again.

    Args:
        run: The run of a `Session`.
        epoch: The epoch's index, from 0.
        state: The state after it.
        metrics: Its metrics.

    Raises:
        InputError: The files cannot be written.
    """
    is_beside = (run.path / NEW).exists()
    place = replacement.beside(run) if is_beside else run
    with signals.held():
        folder.append_epoch(place, epoch, state.params, metrics, state.model_state)
        checkpoints.save_checkpoint(place, epoch, state)
        if is_beside:
            replacement.replace_old(run.path)
        superseded.drop(run, epoch + 1)
