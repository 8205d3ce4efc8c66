"""An epoch on a set on disk: pieces of it are read while the one before is trained on."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from jaxmnist.config import Config, Hyper
from jaxmnist.data.stream import pieces
from jaxmnist.data.tfds import PreparedSet
from jaxmnist.training.epoch import epoch_metrics, epoch_order, evaluate, train_epoch
from jaxmnist.training.setup import model_and_optimizer
from jaxmnist.training.state import BatchMetrics, History, Params, RunEpoch, TrainState, sizes

# Images in a piece of a stream, unless a single batch has more: enough to hide what a dispatch
# costs, and a few megabytes.
_PIECE = 4096


def compile_pieces(
    config: Config,
    key: Key[Array, ""],
    hyper: Hyper,
    prepared: PreparedSet,
    state: TrainState,
    on_progress: Callable[[float], None],
) -> RunEpoch:
    """Compile an epoch on images on disk: a program for every piece, and one for a short last.

    Args:
        config: The run, of which layers, optimizer, convention and batch sizes are used.
        key: The run's key.
        hyper: The optimizer's float arguments.
        prepared: The set on disk.
        state: Of the shapes that the programs are compiled for.
        on_progress: Called after each training piece with the number of epochs so far.

    Returns:
        The epoch. It raises InputError where a record cannot be read, and ends early where a loss
        is not finite.
    """
    constants = (config, prepared.num_classes, hyper)
    samples, test_samples = sizes(prepared)
    size, test_size = _piece_size(config.batch_size), _piece_size(config.eval_batch_size)
    for program, moved, total, full in (
        (_jitted_train_piece, state, samples, size),
        (_jitted_eval_piece, state.params, test_samples, test_size),
    ):
        for count in {min(full, total), total % full} - {0}:
            images = jax.ShapeDtypeStruct((count, 28, 28), jnp.uint8)
            labels = jax.ShapeDtypeStruct((count,), jnp.int32)
            program.lower(*constants, moved, images, labels).compile()

    def run_epoch(index: int, state: TrainState) -> tuple[TrainState, History, Any]:
        order = np.asarray(_jitted_epoch_order(key, index, samples))
        with contextlib.closing(pieces(prepared, "train", order, size)) as iterator:
            state, train_metrics = _over_pieces(
                functools.partial(_jitted_train_piece, *constants),
                state,
                iterator,
                lambda done: on_progress(index + min(1.0, done * size / samples)),
            )
        if not np.isfinite(train_metrics.loss).all():
            nothing = jnp.full(len(History._fields), jnp.nan)
            return state, History(*nothing), train_metrics.loss
        stored_order = range(test_samples)
        with contextlib.closing(pieces(prepared, "test", stored_order, test_size)) as iterator:
            _, eval_metrics = _over_pieces(
                functools.partial(_jitted_eval_piece, *constants), state.params, iterator
            )
        metrics = _jitted_metrics(config, train_metrics, eval_metrics, samples, test_samples)
        return state, metrics, train_metrics.loss

    return run_epoch


def _piece_size(batch_size: int) -> int:
    """Return how many images a piece has: whole batches, at least one."""
    return batch_size * max(1, _PIECE // batch_size)


def _over_pieces(
    program: Callable[..., tuple[Any, BatchMetrics]],
    carry: Any,
    iterator: Iterator[tuple[np.ndarray, np.ndarray]],
    on_piece: Callable[[int], None] = lambda _: None,
) -> tuple[Any, BatchMetrics]:
    """Run a program over every piece, or until a loss is not finite; stack the batches' metrics.

    To call it is only to dispatch it. While the device computes a piece, the next one is read and
    copied there; then the metrics of the one before are waited for, which keeps the host from
    running further ahead: two pieces at most are on the device.
    """
    metrics: list[BatchMetrics] = []
    for piece in iterator:
        carry, measured = program(carry, *jax.device_put(piece))
        metrics.append(measured)
        if len(metrics) > 1:
            metrics[-2] = jax.device_get(metrics[-2])
            if not np.isfinite(metrics[-2].loss).all():
                break
            on_piece(len(metrics) - 1)
    metrics[-1] = jax.device_get(metrics[-1])
    on_piece(len(metrics))
    stacked = (jnp.asarray(np.concatenate(values)) for values in zip(*metrics, strict=True))
    return carry, BatchMetrics(*stacked)


def _train_piece(
    config: Config,
    num_classes: int,
    hyper: Hyper,
    state: TrainState,
    images: UInt8[Array, "samples 28 28"],
    labels: Int[Array, " samples"],
) -> tuple[TrainState, BatchMetrics]:
    """Take one step on every batch of a piece that is in the epoch's order already."""
    model, tx = model_and_optimizer(config, num_classes, hyper)
    order = jnp.arange(labels.size)
    return train_epoch(
        state, order, images, labels, apply_fn=model.apply, tx=tx, batch_size=config.batch_size
    )


def _eval_piece(
    config: Config,
    num_classes: int,
    hyper: Hyper,
    params: Params,
    images: UInt8[Array, "samples 28 28"],
    labels: Int[Array, " samples"],
) -> tuple[Params, BatchMetrics]:
    """Measure every batch of a piece."""
    model, _ = model_and_optimizer(config, num_classes, hyper)
    batch_size = config.eval_batch_size
    metrics = evaluate(params, images, labels, apply_fn=model.apply, batch_size=batch_size)
    return params, metrics


_jitted_train_piece = jax.jit(_train_piece, static_argnums=(0, 1))
_jitted_eval_piece = jax.jit(_eval_piece, static_argnums=(0, 1))
_jitted_metrics = jax.jit(epoch_metrics, static_argnums=(0, 3, 4))
_jitted_epoch_order = jax.jit(epoch_order, static_argnums=2)
