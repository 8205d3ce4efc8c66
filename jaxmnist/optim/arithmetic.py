"""Arithmetic that the optimizers share: what float32 would get wrong, got right in one place."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Inexact, Int, PyTree, ScalarLike

from jaxmnist.conventions import plain_number
from jaxmnist.errors import InputError

# An optimizer's hyperparameter as its user gives it: a Python number, or a scalar array that may
# be traced.
Hyperparameter = ScalarLike
# A schedule, Optax's or one's own, is called with the number of updates made before this one.
LearningRate = ScalarLike | Callable[[Int[Array, ""]], ScalarLike]

# The same inside a leaf's equations. A Python float stays one, and so keeps its double precision
# until it meets an array; an array has the leaf's own real dtype.
Scalar = float | Float[Array, ""]


def leafwise(
    step: Callable[..., tuple[Array, ...]], prepare: Callable[..., dict[str, Any]] = dict
) -> Callable[..., tuple[PyTree, ...]]:
    """Lift the recurrence of one leaf to whole trees, in at least float32.

    Args:
        step: `step(g, *accumulators, **scalars) -> (update, *accumulators)` on arrays of one
            shape; elementwise, so that XLA fuses it. It is called once per leaf.
        prepare: `prepare(**scalars) -> scalars`, what all leaves of a dtype share, such as a power
            of a decay. It is called once per dtype: in each leaf it would be a kernel of its own,
            which XLA does not merge.

    Returns:
        `over_trees(gradients, *accumulators, **scalars) -> (updates, *accumulators)`, where the
        first two stand for trees of one structure and each scalar is a number for all leaves.
        Updates have their gradient's dtype; accumulators keep theirs.
    """

    def on_leaf(g: Any, *old: Array, scalars: Callable[[Any], Any]) -> tuple[Array, ...]:
        g = jnp.asarray(g)
        if not jnp.issubdtype(g.dtype, jnp.inexact):
            raise InputError(
                f"a gradient has dtype {g.dtype}; it must be floating or complex; mask leaves "
                "that are not trained"
            )
        # The equations multiply real numbers by complex ones, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            working = _at_least_float32(g, *old)
            constants = scalars(jnp.finfo(working).dtype)
            update, *new = step(g.astype(working), *old, **constants)
        return update.astype(g.dtype), *(a.astype(b.dtype) for a, b in zip(new, old, strict=True))

    def over_trees(gradients: PyTree, *accumulators: PyTree, **scalars: Any) -> tuple[PyTree, ...]:
        leaves, structure = jax.tree.flatten(gradients)
        columns = [leaves, *(structure.flatten_up_to(tree) for tree in accumulators)]
        prepared = functools.cache(
            lambda real: prepare(**{name: _as_scalar(x, real) for name, x in scalars.items()})
        )
        rows = [on_leaf(*row, scalars=prepared) for row in zip(*columns, strict=True)]
        results = zip(*rows, strict=True) if rows else [()] * len(columns)
        return tuple(structure.unflatten(column) for column in results)

    return over_trees


def _at_least_float32(*arrays: Any) -> jnp.dtype:
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(jnp.float32, *(jnp.result_type(array) for array in arrays))


def _as_scalar(value: Hyperparameter, dtype: jnp.dtype) -> Scalar:
    number = None if isinstance(value, jax.Array) else plain_number(value)
    return jnp.asarray(value, dtype) if number is None else float(number)


def start_count() -> Int[Array, ""]:
    """Return the number of updates made so far: none."""
    return jnp.zeros((), jnp.int32)


def increment(count: Int[Array, ""]) -> Int[Array, ""]:
    """Return one more, unless that would overflow: the count stays at the largest int32."""
    return jnp.asarray(optax.safe_increment(count))


def accumulators_like(params: PyTree) -> PyTree:
    """Return zeros in the shapes of `params`, real or complex as they are, in at least float32."""
    return jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype=_at_least_float32(leaf)), params)


def real_accumulators_like(params: PyTree, value: Hyperparameter = 0.0) -> PyTree:
    """Return real arrays full of `value` in the shapes of `params`, in at least float32."""

    def full(leaf: Any) -> Array:
        real = jnp.finfo(_at_least_float32(leaf)).dtype
        return jnp.full_like(leaf, _as_scalar(value, real), dtype=real)

    return jax.tree.map(full, params)


def learning_rate_at(learning_rate: LearningRate, count: Int[Array, ""]) -> ScalarLike:
    """Return the rate of the update after `count` others: a schedule is first called with 0."""
    if not callable(learning_rate):
        return learning_rate
    # Several of Optax's schedules multiply an int32 by a float, which strict promotion forbids.
    with jax.numpy_dtype_promotion("standard"):
        return learning_rate(count)


def squared_magnitude(x: Inexact[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return |x|², real; for a real x the plain square."""
    return jnp.square(x.real) + jnp.square(x.imag) if jnp.iscomplexobj(x) else jnp.square(x)


def root(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return √x for x ≥ 0, with derivative 0 at 0.

    There the true derivative is infinite, and the chain rule would multiply it by the zero
    gradient that x was squared from: 0 times infinity, NaN.
    """
    at_zero = x == 0
    return jnp.where(at_zero, 0.0, jnp.sqrt(jnp.where(at_zero, 1.0, x)))


def moving_average(
    old: Inexact[Array, "*shape"], new: Inexact[Array, "*shape"], decay: Scalar
) -> Inexact[Array, "*shape"]:
    """Return decay·old + (1 - decay)·new, with weights that sum to 1 in float32 too.

    Float32 rounds 0.999 up by 1.3e-8, a 1.3e-5 part of 1 - 0.999. Were the rounded decay what
    multiplies `old`, averages would settle that much too high. So only 1 - decay, which is formed
    in double precision or exactly, enters. (An average that overflowed to infinity becomes
    NaN at the next update, where the plain form would stay infinite and freeze its parameter.)
    """
    weight = 1 - decay
    return (old - weight * old) + weight * new


def one_minus_power(decay: Scalar, count: Float[Array, ""]) -> Float[Array, ""]:
    """Return 1 - decay^count, to a few units in the last place at every count ≥ 1.

    Subtracting the power from 1 cancels: in float32 with 0.999, five of seven digits at count 1.
    Here 1 - exp(count·log(decay)) is one function, and log(decay) is taken in double precision,
    or, from a traced decay, of the difference from 1, which is exact for a decay above 1/2.
    """
    if isinstance(decay, float):
        return -jnp.expm1(count * (math.log(decay) if decay > 0 else -math.inf))
    # Below 1/2 nothing cancels, and the power is differentiable at 0, where the logarithm is not.
    # Each branch is kept from the other's arguments, whose derivatives would be NaN.
    is_small = decay < 0.5
    small, large = jnp.where(is_small, decay, 0.0), jnp.where(is_small, 0.5, decay)
    return jnp.where(is_small, 1 - small**count, -jnp.expm1(count * jnp.log1p(large - 1)))
