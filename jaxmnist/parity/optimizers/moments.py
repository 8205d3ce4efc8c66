"""The state and the arithmetic that drop-ins with Adam's two averages share."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxmnist.optim import arithmetic
from jaxmnist.parity.optimizers.drop_in import Number


class MomentsState(NamedTuple):
    """State of an optimizer with averages of the gradients and of their squares."""

    step: Int[Array, ""]  # updates made so far
    exp_avg: PyTree[Float[Array, "..."]]  # the average of the gradients
    exp_avg_sq: PyTree[Float[Array, "..."]]  # the average of their squares


def start(params: PyTree) -> MomentsState:
    """Return the state before the first update: nothing counted, averages of zero."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return MomentsState(jnp.zeros((), jnp.int32), zeros, zeros)


def advance(state: MomentsState, gradients: PyTree, beta1: Number, beta2: Number) -> MomentsState:
    """Count one more update, and let the gradients into both averages."""
    return MomentsState(
        increment(state.step),
        average(state.exp_avg, gradients, beta1),
        average(state.exp_avg_sq, jax.tree.map(jnp.square, gradients), beta2),
    )


def average(old: PyTree, new: PyTree, decay: Number) -> PyTree:
    """Return decay·old + (1 - decay)·new."""
    share = _scalar(decay)
    return jax.tree.map(lambda a, b: arithmetic.moving_average(a, b, share), old, new)


def correction(decay: Number, step: Int[Array, ""]) -> Array:
    """Return 1 - decay^step, which divides an average that began at zero.

    In double precision PyTorch's subtraction, so that both round alike: RAdam takes a difference in
    which this rounding grows by 400. In float32 the subtraction would lose five of seven digits.
    """
    t = real(step)
    if t.dtype == jnp.float64:
        return 1 - jnp.power(decay, t)
    return arithmetic.one_minus_power(_scalar(decay), t)


def real(step: Int[Array, ""]) -> Float[Array, ""]:
    """Return a count as a number of the widest precision: float64 under x64."""
    return step.astype(jnp.result_type(float))


def increment(step: Int[Array, ""]) -> Int[Array, ""]:
    """Return one more, or the largest int32."""
    return jnp.asarray(optax.safe_increment(step))


def _scalar(number: Number) -> arithmetic.Scalar:
    return float(number) if isinstance(number, int) else number
