"""JAX with one jitted step for each batch, called from a Python loop: plain, and with Equinox."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.problem import Peer, Problem, batches, normalized


def plain_jax(problem: Problem) -> Peer:
    """Functions of a list of weights, ``jax.value_and_grad`` and ``optax.sgd``."""
    optimizer = optax.sgd(problem.learning_rate)

    def loss_and_accuracy(params: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = x
        for weight, bias in params[:-1]:
            h = jax.nn.relu(h @ weight + bias)
        weight, bias = params[-1]
        return metrics(h @ weight + bias, y)

    @jax.jit
    def step(params: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any, Any]:
        measured, grads = jax.value_and_grad(loss_and_accuracy, has_aux=True)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, measured

    # Weights are (in, out) and one multiplies from the right, as JAX's own examples do it.
    params = [(jnp.asarray(weight.T), jnp.asarray(bias)) for weight, bias in problem.weights]
    return loop(problem, params, optimizer.init(params), step, jax.jit(loss_and_accuracy))


def equinox(problem: Problem) -> Peer:
    """A module of `eqx.nn.Linear` layers under ``eqx.filter_jit``."""
    import equinox as eqx

    layers = []
    for index, (weight, bias) in enumerate(problem.weights):
        outputs, inputs = weight.shape
        linear = eqx.nn.Linear(inputs, outputs, key=jax.random.key(index))
        given = jnp.asarray(weight), jnp.asarray(bias)
        layers.append(eqx.tree_at(lambda layer: (layer.weight, layer.bias), linear, given))
        layers.append(eqx.nn.Lambda(jax.nn.relu))
    model = eqx.nn.Sequential(layers[:-1])
    optimizer = optax.sgd(problem.learning_rate)

    def loss_and_accuracy(model: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        return metrics(jax.vmap(model)(x), y)

    @eqx.filter_jit
    def step(model: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, Any, Any]:
        measured, grads = eqx.filter_value_and_grad(loss_and_accuracy, has_aux=True)(model, x, y)
        updates, opt_state = optimizer.update(grads, opt_state)
        return eqx.apply_updates(model, updates), opt_state, measured

    opt_state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    return loop(problem, model, opt_state, step, eqx.filter_jit(loss_and_accuracy))


def metrics(logits: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean cross-entropy and accuracy of a batch."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return losses.mean(), (logits.argmax(-1) == y).mean()


def loop(
    problem: Problem,
    model: Any,
    opt_state: Any,
    step: Callable[..., tuple[Any, Any, Any]],
    measure: Callable[..., tuple[Any, Any]],
) -> Peer:
    """Call the step for every batch of NumPy arrays; the metrics are fetched after the epoch."""
    train_x, train_y = normalized(problem.train_images), problem.train_labels
    test_x, test_y = normalized(problem.test_images), problem.test_labels
    draw = np.random.default_rng(0)

    def train(order: np.ndarray | None) -> np.ndarray:
        nonlocal model, opt_state
        measured = []
        rows = draw.permutation(len(train_y)) if order is None else order
        for batch in batches(rows, problem.batch_size):
            model, opt_state, metrics = step(model, opt_state, train_x[batch], train_y[batch])
            measured.append(metrics)
        return np.array([loss for loss, _ in jax.device_get(measured)])

    def evaluate() -> tuple[float, float]:
        rows = batches(np.arange(len(test_y)), problem.eval_batch_size)
        measured = [measure(model, test_x[batch], test_y[batch]) for batch in rows]
        loss, accuracy = np.mean(jax.device_get(measured), 0)
        return float(loss), float(accuracy)

    return Peer(train, evaluate)
