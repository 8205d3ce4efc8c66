"""One stretch of training a run: start or resume it, and record its epochs as they end."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from jaxmnist.config import Config
from jaxmnist.data import load_dataset
from jaxmnist.distributed import processes
from jaxmnist.errors import InputError
from jaxmnist.runs import checkpoints, folder
from jaxmnist.runs.run import Run, about, from_about
from jaxmnist.runs.task_file import TaskFile, own_options
from jaxmnist.runs.weights import check_trains, sample
from jaxmnist.training import TrainState, check_batches_fit
from jaxmnist.training.state import Metered

Data = Any
"""A `Dataset`, data on disk, or a task's pair ``(train, test)``."""
Load = Callable[[str, str | None], Data]
"""``load(dataset, data_dir)`` of `jaxmnist.data`, such as `load_arrays` or `open_stream`."""


class Session(NamedTuple):
    """What to train from."""

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
) -> Session:
    """Start a new run, or resume one from its newest checkpoint.

    Of several processes the first one alone reads and writes the folder; all return the same run.

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

    Returns:
        What to train from.

    Raises:
        InputError: The folder cannot be used, a batch is larger than the data, or the run cannot
            be resumed as asked for.
        LostProcessError: Another process is gone.
    """

    def start() -> Session:
        place = path or _new_path(dataset, config.optimizer, task_file)
        folder.check_free(place, overwrite)
        run = Run(place, config, 10, dataset, data_dir, checkpoint_every, keep, task_file)
        data = run.data(load)
        check_batches_fit(config, data)
        if task_file is None:
            run = replace(run, num_classes=data.num_classes)
        else:
            check_trains(run, data)  # A task that cannot be trained leaves no folder.
        folder.create(run)
        return Session(run, 0, None, None, data)

    def go_on(old: Path) -> Session:
        run = reopen(old, options or {}, task_file, accept_changed_task)
        if folder.is_finished(run):
            return Session(run, run.config.epochs, None, None, None)
        data = run.data(load)  # First: without its data the run stays as it is.
        epoch, state, history = checkpoints.rewind(run, sample(data) if run.task_file else None)
        return Session(run, epoch, state, history, data)

    opened: Session | None = None

    def begin() -> dict[str, Any]:
        nonlocal opened
        opened = start() if resume is None else go_on(resume)
        found = {"epoch": opened.epoch, "finished": opened.data is None}
        text = opened.run.task_file.text if opened.run.task_file else ""
        return {"path": str(opened.run.path), "text": text, **found, **about(opened.run)}

    begun = processes.from_first(begin)
    if opened is not None:
        return opened
    run = from_about(Path(begun["path"]), begun, begun.get("text", ""))
    if resume is None and (run.config, run.task_file) != (config, task_file):
        raise InputError("this process was started with different options than process 0")
    data = None if begun["finished"] else run.data(load)
    return Session(run, begun["epoch"], None, None, data)


def _new_path(dataset: str | None, optimizer: str, task_file: TaskFile | None) -> Path:
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    what = optimizer if task_file is None else Path(task_file.path).stem
    name = f"{what}-{moment}" if dataset is None else f"{Path(dataset).stem}-{what}-{moment}"
    return Path("runs", name.replace(":", "-"))


def reopen(
    path: Path,
    options: Mapping[str, Any],
    task_file: TaskFile | None = None,
    accept_changed_task: bool = False,
) -> Run:
    """Read a run that is to be resumed.

    The text of the task's file that the run recorded is the truth: it is what a run is resumed
    with where the file is gone.

    Args:
        path: The run's folder.
        options: What was asked for, by the names of `Config`'s and `Run`'s fields and of the
            task's own: each as it is in the run, except that ``epochs`` may be more.
        task_file: The task's file, if one was given; otherwise the one that the run recorded, if
            it is still there.
        accept_changed_task: Whether the file may have another text than the run recorded, which
            is then taken.

    Returns:
        The run as it is to be resumed.

    Raises:
        InputError: The folder holds no run, or an option or the task's file differs from the
            run's.
    """
    run = folder.read(path)
    own = {**about(run), **asdict(run.config)}
    if run.task_file is not None:
        own |= run.task_file.options
        run = replace(run, task_file=_reopened(run, run.task_file, task_file, accept_changed_task))
    elif task_file is not None:
        raise InputError(
            f"the run in {path} is of the tutorial's task: omit {Path(task_file.path).name}"
        )
    for name, value in options.items():
        if name == "epochs" and value >= run.config.epochs:
            continue
        if value != own[name]:
            more = ", or more" if name == "epochs" else ""
            raise InputError(
                f"{name} is {_shown(value)}; the run in {path} has {_shown(own[name])}, and a "
                f"resumed run keeps that{more}: omit --{name.replace('_', '-')}"
            )
    return replace(run, config=replace(run.config, epochs=options.get("epochs", own["epochs"])))


def _reopened(run: Run, recorded: TaskFile, given: TaskFile | None, accept: bool) -> TaskFile:
    """Return the task's file that a run is resumed with: the recorded text, or an accepted one."""
    text, path = recorded.text, recorded.path
    if given is not None:
        text, path = given.text, given.path
    else:
        with contextlib.suppress(OSError, UnicodeDecodeError):  # A file that is gone.
            text = Path(path).read_text(encoding="utf-8")
    if text == recorded.text:
        return recorded
    copy = run.path / folder.TASK
    if not accept:
        raise InputError(
            f"{path} has changed since the run in {run.path} began; jaxmnist train {copy} --resume "
            f"{run.path} resumes with the recorded text, and --accept-changed-task with the new one"
        )
    changed = recorded.sha256, len(folder.read_metrics(run))
    file = replace(recorded, path=path, text=text, earlier=(*recorded.earlier, changed))
    # Fields that are new have their defaults.
    return replace(file, options=own_options(file.module, file.config(run.config)))


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def record_epoch(run: Run, epoch: int, state: TrainState, metrics: Metered) -> None:
    """Write an epoch's metrics, model and, if it is due, checkpoint; Ctrl-C waits for all of them.

    Args:
        run: The run of a `Session`.
        epoch: The epoch's index, from 0.
        state: The state after it.
        metrics: Its metrics.

    Raises:
        InputError: The files cannot be written.
    """
    with _uninterrupted():
        folder.append_epoch(run, epoch, state.params, metrics, state.model_state)
        checkpoints.save_checkpoint(run, epoch, state)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block."""
    interrupted = False

    def note(*_: object) -> None:
        nonlocal interrupted
        interrupted = True

    handler = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if interrupted:
        raise KeyboardInterrupt
