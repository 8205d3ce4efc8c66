"""A run's `model.safetensors`: PyTorch's names for the tutorial's network, paths for other tasks.

The parameters of a task are under ``params.`` and their path, the model's state under ``state.``
(`jaxmnist.runs.named_arrays`).
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save as save_bytes

from jaxmnist import interop
from jaxmnist.atomic import read_whole, write_whole
from jaxmnist.data.tfds import PreparedSet
from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import read_safetensors
from jaxmnist.runs.digests import of_bytes
from jaxmnist.runs.named_arrays import from_named_arrays, named_arrays
from jaxmnist.runs.names import CONFIG, LARGEST_TEXT, MODEL
from jaxmnist.runs.run import Run
from jaxmnist.tasks import Model
from jaxmnist.tasks.value import Batch
from jaxmnist.training import (
    BatchSizes,
    TrainState,
    first_rows,
    split_pair,
    start,
    streaming,
    train_and_evaluate,
)


def save_model(run: Run, model: Model) -> None:
    """Replace a run's `model.safetensors`.

    Args:
        run: The run; its folder exists.
        model: The parameters and the model's state.

    Raises:
        InputError: The file cannot be written.
    """
    if run.task_file is None:
        _record(run.path, save_bytes(interop.params_to_state_dict(model.params)))
        interop.save_safetensors(model.params, run.path / MODEL)
    else:
        content = save_bytes(named_model(model))
        _record(run.path, content)
        write_whole(run.path / MODEL, content)


def recorded_models(path: Path) -> dict[str, list[str]]:
    """Return the SHA-256 of the models that a run's folder may have, as its configuration has it.

    Args:
        path: The folder.

    Returns:
        Under ``model_sha256`` that of the epoch before the newest and that of the newest: a
        process may die between recording a model and writing it. Nothing for a run without.

    Raises:
        InputError: The configuration is damaged.
    """
    try:
        about = json.loads(read_whole(path / CONFIG, LARGEST_TEXT))
        recorded = about.get(_KEY, [])
        if not all(isinstance(digest, str) for digest in recorded):
            raise TypeError(f"{_KEY} is {ascii(recorded)[:80]}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path / CONFIG} is no run's configuration: {error!r}") from error
    return {_KEY: list(recorded)} if recorded else {}


def check_model(path: Path) -> None:
    """Refuse a model that is not the one that was written.

    Args:
        path: The run's folder. Runs of earlier versions recorded no digest, and are not checked.

    Raises:
        InputError: The file's SHA-256 is none of those recorded.
    """
    for _ in range(3):  # The run may be training: the next model may come between two readings.
        if has_its_model(path):
            return
        time.sleep(0.05)
    raise InputError(
        f"{path / MODEL} is not what was written: its SHA-256 is not the one in {CONFIG}; restore "
        f"it, or run jaxmnist train --resume {path}, which writes it from the newest checkpoint"
    )


def has_its_model(path: Path) -> bool:
    """Return whether the model in a run's folder is one that was written there.

    Args:
        path: The folder.

    Raises:
        InputError: The configuration is damaged.
    """
    try:
        digest = of_bytes(read_whole(path / MODEL))
    except OSError:
        return False
    return digest in recorded_models(path).get(_KEY, [digest])


def _record(path: Path, content: bytes) -> None:
    """Add a model's digest to the configuration, before the model is written."""
    known, digest = recorded_models(path).get(_KEY, []), of_bytes(content)
    if known[-1:] == [digest] or not (path / CONFIG).exists():
        return
    about = json.loads(read_whole(path / CONFIG))
    about[_KEY] = [*known[-1:], digest]
    write_whole(path / CONFIG, (json.dumps(about, indent=2) + "\n").encode())


_KEY = "model_sha256"


def named_model(model: Model) -> dict[str, np.ndarray]:
    """Return a task's model by name.

    Args:
        model: The parameters and the model's state.

    Returns:
        Arrays under ``params.`` and ``state.`` and their paths.
    """
    return named_arrays(model._asdict())


def load_model(run: Run, data: Any) -> Model:
    """Read the model of a run with a task's file.

    Args:
        run: The run.
        data: What it is trained on, for the shapes that its model has.

    Returns:
        The parameters and the model's state.

    Raises:
        InputError: The file is not readable, not safetensors, or of another model.
    """
    path = run.path / MODEL
    arrays = read_safetensors(path)
    like = state_shapes(run, sample(data)).model
    model = Model(**from_named_arrays(arrays, like._asdict(), str(path)))
    check_model(run.path)
    return model


def state_shapes(run: Run, rows: Batch) -> TrainState:
    """Return the shapes of a run's state, without computing it.

    Args:
        run: The run.
        rows: A batch of its training data, such as `sample` returns.

    Returns:
        The state, with shapes and dtypes in the place of arrays.

    Raises:
        InputError: The task's ``init`` returns no `Model`.
    """
    key, task = jax.random.key(run.config.seed), run.task
    return jax.eval_shape(lambda: start(key, task.hyper, task, rows))


def check_trains(run: Run, data: Any) -> None:
    """Trace a run's start and, on data in memory, an epoch, without computing them.

    Args:
        run: A run with a task's file.
        data: What it is to be trained on, as `jaxmnist.fit` takes it.

    Raises:
        InputError: A function of the task returns something else than it must.
    """
    begun, key, task = state_shapes(run, sample(data)), jax.random.key(run.config.seed), run.task
    if isinstance(data, PreparedSet):
        return
    batches = BatchSizes(run.config.batch_size, run.config.eval_batch_size)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.result_type(leaf)), split_pair(data)
    )
    jax.eval_shape(
        lambda parts, state: train_and_evaluate(task, batches, key, task.hyper, parts, 0, state),
        shapes,
        begun,
    )


def sample(data: Any) -> Batch:
    """Return a batch of one sample of the training data.

    Args:
        data: In memory or on disk, as `jaxmnist.fit` takes it.

    Returns:
        The batch.
    """
    if isinstance(data, PreparedSet):
        return streaming.sample(data)
    return first_rows(split_pair(data)[0])
