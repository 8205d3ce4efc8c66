"""One batch: a training step, an evaluation step, and the predictions of a batch."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, UInt8

from jaxmnist.data.batches import normalize
from jaxmnist.losses import accuracy, cross_entropy_with_integer_labels, softmax
from jaxmnist.training.state import ApplyFn, BatchMetrics, Params, TrainState


def train_step(
    state: TrainState,
    images: UInt8[Array, "batch 28 28"],
    labels: Int[Array, " batch"],
    *,
    apply_fn: ApplyFn,
    tx: optax.GradientTransformation,
) -> tuple[TrainState, BatchMetrics]:
    """Apply the optimizer's update for one batch.

    Args:
        state: Before the step.
        images: The batch, as stored; it is normalised here.
        labels: Its classes.
        apply_fn: ``apply_fn(params, x) -> logits``.
        tx: The optimizer.

    Returns:
        The state after the step, and the batch's metrics before it.

    Source: tutorial row D8.
    """

    def loss_and_logits(params: Params) -> tuple[Float[Array, ""], Float[Array, "batch classes"]]:
        logits = apply_fn(params, inputs(images, params))
        return cross_entropy_with_integer_labels(logits, labels), logits

    (loss, logits), grads = jax.value_and_grad(loss_and_logits, has_aux=True)(state.params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state), BatchMetrics(loss, accuracy(logits, labels))


def eval_step(
    params: Params,
    images: UInt8[Array, "batch 28 28"],
    labels: Int[Array, " batch"],
    *,
    apply_fn: ApplyFn,
) -> BatchMetrics:
    """Measure one batch; nothing changes.

    Args:
        params: The model's parameters.
        images: The batch, as stored; it is normalised here.
        labels: Its classes.
        apply_fn: ``apply_fn(params, x) -> logits``.

    Returns:
        The batch's metrics.
    """
    logits = apply_fn(params, inputs(images, params))
    return BatchMetrics(cross_entropy_with_integer_labels(logits, labels), accuracy(logits, labels))


def predict(
    params: Params, images: UInt8[Array, "batch 28 28"], *, apply_fn: ApplyFn
) -> Float[Array, "batch classes"]:
    """Return each image's probability of each class.

    Args:
        params: The model's parameters.
        images: As stored; they are normalised here.
        apply_fn: ``apply_fn(params, x) -> logits``.

    Returns:
        Probabilities that sum to 1 over the last axis.

    Source: tutorial rows D3 and D10.
    """
    return softmax(apply_fn(params, inputs(images, params)))


def inputs(images: UInt8[Array, "*shape"], params: Params) -> Float[Array, "*shape"]:
    """Normalise images in the precision of the model's parameters.

    Args:
        images: As stored.
        params: The model's parameters.

    Returns:
        The images in float64 if a parameter is, else in float32.

    Source: tutorial row D5.
    """
    is_wide = any(jnp.result_type(leaf) == jnp.float64 for leaf in jax.tree.leaves(params))
    return normalize(images, jnp.float64 if is_wide else jnp.float32)
