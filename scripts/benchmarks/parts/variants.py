"""An epoch of jaxmnist with any config, timed without its evaluation."""

import jax
import jax.numpy as jnp

import jaxmnist as jm
from benchmarks.problem import Problem
from benchmarks.rounds import Program, timed
from jaxmnist.training.in_memory import compile_epoch
from jaxmnist.training.state import BatchSizes


def epoch(config: jm.Config, problem: Problem) -> Program:
    """Compile what `jm.fit` runs for an epoch, with a single test image.

    Args:
        config: Layers, optimizer and batch size.
        problem: The data.

    Returns:
        A program that trains an epoch more each time.
    """
    task = jm.tutorial_task(config)
    part = jnp.array(problem.train_images), jnp.array(problem.train_labels)
    one = jax.tree.map(lambda leaf: leaf[:1], part)
    sizes = BatchSizes(config.batch_size, 1)
    state, run_epoch, _ = compile_epoch(
        task.program(), sizes, jax.random.key(0), task.hyper, (part, one), None
    )
    epochs = 0

    def train() -> None:
        nonlocal state, epochs
        state, _, _ = run_epoch(epochs, state)
        epochs += 1

    return timed(train)
