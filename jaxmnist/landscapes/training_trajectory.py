"""A training run that records snapshots of its parameters, as one pure function (row D28)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from jaxmnist.config import Config, Hyper
from jaxmnist.errors import InputError
from jaxmnist.tasks import Task
from jaxmnist.training import (
    BatchMetrics,
    Params,
    TrainState,
    as_task,
    check_batches_fit,
    epoch_key,
    epoch_order,
    samples_in,
    scan_batches,
    split_pair,
    start,
    update_epoch,
)


class Trajectory(NamedTuple):
    """Snapshots of a training run, and the metrics of its batches."""

    steps: Int[Array, " points"]
    """Updates made before each point, 0 first."""
    snapshots: PyTree[Array]
    """What ``observe`` returned for the parameters there; the points are the first axis."""
    batches: BatchMetrics | Mapping[str, Array]
    """Of every batch of the run, [steps], measured before its own update; by name for a task's
    own metrics."""


def make_course(
    task: Config | Task,
    *,
    every: int,
    observe: Callable[[Params], PyTree[Array]] = lambda params: params,
    num_classes: int = 10,
    epochs: int | None = None,
    batch_size: int | None = None,
) -> Callable[[Key[Array, ""], Hyper, Any], tuple[TrainState, Trajectory]]:
    """Build a run of `training.make_train` that records snapshots, as one pure function.

    The weights depend on the key alone, and so does the order of every epoch: runs of two
    optimizers with one key start at the same point and take the same batches.

    Args:
        task: A config: layers, optimizer, convention, epochs and batch size; or any task.
        every: Steps from one point to the next. An epoch's end is always a point, so its last
            segment may be shorter.
        observe: Makes a snapshot of the parameters at each point, such as `training.evaluate`;
            by default the parameters themselves.
        num_classes: Number of logits, for a config.
        epochs: For a task, as in `training.make_train`.
        batch_size: For a task.

    Returns:
        ``run(key, hyper, data) -> (state, trajectory)``; the state is that of ``make_train``.

    Raises:
        InputError: ``every`` is not at least 1; when traced, if a batch is larger than the data.

    Source: tutorial row D28.

    >>> from jaxmnist import default_hyper, load_dataset
    >>> config = Config(epochs=2)
    >>> data = jax.tree.map(lambda x: x[:1000], load_dataset("mnist").arrays())
    >>> run = make_course(config, every=6)
    >>> state, trajectory = run(jax.random.key(0), default_hyper(config), data)
    >>> print(trajectory.steps, trajectory.snapshots["params"]["dense_4"]["bias"].shape)
    [ 0  6 12 16 22 28 32] (7, 10)
    """
    if every < 1:
        raise InputError(f"every is {every}; it must be a whole number of at least 1")
    task, epochs, batches = as_task(task, num_classes, epochs, batch_size, None)
    size = batches.batch_size

    def run(key: Key[Array, ""], hyper: Hyper, data: Any) -> tuple[TrainState, Trajectory]:
        check_batches_fit(batches, data)
        train, _ = split_pair(data)
        samples = samples_in(train)

        def epoch(state: TrainState, index: Int[Array, ""]) -> tuple[TrainState, Any]:
            def segment(carry: Any, order: Int[Array, " part"]) -> tuple[Any, Any]:
                state, first_step = carry
                state, means = update_epoch(
                    state,
                    order,
                    train,
                    epoch_key(key, index),
                    measure=task.measure,
                    tx=task.optimizer(hyper),
                    batch_size=size,
                    first_step=first_step,
                )
                row = _as_one_row(observe(state.params)), means
                return (state, first_step + every), row

            order = epoch_order(key, index, samples)
            before = state, jnp.zeros((), jnp.int32)
            (state, _), rows = scan_batches(segment, before, order, every * size)
            return state, rows

        begun = start(key, hyper, task, train)
        first = _as_one_row(observe(begun.params))
        state, (snapshots, means) = jax.lax.scan(epoch, begun, jnp.arange(epochs))
        snapshots = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), snapshots)
        means = jax.tree.map(jnp.ravel, means)
        return state, Trajectory(
            _points(samples, every, size, epochs),
            _join(first, snapshots),
            means.per_example if isinstance(means.per_example, BatchMetrics) else means.by_name(),
        )

    return run


def _points(samples: int, every: int, batch_size: int, epochs: int) -> Int[Array, " points"]:
    per_epoch = -(-samples // batch_size)
    within = np.append(np.arange(every, per_epoch, every), per_epoch)
    steps = per_epoch * np.arange(epochs)[:, None] + within
    return jnp.asarray(np.append(0, steps))


def _join(first: PyTree[Array], second: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)


def _as_one_row(tree: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda leaf: leaf[None], tree)
