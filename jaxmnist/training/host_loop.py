"""A run epoch by epoch from Python: it reports every epoch and stops where the loss diverges."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxmnist.config import Config, Hyper
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.device import on_device
from jaxmnist.data.stream import Stream, sample
from jaxmnist.errors import InputError
from jaxmnist.tasks.value import Batch, Task
from jaxmnist.training import in_memory, streaming
from jaxmnist.training.programs import started
from jaxmnist.training.run import as_task
from jaxmnist.training.setup import check_hyper
from jaxmnist.training.state import (
    BatchSizes,
    Metered,
    OnEpoch,
    RunEpoch,
    TrainState,
    by_name,
    check_batches_fit,
    split_pair,
)


def fit(
    task: Config | Task,
    data: Any,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    eval_batch_size: int | None = None,
    seed: int = 0,
    hyper: Hyper | None = None,
    state: TrainState | None = None,
    epoch: int = 0,
    on_compiled: Callable[[], None] = lambda: None,
    on_progress: Callable[[float], None] = lambda _: None,
    on_epoch: OnEpoch = lambda *_: None,
) -> tuple[TrainState, Any]:
    """Run the epochs one by one from Python, with the numbers of ``jit(make_train(task, …))``.

    Data in memory are trained on an epoch at a time. Of data on disk a few pieces are in memory
    at once, each of some thousand samples and 32 MiB at most, read and copied to the device while
    those before them are trained on, and four bytes for each sample's place in the epoch's order.
    The batches are the same for the same seed, and so are the weights and every batch's metrics,
    to the last bit; an epoch's means may differ in the last bits, as another program sums them.

    Args:
        task: A config, which stands for the tutorial's task, its seed and learning rate included;
            or any task.
        data: A `Dataset`, a pair ``(train, test)`` of pytrees of arrays with a leading sample
            axis; or data on disk: what `jaxmnist.data.open_stream`, `open_arrays` or
            `stored_arrays` return, or another `jaxmnist.data.StoredSet`.
        epochs: For a task, as in `make_train`.
        batch_size: For a task.
        eval_batch_size: For a task.
        seed: For a task: the run's key is ``jax.random.key(seed)``.
        hyper: Hyperparameters in place of the task's own.
        state: The state to start from, such as an earlier run's last; None for a new one.
        epoch: The first epoch to run, from 0: how many were trained before ``state``.
        on_compiled: Called once, when the steps' program is ready and the first epoch begins; that
            of the evaluation may still be compiled beside them.
        on_progress: Called within the epochs on data on disk with the number of epochs so far,
            such as 2.5.
        on_epoch: The callback: called after each epoch with its index from 0, the state, and its
            metrics. `jaxmnist.logs.opened` returns one that writes to TensorBoard and its kin.

    Returns:
        The final state, and the history with one entry per epoch that was run.

    Raises:
        InputError: A batch is larger than the data, or a record cannot be read.
        DivergedError: A loss is NaN or infinite; it has the state and the history before it.

    >>> from jaxmnist import load_dataset
    >>> mnist = load_dataset("mnist")
    >>> seen = []
    >>> def remember(epoch, state, metrics):
    ...     seen.append((epoch, float(metrics.eval_accuracy)))
    >>> state, history = fit(Config(epochs=1), mnist, on_epoch=remember)
    >>> seen == [(0, float(history.eval_accuracy[0]))]
    True
    """
    run = plan_run(task, data, epochs, batch_size, eval_batch_size, seed, hyper)
    constants = (run.task.program(), run.batches, run.key, run.hyper)
    if isinstance(data, Stream):
        begun = state or started(run.key, run.hyper, constants[0], sample(data))
        run_epoch, shapes = streaming.compile_pieces(*constants, data, begun, on_progress)
    else:
        parts = on_device(split_pair(data))
        begun, run_epoch, shapes = in_memory.compile_epoch(*constants, parts, state)
    on_compiled()
    return run_epochs(run_epoch, begun, range(epoch, run.epochs), on_epoch, shapes)


class PlannedRun(NamedTuple):
    """What is to be run, whether a config or a task was given."""

    task: Task
    """What is trained."""
    epochs: int
    """Passes over the training data."""
    batches: BatchSizes
    """The batch sizes."""
    key: Key[Array, ""]
    """The run's key."""
    hyper: Hyper
    """The values of the task's hyperparameters."""


def plan_run(
    task: Config | Task,
    data: Any,
    epochs: int | None,
    batch_size: int | None,
    eval_batch_size: int | None,
    seed: int,
    hyper: Hyper | None,
) -> PlannedRun:
    """Return what `fit` is to run on some data, from its arguments.

    Args:
        task: A config or a task.
        data: What it is to be trained on.
        epochs: For a task; so are the following.
        batch_size: For a task.
        eval_batch_size: For a task.
        seed: For a task; a config has its own.
        hyper: Hyperparameters in place of the task's own.

    Returns:
        The run.

    Raises:
        InputError: A size is missing, a batch is larger than the data, ``hyper`` has other names
            than the task's, or a label of the tutorial's is none of the classes.
    """
    num_classes = getattr(data, "num_classes", 10)
    if isinstance(task, Config):
        seed = task.seed
        check_labels(data, num_classes)
    task, epochs, batches = as_task(task, num_classes, epochs, batch_size, eval_batch_size)
    check_batches_fit(batches, data)
    hyper = task.hyper if hyper is None else hyper
    check_hyper(task, hyper)
    return PlannedRun(task, epochs, batches, jax.random.key(seed), hyper)


def check_labels(data: Any, num_classes: int) -> None:
    """Refuse labels that are none of the classes, of data in memory.

    Args:
        data: A pair of pairs of images and labels, or `Arrays`; a `Dataset` was checked when it
            was made.
        num_classes: How many classes there are.

    Raises:
        InputError: A label is out of range.
    """
    if isinstance(data, Dataset | Stream):
        return
    for name, part in zip(("train", "test"), split_pair(data), strict=True):
        labels = np.asarray(part[1])
        wrong = (labels < 0) | (labels >= num_classes)
        if np.issubdtype(labels.dtype, np.integer) and wrong.any():
            first = np.unravel_index(int(wrong.argmax()), labels.shape)
            raise InputError(
                f"a label of the {name} data, number {first[0]}, is {labels[first]}; with "
                f"{num_classes} classes, 0 to {num_classes - 1} are allowed"
            )


def run_epochs(
    run_epoch: RunEpoch,
    state: TrainState,
    indices: range,
    on_epoch: OnEpoch,
    shapes: Metered,
) -> tuple[TrainState, Any]:
    """Run epochs one after another, and stop where a loss stops being finite.

    Args:
        run_epoch: From an epoch's index and the state before it to the state after it, its
            metrics, and each batch's train loss.
        state: Before the first of them.
        indices: Which epochs.
        on_epoch: Called after each epoch with its index, the state, and its metrics.
        shapes: The structure of an epoch's metrics, for a history of none.

    Returns:
        The final state, and the history with one entry per epoch that was run.

    Raises:
        DivergedError: A loss is NaN or infinite; it has the state and the history before it.
    """
    epochs: list[Metered] = []
    for index in indices:
        reached = state
        state, metrics, losses = run_epoch(index, state)
        losses = np.append(losses, by_name(metrics)["eval_loss"])
        broken = ~np.isfinite(losses)
        if broken.any():
            step = int(broken.argmax())
            raise DivergedError(index, step, float(losses[step]), reached, _stack(epochs, shapes))
        epochs.append(metrics)
        on_epoch(index, state, metrics)
    return state, _stack(epochs, shapes)


class DivergedError(ArithmeticError):
    """A loss became NaN or infinite.

    Attributes:
        epoch: The epoch it happened in, from 0.
        step: The first step of that epoch with such a loss, from 0; the number of steps if only
            the evaluation after them has it.
        loss: That loss.
        state: The state before that epoch.
        history: The epochs before it.
    """

    def __init__(self, epoch: int, step: int, loss: float, state: TrainState, history: Any) -> None:
        super().__init__(f"the loss became {loss} at step {step} of epoch {epoch}")
        self.epoch, self.step, self.loss = epoch, step, loss
        self.state, self.history = state, history


def first_rows(part: Batch) -> Batch:
    """Return a batch of one sample, for its shapes."""
    return jax.tree.map(lambda leaf: leaf[:1], part)


def _stack(epochs: list[Metered], shapes: Metered) -> Any:
    if not epochs:
        return jax.tree.map(lambda leaf: jnp.zeros((0, *leaf.shape), leaf.dtype), shapes)
    return jax.tree.map(lambda *values: jnp.asarray(np.stack(values)), *epochs)
