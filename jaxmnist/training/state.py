"""What a run carries and returns, and the sizes of its data: types and checks."""

from collections.abc import Callable, Mapping, Sized
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxmnist.config import Hyper
from jaxmnist.data.dataset import Arrays, Dataset
from jaxmnist.errors import InputError
from jaxmnist.tasks.value import Batch, Model

Params = PyTree[Array]
Rows = Array | np.ndarray
"""Data in memory: of JAX or of NumPy."""
ApplyFn = Callable[..., Any]
"""``apply_fn(params, x) -> logits``, such as a Linen module's ``apply``."""
Scan = Callable[..., tuple[Any, Any]]
"""``scan(body, carry, xs) -> (carry, ys)``, as ``jax.lax.scan``."""


class TrainState(NamedTuple):
    """Everything a step changes."""

    params: Params
    """The model's parameters, in the structure that the task's ``init`` returned."""
    opt_state: optax.OptState
    """The optimizer's accumulators."""
    model_state: PyTree[Array] = {}  # noqa: RUF012  # A pytree without leaves; nothing changes it.
    """The model's other numbers, such as batch statistics."""

    @property
    def model(self) -> Model:
        """The model's numbers, without the optimizer's."""
        return Model(self.params, self.model_state)


class History(NamedTuple):
    """The four metrics of an epoch (D9) and their per-sample twins; a run stacks its epochs.

    The tutorial averages batch means, so a short last batch weighs as much as a full one. The
    ``_per_sample`` metrics weigh every image the same.
    """

    train_loss: Float[Array, "*epochs"]
    train_accuracy: Float[Array, "*epochs"]
    eval_loss: Float[Array, "*epochs"]
    eval_accuracy: Float[Array, "*epochs"]
    train_loss_per_sample: Float[Array, "*epochs"]
    train_accuracy_per_sample: Float[Array, "*epochs"]
    eval_loss_per_sample: Float[Array, "*epochs"]
    eval_accuracy_per_sample: Float[Array, "*epochs"]


Metered = History | Mapping[str, Any]
"""The metrics of epochs by name: the tutorial's `History`, or a mapping for a task's own."""
Train = Callable[[Key[Array, ""], Hyper, Any], tuple[TrainState, Any]]
"""A whole run: ``train(key, hyper, data) -> (state, history)``, pure."""
RunEpoch = Callable[[int, TrainState], tuple[TrainState, Any, Any]]
"""An epoch by its index: the state after it, its metrics, and each batch's train loss."""


@runtime_checkable
class OnEpoch(Protocol):
    """A callback of `fit`: any function of an epoch's index, the state after it and its metrics.

    What it returns is not looked at, and an exception that it raises ends the training. Several
    callbacks are one function that calls them in turn.
    """

    def __call__(self, epoch: int, state: TrainState, metrics: Any, /) -> Any:
        """Take note of an epoch.

        Args:
            epoch: Its index, from 0.
            state: The state after it.
            metrics: A `History` of scalars, or for a task of one's own scalars by name.
        """
        ...


def by_name(history: Metered) -> dict[str, Any]:
    """Return the metrics of epochs as a dict, whichever of the two types they have.

    Args:
        history: A `History`, or a mapping.

    Returns:
        Arrays by name, in the history's order.
    """
    return history._asdict() if isinstance(history, History) else dict(history)


class BatchSizes(NamedTuple):
    """How many samples are in a full batch."""

    batch_size: int
    """Of training."""
    eval_batch_size: int
    """Of evaluation."""


@runtime_checkable
class HasBatchSizes(Protocol):
    """`BatchSizes`, or a `Config`."""

    @property
    def batch_size(self) -> int:
        """Samples in a full training batch."""
        ...

    @property
    def eval_batch_size(self) -> int:
        """Samples in a full evaluation batch."""
        ...


@runtime_checkable
class OnDisk(Protocol):
    """Data that are read while they are trained on, such as `jaxmnist.data.PreparedSet`."""

    @property
    def train(self) -> Sized:
        """The training samples."""
        ...

    @property
    def test(self) -> Sized:
        """The test samples."""
        ...


def split_pair(data: Any) -> tuple[Batch, Batch]:
    """Return the training and the test part of data in memory.

    Args:
        data: A pair ``(train, test)`` of pytrees of arrays with a leading sample axis; or the
            tutorial's `Arrays` or `Dataset`, whose parts are pairs of images and labels.

    Returns:
        The two parts.

    Raises:
        InputError: It is neither; or the arrays of a part have no or different numbers of samples.
    """
    if isinstance(data, Arrays | Dataset):
        return (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise InputError(
            f"data is a {type(data).__name__}; it must be a pair (train, test) of arrays with a "
            "leading sample axis, such as ((images, labels), (images, labels))"
        )
    for name, part in zip(("train", "test"), data, strict=True):
        samples_in(part, name)
    return data[0], data[1]


def samples_in(part: Batch, name: str = "the data") -> int:
    """Count the samples of a part of the data.

    Args:
        part: Arrays with a leading sample axis.
        name: What error messages call it.

    Returns:
        The length of that axis.

    Raises:
        InputError: There is no array, one has no axis, or two differ in length.

    >>> samples_in((np.zeros((5, 28, 28)), np.zeros(5)))
    5
    """
    leaves = jax.tree_util.tree_leaves_with_path(part)
    shapes = {jax.tree_util.keystr(path) or "it": np.shape(leaf) for path, leaf in leaves}
    if not shapes or not all(shapes.values()):
        raise InputError(
            f"{name} has the shapes {shapes}; every array must have a leading sample axis"
        )
    if len({shape[0] for shape in shapes.values()}) > 1:
        listed = ", ".join(f"{path}: {shape[0]}" for path, shape in shapes.items())
        raise InputError(
            f"{name} has arrays of different numbers of samples ({listed}); they must be the same"
        )
    return next(iter(shapes.values()))[0]


def sizes(data: Any) -> tuple[int, int]:
    """Count the training and the test samples.

    Args:
        data: In memory or on disk.

    Returns:
        How many there are of each.
    """
    if isinstance(data, Arrays | Dataset):
        return data.train_labels.size, data.test_labels.size
    if isinstance(data, OnDisk):
        return len(data.train), len(data.test)
    train, test = split_pair(data)
    return samples_in(train, "train"), samples_in(test, "test")


def check_batches_fit(batches: HasBatchSizes, data: Any) -> None:
    """Refuse batches that are empty or larger than the data.

    Args:
        batches: The run's config, or its batch sizes.
        data: What it would run on.

    Raises:
        InputError: A batch is larger than the data.
    """
    train, test = sizes(data)
    for name, batch_size, samples in (
        ("batch_size", batches.batch_size, train),
        ("eval_batch_size", batches.eval_batch_size, test),
    ):
        if batch_size < 1:
            raise InputError(f"{name} is {batch_size}; it must be a whole number of at least 1")
        if batch_size > samples:
            raise InputError(f"{name} is {batch_size}; the data has only {samples} samples for it")
