"""`jaxmnist train`: start or resume a run, show its epochs, and write its folder."""

import functools
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Suppress, arg

from jaxmnist import locks, signals
from jaxmnist.cli.console import fail, make_console, say, say_more
from jaxmnist.cli.epochs import standing, train_epochs
from jaxmnist.cli.joining import check_alone, check_given
from jaxmnist.cli.loading import begun, then_compile
from jaxmnist.cli.precision import in_its_precision
from jaxmnist.cli.recording import LogKind, check_installed, kinds_of, starting
from jaxmnist.config import Config
from jaxmnist.distributed import processes
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from jaxmnist.runs import Run, TaskFile
    from jaxmnist.runs.session import Data
    from jaxmnist.training import TrainState
    from jaxmnist.training.state import Metered


@in_its_precision
def train(
    config: Annotated[Config, arg(name="")],
    joining: Annotated[processes.Processes, arg(name="")],
    dataset: str = "mnist",
    data_dir: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    stream: bool = False,
    checkpoint_every: int = 5,
    keep: int = 2,
    resume: Path | None = None,
    devices: int = 1,
    distributed: bool = False,
    log: tuple[LogKind, ...] = (),
    profile: str | None = None,
    config_file: Annotated[Path | None, arg(name="config")] = None,
    given: Suppress[frozenset[str]] = frozenset(),
) -> None:
    """Train the network and write the run's folder; with a task's file, `train FILE`, that task.

    Args:
        config: The run.
        joining: With --distributed.
        dataset: mnist, a prepared set such as fashion_mnist, a folder of IDX files, or an .npz.
        data_dir: The folder of prepared sets, if not TFDS's own.
        out: The run's folder; by default a new one under runs/.
        overwrite: Replace the run in that folder.
        stream: Read the data from disk during training, with the same numbers; a few megabytes of
            them are in memory at a time. What the first epoch decodes is kept in the user's cache
            folder, up to --max-bytes, and read from there later.
        checkpoint_every: Epochs between checkpoints, which --resume needs; 0 for none.
        keep: How many checkpoints to keep, the newest.
        resume: The folder of a run that was stopped: resume it from its newest checkpoint, with
            more epochs if --epochs is larger. All other options come from the run.
        devices: How many of this machine's devices share every batch.
        distributed: Share every batch with other processes, started with the same options.
        log: Where to log every epoch too; a resumed run continues the logs that it has.
        profile: A folder for a trace of the first epoch that is trained, to be opened by xprof;
            without one, profile in the run's folder.
        config_file: The config.json of another run: its options, where none is on the command line.
        given: The options on the command line.
    """
    del config_file  # Its options are the defaults of this command by now.
    train_run(
        config,
        joining,
        None,
        given=given,
        dataset=dataset,
        data_dir=data_dir,
        out=out,
        overwrite=overwrite,
        stream=stream,
        checkpoint_every=checkpoint_every,
        keep=keep,
        resume=resume,
        devices=devices,
        distributed=distributed,
        log=log,
        profile=profile,
    )


@locks.released_at_end()
def train_run(
    config: Config,
    joining: processes.Processes,
    task_file: "TaskFile | None",
    *,
    given: frozenset[str],
    dataset: str | None,
    data_dir: str | None,
    out: Path | None,
    overwrite: bool,
    stream: bool,
    checkpoint_every: int,
    keep: int,
    resume: Path | None,
    devices: int,
    distributed: bool,
    log: tuple[LogKind, ...],
    profile: str | None,
    started: float | None = None,
    is_recorded: bool = False,
    accept_changed_task: bool = False,
) -> None:
    """Train the tutorial's task or that of a file; the options are those of `train`.

    Args:
        config: The run; with a file only its epochs, batch sizes and seed are read.
        joining: With ``distributed``.
        task_file: The task's file with its options; None for the tutorial's task.
        given: The options on the command line.
        dataset: None for a file with data of its own.
        data_dir: As in `train`; so are the following.
        out: As in `train`.
        overwrite: As in `train`.
        stream: As in `train`.
        checkpoint_every: As in `train`.
        keep: As in `train`.
        resume: As in `train`.
        devices: As in `train`.
        distributed: As in `train`.
        log: As in `train`.
        profile: As in `train`.
        started: The clock's time at the start, if the imports began before this call.
        is_recorded: Whether the file is the run's own record, and none was given.
        accept_changed_task: Resume with a file that has changed.

    Raises:
        InputError: The options contradict one another, or the run cannot be started or resumed.
    """
    started = time.perf_counter() if started is None else started
    _check_together(given, stream=stream, devices=devices, distributed=distributed, resume=resume)
    check_installed(log)
    on_abort = processes.hush() if distributed else None
    from jaxmnist.data import load_arrays, load_dataset, open_arrays, open_stream

    in_memory, on_disk = (
        (load_dataset, open_stream) if task_file is None else (load_arrays, open_arrays)
    )
    load = functools.cache(on_disk if stream else in_memory)
    if dataset == "mnist" and resume is None and not (stream or distributed):
        # Others may need imports, which two threads should not do at once.
        load = begun(load, dataset, data_dir)
    import jax
    import jax.numpy as jnp

    from jaxmnist import logs, runs
    from jaxmnist.training import by_name

    imported = time.perf_counter()
    options = {**vars(config), "dataset": dataset, "data_dir": data_dir}
    options |= {"checkpoint_every": checkpoint_every, "keep": keep}
    options |= task_file.options if task_file else {}
    options = {name: value for name, value in options.items() if name in given}
    file = None if is_recorded else task_file
    if distributed:
        new = runs.Run(
            out or Path(), config, 10, dataset, data_dir, checkpoint_every, keep, task_file
        )
        reopen = None
        if resume is not None:
            reopen = functools.partial(runs.reopen, resume, options, file, accept_changed_task)
        check_alone(joining, new, out, overwrite, reopen, load)
        processes.join(joining, on_abort)
    fit = _fit_on(None if distributed else devices)
    if devices == 1 and not distributed:
        load = then_compile(load)
    how = {"devices": devices, "stream": stream}
    if distributed:
        how |= {"devices": jax.device_count(), "processes": jax.process_count()}
    session = runs.open_run(
        config,
        dataset,
        data_dir,
        checkpoint_every=checkpoint_every,
        keep=keep,
        path=out,
        overwrite=overwrite,
        resume=resume,
        options=options,
        load=load,
        task_file=file,
        accept_changed_task=accept_changed_task,
        how=how,
    )
    session = session._replace(data=_stored(session.data)) if stream else session
    run, data, first = session.run, session.data, processes.is_first()
    screen = make_console(quiet=not first)
    if data is None:
        say(
            screen,
            f"{run.path} is finished: its {run.config.epochs} epochs are trained, and nothing was "
            "changed; to train it further, give a larger --epochs",
        )
        processes.leave()
        return
    if resume is not None:
        say(screen, f"resuming after epoch {session.epoch} of {run.config.epochs}")
        for note in session.notes:
            say(screen, note)
    resuming = _resuming(run, stream, devices, distributed)
    signals.report(f" {standing(session.epoch, run.config.epochs)}; {resuming}")
    for line in starting(session, stream):
        say_more(screen, line)
    trace = None if profile is None else Path(profile) if profile else run.path / "profile"
    with logs.opened(
        kinds_of(log, run, resume is not None, screen) if first else (),
        run.path,
        run.options,
        past=session.history,
        resumed=resume is not None,
        say=functools.partial(say, screen),
    ) as on_epoch:
        loaded = time.perf_counter()
        state, history, diverged, compiled = train_epochs(
            session, data, fit, screen, stream, resuming, on_epoch, trace if first else None
        )
    trained = time.perf_counter()

    if session.history is not None:
        past, new = by_name(session.history), by_name(history)
        joined = {name: jnp.append(past[name], values) for name, values in new.items()}
        history = type(history)(**joined)
    epochs = by_name(history)["eval_loss"].size
    if epochs:
        if first:
            _save_pictures(run, state, history, data)
        say(screen, _summary(history))
    say(
        screen,
        f"time: import {imported - started:.1f} s, load {loaded - imported:.1f} s, "
        f"compile {compiled - loaded:.1f} s, train {trained - compiled:.1f} s",
    )
    if epochs or not overwrite:
        say(screen, f"wrote: {run.path}")
    processes.leave()
    if diverged is not None:
        rate = (run.config.learning_rate or "the default") if task_file is None else "the present"
        fail(
            f"{diverged}; the {epochs} whole epochs before it are kept; "
            f"a learning rate below {rate} may help",
            status=1,
        )


def _check_together(
    given: frozenset[str], *, stream: bool, devices: int, distributed: bool, resume: Path | None
) -> None:
    """Refuse options that contradict one another."""
    check_given(given, distributed)
    if distributed and "devices" in given:
        raise InputError("--devices is for one process; --distributed takes all devices of each")
    if stream and (distributed or devices != 1):
        raise InputError("--stream is for one device: omit --devices and --distributed")
    if resume is not None and (contrary := sorted(given & {"out", "overwrite"})):
        raise InputError(f"--resume writes to {resume}: omit --{contrary[0]}")


def _fit_on(devices: int | None) -> "Callable[..., tuple[TrainState, Any]]":
    """Choose what runs the epochs: one device, several, or None for all of all processes."""
    import jax

    from jaxmnist import training
    from jaxmnist.distributed import data_parallel

    if devices == 1:
        return training.fit
    found = jax.devices()
    if devices is not None and not 1 <= devices <= len(found):
        raise InputError(
            f"devices is {devices}; this machine has {len(found)} ({found[0].platform}); "
            "XLA_FLAGS=--xla_force_host_platform_device_count=N makes N of a CPU"
        )
    return functools.partial(data_parallel.fit, mesh=data_parallel.data_mesh(found[:devices]))


def _resuming(run: "Run", stream: bool, devices: int, distributed: bool) -> str:
    """Say how to take up a run that a signal stopped."""
    if not run.checkpoint_every:
        return "it was started with --checkpoint-every 0 and cannot be resumed"
    words = ["jaxmnist", "train", "--resume", str(run.path)]
    words += ["--stream"] if stream else []
    words += ["--distributed"] if distributed else []
    words += ["--devices", str(devices)] if devices != 1 else []
    return f"to continue: {shlex.join(words)}"


def _stored(data: "Data | None") -> "Data | None":
    """Return data to be read piece by piece; those of a task's own file are arrays."""
    from jaxmnist.data import stored_arrays
    from jaxmnist.data.stream import Stream
    from jaxmnist.training import split_pair

    return data if data is None or isinstance(data, Stream) else stored_arrays(*split_pair(data))


def _save_pictures(run: "Run", state: "TrainState", history: "Metered", data: "Data") -> None:
    from jaxmnist.data import PreparedSet
    from jaxmnist.data.stream import Stream, head, read_rows
    from jaxmnist.runs import pictures
    from jaxmnist.training import History, split_pair

    count = run.config.eval_batch_size
    if run.task_file is None:
        assert isinstance(history, History)
        shown = head(data, count) if isinstance(data, PreparedSet) else data
        pictures.save_pictures(run, state.params, history, shown)
    else:
        on_disk = isinstance(data, Stream)
        test = read_rows(data, "test", range(count)) if on_disk else split_pair(data)[1]
        pictures.save_task_pictures(run, state.model, history, test)


def _summary(history: "Metered") -> str:
    import numpy as np

    from jaxmnist.training import History

    if isinstance(history, History):
        # `argmax` alone takes a NaN for the largest.
        best = int(np.nan_to_num(history.eval_accuracy, nan=-1.0).argmax())
        return (
            f"final: eval accuracy {history.eval_accuracy[-1]:.4f} "
            f"(best {history.eval_accuracy[best]:.4f}, epoch {best}), "
            f"eval loss {history.eval_loss[-1]:.4f}, train loss {history.train_loss[-1]:.4f}"
        )
    losses = history["eval_loss"]
    best = int(np.nan_to_num(losses, nan=np.inf).argmin())
    return (
        f"final: eval_loss {losses[-1]:.6f} (best {losses[best]:.6f}, epoch {best}), "
        f"train_loss {history['train_loss'][-1]:.6f}"
    )
