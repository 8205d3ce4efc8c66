"""What a run carries and returns, and how many images it needs: types, and no computation."""

from collections.abc import Callable, Sized
from typing import Any, NamedTuple, Protocol, runtime_checkable

import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxmnist.config import Config, Hyper
from jaxmnist.data.dataset import Arrays, Dataset
from jaxmnist.errors import InputError

Params = PyTree[Array]
ApplyFn = Callable[..., Any]
"""``apply_fn(params, x) -> logits``, such as a Linen module's ``apply``."""
Scan = Callable[..., tuple[Any, Any]]
"""``scan(body, carry, xs) -> (carry, ys)``, as ``jax.lax.scan``."""


class TrainState(NamedTuple):
    """Everything a step changes."""

    params: Params
    """The model's parameters, in the structure that ``model.init`` returned."""
    opt_state: optax.OptState
    """The optimizer's accumulators."""


class BatchMetrics(NamedTuple):
    """The metrics of one batch, or of a whole epoch's batches stacked on the first axis."""

    loss: Float[Array, "*steps"]
    """Mean cross-entropy over the batch, in nats."""
    accuracy: Float[Array, "*steps"]
    """Share of the batch classified correctly."""


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


Train = Callable[[Key[Array, ""], Hyper, Arrays], tuple[TrainState, History]]
"""A whole run: ``train(key, hyper, data) -> (state, history)``, pure."""
RunEpoch = Callable[[int, TrainState], tuple[TrainState, History, Any]]
"""An epoch by its index: the state after it, its metrics, and each batch's train loss."""


@runtime_checkable
class OnDisk(Protocol):
    """A set that is read while it is trained on, such as `jaxmnist.data.PreparedSet`."""

    @property
    def train(self) -> Sized:
        """The training records."""
        ...

    @property
    def test(self) -> Sized:
        """The test records."""
        ...


def sizes(data: Arrays | Dataset | OnDisk) -> tuple[int, int]:
    """Count the training and the test images.

    Args:
        data: In memory or on disk.

    Returns:
        How many there are of each.
    """
    if isinstance(data, Arrays | Dataset):
        return data.train_labels.size, data.test_labels.size
    return len(data.train), len(data.test)


def check_batches_fit(config: Config, data: Arrays | Dataset | OnDisk) -> None:
    """Refuse batches that are larger than the data.

    Args:
        config: The run.
        data: What it would run on.

    Raises:
        InputError: A batch is larger than the data.
    """
    train, test = sizes(data)
    for name, batch_size, samples in (
        ("batch_size", config.batch_size, train),
        ("eval_batch_size", config.eval_batch_size, test),
    ):
        if batch_size > samples:
            raise InputError(f"{name} is {batch_size}; the data has only {samples} images for it")
