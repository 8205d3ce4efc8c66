"""What a run's models make of its test images: outputs, and every layer's numbers."""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxmnist import interop, runs, training
from jaxmnist.data import load_arrays, load_dataset
from jaxmnist.data.digits import is_digits
from jaxmnist.errors import InputError
from jaxmnist.report.selection import distribution
from jaxmnist.runs.kept import kept_models
from jaxmnist.runs.metrics import read_metrics
from jaxmnist.runs.named_arrays import named_arrays
from jaxmnist.runs.weights import sample as sample_of
from jaxmnist.tasks import Model

MOST_WEIGHTS: Final = 4_000_000
"""The largest network that a page carries: 16 MB of weights, 21 MB as text."""
MEASURED: Final = 1000
"""From how many test images the distributions of activations are taken."""
_BATCH: Final = 1000


class Trained(NamedTuple):
    """A run with its model and its test data."""

    run: runs.Run
    model: Model
    data: Any
    """As `jaxmnist.fit` takes them."""
    images: UInt8[np.ndarray, "samples 28 28"] | None
    """The test images; None for a task that classifies no digits."""
    labels: Int[np.ndarray, " samples"] | None


def load(run: runs.Run) -> Trained:
    """Read a run's model and its data.

    Args:
        run: The run; JAX's 64-bit numbers are on if its precision needs them.

    Returns:
        All of it.

    Raises:
        InputError: The model or the data cannot be read, or are not those of the run.
    """
    if run.task_file is None:
        _, params = runs.load(run.path)
        dataset = load_dataset(run.dataset or "mnist", run.data_dir)
        largest = int(dataset.test_labels.max())
        if largest >= run.num_classes:
            raise InputError(
                f"{dataset.name} has test images of class {largest}; the run in {run.path} has "
                f"only the classes 0 to {run.num_classes - 1}; restore the data it was trained on"
            )
        return Trained(run, Model(params, {}), dataset, dataset.test_images, dataset.test_labels)
    data = run.data(load_arrays)
    model = runs.load_model(run, data)
    test = jax.tree.map(np.asarray, training.split_pair(data)[1])
    if run.task.predict is None or not is_digits(test):
        return Trained(run, model, data, None, None)
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), test)
    shape = jax.eval_shape(run.task.predict, model, first)
    if getattr(shape, "ndim", 0) != 2 or shape.shape[1] <= int(test[1].max()):
        return Trained(run, model, data, None, None)
    return Trained(run, model, data, test[0], test[1].astype(np.int32))


def outputs(
    trained: Trained, say: Callable[[str], None]
) -> Iterator[tuple[int, Float[np.ndarray, "samples classes"]]]:
    """Classify the test images with the model of every kept checkpoint, and with the last.

    Args:
        trained: A run that classifies digits.
        say: Called with a line on each checkpoint that is damaged.

    Yields:
        After how many epochs, and the outputs.
    """
    run, images = trained.run, trained.images
    if images is None:
        return
    predict: Any = jax.jit(run.task.predict) if run.task.predict else None
    sample = None if run.task_file is None else sample_of(trained.data)
    trained_for = len(read_metrics(run).rows)
    for epochs, model in kept_models(run, sample, say):
        if epochs < trained_for:
            yield epochs, _in_batches(predict, model, trained)
    yield trained_for, _in_batches(predict, trained.model, trained)


def _in_batches(predict: Any, model: Model, trained: Trained) -> np.ndarray:
    images, labels = trained.images, trained.labels
    assert images is not None
    assert labels is not None
    found = []
    for start in range(0, len(images), _BATCH):
        rows = [np.asarray(each[start : start + _BATCH]) for each in (images, labels)]
        short = _BATCH - len(rows[0]) if start else 0  # So that one program serves all.
        rows = [np.pad(each, [(0, short), *[(0, 0)] * (each.ndim - 1)]) for each in rows]
        made = np.asarray(predict(model, tuple(map(jnp.asarray, rows))), np.float64)
        found.append(made[: len(made) - short])
    return np.concatenate(found)


def network(trained: Trained) -> dict[str, Any] | None:
    """Return the tutorial's network as the page runs it.

    Args:
        trained: A run.

    Returns:
        Its layers with weights as little-endian float32 in base64; None for a network of another
        task, and for one with more weights than a page can carry.
    """
    if trained.run.task_file is not None:
        return None
    leaves = list(interop.flatten(trained.model.params).values())
    if sum(leaf.size for leaf in leaves) > MOST_WEIGHTS:
        return None
    layers = [
        {
            "inputs": weight.shape[1],
            "outputs": weight.shape[0],
            "weight": _base64(weight),
            "bias": _base64(bias),
        }
        for weight, bias in zip(leaves[::2], leaves[1::2], strict=True)
    ]
    return {"dtype": trained.run.config.dtype, "layers": layers}


def layers(trained: Trained) -> list[dict[str, Any]]:
    """Describe every layer's weights, and what comes out of it for the first test images.

    Args:
        trained: A run.

    Returns:
        For each layer its name and the `distribution` of its weights; of the tutorial's network
        also that of its activations, after ReLU but for the last layer's, and the share of units
        that are 0 for every image.
    """
    if trained.run.task_file is not None:
        named = named_arrays(trained.model.params)
        return [
            {"name": name, "weights": distribution(array)}
            for name, array in list(named.items())[:MOST_ARRAYS]
            if array.size > 1 and array.dtype.kind == "f" and np.isfinite(array).all()
        ]
    leaves = list(interop.flatten(trained.model.params).values())
    described = []
    for index, sums in enumerate(_sums(trained)):
        is_last = 2 * index + 2 == len(leaves)
        after = sums if is_last else np.maximum(sums, 0)
        described.append(
            {
                "name": f"Layer {index + 1}",
                "weights": distribution(np.asarray(leaves[2 * index], np.float64)),
                "activations": distribution(after),
                "never": None if is_last else float((after == 0).all(axis=0).mean()),
            }
        )
    return described


MOST_ARRAYS: Final = 40
"""How many arrays of another task's model are described."""


def _sums(trained: Trained) -> list[np.ndarray]:
    """Return what each affine layer of the tutorial's network returns."""
    assert trained.images is not None
    params = trained.model.params
    x = training.inputs(jnp.asarray(trained.images[:MEASURED]), params)
    _, found = trained.run.model.apply(params, x, capture_intermediates=True)
    made: Mapping[str, Any] = found["intermediates"]
    count = len(trained.run.config.hidden) + 1
    return [np.asarray(made[f"dense_{index}"]["__call__"][0], np.float64) for index in range(count)]


def _base64(array: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
