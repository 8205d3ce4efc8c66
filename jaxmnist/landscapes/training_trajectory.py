"""A training run that records snapshots of its parameters, as one pure function (row D28)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from jaxmnist.config import Config, Hyper
from jaxmnist.data import Arrays
from jaxmnist.errors import InputError
from jaxmnist.training import (
    BatchMetrics,
    Params,
    TrainState,
    check_batches_fit,
    epoch_order,
    init,
    model_and_optimizer,
    scan_batches,
    train_epoch,
)


class Trajectory(NamedTuple):
    """Snapshots of a training run, and the metrics of its batches."""

    steps: Int[Array, " points"]
    """Updates made before each point, 0 first."""
    snapshots: PyTree[Array]
    """What ``observe`` returned for the parameters there; the points are the first axis."""
    batches: BatchMetrics
    """Of every batch of the run, [steps], measured before its own update."""


def make_course(
    config: Config,
    *,
    every: int,
    observe: Callable[[Params], PyTree[Array]] = lambda params: params,
    num_classes: int = 10,
) -> Callable[[Key[Array, ""], Hyper, Arrays], tuple[TrainState, Trajectory]]:
    """Build a run of `training.make_train` that records snapshots, as one pure function.

    The weights depend on the key alone, and so does the order of every epoch: runs of two
    optimizers with one key start at the same point and take the same batches.

    Args:
        config: Layers, optimizer, convention, epochs and batch size.
        every: Steps from one point to the next. An epoch's end is always a point, so its last
            segment may be shorter.
        observe: Makes a snapshot of the parameters at each point, such as `training.evaluate`;
            by default the parameters themselves.
        num_classes: Number of logits.

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

    def run(key: Key[Array, ""], hyper: Hyper, data: Arrays) -> tuple[TrainState, Trajectory]:
        check_batches_fit(config, data)
        model, tx = model_and_optimizer(config, num_classes, hyper)
        samples = data.train_labels.size
        length = every * config.batch_size

        def segment(state: TrainState, order: Int[Array, " part"]) -> tuple[TrainState, Any]:
            state, metrics = train_epoch(
                state,
                order,
                data.train_images,
                data.train_labels,
                apply_fn=model.apply,
                tx=tx,
                batch_size=config.batch_size,
            )
            return state, (_as_one_row(observe(state.params)), metrics)

        def epoch(state: TrainState, index: Int[Array, ""]) -> tuple[TrainState, Any]:
            return scan_batches(segment, state, epoch_order(key, index, samples), length)

        start = init(key, hyper, config, num_classes)
        first = _as_one_row(observe(start.params))
        state, (snapshots, metrics) = jax.lax.scan(epoch, start, jnp.arange(config.epochs))
        snapshots = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), snapshots)
        return state, Trajectory(
            _points(samples, every, config),
            _join(first, snapshots),
            jax.tree.map(jnp.ravel, metrics),
        )

    return run


def _points(samples: int, every: int, config: Config) -> Int[Array, " points"]:
    per_epoch = -(-samples // config.batch_size)
    within = np.append(np.arange(every, per_epoch, every), per_epoch)
    steps = per_epoch * np.arange(config.epochs)[:, None] + within
    return jnp.asarray(np.append(0, steps))


def _join(first: PyTree[Array], second: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second)


def _as_one_row(tree: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda leaf: leaf[None], tree)
