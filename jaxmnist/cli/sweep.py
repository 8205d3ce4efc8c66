"""`jaxmnist sweep`: train every combination of values, tabulate and draw the results."""

import contextlib
import functools
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Suppress, arg

from jaxmnist import signals
from jaxmnist.cli.console import fail, make_console, progress, say
from jaxmnist.cli.joining import check_given
from jaxmnist.cli.precision import in_its_precision
from jaxmnist.config import Config
from jaxmnist.conventions import HYPERPARAMETERS, NAMES, describe
from jaxmnist.distributed.processes import Processes

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from jaxmnist.tasks import Task


def _axes() -> Iterator[tuple[str, str, str]]:
    """Name, metavar and help of everything that a sweep may vary, in the order of its options."""
    yield "optimizer", "NAMES", f"Names of optimizers ({', '.join(NAMES)}); by default sgd."
    yield "hidden", "VALUES", "Sizes of the hidden layers, such as 256-128-64-20 64-64 none."
    yield "batch_size", "VALUES", "Images in a training batch."
    yield (
        "seed",
        "VALUES",
        "Such as 0..3; tables and pictures show the seeds' medians and interquartile means.",
    )
    learning_rate, *others = HYPERPARAMETERS
    yield learning_rate, "VALUES", describe(learning_rate)
    yield "init_scale", "VALUES", "Factors of the initial parameters."
    for name in others:
        yield name, "VALUES", describe(name)


class SweepAxes(
    make_dataclass(
        "Axes",
        [
            # Names, or numbers and ranges as `jaxmnist.sweep.parse` reads them.
            (
                name,
                Annotated[tuple[str, ...], arg(metavar=metavar, help=text, help_behavior_hint="")],
                (),
            )
            for name, metavar, text in _axes()
        ],
        frozen=True,
    )
):
    """The values to combine; an option that is not given is as in `train`."""


def with_one_device_per_core(command: Callable[..., None]) -> Callable[..., None]:
    """Run a command after `make_cores_devices`."""

    @functools.wraps(command)
    def run_command(*args: Any, **kwargs: Any) -> None:
        make_cores_devices()
        return command(*args, **kwargs)

    return run_command


def make_cores_devices() -> None:
    """Make every core a device with one thread, unless JAX has started or is told otherwise."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "jax" not in sys.modules and "device_count" not in flags:
        from jaxmnist.provenance import cores

        own = f"--xla_force_host_platform_device_count={cores()}"
        os.environ["XLA_FLAGS"] = f"{flags} {own} --xla_cpu_multi_thread_eigen=false".strip()


@with_one_device_per_core
@in_its_precision
def sweep(
    axes: Annotated[SweepAxes, arg(name="")],
    joining: Annotated[Processes, arg(name="")],
    *,
    epochs: int = 20,
    eval_batch_size: int = 128,
    convention: str = "document",
    dtype: str = "float32",
    dataset: str = "mnist",
    data_dir: str | None = None,
    max_cells: int = 100_000,
    distributed: bool = False,
    out: Path,
    given: Suppress[frozenset[str]] = frozenset(),
) -> None:
    """Train every combination of values, and tabulate and draw them; `sweep FILE` for any task.

    A value is a number (0.1), or a range that includes both ends: 0..3 whole numbers, 0..1:5 five
    numbers at equal distances, 1e-3..1:log12 twelve at equal ratios. A sweep that was stopped
    resumes where it was when the same command is given again.

    Args:
        axes: The values that the runs differ in.
        joining: With --distributed.
        epochs: Passes over the training images.
        eval_batch_size: Images in a test batch.
        convention: Whose arithmetic and defaults: document (the tutorial's), pytorch or optax.
        dtype: float32 or float64; or bfloat16 for the layers alone, as in `train`.
        dataset: As `train --dataset` takes it.
        data_dir: The folder of prepared sets, if not TFDS's own.
        max_cells: The most runs of a sweep; more are refused before any is trained.
        distributed: Share the runs among processes, started with the same options; the same
            command trains those of a process that is lost.
        out: The sweep's folder; with --distributed on a disk that all processes share.
        given: The options on the command line.
    """
    check_given(given, distributed)
    config = Config(
        epochs=epochs, eval_batch_size=eval_batch_size, convention=convention, dtype=dtype
    )
    from jaxmnist import sweep as sweeping
    from jaxmnist.data import load_dataset

    words = {name: chosen for name, chosen in asdict(axes).items() if chosen}
    values = {name: sweeping.parse(name, chosen) for name, chosen in words.items()}
    fixed = {
        "epochs": epochs,
        "eval_batch_size": eval_batch_size,
        "convention": convention,
        "dtype": dtype,
        "dataset": dataset,
        **({} if data_dir is None else {"data_dir": data_dir}),
        "out": out,
    }
    command = ["jaxmnist", "sweep"]
    for name, chosen in (*words.items(), *((name, (value,)) for name, value in fixed.items())):
        command += ["--" + name.replace("_", "-"), *map(str, chosen)]
    images = load_dataset(dataset, data_dir)
    run_sweep(
        config,
        values,
        images,
        out,
        joining=joining if distributed else None,
        command=shlex.join(command),
        max_cells=max_cells,
    )


def run_sweep(
    task: "Config | Task",
    values: Mapping[str, Any],
    data: Any,
    out: Path,
    text: str | None = None,
    joining: Processes | None = None,
    **settings: Any,
) -> None:
    """Run a sweep of the tutorial's task or of another, and show what it found.

    Args:
        task: As `jaxmnist.sweep.run` takes it; so are the next two.
        values: The axes.
        data: What is trained on.
        out: The sweep's folder.
        text: Of the task's file, to be kept in the folder.
        joining: How to find the processes that share the sweep; None for one process.
        settings: More arguments of `jaxmnist.sweep.run`.
    """
    from rich.markup import escape
    from rich.table import Table

    from jaxmnist import plots
    from jaxmnist import sweep as sweeping
    from jaxmnist.atomic import write_whole
    from jaxmnist.distributed import meeting
    from jaxmnist.plots.save import write_picture
    from jaxmnist.training import by_name

    started = time.perf_counter()
    screen = make_console()
    finished: list[int] = []
    bars: list[tuple[Progress, TaskID]] = []
    signals.report("; the runs that are finished are kept, and the same command trains the others")
    index = 0

    def meet() -> meeting.Meeting:
        nonlocal index
        assert joining is not None
        met = meeting.meet(joining)
        index = met.index
        screen.quiet |= index > 0
        return met

    def begin(done: int, total: int) -> None:
        if text is not None and index == 0:
            write_whole(out / "task.py", text.encode())
        if done:
            say(screen, f"{done} of {total} runs were finished before")

    try:
        # The bar is shown once this process knows whether it is the one that prints.
        with contextlib.ExitStack() as shown:

            def on_chunk(done: int, total: int) -> None:
                if not finished:
                    begin(done, total)
                    bars.append(shown.enter_context(progress(screen, "training")))
                    bars[0][0].reset(bars[0][1], total=total)
                finished.append(done)
                bars[0][0].update(bars[0][1], completed=done)

            how = {"on_chunk": on_chunk, "meet": None if joining is None else meet}
            found = sweeping.run(task, values, data, out=out, **how, **settings)
    except sweeping.UnfinishedSweepError as error:
        fail(str(error), status=1)
    if index > 0:
        return
    seconds = time.perf_counter() - started

    summary, metrics = sweeping.summary(found), by_name(found.history)
    head, *lines = sweeping.table(summary)
    epochs = len(metrics["eval_loss"][0])
    table = Table(*head, title=escape(f"After {epochs} epochs: {sweeping.LEGEND}"))
    for line in lines:
        table.add_row(*map(escape, line))  # "[inf, inf]" is no style.
    screen.print(table)
    drawn = {"eval_accuracy", "train_accuracy"}
    if not drawn <= metrics.keys():
        say(screen, "no picture: it shows accuracies, and the task has no metric named accuracy")
    elif sum(name != "seed" for name in values) > 2:
        say(screen, "no picture: it has room for two axes besides the seed")
    else:
        with plots.theme("light"):
            write_picture(plots.sweep(summary, metrics), out / "sweep.png")
        with plots.theme("dark"):
            figure = plots.sweep(summary, metrics)
            write_picture(figure, out / "sweep-dark.png")
    say(
        screen,
        f"{len(found.cells)} runs, {int((found.diverged >= 0).sum())} diverged; "
        f"trained {len(found.cells) - finished[0]} in {seconds:.1f} s",
    )
    say(screen, f"wrote: {out}")
