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
    """Return what runs the products of an epoch's steps."""
    compiled, arguments = compiled_training(problem)
    return lambda: jax.block_until_ready(compiled(*arguments))


def compiled_training(problem: Problem) -> tuple[Any, tuple[Any, ...]]:
    """Compile the products of an epoch's steps: forward, by the weights, and by the inputs.

    Args:
        problem: Whose shapes they have.

    Returns:
        The program and its arguments.
    """
    weights = [jnp.asarray(weight) for weight, _ in problem.weights]
    samples, size = len(problem.train_labels), problem.batch_size

    def step(carry: Any, weights: Any) -> Any:
        x, error, (*_, last), logits = carry
        x, error = follow(x, logits), follow(error, last)
        inputs = [x]
        for weight in weights[:-1]:
            inputs.append(jnp.einsum("bi,oi->bo", inputs[-1], weight))
        logits = jnp.einsum("bi,oi->bo", inputs[-1], weights[-1])
        gradients, passed = [], error
        for index in reversed(range(len(weights))):
            gradients.insert(0, jnp.einsum("bo,bi->oi", passed, inputs[index]))
            if index:
                passed = jnp.einsum("bo,oi->bi", passed, weights[index])
        return x, error, gradients, logits

    few = samples % size

    def epoch(weights: Any, x: jax.Array, error: jax.Array) -> Any:
        carry = x, error, weights, jnp.zeros_like(error)
        carry = jax.lax.fori_loop(0, samples // size, lambda _, c: step(c, weights), carry)
        if not few:
            return carry
        x, error, gradients, logits = carry
        return carry, step((x[:few], error[:few], gradients, logits), weights)

    arguments = weights, inputs_of(problem, size), errors_of(problem, size)
    return jax.jit(epoch).lower(*arguments).compile(), arguments


def follow(array: jax.Array, result: jax.Array) -> jax.Array:
    """Make an operand of a turn of a loop depend on a result of the turn before, in one number.

    A turn that depends on nothing is taken out of the loop by the compiler.
    """
    return array.at[0, 0].set(result[0, 0])


def evaluation_products(problem: Problem, batch_size: int) -> Callable[[], Any]:
    """Return what runs the products of an evaluation in batches of a size."""
    compiled, arguments = compiled_evaluation(problem, batch_size)
    return lambda: jax.block_until_ready(compiled(*arguments))


def compiled_evaluation(problem: Problem, batch_size: int) -> tuple[Any, tuple[Any, ...]]:
    """Compile the products of an evaluation in batches of a size.

    Args:
        problem: Whose shapes they have.
        batch_size: Images in a batch, or more than there are for all at once.

    Returns:
        The program and its arguments.
    """
    weights = [jnp.asarray(weight) for weight, _ in problem.weights]
    samples = len(problem.test_labels)
    size = min(batch_size, samples)

    def turn(carry: Any, weights: Any) -> Any:
        x, previous = carry
        x = follow(x, previous)
        h = x
        for weight in weights:
            h = jnp.einsum("bi,oi->bo", h, weight)
        return x, h

    few = samples % size

    def evaluation(weights: Any, x: jax.Array) -> Any:
        carry = x, jnp.zeros((size, len(problem.weights[-1][1])))
        carry = jax.lax.fori_loop(0, samples // size, lambda _, c: turn(c, weights), carry)
        if not few:
            return carry
        return carry, turn((carry[0][:few], carry[1]), weights)

    arguments = weights, inputs_of(problem, size)
    return jax.jit(evaluation).lower(*arguments).compile(), arguments


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
