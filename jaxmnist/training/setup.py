"""The start of a run: a task's parameters and its optimizer's first state."""

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree

from jaxmnist.config import Config, Hyper
from jaxmnist.errors import InputError
from jaxmnist.tasks.tutorial import tutorial_task
from jaxmnist.tasks.value import Batch, Model, Task
from jaxmnist.training.state import TrainState


def start(key: Key[Array, ""], hyper: Hyper, task: Task, train: Batch) -> TrainState:
    """Start a task's model and its optimizer.

    Args:
        key: The run's key.
        hyper: The task's hyperparameters.
        task: What is trained.
        train: The training data, or some rows of it, of which only the shapes are used.

    Returns:
        The state before the first step.

    Raises:
        InputError: The task's ``init`` returns no `Model`.
    """
    sample = jax.tree.map(lambda leaf: leaf[:1], train)
    model = task.init(key, hyper, task.inputs(sample))
    if not isinstance(model, Model):
        raise InputError(
            f"the task's init returned a {type(model).__name__}; it must return "
            "jaxmnist.Model(params, state)"
        )
    return TrainState(model.params, task.optimizer(hyper).init(model.params), model.state)


def init(key: Key[Array, ""], hyper: Hyper, config: Config, num_classes: int = 10) -> TrainState:
    """Draw the tutorial's initial weights and start its optimizer.

    Args:
        key: The run's key; the weights depend on it alone.
        hyper: The optimizer's float arguments, and perhaps ``init_scale``.
        config: Layers, optimizer and convention.
        num_classes: Number of logits.

    Returns:
        The state before the first step.

    Raises:
        InputError: The config's dtype is float64 while JAX's 64-bit numbers are off.
    """
    images: PyTree[Array] = np.zeros((1, 28, 28), np.uint8)
    return start(key, hyper, tutorial_task(config, num_classes), images)
