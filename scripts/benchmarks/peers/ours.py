"""jaxmnist: the programs of `jaxmnist.fit`, an epoch of training and an evaluation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import jaxmnist as jm
from benchmarks.problem import Peer, Problem
from jaxmnist import training
from jaxmnist.training.in_memory import compile_epoch
from jaxmnist.training.state import BatchSizes, TrainState

KEY = 0
"""The seed of the run's key, which draws every epoch's order."""


def params_of(problem: Problem) -> dict:
    """The problem's weights as `jm.MLP` has them."""
    return {
        "params": {
            f"dense_{index}": {"weight": jnp.asarray(weight), "bias": jnp.asarray(bias)}
            for index, (weight, bias) in enumerate(problem.weights)
        }
    }


def config_of(problem: Problem, **changed: object) -> jm.Config:
    """The problem's config."""
    sizes = tuple(len(bias) for _, bias in problem.weights)
    values = {
        "hidden": sizes[:-1],
        "batch_size": problem.batch_size,
        "eval_batch_size": problem.eval_batch_size,
        "learning_rate": problem.learning_rate,
        "epochs": 1,
    }
    return jm.Config(**{**values, **changed})


def first_order(problem: Problem) -> np.ndarray:
    """The order of the first epoch."""
    samples = len(problem.train_labels)
    return np.asarray(training.epoch_order(jax.random.key(KEY), 0, samples))


def fit(problem: Problem) -> Peer:
    """Build what `jm.fit` runs for an epoch, and a jitted `training.evaluate`.

    An epoch of `fit` ends with an evaluation; here that one has a single batch, so that training
    and evaluation can be timed one by one.
    """
    config = config_of(problem)
    task = jm.tutorial_task(config)
    state = TrainState(params_of(problem), task.optimizer(task.hyper).init(params_of(problem)))
    train_part = jnp.array(problem.train_images), jnp.array(problem.train_labels)
    test_part = jnp.array(problem.test_images), jnp.array(problem.test_labels)
    little = jax.tree.map(lambda leaf: leaf[: problem.eval_batch_size], test_part)
    sizes = BatchSizes(problem.batch_size, min(problem.eval_batch_size, len(little[1])))
    key = jax.random.key(KEY)
    _, run_epoch, _ = compile_epoch(
        task.program(), sizes, key, task.hyper, (train_part, little), state
    )
    measure = jax.jit(
        functools.partial(
            training.evaluate,
            apply_fn=jm.MLP(config.hidden).apply,
            batch_size=sizes.eval_batch_size,
        )
    )
    epochs = 0

    def train(order: np.ndarray | None) -> np.ndarray:
        """Its program draws the order itself: the one given must be how that begins."""
        nonlocal state, epochs
        if order is not None:
            drawn = np.asarray(training.epoch_order(key, epochs, len(problem.train_labels)))
            if not np.array_equal(order, drawn[: len(order)]):
                raise ValueError("another order than the epoch's own; give `first_order`")
        state, _, losses = run_epoch(epochs, state)
        epochs += 1
        steps = len(losses) if order is None else len(order) // problem.batch_size
        return np.asarray(losses)[:steps]

    def evaluate() -> tuple[float, float]:
        found = measure(state.params, *test_part)
        return float(found.loss.mean()), float(found.accuracy.mean())

    return Peer(train, evaluate)
