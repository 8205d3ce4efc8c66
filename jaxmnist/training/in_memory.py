"""An epoch on data in memory: its order, its steps and its evaluation, a program each."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from jaxmnist.config import Hyper
from jaxmnist.tasks.value import Batch, Model, Task
from jaxmnist.training.epoch import in_loop, measure_epoch, update_epoch
from jaxmnist.training.means import Means, epoch_metrics
from jaxmnist.training.programs import compiled_order, compiler, shuffled, started
from jaxmnist.training.state import BatchSizes, Metered, RunEpoch, TrainState, samples_in


def compile_epoch(
    task: Task,
    batches: BatchSizes,
    key: Key[Array, ""],
    hyper: Hyper,
    parts: tuple[Batch, Batch],
    state: TrainState | None,
) -> tuple[TrainState, RunEpoch, Metered]:
    """Compile an epoch on data in memory: its order, its steps, and its evaluation.

    Args:
        task: What is trained.
        batches: The batch sizes.
        key: The run's key.
        hyper: The task's hyperparameters.
        parts: The training and the test data, on the device.
        state: The state to start from; None for a new one.

    Returns:
        The state to start from, the epoch, and the shapes of its metrics. The evaluation may still
        be compiled while the first epoch's steps are taken.

    Raises:
        InputError: What the task returns cannot be trained.
    """
    train = parts[0]
    samples = samples_in(train)
    first = jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape[1:]), leaf.dtype), train)
    compiled = compiler()
    starting = None if state else compiled(started.lower(key, hyper, task, first))
    shuffling = compiled_order(key, samples)
    before = starting.out_info if starting else state
    training = compiled(_train.lower(task, batches, hyper, train, *shuffling.out_info, before))
    after, means = training.out_info
    evaluating = compiled(_evaluate.lower(task, batches, parts, means, after.model))

    def run_epoch(index: int, state: TrainState) -> tuple[TrainState, Metered, Any]:
        state, means = _train(task, batches, hyper, train, *shuffled(key, index, samples), state)
        evaluating.wait()
        metrics = _evaluate(task, batches, parts, means, state.model)
        return jax.block_until_ready((state, metrics, means.loss))

    for program in filter(None, (starting, shuffling, training)):
        program.wait()
    begun = state or started(key, hyper, task, first)
    return begun, run_epoch, evaluating.out_info


@jax.jit(static_argnums=(0, 1))
def _train(
    task: Task,
    batches: BatchSizes,
    hyper: Hyper,
    train: Batch,
    order: Int[Array, " samples"],
    key: Key[Array, ""],
    state: TrainState,
) -> tuple[TrainState, Means]:
    """Take an epoch's steps."""

    def steps(state: TrainState) -> tuple[TrainState, Means]:
        return update_epoch(
            state,
            order,
            train,
            key,
            measure=task.measure,
            tx=task.optimizer(hyper),
            batch_size=batches.batch_size,
        )

    return in_loop(steps, state)


@jax.jit(static_argnums=(0, 1))
def _evaluate(
    task: Task, batches: BatchSizes, parts: tuple[Batch, Batch], train: Means, model: Model
) -> Metered:
    """Evaluate the model, and average the epoch's metrics."""

    def measured(model: Model) -> tuple[Model, Metered]:
        samples, test_samples = map(samples_in, parts)
        test = measure_epoch(
            model, parts[1], measure=task.measure, batch_size=batches.eval_batch_size
        )
        return model, epoch_metrics(batches, train, test, samples, test_samples)

    return in_loop(measured, model)[1]
