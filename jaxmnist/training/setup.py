"""The start of a run: a task's parameters and its optimizer's first state."""

from typing import Any

import jax
import jax.numpy as jnp
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
        InputError: The task's ``init`` returns no `Model`, or its ``optimizer`` no optimizer; or
            the latter reads a hyperparameter that there is not.
    """
    # A task's functions are given arrays of JAX, wherever the data are.
    sample = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), train)
    model = task.init(key, hyper, task.inputs(sample))
    if not isinstance(model, Model):
        raise InputError(
            f"the task's init returned a {type(model).__name__}; it must return "
            "jaxmnist.Model(params, state)"
        )
    try:
        tx = task.optimizer(hyper)
    except KeyError as error:
        if not error.args or error.args[0] in hyper:
            raise
        raise InputError(
            f"the task's optimizer reads {error.args[0]!r}, and hyper has no such name; it has "
            f"{', '.join(hyper) or 'none'}: give its default in the task's hyper"
        ) from error
    if not (hasattr(tx, "init") and hasattr(tx, "update")):
        raise InputError(
            f"the task's optimizer returned a {type(tx).__name__}; it must return an "
            "optax.GradientTransformation"
        )
    state = TrainState(model.params, tx.init(model.params), model.state)
    return jax.tree.map(_without_weak_type, state)


def check_hyper(task: Task, hyper: Hyper) -> None:
    """Refuse hyperparameters without one that the task has.

    Args:
        task: What is trained.
        hyper: The hyperparameters that it is to be trained with.

    Raises:
        InputError: A name is missing.
    """
    if missing := sorted(task.hyper.keys() - hyper.keys()):
        raise InputError(
            f"hyper has no {missing[0]!r}; give all of {', '.join(sorted(task.hyper))}, as in "
            f"{{**task.hyper, {missing[0]!r}: …}}"
        )


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


def _without_weak_type(leaf: Any) -> Array:
    """Return a number in the type that a step gives it: else the second epoch would be retraced."""
    array = jnp.asarray(leaf)
    return jax.lax.convert_element_type(array, array.dtype) if array.weak_type else array
