"""The epochs of `jaxmnist train`: each is recorded and printed, and a signal ends the last one."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxmnist import signals
from jaxmnist.cli.console import progress, say, say_more
from jaxmnist.config import Config
from jaxmnist.distributed import processes
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from jaxmnist.runs import Run, Session
    from jaxmnist.runs.session import Data
    from jaxmnist.training import DivergedError, OnEpoch, TrainState
    from jaxmnist.training.state import Metered

EPOCH_LINE = "epoch: {}, Train Loss: {:.6f}, Train Acc: {:.6f}, Eval Loss: {:.6f}, Eval Acc: {:.6f}"
"""The tutorial's line (row D9)."""


def train_epochs(
    session: "Session",
    data: "Data",
    fit: "Callable[..., tuple[TrainState, Any]]",
    screen: "Console",
    stream: bool,
    resuming: str,
    log: "OnEpoch",
    profile: Path | None,
) -> "tuple[TrainState, Any, DivergedError | None, float]":
    """Train the session's epochs, record and print each; say what stopped them, if they diverged.

    From the first epoch on a signal waits for the epoch's end, whose state becomes a checkpoint.

    Args:
        session: What to train from.
        data: Its data.
        fit: What trains, with the arguments of `jaxmnist.fit`.
        screen: Where to print.
        stream: Whether the data are read from disk, and an epoch's progress can be shown.
        resuming: What a stopped run's line says of how to continue.
        log: Called after each epoch that is recorded.
        profile: A folder for a trace of the first of them, or None.

    Returns:
        The state, the history, the error if the loss diverged, and the time at which the program
        was compiled.

    Raises:
        Stopped: A signal arrived, here or in another process of the run.
    """
    from jaxmnist import runs
    from jaxmnist.training import DivergedError, sizes

    run, done = session.run, session.epoch
    samples, _ = sizes(data)
    compiled = time.perf_counter()
    what, kind = (run.config, "images") if run.task_file is None else (run.task, "samples")
    of_task = {} if run.task_file is None else _sizes_of(run.config)
    with (
        progress(screen, "compiling") as (bar, task),
        contextlib.ExitStack() as holding,
        contextlib.ExitStack() as tracing,
    ):
        clock = compiled

        def on_compiled() -> None:
            nonlocal compiled, clock
            holding.enter_context(signals.held())
            compiled = clock = time.perf_counter()
            if profile is not None:
                tracing.enter_context(traced(profile))
            bar.reset(task, total=run.config.epochs, completed=done, description="training")

        def on_progress(epochs: float) -> None:
            rate = (epochs - done) * samples / (time.perf_counter() - compiled)
            bar.update(task, completed=epochs, rate=f"{rate:,.0f} {kind}/s")

        def on_epoch(index: int, state: "TrainState", metrics: "Metered") -> None:
            nonlocal clock
            tracing.close()
            seconds = time.perf_counter() - clock
            if processes.is_first():
                runs.record_epoch(run, index, state, metrics)
                log(index, state, metrics)
            clock = time.perf_counter()
            signals.report(f" {standing(index + 1, run.config.epochs)}; {resuming}")
            on_progress(index + 1.0)
            say(screen, _epoch_line(index, metrics))
            say_more(screen, lambda: f"epoch {index} took {seconds:.3f} s{_saved(run, index)}")
            if number := processes.largest(signals.received()):
                if processes.is_first():
                    _save_now(run, index, state)
                processes.leave()
                raise signals.Stopped(number)

        try:
            state, history = fit(
                what,
                data,
                **of_task,
                state=session.state,
                epoch=done,
                on_compiled=on_compiled,
                on_epoch=on_epoch,
                **({"on_progress": on_progress} if stream else {}),
            )
        except DivergedError as error:
            return error.state, error.history, error, compiled
    return state, history, None, compiled


@contextlib.contextmanager
def traced(folder: Path) -> Iterator[None]:
    """Write a trace of the block for xprof, TensorBoard's profile page and Perfetto.

    Args:
        folder: Where to; it is made.

    Raises:
        InputError: It cannot be written.
    """
    import jax

    try:
        folder.mkdir(parents=True, exist_ok=True)
        jax.profiler.start_trace(str(folder))
    except OSError as error:
        raise InputError(f"cannot write a trace to {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        jax.profiler.stop_trace()


def _saved(run: "Run", index: int) -> str:
    place = run.path / "checkpoints" / str(index + 1)
    return f"; its checkpoint: {place}" if place.exists() else ""


def standing(done: int, epochs: int) -> str:
    """Say how far a run is.

    Args:
        done: How many epochs are trained.
        epochs: How many there are.

    >>> standing(3, 20), standing(0, 20)
    ('after epoch 3 of 20', 'before the first of 20 epochs was over')
    """
    return (
        f"after epoch {done} of {epochs}"
        if done
        else f"before the first of {epochs} epochs was over"
    )


def _save_now(run: "Run", index: int, state: "TrainState") -> None:
    """Save the state after an epoch whose checkpoint is not due, in a run that has checkpoints."""
    from jaxmnist import runs

    written = run.path / "checkpoints" / str(index + 1)
    if run.checkpoint_every and not written.exists():
        runs.save_checkpoint(replace(run, checkpoint_every=1), index, state)


def _sizes_of(config: Config) -> dict[str, int]:
    names = ("epochs", "batch_size", "eval_batch_size", "seed")
    return {name: getattr(config, name) for name in names}


def _epoch_line(index: int, metrics: "Metered") -> str:
    """Return the tutorial's line, or a task's metrics by name, without their per-sample twins."""
    from jaxmnist.training import History, by_name

    if isinstance(metrics, History):
        return EPOCH_LINE.format(index, *map(float, metrics[:4]))
    values = by_name(metrics)
    names = [name for name in values if not name.endswith("_per_sample")]
    names.sort(key=lambda name: (name.startswith("eval_"), not name.endswith("_loss")))
    return ", ".join([f"epoch: {index}", *(f"{name}: {float(values[name]):.6f}" for name in names)])
