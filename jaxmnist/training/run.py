"""The whole run as one pure function of a key, hyperparameters and data."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxmnist.config import Config, Hyper
from jaxmnist.errors import InputError
from jaxmnist.tasks.tutorial import tutorial_task
from jaxmnist.tasks.value import Batch, Model, Task
from jaxmnist.training.epoch import epoch_key, epoch_order, measure_epoch, update_epoch
from jaxmnist.training.means import epoch_metrics
from jaxmnist.training.setup import check_hyper, start
from jaxmnist.training.state import (
    BatchSizes,
    HasBatchSizes,
    Metered,
    Scan,
    Train,
    TrainState,
    check_batches_fit,
    samples_in,
    split_pair,
)


def make_train(
    task: Config | Task,
    num_classes: int = 10,
    scan: Scan = jax.lax.scan,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    eval_batch_size: int | None = None,
) -> Train:
    """Build the whole run as one pure function, to be jitted, mapped or differentiated.

    A config stands for the tutorial's task. It fixes shapes and names only: its ``seed`` and
    ``learning_rate`` are not read here. They arrive as ``key`` and ``hyper``, so one compiled
    program serves every seed and every value of every hyperparameter.

    Args:
        task: A config: layers, optimizer, convention, epochs and batch sizes; or any task.
        num_classes: Number of logits, for a config.
        scan: What loops over epochs, steps and test batches: `jaxmnist.checkpointed_scan` for
            reverse derivatives through runs of any length.
        epochs: Passes over the training data, for a task.
        batch_size: Samples in a full training batch, for a task.
        eval_batch_size: Samples in a full test batch, for a task; by default ``batch_size``.

    Returns:
        ``train(key, hyper, data) -> (state, history)``; every array of the history has one
        entry per epoch. ``data`` is a pair ``(train, test)`` of pytrees of arrays with a leading
        sample axis, or the tutorial's `Arrays`. The history is the tutorial's `History`, or for a
        task's own metrics a mapping with ``train_loss``, ``eval_loss``, ... and, for metrics per
        example, ``train_loss_per_sample``, ...

    Raises:
        InputError: A size is missing, or given beside a config; when traced, if a batch is larger
            than the data, ``hyper`` has not all of a task's names, a metric has a shape it must
            not have, or a config's dtype is float64 while JAX's 64-bit numbers are off.

    Source: tutorial rows D6-D9.

    >>> from jaxmnist import default_hyper, load_dataset
    >>> config = Config(epochs=2)
    >>> data = jax.tree.map(lambda x: x[:1000], load_dataset("mnist").arrays())
    >>> train = jax.jit(make_train(config))
    >>> state, history = train(jax.random.key(0), default_hyper(config), data)
    >>> history.eval_loss.shape
    (2,)

    Any task is trained in the same way, here a line through ``y = 2x``:

    >>> import optax
    >>> def measure(model, batch, key, training):
    ...     x, y = batch
    ...     return {"loss": (x @ model.params - y) ** 2}, model.state
    >>> line = Task(
    ...     init=lambda key, hyper, inputs: Model(jnp.zeros(inputs.shape[1]), {}),
    ...     measure=measure,
    ...     optimizer=lambda hyper: optax.sgd(hyper["learning_rate"]),
    ...     hyper={"learning_rate": 0.1},
    ... )
    >>> x = jnp.linspace(-1, 1, 8)[:, None]
    >>> train = jax.jit(make_train(line, epochs=50, batch_size=4))
    >>> state, history = train(jax.random.key(0), line.hyper, ((x, 2 * x[:, 0]), (x, 2 * x[:, 0])))
    >>> print(state.params.round(3), sorted(history))
    [2.] ['eval_loss', 'eval_loss_per_sample', 'train_loss', 'train_loss_per_sample']
    """
    has_defaults = isinstance(task, Config)  # Its optimizers have some of their own.
    task, epochs, batches = as_task(task, num_classes, epochs, batch_size, eval_batch_size)

    def train(key: Key[Array, ""], hyper: Hyper, data: Any) -> tuple[TrainState, Metered]:
        if not has_defaults:
            check_hyper(task, hyper)
        check_batches_fit(batches, data)
        parts = split_pair(data)

        def epoch(state: TrainState, index: Int[Array, ""]) -> tuple[TrainState, Metered]:
            state, metrics, _ = train_and_evaluate(
                task, batches, key, hyper, parts, index, state, scan
            )
            return state, metrics

        return scan(epoch, start(key, hyper, task, parts[0]), jnp.arange(epochs))

    return train


def as_task(
    task: Config | Task,
    num_classes: int,
    epochs: int | None,
    batch_size: int | None,
    eval_batch_size: int | None,
) -> tuple[Task, int, BatchSizes]:
    """Return the task and the sizes of a run that is given as a config or as a task.

    Args:
        task: Either.
        num_classes: Number of logits, for a config.
        epochs: For a task; None for a config, which has its own.
        batch_size: The same.
        eval_batch_size: The same; for a task by default ``batch_size``.

    Returns:
        The task, its epochs and its batch sizes.

    Raises:
        InputError: A size is missing, or given beside a config.
    """
    given = {"epochs": epochs, "batch_size": batch_size, "eval_batch_size": eval_batch_size}
    if isinstance(task, Config):
        if named := [name for name, value in given.items() if value is not None]:
            raise InputError(
                f"{named[0]} is given beside a Config, which has its own; "
                f"give Config({named[0]}={given[named[0]]})"
            )
        batches = BatchSizes(task.batch_size, task.eval_batch_size)
        return tutorial_task(task, num_classes), task.epochs, batches
    if not isinstance(task, Task):
        raise InputError(
            f"the task is a {type(task).__name__}; give a jaxmnist.Config or a jaxmnist.Task, "
            "such as jaxmnist.task(model, optimizer, loss) returns"
        )
    for name in ("epochs", "batch_size"):
        if given[name] is None:
            raise InputError(f"{name} is missing; a task needs it, as in {name}=64")
    for name, value in given.items():
        if value is not None and not (isinstance(value, int) and value >= 1):
            raise InputError(f"{name} is {value!r}; it must be a whole number of at least 1")
    assert epochs is not None
    assert batch_size is not None
    return task, epochs, BatchSizes(batch_size, eval_batch_size or batch_size)


def train_and_evaluate(
    task: Task,
    batches: HasBatchSizes,
    key: Key[Array, ""],
    hyper: Hyper,
    parts: tuple[Batch, Batch],
    index: Int[Array, ""] | int,
    state: TrainState,
    scan: Scan = jax.lax.scan,
    place: Callable[[Batch], Batch] = lambda batch: batch,
) -> tuple[TrainState, Metered, Float[Array, " steps"]]:
    """Train on every batch once and evaluate: one epoch of `make_train` and of `fit`.

    Args:
        task: What is trained.
        batches: The batch sizes.
        key: The run's key.
        hyper: The task's hyperparameters.
        parts: The training and the test data.
        index: The epoch's index, from 0; the key and it determine the order.
        state: Before the epoch.
        scan: What runs the steps; see `make_train`.
        place: What is done to every batch before it is used, such as to spread it over devices.

    Returns:
        The state after the epoch, its metrics, and each batch's train loss.
    """
    train, test = parts

    def measure(model: Model, batch: Batch, key: Any, training: bool) -> Any:
        return task.measure(model, place(batch), key, training)

    samples = samples_in(train)
    state, train_means = update_epoch(
        state,
        epoch_order(key, index, samples),
        train,
        epoch_key(key, index),
        measure=measure,
        tx=task.optimizer(hyper),
        batch_size=batches.batch_size,
        scan=scan,
    )
    eval_means = measure_epoch(
        state.model, test, measure=measure, batch_size=batches.eval_batch_size, scan=scan
    )
    metrics = epoch_metrics(batches, train_means, eval_means, samples, samples_in(test))
    return state, metrics, train_means.loss
