"""The least that an epoch can take: its products alone, or at the rate of a large product.

The products have an epoch's very shapes and layouts, and nothing else is computed between them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.problem import Problem

LARGE = 2048
"""Rows and columns of the large product."""


def training_products(problem: Problem) -> Callable[[], Any]:
    """Compile the products of an epoch's steps: forward, by the weights, and by the inputs."""
    weights = [jnp.asarray(weight) for weight, _ in problem.weights]
    samples, size = len(problem.train_labels), problem.batch_size

    def step(previous: Any, x: jax.Array, error: jax.Array) -> Any:
        # The barrier makes the step depend on the one before it; else the loop would be empty.
        layers, x, _ = jax.lax.optimization_barrier((weights, x, previous))
        inputs = [x]
        for weight in layers[:-1]:
            inputs.append(jnp.einsum("bi,oi->bo", inputs[-1], weight))
        logits = jnp.einsum("bi,oi->bo", inputs[-1], layers[-1])
        # The error follows the logits, as it does in a step.
        error, logits = jax.lax.optimization_barrier((error, logits))
        gradients = []
        for index in reversed(range(len(layers))):
            gradients.append(jnp.einsum("bo,bi->oi", error, inputs[index]))
            if index:
                error = jnp.einsum("bo,oi->bi", error, layers[index])
        return gradients, logits

    x, error = inputs_of(problem, size), errors_of(problem, size)
    few = samples % size

    def epoch(x: jax.Array, error: jax.Array) -> Any:
        gradients = [jnp.zeros_like(weight) for weight in reversed(weights)]
        carry = gradients, jnp.zeros_like(error)
        carry = jax.lax.fori_loop(0, samples // size, lambda _, c: step(c, x, error), carry)
        return carry if not few else (carry, step(carry, x[:few], error[:few]))

    compiled = jax.jit(epoch).lower(x, error).compile()
    return lambda: jax.block_until_ready(compiled(x, error))


def evaluation_products(problem: Problem, batch_size: int) -> Callable[[], Any]:
    """Compile the products of an evaluation in batches of a size."""
    weights = [jnp.asarray(weight) for weight, _ in problem.weights]
    samples = len(problem.test_labels)
    size = min(batch_size, samples)

    def logits_of(previous: jax.Array, x: jax.Array) -> jax.Array:
        h, layers, _ = jax.lax.optimization_barrier((x, weights, previous))
        for weight in layers:
            h = jnp.einsum("bi,oi->bo", h, weight)
        return h

    x = inputs_of(problem, size)
    few = samples % size

    def evaluation(x: jax.Array) -> Any:
        carry = jnp.zeros((size, len(problem.weights[-1][1])))
        carry = jax.lax.fori_loop(0, samples // size, lambda _, c: logits_of(c, x), carry)
        return carry if not few else (carry, logits_of(carry, x[:few]))

    compiled = jax.jit(evaluation).lower(x).compile()
    return lambda: jax.block_until_ready(compiled(x))


def large_product() -> Callable[[], Any]:
    """Compile one product of two large matrices, which reaches the machine's highest rate."""
    draw = np.random.default_rng(0)
    a, b = (jnp.asarray(draw.normal(size=(LARGE, LARGE)), jnp.float32) for _ in range(2))
    compiled = jax.jit(jnp.matmul).lower(a, b).compile()
    return lambda: jax.block_until_ready(compiled(a, b))


def inputs_of(problem: Problem, size: int) -> jax.Array:
    """A batch of numbers like the images'."""
    draw = np.random.default_rng(1)
    return jnp.asarray(draw.uniform(-1, 1, (size, problem.weights[0][0].shape[1])), jnp.float32)


def errors_of(problem: Problem, size: int) -> jax.Array:
    """A batch of numbers like the derivatives by the logits."""
    draw = np.random.default_rng(2)
    return jnp.asarray(draw.normal(0, 0.01, (size, len(problem.weights[-1][1]))), jnp.float32)


def training_operations(problem: Problem) -> int:
    """Count the additions and multiplications of an epoch's products.

    The first layer's inputs need no derivative.
    """
    products = [weight.size for weight, _ in problem.weights]
    return 2 * len(problem.train_labels) * (3 * sum(products) - products[0])


def evaluation_operations(problem: Problem) -> int:
    """Count those of an evaluation."""
    return 2 * len(problem.test_labels) * sum(weight.size for weight, _ in problem.weights)
