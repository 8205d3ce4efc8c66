"""One stretch of training a run: start or resume it, and record its epochs as they end."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from jaxmnist.config import Config
from jaxmnist.data import Dataset, load_dataset
from jaxmnist.data.tfds import PreparedSet
from jaxmnist.distributed import processes
from jaxmnist.errors import InputError
from jaxmnist.runs import checkpoints, folder
from jaxmnist.runs.run import Run, about, from_about
from jaxmnist.training import History, TrainState, check_batches_fit

Data = Dataset | PreparedSet
Load = Callable[[str, str | None], Data]
"""``load(dataset, data_dir)``: `load_dataset`, or `jaxmnist.data.open_stream`."""


class Session(NamedTuple):
    """What to train from."""

    run: Run
    """The run, with its folder ready."""
    epoch: int
    """How many epochs are trained: the index of the next one."""
    state: TrainState | None
    """The state after them; None for the start, and in other processes than the first."""
    history: History | None
    """Their metrics; None for a new run, and in other processes than the first."""
    data: Data | None
    """The images; None if the run is finished, and was left as it is."""


def open_run(
    config: Config,
    dataset: str = "mnist",
    data_dir: str | None = None,
    *,
    checkpoint_every: int = 0,
    keep: int = 1,
    path: Path | None = None,
    overwrite: bool = False,
    resume: Path | None = None,
    options: Mapping[str, Any] | None = None,
    load: Load = load_dataset,
) -> Session:
    """Start a new run, or resume one from its newest checkpoint.

    Of several processes the first one alone reads and writes the folder; all return the same run.

    Args:
        config: The new run's configuration.
        dataset: The new run's data set, as ``load`` takes it.
        data_dir: The folder of prepared data sets; None for the default one.
        checkpoint_every: Epochs between checkpoints; 0 for none.
        keep: How many checkpoints to keep, the newest.
        path: The new run's folder; None for a new one under ``runs/``.
        overwrite: Whether a run in that folder may be replaced.
        resume: The folder of the run to resume; the arguments before it are not read.
        options: What was asked for of the run to resume, as `reopen` takes it.
        load: How to read the images.

    Returns:
        What to train from.

    Raises:
        InputError: The folder cannot be used, a batch is larger than the data, or the run cannot
            be resumed as asked for.
        LostProcessError: Another process is gone.
    """

    def start() -> Session:
        place = path or _new_path(dataset, config.optimizer)
        folder.check_free(place, overwrite)
        data = load(dataset, data_dir)
        check_batches_fit(config, data)
        run = Run(place, config, data.num_classes, dataset, data_dir, checkpoint_every, keep)
        folder.create(run)
        return Session(run, 0, None, None, data)

    def go_on(old: Path) -> Session:
        run = reopen(old, options or {})
        if folder.is_finished(run):
            return Session(run, run.config.epochs, None, None, None)
        data = load(run.dataset, run.data_dir)  # First: without its images the run stays as it is.
        epoch, state, history = checkpoints.rewind(run)
        return Session(run, epoch, state, history, data)

    opened: Session | None = None

    def begin() -> dict[str, Any]:
        nonlocal opened
        opened = start() if resume is None else go_on(resume)
        found = {"epoch": opened.epoch, "finished": opened.data is None}
        return {"path": str(opened.run.path), **found, **about(opened.run)}

    begun = processes.from_first(begin)
    if opened is not None:
        return opened
    run = from_about(Path(begun["path"]), begun)
    if resume is None and run.config != config:
        raise InputError("this process was started with different options than process 0")
    data = None if begun["finished"] else load(run.dataset, run.data_dir)
    return Session(run, begun["epoch"], None, None, data)


def _new_path(dataset: str, optimizer: str) -> Path:
    moment = datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs", f"{Path(dataset).stem}-{optimizer}-{moment}".replace(":", "-"))


def reopen(path: Path, options: Mapping[str, Any]) -> Run:
    """Read a run that is to be resumed.

    Args:
        path: The run's folder.
        options: What was asked for, by the names of `Config`'s and `Run`'s fields: each as it is
            in the run, except that ``epochs`` may be more.

    Returns:
        The run as it is to be resumed.

    Raises:
        InputError: The folder holds no run, or an option differs from the run's.
    """
    run = folder.read(path)
    own = {**about(run), **asdict(run.config)}
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


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def record_epoch(run: Run, epoch: int, state: TrainState, metrics: History) -> None:
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
        folder.append_epoch(run, epoch, state.params, metrics)
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
