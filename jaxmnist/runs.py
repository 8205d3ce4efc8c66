"""A run on disk: what it was, what it measured, what it learned, and its pictures.

A run's folder holds `config.json`, `metrics.jsonl` (one line per epoch), `model.safetensors`
(PyTorch's names), the curves and the first test batch's predictions as pictures, and
`predictions.csv`. Every file is replaced only by a whole one, and the model is kept up to date
with the epochs, so that a run which is stopped keeps what it reached.
"""

import csv
import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import __version__, interop, plots
from jaxmnist.config import Config
from jaxmnist.data.dataset import Dataset
from jaxmnist.errors import InputError
from jaxmnist.files import write_whole
from jaxmnist.model import MLP
from jaxmnist.plots.curves import CURVES
from jaxmnist.training import History, Params, check_precision, predict

_CONFIG = "config.json"
_METRICS = "metrics.jsonl"
_MODEL = "model.safetensors"
_PREDICTIONS = "predictions.csv"
_PICTURES = ("curves.png", "predictions.png", *(f"{field}.png" for field in CURVES))
_RESULTS = (_METRICS, _MODEL, _PREDICTIONS, *_PICTURES)

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
    """

    path: Path
    config: Config
    num_classes: int
    dataset: str = "mnist"
    data_dir: str | None = None

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
        present = [name for name in (_CONFIG, *_RESULTS) if (path / name).exists()]
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
    about = {
        "dataset": run.dataset,
        "data_dir": run.data_dir,
        "num_classes": run.num_classes,
        "config": asdict(run.config),
        "versions": {"jaxmnist": __version__, "jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
    }
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        for name in _RESULTS:
            (run.path / name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write the run to {run.path}: {error.strerror}") from error
    write_whole(run.path / _CONFIG, (json.dumps(about, indent=2) + "\n").encode())


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
    try:
        about = json.loads((path / _CONFIG).read_text())
        config = Config(**{**about["config"], "hidden": tuple(about["config"]["hidden"])})
        run = Run(path, config, about["num_classes"], about["dataset"], about["data_dir"])
        if not isinstance(run.dataset, str) or not isinstance(run.data_dir, str | None):
            raise TypeError(f"dataset is {run.dataset!r} and data_dir {run.data_dir!r}")
        model = MLP(config.hidden, run.num_classes)  # Its shapes need no dtype.
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28)))
    except OSError as error:
        raise InputError(
            f"{path} holds no run: cannot read {_CONFIG} ({error.strerror}); "
            "give a folder that `jaxmnist train` wrote"
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path / _CONFIG} is no run's configuration: {error!r}") from error

    check_precision(config)
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
