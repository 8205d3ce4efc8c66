"""One batch: a training step, an evaluation step, and the predictions of a batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, Num, PyTree

from jaxmnist.errors import InputError
from jaxmnist.losses import softmax
from jaxmnist.tasks.tutorial import classification, inputs
from jaxmnist.tasks.value import Batch, BatchMetrics, Metrics, Model
from jaxmnist.training.means import Means, batch_means
from jaxmnist.training.state import ApplyFn, Params, Rows, TrainState

Measure = Callable[..., tuple[Metrics, Any]]
"""A task's ``measure(model, batch, key, training) -> (metrics, state)``."""


def update(
    state: TrainState,
    batch: Batch,
    key: Key[Array, ""] | None,
    *,
    measure: Measure,
    tx: optax.GradientTransformation,
) -> tuple[TrainState, Means]:
    """Take one training step of any task.

    The optimizer's ``update`` is given the batch's loss as ``value``, its gradient as ``grad`` and
    the loss as a function of the parameters as ``value_fn``, of which it takes what it needs.

    Args:
        state: Before the step.
        batch: Arrays with a leading sample axis.
        key: The step's own; None for a task without randomness.
        measure: The task's.
        tx: The task's optimizer.

    Returns:
        The state after the step, and the batch's means before it.

    Raises:
        InputError: ``measure`` returns something else than it must.

    Source: tutorial row D8.
    """

    def loss_and_rest(params: Params) -> tuple[Float[Array, ""], tuple[Means, Any]]:
        measured = measure(Model(params, state.model_state), batch, key, True)
        metrics, model_state = _pair(measured)
        means = batch_means(metrics, batch)
        return means.loss, (means, model_state)

    (loss, (means, model_state)), grads = jax.value_and_grad(loss_and_rest, has_aux=True)(
        state.params
    )
    updates, opt_state = optax.with_extra_args_support(tx).update(
        grads,
        state.opt_state,
        state.params,
        value=loss,
        grad=grads,
        value_fn=lambda params: loss_and_rest(params)[0],
    )
    params = optax.apply_updates(state.params, updates)
    check_unchanged(state.model_state, model_state, "model's state")
    check_unchanged(state.opt_state, opt_state, "optimizer's state")
    return TrainState(params, opt_state, model_state), means


def measure_batch(model: Model, batch: Batch, *, measure: Measure) -> Means:
    """Measure one batch of any task; nothing changes.

    Whatever is random in a task has the same key in every evaluation.

    Args:
        model: The parameters and the model's state.
        batch: Arrays with a leading sample axis.
        measure: The task's.

    Returns:
        The batch's means.

    Raises:
        InputError: ``measure`` returns something else than it must.
    """
    metrics, _ = _pair(measure(model, batch, jax.random.key(0), False))
    return batch_means(metrics, batch)


def _pair(measured: Any) -> tuple[Any, Any]:
    if isinstance(measured, tuple) and len(measured) == 2:
        return measured
    raise InputError(
        f"the task's measure returned a {type(measured).__name__}; it must return a pair "
        "(metrics, state), such as ({'loss': losses}, model.state)"
    )


def check_unchanged(before: PyTree, after: PyTree, what: str) -> None:
    """Refuse a step that returns other shapes or dtypes than it was given.

    Args:
        before: What the step was given.
        after: What it returned.
        what: What that is, for the message.

    Raises:
        InputError: Their structures, shapes or dtypes differ.
    """
    given, returned = (
        {
            jax.tree_util.keystr(path): f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (before, after)
    )
    for path in [*given, *(path for path in returned if path not in given)]:
        if given.get(path) != returned.get(path):
            raise InputError(
                f"a step changes the {what}{path} from {given.get(path, 'nothing')} to "
                f"{returned.get(path, 'nothing')}; both must be the same, so that steps can follow "
                "one another"
            )


def train_step(
    state: TrainState,
    images: Num[Rows, "batch *shape"],
    labels: Num[Rows, " batch"],
    *,
    apply_fn: ApplyFn,
    tx: optax.GradientTransformation,
) -> tuple[TrainState, BatchMetrics]:
    """Apply the optimizer's update for one batch of images.

    Args:
        state: Before the step.
        images: The batch: bytes, which are normalised here, or floats, which are taken as they are.
        labels: Its classes.
        apply_fn: ``apply_fn(params, x) -> logits``.
        tx: Any Optax optimizer.

    Returns:
        The state after the step, and the batch's metrics before it.

    Raises:
        InputError: The images are neither bytes nor floats, or the labels are no integers.

    Source: tutorial row D8.
    """
    batch = jnp.asarray(images), jnp.asarray(labels)
    state, means = update(state, batch, None, measure=classification(apply_fn), tx=tx)
    return state, means.per_example


def eval_step(
    params: Params,
    images: Num[Rows, "batch *shape"],
    labels: Num[Rows, " batch"],
    *,
    apply_fn: ApplyFn,
) -> BatchMetrics:
    """Measure one batch of images; nothing changes.

    Args:
        params: The model's parameters.
        images: The batch, as `train_step` takes it.
        labels: Its classes.
        apply_fn: ``apply_fn(params, x) -> logits``.

    Returns:
        The batch's metrics.

    Raises:
        InputError: As `train_step`.
    """
    batch = jnp.asarray(images), jnp.asarray(labels)
    return measure_batch(Model(params, {}), batch, measure=classification(apply_fn)).per_example


def predict(
    params: Params, images: Num[Rows, "batch *shape"], *, apply_fn: ApplyFn
) -> Float[Array, "batch classes"]:
    """Return each image's probability of each class.

    Args:
        params: The model's parameters.
        images: As `train_step` takes them.
        apply_fn: ``apply_fn(params, x) -> logits``.

    Returns:
        Probabilities that sum to 1 over the last axis.

    Source: tutorial rows D3 and D10.
    """
    return softmax(apply_fn(params, inputs(images, params)))
