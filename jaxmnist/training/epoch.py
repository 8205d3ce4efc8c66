"""Epochs as pure functions: the order of the batches, one epoch, and the whole run."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from jaxmnist.config import Config, Hyper
from jaxmnist.data.batches import permutation
from jaxmnist.data.dataset import Arrays
from jaxmnist.training.setup import init, model_and_optimizer
from jaxmnist.training.state import (
    ApplyFn,
    BatchMetrics,
    History,
    Params,
    Scan,
    Train,
    TrainState,
    check_batches_fit,
    sizes,
)
from jaxmnist.training.step import eval_step, train_step


def make_train(config: Config, num_classes: int = 10, scan: Scan = jax.lax.scan) -> Train:
    """Build the whole run as one pure function, to be jitted, mapped or differentiated.

    The config fixes shapes and names only: its ``seed`` and ``learning_rate`` are not read here.
    They arrive as ``key`` and ``hyper``, so one compiled program serves every seed and every
    value of every hyperparameter.

    Args:
        config: Layers, optimizer, convention, epochs and batch sizes.
        num_classes: Number of logits.
        scan: What loops over epochs, steps and test batches: `jaxmnist.checkpointed_scan` for
            reverse derivatives through runs of any length.

    Returns:
        ``train(key, hyper, data) -> (state, history)``; every array of the history has one
        entry per epoch.

    Raises:
        InputError: When traced, if a batch is larger than the data, or the config's dtype is
            float64 while JAX's 64-bit numbers are off.

    Source: tutorial rows D6-D9.

    >>> from jaxmnist import default_hyper, load_dataset
    >>> config = Config(epochs=2)
    >>> data = jax.tree.map(lambda x: x[:1000], load_dataset("mnist").arrays())
    >>> train = jax.jit(make_train(config))
    >>> state, history = train(jax.random.key(0), default_hyper(config), data)
    >>> history.eval_loss.shape
    (2,)
    """

    def train(key: Key[Array, ""], hyper: Hyper, data: Arrays) -> tuple[TrainState, History]:
        check_batches_fit(config, data)

        def epoch(state: TrainState, index: Int[Array, ""]) -> tuple[TrainState, History]:
            state, metrics, _ = train_and_evaluate(
                config, num_classes, key, hyper, data, index, state, scan
            )
            return state, metrics

        state = init(key, hyper, config, num_classes)
        return scan(epoch, state, jnp.arange(config.epochs))

    return train


def train_and_evaluate(
    config: Config,
    num_classes: int,
    key: Key[Array, ""],
    hyper: Hyper,
    data: Arrays,
    index: Int[Array, ""] | int,
    state: TrainState,
    scan: Scan = jax.lax.scan,
    place: Callable[[ApplyFn], ApplyFn] = lambda apply_fn: apply_fn,
) -> tuple[TrainState, History, Float[Array, " steps"]]:
    """Train on every batch once and evaluate: one epoch of `make_train` and of `fit`.

    Args:
        config: Layers, optimizer, convention and batch sizes.
        num_classes: Number of logits.
        key: The run's key.
        hyper: The optimizer's float arguments.
        data: The images.
        index: The epoch's index, from 0; the key and it determine the order.
        state: Before the epoch.
        scan: What runs the steps; see `make_train`.
        place: Wraps the model's ``apply``, such as to spread a batch over devices.

    Returns:
        The state after the epoch, its metrics, and each batch's train loss.
    """
    model, tx = model_and_optimizer(config, num_classes, hyper)
    apply_fn = place(model.apply)
    state, train_metrics = train_epoch(
        state,
        epoch_order(key, index, data.train_labels.size),
        data.train_images,
        data.train_labels,
        apply_fn=apply_fn,
        tx=tx,
        batch_size=config.batch_size,
        scan=scan,
    )
    eval_metrics = evaluate(
        state.params,
        data.test_images,
        data.test_labels,
        apply_fn=apply_fn,
        batch_size=config.eval_batch_size,
        scan=scan,
    )
    metrics = epoch_metrics(config, train_metrics, eval_metrics, *sizes(data))
    return state, metrics, train_metrics.loss


def train_epoch(
    state: TrainState,
    order: Int[Array, " visits"],
    images: UInt8[Array, "samples 28 28"],
    labels: Int[Array, " samples"],
    *,
    apply_fn: ApplyFn,
    tx: optax.GradientTransformation,
    batch_size: int,
    scan: Scan = jax.lax.scan,
) -> tuple[TrainState, BatchMetrics]:
    """Take one step on every batch of the shuffled data, the short last one included.

    Args:
        state: Before the epoch.
        order: A permutation of the samples: batch k is ``order[k * batch_size:][:batch_size]``.
            A part of one makes a part of an epoch.
        images: All training images.
        labels: Their classes.
        apply_fn: ``apply_fn(params, x) -> logits``.
        tx: The optimizer.
        batch_size: Images in a full batch.
        scan: What loops over the steps, as in `make_train`.

    Returns:
        The state after the epoch, and each batch's metrics, measured before its own step.

    Source: tutorial rows D6 and D9: 938 batches of 64, the last of 32.
    """

    def step(state: TrainState, batch: Int[Array, " batch"]) -> tuple[TrainState, BatchMetrics]:
        state, metrics = train_step(
            state, _take(images, batch), _take(labels, batch), apply_fn=apply_fn, tx=tx
        )
        return state, _as_row(metrics)

    return scan_batches(step, state, order, batch_size, scan)


def evaluate(
    params: Params,
    images: UInt8[Array, "samples 28 28"],
    labels: Int[Array, " samples"],
    *,
    apply_fn: ApplyFn,
    batch_size: int,
    scan: Scan = jax.lax.scan,
) -> BatchMetrics:
    """Measure every batch of the data in its stored order, the short last one included.

    Args:
        params: The model's parameters.
        images: All test images.
        labels: Their classes.
        apply_fn: ``apply_fn(params, x) -> logits``.
        batch_size: Images in a full batch.
        scan: What loops over the batches, as in `make_train`.

    Returns:
        Each batch's metrics.

    Source: tutorial rows D6 and D9: 79 batches of 128, the last of 16.
    """
    _, metrics = scan_batches(
        lambda _, batch: (None, _as_row(eval_step(params, *batch, apply_fn=apply_fn))),
        None,
        (images, labels),
        batch_size,
        scan,
    )
    return metrics


def scan_batches(
    body: Callable[[Any, Any], tuple[Any, Any]],
    carry: PyTree,
    xs: PyTree[Array],
    batch_size: int,
    scan: Scan = jax.lax.scan,
) -> tuple[PyTree, PyTree[Array]]:
    """Loop over the full batches of some rows, then over the shorter rest if there is one.

    Args:
        body: ``body(carry, batch) -> (carry, ys)``. The first axis of ``ys`` has any number of
            rows, such as one for the batch, or one for each of its rows.
        carry: The initial carry.
        xs: Arrays with the same number of rows on their first axis.
        batch_size: Rows in a full batch, at least 1.
        scan: What loops over the full batches.

    Returns:
        The final carry, and the ``ys`` of all batches, concatenated on the first axis.

    Source: tutorial row D6, whose loaders keep the short last batch.

    >>> scan_batches(lambda carry, x: (carry + x.sum(), x.max()[None]), 0, jnp.arange(5), 2)
    (Array(10, dtype=int32), Array([1, 3, 4], dtype=int32))
    """
    rows = jax.tree.leaves(xs)[0].shape[0]
    full_batches = rows // batch_size
    split = full_batches * batch_size
    full = jax.tree.map(lambda x: x[:split].reshape(full_batches, batch_size, *x.shape[1:]), xs)
    carry, ys = scan(body, carry, full)
    ys = jax.tree.map(lambda y: y.reshape(y.shape[0] * y.shape[1], *y.shape[2:]), ys)
    if split < rows:
        carry, last = body(carry, jax.tree.map(lambda x: x[split:], xs))
        ys = jax.tree.map(lambda many, few: jnp.concatenate([many, few]), ys, last)
    return carry, ys


def epoch_order(
    key: Key[Array, ""], index: Int[Array, ""] | int, samples: int
) -> Int[Array, " samples"]:
    """Shuffle the training images for an epoch.

    Args:
        key: The run's key.
        index: The epoch, from 0.
        samples: How many images there are, below 2**24.

    Returns:
        The order in which they are taken: it depends on the arguments alone, whatever was trained
        before and wherever the images are.

    Source: tutorial row D6.

    >>> epoch_order(jax.random.key(0), 3, 5).sort()
    Array([0, 1, 2, 3, 4], dtype=int32)
    """
    _, data_key = jax.random.split(key)
    return permutation(jax.random.fold_in(data_key, index), samples)


def average(
    metrics: BatchMetrics, batch_size: int, samples: int
) -> tuple[BatchMetrics, BatchMetrics]:
    """Average an epoch's batches in both ways: each batch the same, and each sample the same.

    Args:
        metrics: Each batch's metrics; all batches are full but perhaps the last.
        batch_size: Samples in a full batch.
        samples: Samples in all batches.

    Returns:
        The mean over batches, as the tutorial takes it, and the mean over samples.

    Source: tutorial row D9.

    >>> metrics = BatchMetrics(loss=jnp.array([1.0, 4.0]), accuracy=jnp.array([0.5, 1.0]))
    >>> [float(means.loss) for means in average(metrics, batch_size=2, samples=3)]
    [2.5, 2.0]
    """
    sizes = jnp.minimum(batch_size, samples - batch_size * jnp.arange(metrics.loss.size))
    weights = sizes.astype(metrics.loss.dtype) / samples
    return (
        BatchMetrics(*(jnp.mean(values) for values in metrics)),
        BatchMetrics(*(jnp.sum(values * weights) for values in metrics)),
    )


def epoch_metrics(
    config: Config,
    train_metrics: BatchMetrics,
    eval_metrics: BatchMetrics,
    train_samples: int,
    test_samples: int,
) -> History:
    """Put an epoch's averages into the order of a history.

    Args:
        config: The batch sizes.
        train_metrics: Each training batch's metrics.
        eval_metrics: Each test batch's metrics.
        train_samples: Samples in all training batches.
        test_samples: Samples in all test batches.

    Returns:
        The means over batches and over samples, each one number.
    """
    train_means = average(train_metrics, config.batch_size, train_samples)
    eval_means = average(eval_metrics, config.eval_batch_size, test_samples)
    return History(*train_means[0], *eval_means[0], *train_means[1], *eval_means[1])


def _take(array: Array, indices: Int[Array, " batch"]) -> Array:
    """Read rows that are known to exist, without the usual clamping of the indices."""
    return array.at[indices].get(mode="promise_in_bounds")


def _as_row(metrics: BatchMetrics) -> BatchMetrics:
    return jax.tree.map(lambda value: value[None], metrics)
