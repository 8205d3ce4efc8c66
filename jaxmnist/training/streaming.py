"""An epoch on data on disk: pieces of them are read while the one before is trained on."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from jaxmnist.config import Hyper
from jaxmnist.data.stream import Stream, pieces, sample
from jaxmnist.tasks.value import Batch, Model, Task
from jaxmnist.training.epoch import in_loop, measure_epoch, update_epoch
from jaxmnist.training.means import Means, epoch_metrics
from jaxmnist.training.programs import compiled_order, compiler, shuffled
from jaxmnist.training.state import BatchSizes, Metered, RunEpoch, TrainState, samples_in, sizes

# Samples in a piece of a stream, unless a single batch has more: enough to hide what a dispatch
# costs, and a few megabytes.
_PIECE = 4096
# Bytes in a piece, unless a single batch has more.
_PIECE_BYTES = 2**25


def compile_pieces(
    task: Task,
    batches: BatchSizes,
    key: Key[Array, ""],
    hyper: Hyper,
    data: Stream,
    state: TrainState,
    on_progress: Callable[[float], None],
) -> tuple[RunEpoch, Metered]:
    """Compile an epoch on data on disk: a program for every piece, and one for a short last.

    Args:
        task: What is trained.
        batches: The batch sizes.
        key: The run's key.
        hyper: The task's hyperparameters.
        data: The data on disk.
        state: Of the shapes that the means are compiled for.
        on_progress: Called after each training piece with the number of epochs so far.

    Returns:
        The epoch, and the shapes of its metrics; the evaluation may still be compiled while the
        first pieces are trained on. The epoch raises InputError where a record cannot be
        read, and ends early where a loss is not finite.
    """
    samples, test_samples = sizes(data)
    one = sample(data)
    width = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(one))
    size = _piece_size(batches.batch_size, width)
    test_size = _piece_size(batches.eval_batch_size, width)
    train_piece = functools.partial(_jitted_train_piece, task, batches, hyper)
    eval_piece = functools.partial(_jitted_eval_piece, task, batches)
    first = key, 0, state
    compiled = compiler()
    shuffling = compiled_order(key, samples)
    trains = [
        compiled(_jitted_train_piece.lower(task, batches, hyper, first, _rows(one, count)))
        for count in _piece_sizes(samples, size)
    ]
    evals = [
        compiled(_jitted_eval_piece.lower(task, batches, state.model, _rows(one, count)))
        for count in _piece_sizes(test_samples, test_size)
    ]
    counts = samples, test_samples
    shapes = jax.eval_shape(
        functools.partial(_metrics, batches, *counts), trains[0].out_info[1], evals[0].out_info[1]
    )

    for program in (shuffling, *trains):
        program.wait()

    def run_epoch(index: int, state: TrainState) -> tuple[TrainState, Metered, Any]:
        order, epoch_key = shuffled(key, index, samples)
        carry = epoch_key, 0, state
        with contextlib.closing(pieces(data, "train", np.asarray(order), size)) as iterator:
            (_, _, state), train_means = _over_pieces(
                train_piece,
                carry,
                iterator,
                lambda done: on_progress(index + min(1.0, done * size / samples)),
            )
        if not np.isfinite(train_means.loss).all():
            nothing = jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), shapes)
            return state, nothing, train_means.loss
        for program in evals:
            program.wait()
        stored_order = range(test_samples)
        with contextlib.closing(pieces(data, "test", stored_order, test_size)) as iterator:
            _, eval_means = _over_pieces(eval_piece, state.model, iterator)
        metrics = _jitted_metrics(batches, *counts, train_means, eval_means)
        return state, metrics, train_means.loss

    return run_epoch, shapes


def _rows(one: Batch, count: int) -> Batch:
    """Return the shapes and dtypes that some samples have on the device."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), jnp.result_type(leaf)), one
    )


def _piece_sizes(samples: int, size: int) -> set[int]:
    """Return how many samples the pieces of a split have: all the same but perhaps the last."""
    return {min(size, samples), samples % size} - {0}


def _piece_size(batch_size: int, width: int) -> int:
    """Return how many samples of so many bytes a piece has: whole batches, at least one."""
    return batch_size * max(1, min(_PIECE, _PIECE_BYTES // max(1, width)) // batch_size)


def _over_pieces(
    program: Callable[..., tuple[Any, Means]],
    carry: Any,
    iterator: Iterator[Batch],
    on_piece: Callable[[int], None] = lambda _: None,
) -> tuple[Any, Means]:
    """Run a program over every piece, or until a loss is not finite; stack the batches' metrics.

    To call it is only to dispatch it. While the device computes a piece, the next one is read and
    copied there; then the metrics of the one before are waited for, which keeps the host from
    running further ahead: two pieces at most are on the device.
    """
    measured: list[Means] = []
    for piece in iterator:
        carry, means = program(carry, jax.device_put(piece))
        measured.append(means)
        if len(measured) > 1:
            measured[-2] = jax.device_get(measured[-2])
            if not np.isfinite(measured[-2].loss).all():
                break
            on_piece(len(measured) - 1)
    measured[-1] = jax.device_get(measured[-1])
    on_piece(len(measured))
    return carry, jax.tree.map(lambda *values: jnp.asarray(np.concatenate(values)), *measured)


def _train_piece(
    task: Task,
    batches: BatchSizes,
    hyper: Hyper,
    carry: tuple[Key[Array, ""], Int[Array, ""] | int, TrainState],
    piece: Batch,
) -> tuple[Any, Means]:
    """Take one step on every batch of a piece that is in the epoch's order already.

    The carry is the epoch's key, how many steps were made before the piece, and the state.
    """
    key, first_step, state = carry
    samples = samples_in(piece)

    def steps(state: TrainState) -> tuple[TrainState, Means]:
        return update_epoch(
            state,
            jnp.arange(samples),
            piece,
            key,
            measure=task.measure,
            tx=task.optimizer(hyper),
            batch_size=batches.batch_size,
            first_step=first_step,
        )

    state, means = in_loop(steps, state)
    return (key, first_step + -(-samples // batches.batch_size), state), means


def _eval_piece(task: Task, batches: BatchSizes, model: Model, piece: Batch) -> tuple[Model, Means]:
    """Measure every batch of a piece."""
    batch_size = batches.eval_batch_size
    return in_loop(
        lambda model: (
            model,
            measure_epoch(model, piece, measure=task.measure, batch_size=batch_size),
        ),
        model,
    )


def _metrics(
    batches: BatchSizes, samples: int, test_samples: int, train: Means, test: Means
) -> Metered:
    return epoch_metrics(batches, train, test, samples, test_samples)


_jitted_train_piece = jax.jit(_train_piece, static_argnums=(0, 1))
_jitted_eval_piece = jax.jit(_eval_piece, static_argnums=(0, 1))
_jitted_metrics = jax.jit(_metrics, static_argnums=(0, 1, 2))
