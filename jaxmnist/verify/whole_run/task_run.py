"""A run of any task in JAX and of its counterpart in PyTorch, compared batch by batch."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxmnist.config import Hyper
from jaxmnist.data.batches import permutation
from jaxmnist.errors import InputError
from jaxmnist.interop.paths import by_path
from jaxmnist.tasks import Batch, Model, Task
from jaxmnist.training import (
    BatchSizes,
    TrainState,
    by_name,
    check_batches_fit,
    epoch_key,
    measure_epoch,
    samples_in,
    split_pair,
    update_epoch,
)
from jaxmnist.training.means import epoch_metrics
from jaxmnist.verify.compare import Curve, compare_curves, compare_means
from jaxmnist.verify.rounding import (
    PERTURBATIONS,
    allowed_by_growth,
    allowed_without_growth,
    epsilon,
)
from jaxmnist.verify.whole_run.jax_run import perturbed
from jaxmnist.verify.whole_run.verdict import (
    TrainingResult,
    check_finite,
    loss_allowance,
    loss_error,
)


class TorchProgram(NamedTuple):
    """The PyTorch counterpart of a task."""

    module: Callable[[Model], Any]
    """``model -> torch.nn.Module`` with these initial numbers."""
    loss: Callable[[Any, Any], Any]
    """``(module, batch) -> loss``, the mean over a batch of tensors, as the data stores it."""
    optimizer: Callable[[Iterable[Any]], Any]
    """``parameters -> torch.optim.Optimizer``."""
    params: Callable[[Any], PyTree[Any]] | None = None
    """``module -> params`` in the task's layout, to compare the weights too."""


class _Losses(NamedTuple):
    """What one run measured."""

    train: Float[np.ndarray, "epochs batches"]
    eval: Float[np.ndarray, " epochs"]
    displacement: dict[str, np.ndarray] | None


def compare_task(
    task: Task,
    data: Any,
    program: TorchProgram,
    *,
    hyper: Hyper | None,
    epochs: int,
    batches: BatchSizes,
    seed: int,
    dtype: str,
    perturb: bool,
) -> TrainingResult:
    """Train a task in JAX and its counterpart in PyTorch, and compare both.

    They share the initial numbers and each epoch's order. The allowance of each loss is derived as
    in `verify.training`. Randomness within a step, such as dropout, has no counterpart in PyTorch:
    such a task is compared with it switched off.

    Args:
        task: What is trained.
        data: The pair of training and test data.
        program: PyTorch's side.
        hyper: Hyperparameters in place of the task's own.
        epochs: Passes over the training data.
        batches: The batch sizes.
        seed: Of the run's key.
        dtype: float64 or float32, of all floating data, parameters and arithmetic.
        perturb: Whether to measure the error growth.

    Returns:
        The comparisons: "batch loss", "epoch loss" and, if the program has ``params``, the weights,
        leaf by leaf.

    Raises:
        InputError: A batch is larger than the data, PyTorch's parameters are others, or the loss
            becomes NaN or infinite in both frameworks at the same step.
    """
    check_batches_fit(batches, data)
    hyper = task.hyper if hyper is None else hyper
    with jax.enable_x64(dtype == "float64"):
        parts = jax.tree.map(partial(_as_dtype, dtype), split_pair(data))
        key = jax.random.key(seed)
        sample = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), parts[0])
        drawn = jax.jit(task.init)(key, hyper, task.inputs(sample))
        start = Model(*jax.tree.map(partial(_as_dtype, dtype), tuple(drawn)))
        # The documented rule, written out: (seed, epoch) determines the order.
        _, data_key = jax.random.split(key)
        samples = samples_in(parts[0])
        orders = np.stack(
            [permutation(jax.random.fold_in(data_key, epoch), samples) for epoch in range(epochs)]
        )
        run = jax.jit(partial(_run_in_jax, task.program(), batches))

        def trained_from(params: PyTree) -> _Losses:
            end, losses, history = run(key, hyper, parts, orders, Model(params, start.state))
            moved = _displacement(end.params, params)
            return _Losses(np.asarray(losses), np.asarray(by_name(history)["eval_loss"]), moved)

        ours = trained_from(start.params)
        others = [
            trained_from(perturbed(start.params, (seed, number)))
            for number in range(PERTURBATIONS if perturb else 0)
        ]
    theirs = _run_in_torch(program, start, parts, orders, batches)
    check_finite(ours.train, theirs.train)
    return _judge(ours, theirs, others, start, dtype)


def _as_dtype(dtype: str, leaf: Any) -> Any:
    array = np.asarray(leaf)
    return array.astype(dtype) if np.issubdtype(array.dtype, np.floating) else array


def _run_in_jax(
    task: Task,
    batches: BatchSizes,
    key: Key[Array, ""],
    hyper: Hyper,
    parts: tuple[Batch, Batch],
    orders: Int[Array, "epochs samples"],
    model: Model,
) -> tuple[TrainState, Float[Array, "epochs batches"], Any]:
    train, test = parts
    tx = task.optimizer(hyper)

    def epoch(state: TrainState, row: tuple[Array, Array]) -> tuple[TrainState, Any]:
        index, order = row
        state, means = update_epoch(
            state,
            order,
            train,
            epoch_key(key, index),
            measure=task.measure,
            tx=tx,
            batch_size=batches.batch_size,
        )
        tested = measure_epoch(
            state.model, test, measure=task.measure, batch_size=batches.eval_batch_size
        )
        metrics = epoch_metrics(batches, means, tested, samples_in(train), samples_in(test))
        return state, (means.loss, metrics)

    state = TrainState(model.params, tx.init(model.params), model.state)
    rows = jnp.arange(orders.shape[0]), orders
    state, (losses, history) = jax.lax.scan(epoch, state, rows)
    return state, losses, history


def _run_in_torch(
    program: TorchProgram,
    start: Model,
    parts: tuple[Batch, Batch],
    orders: Int[np.ndarray, "epochs samples"],
    batches: BatchSizes,
) -> _Losses:
    import torch

    module = program.module(jax.tree.map(np.asarray, start))
    optimizer = program.optimizer(module.parameters())
    train, test = parts
    in_order = np.arange(samples_in(test))

    def tensors(part: Batch, rows: np.ndarray) -> Any:
        return jax.tree.map(lambda leaf: torch.from_numpy(np.array(leaf[rows])), part)

    losses, evals = [], []
    for order in orders:
        row = []
        module.train()
        for first in range(0, order.size, batches.batch_size):
            optimizer.zero_grad()
            loss = program.loss(module, tensors(train, order[first : first + batches.batch_size]))
            loss.backward()
            optimizer.step()
            row.append(loss.item())
        losses.append(row)
        module.eval()
        size = batches.eval_batch_size
        with torch.no_grad():
            row = [
                program.loss(module, tensors(test, in_order[first : first + size])).item()
                for first in range(0, in_order.size, size)
            ]
        evals.append(np.mean(row))
    moved = None
    if program.params is not None:
        moved = _displacement(program.params(module), start.params)
    return _Losses(np.array(losses), np.array(evals), moved)


def _displacement(end: PyTree[Any], start: PyTree[Any]) -> dict[str, np.ndarray]:
    if jax.tree.structure(end) != jax.tree.structure(start):
        raise InputError(
            f"params returned {jax.tree.structure(end)} for PyTorch's module; the task's "
            f"parameters are {jax.tree.structure(start)}"
        )
    moved = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), end, start)
    return by_path(moved)


def _judge(
    ours: _Losses, theirs: _Losses, others: list[_Losses], start: Model, dtype: str
) -> TrainingResult:
    shape = theirs.train.shape
    steps = np.arange(theirs.train.size).reshape(shape)
    ulp, half = epsilon(dtype), allowed_without_growth(dtype)
    allowed, growth, perturbation = loss_allowance(
        ours.train, [other.train for other in others], dtype
    )
    last = allowed[:, -1]
    comparisons = [
        compare_curves(
            "batch loss",
            steps,
            [Curve("loss", ours.train, theirs.train, allowed, np.abs(theirs.train))],
            dtype,
            growth,
        ),
        compare_curves(
            "epoch loss",
            steps[:, -1],
            [Curve("eval_loss", ours.eval, theirs.eval, last, np.abs(theirs.eval))],
            dtype,
            growth,
        ),
    ]
    if theirs.displacement is not None and ours.displacement is not None:
        first = by_path(jax.tree.map(np.asarray, start.params))
        for leaf, there in theirs.displacement.items():
            here = {leaf: ours.displacement[leaf]}
            # Each leaf by its own error growth: of a bias before a normalisation, whose gradient is
            # zero on paper, the displacement is all rounding.
            spread = [
                compare_means(leaf, {leaf: other.displacement[leaf]}, here, dtype).max_error
                for other in others
                if other.displacement is not None
            ]
            leaf_growth = max([ulp, *filter(np.isfinite, spread)]) if others else None
            comparisons.append(
                compare_means(
                    f"weights {leaf}",
                    here,
                    {leaf: there},
                    dtype,
                    tolerance=half if leaf_growth is None else allowed_by_growth(leaf_growth),
                    step=int(steps[-1, -1]),
                    growth=leaf_growth,
                    start=first,
                )
            )
    return TrainingResult(
        f"a task in JAX and in PyTorch, {dtype}",
        tuple(comparisons),
        shape[1],
        loss_error(ours.train, theirs.train).ravel(),
        None if perturbation is None else perturbation.ravel(),
        allowed.ravel(),
    )
