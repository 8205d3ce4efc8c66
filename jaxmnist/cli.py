"""The commands: parse, call, print. What they do is decided elsewhere.

JAX, TensorFlow Datasets and matplotlib are imported inside the commands, so that `--help` and a
mistyped option answer at once.
"""

import contextlib
import functools
import inspect
import io
import json
import os
import re
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, make_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, Suppress, arg
from tyro.extras import SubcommandApp

from jaxmnist.config import Config
from jaxmnist.conventions import HYPERPARAMETERS, NAMES, check_arguments, describe
from jaxmnist.distributed import processes
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from jaxmnist.training import History, TrainState

EPOCH_LINE = "epoch: {}, Train Loss: {:.6f}, Train Acc: {:.6f}, Eval Loss: {:.6f}, Eval Acc: {:.6f}"
"""The document's line (row D9)."""


def _axes() -> Iterator[tuple[str, str, str]]:
    """Name, metavar and help of everything that a sweep may vary, in the order of its options."""
    yield "optimizer", "NAMES", f"Names of optimizers ({', '.join(NAMES)}); by default sgd."
    yield "hidden", "VALUES", "Sizes of the hidden layers, such as 256-128-64-20 64-64 none."
    yield "batch_size", "VALUES", "Images in a training batch."
    yield "seed", "VALUES", "Such as 0..3; tables and pictures average over the seeds."
    learning_rate, *others = HYPERPARAMETERS
    yield learning_rate, "VALUES", describe(learning_rate)
    yield "init_scale", "VALUES", "What multiplies the initial parameters."
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
    """What may differ between the runs of a sweep; what is not given is as in `train`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit with 1 if a run failed and with 2 on a person's mistake.

    Args:
        arguments: The command line without the program's name; None takes the process's own.
    """
    try:
        _parse(arguments)()
    except InputError as error:
        _fail(str(error))
    except processes.LostProcessError as error:
        _fail(str(error), status=1)
    except KeyboardInterrupt:
        _exit(130)
    except Exception:
        if processes.joined():
            traceback.print_exc()
            _exit(1)
        raise


def _in_its_precision(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command on a run in float64 have JAX's 64-bit numbers, which are off by default."""

    @functools.wraps(command)
    def run_command(*args: Any, **kwargs: Any) -> None:
        bound = inspect.signature(command).bind(*args, **kwargs)
        bound.apply_defaults()
        if _dtype_of(bound.arguments) != "float64":
            return command(*args, **kwargs)
        import jax

        with jax.enable_x64(True):
            return command(*args, **kwargs)

    return run_command


def _dtype_of(given: Mapping[str, Any]) -> Any:
    """Look up a command's dtype; what is wrong with its run is for the run's reader to say."""
    run = given.get("resume") or given.get("run")
    if run is None:
        return given["dtype"] if "dtype" in given else given["config"].dtype
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return json.loads((run / "config.json").read_text())["config"]["dtype"]


def _with_one_device_per_core(command: Callable[..., None]) -> Callable[..., None]:
    """Make every core a device with one thread, unless JAX has started or is told otherwise."""

    @functools.wraps(command)
    def run_command(*args: Any, **kwargs: Any) -> None:
        flags = os.environ.get("XLA_FLAGS", "")
        if "jax" not in sys.modules and "device_count" not in flags:
            affinity = getattr(os, "sched_getaffinity", None)
            cores = len(affinity(0)) if affinity else os.cpu_count()
            own = f"--xla_force_host_platform_device_count={cores}"
            os.environ["XLA_FLAGS"] = f"{flags} {own} --xla_cpu_multi_thread_eigen=false".strip()
        return command(*args, **kwargs)

    return run_command


@_in_its_precision
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
    given: Suppress[frozenset[str]] = frozenset(),
) -> None:
    """Train the network and write the run's folder.

    Args:
        config: The run.
        joining: With --distributed.
        dataset: mnist, a prepared set such as fashion_mnist, a folder of IDX files, or an .npz.
        data_dir: Where prepared sets lie, if not in TFDS's own folder.
        out: The run's folder; by default a new one under runs/.
        overwrite: Replace the run that the folder holds.
        stream: Read a prepared set from disk while it is trained on, with the same numbers; a few
            megabytes of its images are in memory at a time.
        checkpoint_every: Epochs between checkpoints, which --resume needs; 0 for none.
        keep: How many checkpoints to keep, the newest.
        resume: The folder of a run that was stopped: go on from its newest checkpoint, to more
            epochs if --epochs says so. All else comes from the run.
        devices: How many of this machine's devices share every batch.
        distributed: Share every batch with other processes, started with the same options.
        given: Which options the command line has.
    """
    started = time.perf_counter()
    if distributed:
        processes.join(joining, on_abort=processes.hush())
    elif alone := sorted(given & {field.name for field in fields(joining)}):
        raise InputError(f"--{alone[0].replace('_', '-')} is for --distributed")
    if distributed and "devices" in given:
        raise InputError("--devices is for one process; --distributed takes all devices of each")
    if stream and (distributed or devices != 1):
        raise InputError("--stream is for one device: leave --devices and --distributed away")
    if resume is not None and (moved := sorted(given & {"out", "overwrite"})):
        raise InputError(f"--resume goes on in {resume}: leave --{moved[0]} away")
    import jax
    import jax.numpy as jnp

    from jaxmnist import runs
    from jaxmnist.data import Dataset, load_dataset, open_stream
    from jaxmnist.data.stream import head
    from jaxmnist.training import DivergedError, check_batches_fit, sizes

    imported = time.perf_counter()
    fit = _fit_on(None if distributed else devices)
    load = open_stream if stream else load_dataset
    images, state, past = None, None, None

    def begin() -> dict[str, Any]:
        """Make the new run's folder, or bring the old one's back to its newest checkpoint."""
        nonlocal images, state, past
        if resume is None:
            moment = datetime.now().strftime("%Y%m%d-%H%M%S")
            name = f"{Path(dataset).stem}-{config.optimizer}-{moment}".replace(":", "-")
            place = out or Path("runs", name)
            runs.check_free(place, overwrite)
            images = load(dataset, data_dir)
            check_batches_fit(config, images)
            classes = images.num_classes
            run = runs.Run(place, config, classes, dataset, data_dir, checkpoint_every, keep)
            runs.create(run)
            return {"path": str(place), "epoch": 0, **runs.about(run)}
        values = {**vars(config), "dataset": dataset, "data_dir": data_dir}
        values |= {"checkpoint_every": checkpoint_every, "keep": keep}
        run = runs.reopen(resume, {name: values[name] for name in values if name in given})
        epoch = None
        if not runs.is_finished(run):
            epoch, state, past = runs.rewind(run)
        return {"path": str(resume), "epoch": epoch, **runs.about(run)}

    begun = processes.from_first(begin)
    run, epoch = runs.from_about(Path(begun["path"]), begun), begun["epoch"]
    first = processes.is_first()
    console = _console(quiet=not first)
    if epoch is None:
        _say(
            console,
            f"{run.path} is finished: its {run.config.epochs} epochs are trained, and nothing was "
            "changed; a larger --epochs goes on",
        )
        processes.leave()
        return
    if resume is None and run.config != config:
        raise InputError("this process was given other options than process 0")
    if images is None:
        images = load(run.dataset, run.data_dir)
    samples, _ = sizes(images)
    if resume is not None:
        _say(console, f"going on after {epoch} of {run.config.epochs} epochs")
    loaded = compiled = time.perf_counter()

    with _progress(console, "compiling") as (progress, task):

        def on_compiled() -> None:
            nonlocal compiled
            compiled = time.perf_counter()
            progress.reset(task, total=run.config.epochs, completed=epoch, description="training")

        def on_progress(epochs: float) -> None:
            rate = (epochs - epoch) * samples / (time.perf_counter() - compiled)
            progress.update(task, completed=epochs, rate=f"{rate:,.0f} images/s")

        def on_epoch(index: int, state: "TrainState", figures: "History") -> None:
            if first:
                with _uninterrupted():
                    runs.append_epoch(run, index, state.params, figures)
                    runs.save_checkpoint(run, index, state)
            on_progress(index + 1.0)
            _say(console, EPOCH_LINE.format(index, *map(float, figures[:4])))

        try:
            state, history = fit(
                run.config,
                images,
                state=state,
                epoch=epoch,
                on_compiled=on_compiled,
                on_epoch=on_epoch,
                **({"on_progress": on_progress} if stream else {}),
            )
            diverged = None
        except DivergedError as error:
            state, history, diverged = error.state, error.history, error
    trained = time.perf_counter()

    if past is not None:
        history = jax.tree.map(jnp.append, past, history)
    epochs = history.eval_accuracy.size
    if epochs:
        shown = images if isinstance(images, Dataset) else head(images, run.config.eval_batch_size)
        if first:
            runs.save_pictures(run, state.params, history, shown)
        best = int(history.eval_accuracy.argmax())
        _say(
            console,
            f"final: eval accuracy {history.eval_accuracy[-1]:.4f} "
            f"(best {history.eval_accuracy[best]:.4f}, epoch {best}), "
            f"eval loss {history.eval_loss[-1]:.4f}, train loss {history.train_loss[-1]:.4f}",
        )
    _say(
        console,
        f"time: import {imported - started:.1f} s, load {loaded - imported:.1f} s, "
        f"compile {compiled - loaded:.1f} s, train {trained - compiled:.1f} s",
    )
    _say(console, f"wrote: {run.path}")
    processes.leave()
    if diverged is not None:
        _fail(
            f"{diverged}; the {epochs} whole epochs before it are kept; "
            f"a learning rate below {run.config.learning_rate or 'the default'} may help",
            status=1,
        )


@_in_its_precision
def predict(
    run: Positional[Path],
    indices: tuple[int, ...] = (),
    images: tuple[Path, ...] = (),
) -> None:
    """Say what a trained network sees in test images or in pictures of your own.

    Args:
        run: The folder of a run.
        indices: Which test images of the run's data set, from 0.
        images: Pictures of one digit each, dark on light or light on dark, of any size.
    """
    if not indices and not images:
        raise InputError("nothing to predict: give --indices 0 1 2 or --images FILE ...")
    import jax.numpy as jnp
    import numpy as np
    from rich.table import Table
    from rich.text import Text

    from jaxmnist import runs, training
    from jaxmnist.data import load_dataset
    from jaxmnist.data.pictures import read_digit

    trained, params = runs.load(run)
    names, labels, inputs = [], [], []
    if indices:
        dataset = load_dataset(trained.dataset, trained.data_dir)
        count = len(dataset.test_labels)
        for index in indices:
            if not 0 <= index < count:
                raise InputError(
                    f"there is no test image {index}; indices go from 0 to {count - 1}"
                )
            names.append(f"test image {index}")
            labels.append(str(dataset.test_labels[index]))
            inputs.append(dataset.test_images[index])
    for path in images:
        names.append(str(path))
        labels.append("")
        inputs.append(read_digit(path))

    batch = jnp.asarray(np.stack(inputs))
    probabilities = training.predict(params, batch, apply_fn=trained.model.apply)
    table = Table("image", "label", "prediction", "probability", "next", "probability")
    for name, label, row in zip(names, labels, np.asarray(probabilities), strict=True):
        likeliest = np.argsort(-row, kind="stable")[:2]
        guesses = [cell for index in likeliest for cell in (str(index), f"{row[index]:.4f}")]
        table.add_row(Text(name, overflow="fold"), label, *guesses)
    _console().print(table)


@_in_its_precision
def evaluate(
    run: Positional[Path], dataset: str | None = None, data_dir: str | None = None
) -> None:
    """Measure a trained network on test images.

    Args:
        run: The folder of a run.
        dataset: Another data set than the run's own.
        data_dir: Where prepared sets lie, if not where the run found its own.
    """
    from jaxmnist import runs, training
    from jaxmnist.data import load_dataset

    trained, params = runs.load(run)
    images = load_dataset(dataset or trained.dataset, data_dir or trained.data_dir)
    samples = len(images.test_labels)
    if images.num_classes > trained.num_classes:
        raise InputError(
            f"{images.name} has {images.num_classes} classes; the run in {run} knows only "
            f"{trained.num_classes}"
        )
    batch_size = min(trained.config.eval_batch_size, samples)
    data = images.arrays()
    metrics = training.evaluate(
        params,
        data.test_images,
        data.test_labels,
        apply_fn=trained.model.apply,
        batch_size=batch_size,
    )
    console = _console()
    _say(console, f"{images.name}: {samples} test images in batches of {batch_size}")
    means = training.average(metrics, batch_size, samples)
    for kind, mean in zip(("batches", "samples"), means, strict=True):
        _say(
            console,
            f"mean over {kind}: Eval Loss: {mean.loss:.6f}, Eval Acc: {mean.accuracy:.6f}",
        )


def verify(
    what: Positional[
        Literal["losses", "model", "optimizers", "training", "calculus", "all"]
    ] = "all",
    against: Literal["numpy", "torch", "optax"] | None = None,
    convention: Literal["document", "pytorch", "optax"] | None = None,
    dtype: Literal["float64", "float32"] = "float64",
    out: Path = Path("verify.json"),
) -> None:
    """Hold this package against PyTorch, Optax and the formulas; exit with 1 if anything differs.

    Args:
        what: Which part of it.
        against: Only against the formulas in NumPy, PyTorch or Optax.
        convention: Whose arithmetic the optimizers and the training have; by default each
            convention is held against the place it comes from.
        dtype: Of all arithmetic.
        out: Where to write all results as JSON.
    """
    from jaxmnist.atomic import write_whole
    from jaxmnist.verify import report, suite

    checks = suite.checks(what, against, convention, dtype)
    try:
        writable = out.parent.is_dir() and not out.is_dir()
    except OSError:  # Such as a name that is too long.
        writable = False
    if not writable:
        raise InputError(f"cannot write {out}: it must be a file in a folder that exists")
    console = _console()
    outcomes = []
    with _progress(console, "verifying") as (progress, task):
        for check in checks:
            progress.update(task, description=f"{check.name} against {check.against}")
            outcomes.append(report.outcome(check))
            progress.update(task, total=len(checks), advance=1)
    not_run = sum(outcome.result is None for outcome in outcomes)
    remedy = "PyTorch is not installed; this installs it: pip install 'jaxmnist[torch]'"
    if not_run == len(checks):
        raise InputError(f"nothing could be verified: {remedy}")

    console.print(report.table(outcomes))
    for outcome in outcomes:
        if outcome.explanation:
            check = outcome.check
            _say(console, f"{check.name} against {check.against}: {outcome.explanation}")
    options = {"against": against, "convention": convention, "dtype": dtype}
    given = [f"--{name} {value}" for name, value in options.items() if value]
    command = " ".join(["jaxmnist verify", what, *given])
    write_whole(out, (json.dumps(report.as_json(outcomes, command), indent=2) + "\n").encode())
    passed = [part.passed for outcome in outcomes for part in outcome.result or ()]
    _say(console, f"{sum(passed)} of {len(passed)} comparisons passed")
    if not_run:
        _say(console, f"{not_run} of {len(checks)} checks were not run: {remedy}")
    _say(console, f"wrote: {out}")
    if not all(passed):
        sys.exit(1)


@_in_its_precision
def export(
    run: Positional[Path],
    format: Literal["safetensors", "stablehlo", "onnx"],
    out: Path | None = None,
) -> None:
    """Write a trained network in a format that others read, checked before it is written.

    Args:
        run: The folder of a run.
        format: The weights alone under PyTorch's names (safetensors), or the network from uint8
            images to logits, for JAX and XLA (stablehlo) or for ONNX runtimes (onnx).
        out: The file; by default model.FORMAT in the run's folder.
    """
    from jaxmnist import export as exporting

    try:
        path = exporting.write(run, format, out)
    except exporting.ExportError as error:
        _fail(str(error), status=1)
    _say(_console(), f"wrote: {path}")


def figures(
    names: Positional[tuple[str, ...]] = (), out: Path = Path("figures"), redraw: bool = False
) -> None:
    """Make the document's pictures: compute each one's numbers, keep them as JSON, and draw.

    Args:
        names: Which pictures; all of them if none is named.
        out: The folder to write to.
        redraw: Compute nothing: draw from the JSON files in the folder.
    """
    from jaxmnist import figures as making

    for name in names:
        if name not in making.PICTURES:
            raise InputError(
                f"there is no picture {name!r}; there are {', '.join(making.PICTURES)}"
            )
    pictures = [making.PICTURES[name] for name in names or making.PICTURES]
    try:
        if not redraw:
            out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}") from error
    console = _console()
    with _progress(console, "drawing" if redraw else "computing") as (progress, task):
        progress.update(task, total=len(pictures))
        for index, picture in enumerate(pictures):
            progress.update(task, description=picture.name, completed=index)
            if redraw:
                written = making.redraw(picture, out)
            else:
                written = making.make(
                    picture,
                    out,
                    lambda share, done=index: progress.update(task, completed=done + share),
                )
            _say(console, f"wrote: {', '.join(map(str, written))}")


def race(
    surface: Positional[str] = "valley",
    optimizers: tuple[str, ...] = NAMES,
    steps: int | None = None,
    learning_rate: float | None = None,
    out: Path | None = None,
) -> None:
    """Race optimizers over a surface of two parameters, and draw it.

    Args:
        surface: Such as valley, saddle, rosenbrock, beale, himmelblau.
        optimizers: Which; by default all six.
        steps: How many; by default 100, and 60 on saddles.
        learning_rate: For all of them; by default each has the one of a common grid that is best
            for it here.
        out: The picture to write: a .png, or a .gif or .mp4 that moves.
    """
    given = {} if learning_rate is None else {"learning_rate": learning_rate}
    for name in optimizers:
        check_arguments(name, **given)
    from rich.table import Table

    from jaxmnist import landscapes
    from jaxmnist.figures import race as pictures

    if out is not None:
        pictures.check_out(out)
    rates = list(given.values()) or landscapes.LEARNING_RATES
    console = _console()
    with _progress(console, f"racing on {surface}") as (progress, task):
        data = pictures.race_data(surface, tuple(dict.fromkeys(optimizers)), steps, rates)
        if out is not None:

            def on_frame(done: int, total: int) -> None:
                progress.update(task, description="drawing", completed=done, total=total)

            pictures.save_race(data, out, on_frame)
    columns = ("optimizer", "learning rate", "final loss", "steps to a minimum", "end point")
    table = Table(*columns, title=f"{data['title']}, from {landscapes.surface(surface).start}")
    for row in pictures.race_rows(data):
        table.add_row(*row)
    console.print(table)
    if out is not None:
        _say(console, f"wrote: {out}")


@_with_one_device_per_core
@_in_its_precision
def sweep(
    axes: Annotated[SweepAxes, arg(name="")],
    *,
    epochs: int = 20,
    eval_batch_size: int = 128,
    convention: str = "document",
    dtype: str = "float32",
    dataset: str = "mnist",
    data_dir: str | None = None,
    out: Path,
) -> None:
    """Train every combination of the values given, and tabulate and draw what comes out.

    A value is a number (0.1), or a range that includes both ends: 0..3 whole numbers, 0..1:5 five
    numbers at equal distances, 1e-3..1:log12 twelve at equal ratios. A sweep that was stopped goes
    on where it was when the same command is given again.

    Args:
        axes: What differs between runs.
        epochs: Passes over the training images.
        eval_batch_size: Images in a test batch.
        convention: Whose arithmetic and defaults: document, pytorch or optax.
        dtype: float32 or float64; or bfloat16 for the products alone, as in `train`.
        dataset: As `train --dataset` takes it.
        data_dir: Where prepared sets lie, if not in TFDS's own folder.
        out: The sweep's folder.
    """
    config = Config(
        epochs=epochs, eval_batch_size=eval_batch_size, convention=convention, dtype=dtype
    )
    from rich.table import Table

    from jaxmnist import plots, runs
    from jaxmnist import sweep as sweeping
    from jaxmnist.data import load_dataset

    words = {name: given for name, given in asdict(axes).items() if given}
    values = {name: sweeping.parse(name, given) for name, given in words.items()}
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
    for name, given in (*words.items(), *((name, (value,)) for name, value in fixed.items())):
        command += ["--" + name.replace("_", "-"), *map(str, given)]
    images = load_dataset(dataset, data_dir)

    started = time.perf_counter()
    console = _console()
    finished: list[int] = []
    with _progress(console, "training") as (progress, task):

        def on_chunk(done: int, total: int) -> None:
            if not finished:
                if done:
                    _say(console, f"{done} of {total} runs were finished before")
                progress.reset(task, total=total, completed=done)
            finished.append(done)
            progress.update(task, completed=done)

        found = sweeping.run(
            config, values, images, out=out, command=shlex.join(command), on_chunk=on_chunk
        )
    seconds = time.perf_counter() - started

    summary = sweeping.summary(found)
    head, *lines = sweeping.table(summary)
    table = Table(*head, title=f"After {epochs} epochs: means and their 95 % confidence intervals")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    if sum(name != "seed" for name in values) > 2:
        _say(console, "no picture: it has room for two axes besides the seed")
    else:
        with plots.theme("light"):
            runs.write_picture(plots.sweep(summary, found.history._asdict()), out / "sweep.png")
        with plots.theme("dark"):
            figure = plots.sweep(summary, found.history._asdict())
            runs.write_picture(figure, out / "sweep-dark.png")
    _say(
        console,
        f"{len(found.cells)} runs, {int((found.diverged >= 0).sum())} diverged; "
        f"trained {len(found.cells) - finished[0]} in {seconds:.1f} s",
    )
    _say(console, f"wrote: {out}")


def data_list(data_dir: str | None = None) -> None:
    """List the data sets that have a name, and where they lie.

    Args:
        data_dir: Where prepared sets lie, if not in TFDS's own folder.
    """
    from rich.table import Table
    from rich.text import Text

    from jaxmnist.data import available

    table = Table("name", "source", "lies in")
    for row in available(data_dir):
        place = f"not here: jaxmnist data prepare {row.name}" if row.path is None else row.path
        table.add_row(row.name, row.source, Text(str(place), overflow="fold"))
    _console().print(table)


def data_prepare(
    name: Positional[str],
    source: Annotated[Path | None, arg(name="from")] = None,
    data_dir: str | None = None,
) -> None:
    """Prepare a data set in TFDS's own form, readable by anyone's TFDS, without TensorFlow.

    Args:
        name: Such as fashion_mnist, kmnist, emnist/digits.
        source: A folder with the set's IDX files; without it they are downloaded.
        data_dir: Where to write, if not in TFDS's own folder.
    """
    from jaxmnist.data import prepare, prepared_directory

    console = _console()
    if (present := prepared_directory(name, data_dir)) is not None:
        _say(console, f"already prepared: {present}")
        return
    with _progress(console, f"preparing {name}"):
        path = prepare(name, source, data_dir)
    _say(console, f"prepared: {path}")


def data_show(
    name: Positional[str] = "mnist", out: Path | None = None, data_dir: str | None = None
) -> None:
    """Describe a data set, and draw its first images with their labels.

    Args:
        name: A data set as `train --dataset` takes it.
        out: The picture to write, a .png.
        data_dir: Where prepared sets lie, if not in TFDS's own folder.
    """
    from jaxmnist.data import load_dataset

    images = load_dataset(name, data_dir)
    console = _console()
    _say(
        console,
        f"{images.name}: {len(images.train_labels)} training and {len(images.test_labels)} test "
        f"images, {images.num_classes} classes",
    )
    if out is not None:
        from jaxmnist import plots, runs

        first = images.train_images[:64], images.train_labels[:64]
        with plots.theme():
            runs.write_picture(plots.digits(*first, title=images.name), out)
        _say(console, f"wrote: {out}")


def _parse(arguments: Sequence[str] | None) -> Callable[[], None]:
    """Turn the command line into a call to be made; a mistake in it is said in one line."""
    app, data = SubcommandApp(), SubcommandApp()
    words = sys.argv[1:] if arguments is None else arguments
    given = (word[2:].split("=")[0].replace("-", "_") for word in words if word.startswith("--"))
    app.command(_deferred(train, given=frozenset(given)))
    for command in (predict, evaluate, sweep, verify, race, figures, export):
        app.command(_deferred(command))
    for name, command in (("list", data_list), ("prepare", data_prepare), ("show", data_show)):
        data.command(name=name)(_deferred(command))
    app.command(data, name="data", help="List, prepare and look at data sets.")

    parse = functools.partial(
        app.cli,
        prog="jaxmnist",
        description="MNIST training as pure functions in JAX.",
        args=arguments,
        config=(FlagCreatePairsOff, OmitArgPrefixes),
    )
    # The parser frames, colours and wraps its message for the screen: here there is none.
    complaint, page = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    screen = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "10000"
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(page):
            return parse()
    except SystemExit as stopped:
        if stopped.code == 2:
            _fail(_one_line(complaint.getvalue()))
    finally:
        os.environ.pop("COLUMNS")
        if screen is not None:
            os.environ["COLUMNS"] = screen
    return parse()  # It was asked for help: again, now for the reader's own screen.


def _deferred(command: Callable[..., None], **known: Any) -> Callable[..., Callable[[], None]]:
    """Make a command whose call returns the call to be made, so that parsing ends before it."""

    @functools.wraps(command)
    def defer(*args: Any, **kwargs: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **{**kwargs, **known})

    return defer


def _one_line(box: str) -> str:
    """Take what is wrong out of the parser's framed message: all of it but the last paragraph."""
    paragraphs: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip(" │")
        if text.startswith("─"):
            paragraphs.append([])
        elif not text.startswith(("╭", "╰")):
            paragraphs[-1] += text.split()
    wrong, *hints = (" ".join(words) for words in paragraphs[:-1] or paragraphs)
    unreadable = re.search(r"^Error parsing (--\S+): .*'([^']*)'\]?$", wrong)
    if unreadable:
        wrong = f"{unreadable[1]} cannot be {unreadable[2]!r}"
        hints = [f"it is {hint.removeprefix('Argument helptext: ')}" for hint in hints]
    return "; ".join([wrong.removeprefix("Error parsing Config: "), *hints])


def _fail(message: str, status: int = 2) -> NoReturn:
    sys.stderr.write(f"jaxmnist: {message}\n")
    _exit(status)


def _exit(status: int) -> NoReturn:
    """End the process; one of several without waiting for the others, who may wait for it."""
    if processes.joined():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _fit_on(devices: int | None) -> "Callable[..., tuple[TrainState, History]]":
    """Choose who runs the epochs: one device, several, or None for all of all processes."""
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


def _console(quiet: bool = False) -> "Console":
    from rich.console import Console

    console = Console(quiet=quiet)
    if not console.is_terminal:
        console.width = 1_000_000  # Where there is no screen, a table is as wide as it needs to be.
    return console


def _say(console: "Console", text: str) -> None:
    """Print a line as it is: no colours, no wrapping."""
    console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)


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


@contextlib.contextmanager
def _progress(console: "Console", description: str) -> "Iterator[tuple[Progress, TaskID]]":
    """Show a bar with rate and time left while the block runs; nothing where there is no screen."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        yield progress, progress.add_task(description, total=None, rate="")
