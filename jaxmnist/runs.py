"""A run on disk: what it was, what it measured, what it learned, and its pictures.

A run's folder holds `config.json`, `metrics.jsonl` (one line per epoch), `model.safetensors`
(PyTorch's names), the curves and the first test batch's predictions as pictures,
`predictions.csv`, and the newest checkpoints, `checkpoints/EPOCHS`. Every file is replaced only by
a whole one, and the model is kept up to date with the epochs, so that a run which is stopped, at
whatever moment, keeps what it reached and can go on from its newest checkpoint.
"""

import csv
import inspect
import io
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import interop, plots, provenance
from jaxmnist.atomic import write_whole
from jaxmnist.config import Config, hyper
from jaxmnist.data.dataset import Dataset
from jaxmnist.errors import InputError
from jaxmnist.model import MLP
from jaxmnist.plots.curves import CURVES
from jaxmnist.training import History, Params, TrainState, check_precision, init, predict

_CONFIG = "config.json"
_METRICS = "metrics.jsonl"
_MODEL = "model.safetensors"
_PREDICTIONS = "predictions.csv"
_PICTURES = ("curves.png", "predictions.png", *(f"{field}.png" for field in CURVES))
# The table is written last, so that a run which has it has everything.
_SUMMARY = (_PREDICTIONS, *_PICTURES)
_RESULTS = (_METRICS, _MODEL, *_SUMMARY)
_CHECKPOINTS = "checkpoints"

_FORMATS = ("png", "jpg", "jpeg", "webp", "pdf", "svg")


@dataclass(frozen=True)
class Run:
    """A run's folder and what its `config.json` says.

    Attributes:
        path: The folder.
        config: The run's configuration.
        num_classes: Number of logits.
        dataset: The data set's name or path, as `load_dataset` takes it.
        data_dir: Where prepared sets were looked for; None for the usual place.
        checkpoint_every: Epochs between checkpoints; the last epoch has one too. 0 for none.
        keep: How many checkpoints to keep, the newest.
    """

    path: Path
    config: Config
    num_classes: int
    dataset: str = "mnist"
    data_dir: str | None = None
    checkpoint_every: int = 0
    keep: int = 1

    def __post_init__(self) -> None:
        for name, least in (("checkpoint_every", 0), ("keep", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(
                    f"{name} is {value!r}; it must be a whole number of at least {least}"
                )

    @property
    def model(self) -> MLP:
        """The run's network."""
        return MLP(self.config.hidden, self.num_classes, self.config.dtype)


def check_free(path: Path, overwrite: bool) -> None:
    """Refuse a folder that a new run must not be written to; change nothing.

    Args:
        path: The folder, which need not exist.
        overwrite: Whether a run in it may be replaced.

    Raises:
        InputError: It is not a folder, cannot be written, or holds a run.
    """
    try:
        nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
        present = [name for name in (_CONFIG, *_RESULTS, _CHECKPOINTS) if (path / name).exists()]
    except OSError as error:  # Such as a name that is too long.
        raise InputError(f"cannot write the run to {path}: {error.strerror}") from error
    if not nearest.is_dir():
        raise InputError(f"cannot write the run to {path}: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"cannot write the run to {path}: {nearest} may not be written to")
    if present and not overwrite:
        raise InputError(
            f"{path} holds a run already ({present[0]}): choose another --out, or add --overwrite"
        )


def create(run: Run) -> None:
    """Make the folder, clear an old run out of it, and write `config.json`.

    Args:
        run: The run to begin. What else the folder holds is left alone.

    Raises:
        InputError: The folder cannot be written.
    """
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        # The configuration first: what is left, if this is stopped, is no run.
        for name in (_CONFIG, *_RESULTS):
            (run.path / name).unlink(missing_ok=True)
        if (run.path / _CHECKPOINTS).exists():
            shutil.rmtree(run.path / _CHECKPOINTS)
    except OSError as error:
        raise InputError(f"cannot write the run to {run.path}: {error.strerror}") from error
    _write_config(run)


def _write_config(run: Run) -> None:
    device = jax.devices()[0].device_kind
    written = {**about(run), "versions": provenance.versions(), "device": device}
    write_whole(run.path / _CONFIG, (json.dumps(written, indent=2) + "\n").encode())


def about(run: Run) -> dict[str, Any]:
    """Say what a run is, in what JSON can hold.

    Args:
        run: The run.

    Returns:
        All of it but where it lies.
    """
    return {
        "dataset": run.dataset,
        "data_dir": run.data_dir,
        "num_classes": run.num_classes,
        "config": asdict(run.config),
        "checkpoint_every": run.checkpoint_every,
        "keep": run.keep,
    }


def from_about(path: Path, about: dict[str, Any]) -> Run:
    """Return the run that `about` described.

    Args:
        path: The run's folder.
        about: What `about` returned; it may have more entries.

    Returns:
        The run.

    Raises:
        ValueError, TypeError, KeyError: It describes none.
    """
    config = Config(**{**about["config"], "hidden": tuple(about["config"]["hidden"])})
    run = Run(
        path,
        config,
        about["num_classes"],
        about["dataset"],
        about["data_dir"],
        about.get("checkpoint_every", 0),  # The first version's runs have none.
        about.get("keep", 1),
    )
    if not isinstance(run.dataset, str) or not isinstance(run.data_dir, str | None):
        raise TypeError(f"dataset is {run.dataset!r} and data_dir {run.data_dir!r}")
    model = MLP(config.hidden, run.num_classes)  # Its shapes need no dtype.
    jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28)))
    return run


def append_epoch(run: Run, epoch: int, params: Params, figures: History) -> None:
    """Add an epoch's line to `metrics.jsonl` and bring `model.safetensors` up to it.

    Args:
        run: A run that `create` began.
        epoch: The epoch's index, from 0.
        params: The parameters after it.
        figures: Its figures.

    Raises:
        InputError: The files cannot be written.
    """
    line = {"epoch": epoch, **{name: float(x) for name, x in figures._asdict().items()}}
    try:
        with (run.path / _METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {run.path / _METRICS}: {error.strerror}") from error
    interop.save_safetensors(params, run.path / _MODEL)


def save_checkpoint(run: Run, epoch: int, state: TrainState) -> None:
    """Keep all that the next epoch needs, if a checkpoint is due, and drop the oldest.

    Orbax writes it beside the others and renames it when it is whole.

    Args:
        run: A run whose figures up to this epoch `append_epoch` has written.
        epoch: The epoch's index, from 0.
        state: The state after it.

    Raises:
        InputError: It cannot be written.
    """
    done = epoch + 1
    if not run.checkpoint_every or (done % run.checkpoint_every and done < run.config.epochs):
        return
    from orbax.checkpoint import args

    place = run.path / _CHECKPOINTS
    try:
        place.mkdir(exist_ok=True)
        with _checkpoints(run) as checkpoints:
            checkpoints.save(done, args=args.StandardSave(jax.device_get(state)))
    except OSError as error:
        raise InputError(f"cannot write {place / str(done)}: {error.strerror}") from error
    except ValueError as error:  # What the storage library makes of a full disk.
        raise InputError(f"cannot write {place / str(done)}: {_first_line(error)}") from error


def save_pictures(run: Run, params: Params, history: History, dataset: Dataset) -> None:
    """Draw the curves (D11) and the first test batch's predictions (D10), and write its table.

    Args:
        run: A run that `create` began.
        params: Its final parameters.
        history: Its figures, at least one epoch.
        dataset: The images it was trained on.

    Raises:
        InputError: The files cannot be written.
    """
    curves = {name: np.asarray(values) for name, values in history._asdict().items()}
    layers = "-".join(str(size) for size in run.config.hidden) or "none"
    title = f"{run.dataset}, {run.config.optimizer}, hidden layers {layers}"
    images = dataset.test_images[: run.config.eval_batch_size]
    labels = dataset.test_labels[: run.config.eval_batch_size]
    probabilities = predict(params, jnp.asarray(images), apply_fn=run.model.apply)
    predictions = np.asarray(probabilities).argmax(axis=1)
    score = f"First test batch: {np.sum(predictions != labels)} of {len(labels)} wrong"
    with plots.theme():
        write_picture(plots.training_curves(curves, title), run.path / "curves.png")
        for field in CURVES:
            write_picture(plots.training_curve(curves, field), run.path / f"{field}.png")
        figure = plots.digits(images, labels, predictions, score)
        write_picture(figure, run.path / "predictions.png")
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("index", "label", "prediction"))
    rows.writerows(zip(range(len(labels)), labels.tolist(), predictions.tolist(), strict=True))
    write_whole(run.path / _PREDICTIONS, table.getvalue().encode())


def reopen(path: Path, options: dict[str, Any]) -> Run:
    """Read a run that shall go on.

    Args:
        path: The run's folder.
        options: What was asked for, by the names of `Config`'s and `Run`'s fields: all as it is
            in the run, but that ``epochs`` may be more.

    Returns:
        The run as it shall go on.

    Raises:
        InputError: The folder holds no run, or an option differs from the run's.
    """
    run = read(path)
    own = {**about(run), **asdict(run.config)}
    for name, value in options.items():
        if name == "epochs" and value >= run.config.epochs:
            continue
        if value != own[name]:
            more = ", or more" if name == "epochs" else ""
            raise InputError(
                f"{name} is {_shown(value)}; the run in {path} has {_shown(own[name])}, and going "
                f"on with it means keeping that{more}: leave --{name.replace('_', '-')} away"
            )
    return replace(run, config=replace(run.config, epochs=options.get("epochs", own["epochs"])))


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def is_finished(run: Run) -> bool:
    """Say whether all epochs and the summary of them are there.

    Args:
        run: A run, as `read` returned it.
    """
    return len(_figures(run)) >= run.config.epochs and (run.path / _PREDICTIONS).exists()


def rewind(run: Run) -> tuple[int, TrainState | None, History]:
    """Bring the folder back to the newest whole checkpoint, for the run to go on from there.

    Figures of epochs past it are dropped; the pictures are drawn again at the end. A run that
    was stopped before its first checkpoint is due goes back to the start. The configuration is
    written anew, so that a run may go on to more epochs than it was begun with.

    Args:
        run: The run as it shall go on.

    Returns:
        How many epochs are behind it, the state after them (None before the first), and their
        figures.

    Raises:
        InputError: There are no checkpoints where there should be, or the newest is damaged.
    """
    place = run.path / _CHECKPOINTS
    if not run.checkpoint_every:
        raise InputError(f"{run.path} has no checkpoints: it was trained with --checkpoint-every 0")
    figures = _figures(run)
    epoch, state = 0, None
    if place.exists():
        with _checkpoints(run) as checkpoints:
            whole = checkpoints.all_steps()
            epoch = max((step for step in whole if step <= len(figures)), default=0)
            state = _restore(run, epoch, checkpoints) if epoch else None
            for later in whole:
                if later > epoch:
                    checkpoints.delete(later)
    # The first checkpoint is written after its epoch's figures.
    if not epoch and len(figures) > run.checkpoint_every:
        raise InputError(
            f"{place} has no whole checkpoint, though {len(figures)} epochs were trained: "
            "give back what was deleted, or train again with --overwrite"
        )

    _write_config(run)
    for name in _SUMMARY:
        (run.path / name).unlink(missing_ok=True)
    lines = "".join(json.dumps(line) + "\n" for line in figures[:epoch])
    write_whole(run.path / _METRICS, lines.encode())
    if state is None:
        (run.path / _MODEL).unlink(missing_ok=True)
    else:
        interop.save_safetensors(state.params, run.path / _MODEL)
    history = History(
        *(jnp.array([line[name] for line in figures[:epoch]], float) for name in History._fields)
    )
    return epoch, state, history


def _figures(run: Run) -> list[dict[str, Any]]:
    """Read the whole lines of the metrics; the last may have been cut off."""
    try:
        text = (run.path / _METRICS).read_text()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {run.path / _METRICS}: {error}") from error
    fields = {"epoch", *History._fields}
    figures = []
    for line in text.split("\n")[:-1]:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or row.keys() != fields or row["epoch"] != len(figures):
            break
        figures.append(row)
    return figures


def _checkpoints(run: Run) -> Any:
    """Open the run's checkpoints; of several processes only the first does so."""
    from orbax import checkpoint as ocp

    return ocp.CheckpointManager(
        (run.path / _CHECKPOINTS).absolute(),
        options=ocp.CheckpointManagerOptions(
            max_to_keep=run.keep,
            create=False,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=False,
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}
            ),
        ),
    )


def _restore(run: Run, step: int, checkpoints: Any) -> TrainState:
    from orbax.checkpoint import args

    shown = sys.unraisablehook

    def show(noise: Any) -> None:
        # The first damaged array ends Orbax's event loop, and the others' readers find it closed:
        # noise on stderr, and some of it later than the error itself.
        late = str(noise.exc_value) == "Event loop is closed" or inspect.iscoroutine(noise.object)
        if not late:
            shown(noise)

    sys.unraisablehook = show
    try:
        state = checkpoints.restore(step, args=args.StandardRestore(_state_like(run)))
    except Exception as error:  # Whatever the storage library meets in a damaged file.
        place = run.path / _CHECKPOINTS / str(step)
        raise InputError(
            f"{place} cannot be read ({_first_line(error)}); without that folder the run goes on "
            "from the checkpoint before it"
        ) from error
    sys.unraisablehook = shown
    return state


def _state_like(run: Run) -> Any:
    """Return the shapes and dtypes of the run's state, to be held on the first device."""
    key, device = jax.random.key(0), jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    state = jax.eval_shape(lambda: init(key, hyper(run.config), run.config, run.num_classes))
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), state
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0]


def read(path: Path) -> Run:
    """Read what a run is.

    Args:
        path: The run's folder.

    Returns:
        The run.

    Raises:
        InputError: The folder holds no run, or its configuration is damaged.
    """
    try:
        return from_about(path, json.loads((path / _CONFIG).read_text()))
    except OSError as error:
        raise InputError(
            f"{path} holds no run: cannot read {_CONFIG} ({error.strerror}); "
            "give a folder that `jaxmnist train` wrote"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path / _CONFIG} is no run's configuration: {error!r}") from error


def load(path: Path) -> tuple[Run, Params]:
    """Read a run and what it learned.

    Args:
        path: The run's folder.

    Returns:
        The run, and the parameters for its model.

    Raises:
        InputError: The folder holds no run, or one of its files is damaged; or the run is in
            float64 while JAX's 64-bit numbers are off.
    """
    run = read(path)
    check_precision(run.config)
    shapes = jax.eval_shape(run.model.init, jax.random.key(0), jnp.zeros((1, 28, 28)))
    params = interop.load_safetensors(path / _MODEL)
    found, expected = (
        {name: array.shape for name, array in interop.flatten(tree).items()}
        for tree in (params, shapes)
    )
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise InputError(
                f"{path / _MODEL}: {name} has shape {found.get(name)}; "
                f"by {_CONFIG} it has {expected.get(name)}"
            )
    return run, params


def write_picture(figure: Figure, path: Path) -> None:
    """Write a picture in the format that its name ends in, inside the theme it was drawn in.

    Args:
        figure: The picture.
        path: The file, such as `digits.png`; replaced only when the new one is whole.

    Raises:
        InputError: The format is unknown, or the file cannot be written.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in _FORMATS:
        raise InputError(f"cannot write {path}: its name must end in .{', .'.join(_FORMATS)}")
    content = io.BytesIO()
    undated = {"Date": None} if suffix == "svg" else None  # The same picture, the same bytes.
    figure.savefig(content, format=suffix, dpi=150, metadata=undated)
    write_whole(path, content.getvalue())
