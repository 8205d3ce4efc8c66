"""One epoch as pure functions: the order of the batches, its steps, and an evaluation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, Num, PyTree

from jaxmnist.data.batches import permutation
from jaxmnist.errors import InputError
from jaxmnist.tasks.tutorial import classification
from jaxmnist.tasks.value import Batch, BatchMetrics, Model
from jaxmnist.training.means import Means
from jaxmnist.training.state import ApplyFn, Params, Rows, Scan, TrainState
from jaxmnist.training.step import Measure, measure_batch, update


def update_epoch(
    state: TrainState,
    order: Int[Rows, " visits"],
    train: Batch,
    key: Key[Array, ""] | None,
    *,
    measure: Measure,
    tx: optax.GradientTransformation,
    batch_size: int,
    first_step: int | Int[Array, ""] = 0,
    scan: Scan = jax.lax.scan,
) -> tuple[TrainState, Means]:
    """Take one step of any task on every batch of the shuffled data, the short last one included.

    Args:
        state: Before the epoch.
        order: Rows of the data: batch k is ``order[k * batch_size:][:batch_size]``.
        train: The training data.
        key: The epoch's, from `epoch_key`: step k has ``fold_in(key, k)``. None for a task without
            randomness.
        measure: The task's.
        tx: The task's optimizer.
        batch_size: Samples in a full batch.
        first_step: The index of the first step within the epoch.
        scan: What loops over the steps, as in `make_train`.

    Returns:
        The state after the epoch, and each batch's means, measured before its own step.
    """

    def step(carry: Any, rows: Int[Array, " batch"]) -> tuple[Any, Means]:
        state, index = carry
        step_key = None if key is None else jax.random.fold_in(key, index)
        batch = jax.tree.map(lambda leaf: _take(leaf, rows), train)
        state, means = update(state, batch, step_key, measure=measure, tx=tx)
        return (state, index + 1), _as_row(means)

    carry = state, jnp.asarray(first_step, jnp.int32)
    (state, _), means = scan_batches(step, carry, order, batch_size, scan)
    return state, means


def measure_epoch(
    model: Model, test: Batch, *, measure: Measure, batch_size: int, scan: Scan = jax.lax.scan
) -> Means:
    """Measure every batch of any task's data in stored order, the short last one included.

    Args:
        model: The parameters and the model's state.
        test: The data.
        measure: The task's.
        batch_size: Samples in a full batch.
        scan: What loops over the batches, as in `make_train`.

    Returns:
        Each batch's means.
    """
    _, means = scan_batches(
        lambda _, batch: (None, _as_row(measure_batch(model, batch, measure=measure))),
        None,
        test,
        batch_size,
        scan,
    )
    return means


def train_epoch(
    state: TrainState,
    order: Int[Rows, " visits"],
    images: Num[Rows, "samples *shape"],
    labels: Num[Rows, " samples"],
    *,
    apply_fn: ApplyFn,
    tx: optax.GradientTransformation,
    batch_size: int,
    scan: Scan = jax.lax.scan,
) -> tuple[TrainState, BatchMetrics]:
    """Take one step on every batch of the shuffled images, the short last one included.

    Args:
        state: Before the epoch.
        order: A permutation of the samples: batch k is ``order[k * batch_size:][:batch_size]``.
            A part of one makes a part of an epoch.
        images: All training images: bytes, which are normalised, or floats, which are not.
        labels: Their classes, as integers.
        apply_fn: ``apply_fn(params, x) -> logits``.
        tx: The optimizer.
        batch_size: Images in a full batch.
        scan: What loops over the steps, as in `make_train`.

    Returns:
        The state after the epoch, and each batch's metrics, measured before its own step.

    Raises:
        InputError: The images are neither bytes nor floats, or the labels are no integers.

    Source: tutorial rows D6 and D9: 938 batches of 64, the last of 32.
    """
    state, means = update_epoch(
        state,
        jnp.asarray(order),
        (jnp.asarray(images), jnp.asarray(labels)),
        None,
        measure=classification(apply_fn),
        tx=tx,
        batch_size=batch_size,
        scan=scan,
    )
    return state, means.per_example


def evaluate(
    params: Params,
    images: Num[Rows, "samples *shape"],
    labels: Num[Rows, " samples"],
    *,
    apply_fn: ApplyFn,
    batch_size: int,
    scan: Scan = jax.lax.scan,
) -> BatchMetrics:
    """Measure every batch of images in their stored order, the short last one included.

    Args:
        params: The model's parameters.
        images: All test images, as `train_epoch` takes them.
        labels: Their classes.
        apply_fn: ``apply_fn(params, x) -> logits``.
        batch_size: Images in a full batch.
        scan: What loops over the batches, as in `make_train`.

    Returns:
        Each batch's metrics.

    Raises:
        InputError: As `train_epoch`.

    Source: tutorial rows D6 and D9: 79 batches of 128, the last of 16.
    """
    return measure_epoch(
        Model(params, {}),
        (jnp.asarray(images), jnp.asarray(labels)),
        measure=classification(apply_fn),
        batch_size=batch_size,
        scan=scan,
    ).per_example


def scan_batches(
    body: Callable[[Any, Any], tuple[Any, Any]],
    carry: PyTree,
    xs: PyTree,
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
        if jax.tree.structure(last) != jax.tree.structure(ys):
            full_names, last_names = (
                ", ".join(
                    jax.tree_util.keystr(path)
                    for path, _ in jax.tree_util.tree_leaves_with_path(tree)
                )
                for tree in (ys, last)
            )
            raise InputError(
                f"a batch of {batch_size} gives {full_names}, and the last batch, of "
                f"{rows - split}, {last_names}; they must be the same"
            )
        ys = jax.tree.map(lambda many, few: jnp.concatenate([many, few]), ys, last)
    return carry, ys


def in_loop(function: Callable[[Any], tuple[Any, Any]], carry: PyTree) -> tuple[PyTree, PyTree]:
    """Call a function once, as the body of a loop.

    On a CPU XLA compiles a convolution outside of loops to other roundings than inside of one. The
    short last batch of an epoch is a step of its own: within the loop over epochs of `make_train`,
    and in a program of one epoch only through this in a loop as well, with the same bits.

    Args:
        function: ``function(carry) -> (carry, y)``.
        carry: Its argument.

    Returns:
        What it returned.

    >>> in_loop(lambda carry: (carry + 1, carry), jnp.int32(2))
    (Array(3, dtype=int32), Array(2, dtype=int32))
    """
    carry, ys = jax.lax.scan(lambda carry, _: function(carry), carry, None, length=1)
    return carry, jax.tree.map(lambda y: y[0], ys)


def epoch_order(
    key: Key[Array, ""], index: Int[Array, ""] | int, samples: int
) -> Int[Array, " samples"]:
    """Shuffle the training data for an epoch.

    Args:
        key: The run's key.
        index: The epoch, from 0.
        samples: How many samples there are, below 2**24.

    Returns:
        The order in which they are taken: it depends on the arguments alone, whatever was trained
        before and wherever the data are.

    Source: tutorial row D6.

    >>> epoch_order(jax.random.key(0), 3, 5).sort()
    Array([0, 1, 2, 3, 4], dtype=int32)
    """
    _, data_key = jax.random.split(key)
    return permutation(jax.random.fold_in(data_key, index), samples)


def epoch_key(key: Key[Array, ""], index: Int[Array, ""] | int) -> Key[Array, ""]:
    """Return the key of an epoch's randomness other than its order, such as dropout.

    Args:
        key: The run's key.
        index: The epoch, from 0.

    Returns:
        The key, of which step k folds in k: no two steps of a run share one.
    """
    return jax.random.fold_in(jax.random.fold_in(key, 2), index)


def _take(array: Rows, indices: Int[Array, " batch"]) -> Array:
    """Read rows that are known to exist, without the usual clamping of the indices."""
    return jnp.asarray(array).at[indices].get(mode="promise_in_bounds")


def _as_row(metrics: Means) -> Means:
    return jax.tree.map(lambda value: value[None], metrics)
