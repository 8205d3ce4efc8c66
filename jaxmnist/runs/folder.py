"""The files of a run's folder: begin one, add an epoch to it, and read it back."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxmnist import interop, provenance
from jaxmnist.atomic import append, read_whole, write_whole
from jaxmnist.errors import InputError, nearest
from jaxmnist.runs.metrics import read_metrics
from jaxmnist.runs.names import CONFIG, CURVES, LARGEST_TEXT, METRICS, MODEL, OWN, PREDICTIONS, TASK
from jaxmnist.runs.records import read_about
from jaxmnist.runs.replacement import clear, settle, writing
from jaxmnist.runs.run import Run, about, from_about
from jaxmnist.runs.weights import check_model, has_its_model, recorded_models, save_model
from jaxmnist.tasks import Model
from jaxmnist.training import Params, by_name, check_precision
from jaxmnist.training.state import Metered


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
        present = [name for name in OWN if (path / name).exists()]
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
    """Make the folder, remove an old run from it, and write `config.json`.

    Args:
        run: The run to begin. Other files in the folder are left alone.

    Raises:
        InputError: The folder cannot be written.
    """
    with writing(run.path):
        run.path.mkdir(parents=True, exist_ok=True)
        clear(run.path)
    write_config(run)


def write_config(run: Run) -> None:
    """Write `config.json`, with the versions, the device, and the text of the task's file.

    Args:
        run: The run; its folder exists.

    Raises:
        InputError: The file cannot be written.
    """
    written = {
        **about(run),
        "versions": provenance.versions(*provenance.COMPUTING),
        "device": jax.devices()[0].device_kind,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "git": provenance.commit() or None,
        **recorded_models(run.path),
    }
    if run.task_file is not None:
        write_whole(run.path / TASK, run.task_file.text.encode())
    write_whole(run.path / CONFIG, (json.dumps(written, indent=2) + "\n").encode())


def append_epoch(
    run: Run,
    epoch: int,
    params: Params,
    metrics: Metered,
    model_state: PyTree = {},  # noqa: B006  # A pytree without leaves; nothing changes it.
) -> None:
    """Add an epoch's line to `metrics.jsonl` and replace `model.safetensors`.

    Args:
        run: A run that `create` began.
        epoch: The epoch's index, from 0.
        params: The parameters after it.
        metrics: Its metrics.
        model_state: The model's state after it.

    Raises:
        InputError: The files cannot be written.
    """
    line = {"epoch": epoch, **{name: float(x) for name, x in by_name(metrics).items()}}
    append(run.path / METRICS, (json.dumps(line) + "\n").encode())
    save_model(run, Model(params, model_state))


def is_finished(run: Run) -> bool:
    """Return whether all epochs, the model and their summary are in the folder, and undamaged.

    Args:
        run: A run, as `read` returned it.

    Raises:
        InputError: Its metrics cannot be trusted.
    """
    last = PREDICTIONS if run.task_file is None else CURVES
    is_trained = len(read_metrics(run).rows) >= run.config.epochs
    return is_trained and (run.path / last).exists() and has_its_model(run.path)


def read(path: Path) -> Run:
    """Read a run's configuration.

    Args:
        path: The run's folder.

    Returns:
        The run.

    Raises:
        InputError: The folder holds no run, or its configuration is damaged.
    """
    settle(path)
    try:
        about = read_about(path / CONFIG)
        text = read_whole(path / TASK, LARGEST_TEXT).decode() if "task" in about else ""
        return from_about(path, about, text)
    except OSError as error:
        name = Path(error.filename).name if error.filename else CONFIG
        raise InputError(
            f"{path} holds no run: cannot read {name} ({error.strerror}); "
            f"give a folder that `jaxmnist train` wrote{_nearest_run(path)}"
        ) from error
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError(f"{path / CONFIG} is no run's configuration: {error!r}") from error


def _nearest_run(path: Path) -> str:
    """Name the run whose folder's name is nearest to one that is no run."""
    try:
        runs = [found.parent.name for found in path.parent.glob(f"*/{CONFIG}")]
    except OSError:
        return ""
    return nearest(path.name, runs)


def load(path: Path) -> tuple[Run, Params]:
    """Read a run of the tutorial's task and its parameters.

    Args:
        path: The run's folder.

    Returns:
        The run, and the parameters for its model.

    Raises:
        InputError: The folder holds no run, or one of its files is damaged; or the run is in
            float64 while JAX's 64-bit numbers are off, or of another task.
    """
    run = read(path)
    if run.task_file is not None:
        raise InputError(
            f"{path} is a run of the task in {run.task_file.path}; "
            "jaxmnist.runs.load_model reads its model"
        )
    check_precision(run.config)
    shapes = jax.eval_shape(run.model.init, jax.random.key(0), jnp.zeros((1, 28, 28)))
    params = interop.load_safetensors(path / MODEL)
    found, expected = (interop.flatten(tree) for tree in (params, shapes))
    for name in sorted(found.keys() | expected.keys()):
        here, wanted = (_described(tree.get(name)) for tree in (found, expected))
        if here != wanted:
            raise InputError(f"{path / MODEL}: {name} is {here}; by {CONFIG} it is {wanted}")
        if not bool(jnp.isfinite(found[name]).all()):
            raise InputError(
                f"{path / MODEL}: {name} has a number that is not finite; no whole epoch of a run "
                "has one: restore the file"
            )
    check_model(path)
    return run, params


def _described(array: jax.Array | jax.ShapeDtypeStruct | None) -> str:
    return "missing" if array is None else f"{array.dtype} of shape {array.shape}"
