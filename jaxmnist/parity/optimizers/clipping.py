"""torch.nn.utils.clip_grad_norm_ and clip_grad_value_, as gradient transformations."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxmnist.conventions import plain_number
from jaxmnist.errors import InputError
from jaxmnist.parity.optimizers.drop_in import Number


def clip_grad_norm(max_norm: Number, norm_type: float = 2.0) -> optax.GradientTransformation:
    """Scale all gradients down together as ``torch.nn.utils.clip_grad_norm_`` does.

    With the norm n of all elements of the tree together:

        g ← g · min(1, max_norm / (n + 1e-6))

    Args:
        max_norm: The largest norm, but for the 1e-6; may be traced.
        norm_type: The norm's order; ``math.inf`` for the largest magnitude.

    Returns:
        A transformation without state, for an ``optax.chain`` before the optimizer.

    Raises:
        InputError: `max_norm` is negative, or `norm_type` is not above 0.

    PyTorch's ``error_if_nonfinite`` has no counterpart: a norm of NaN makes all gradients NaN.

    Optax: ``optax.clip_by_global_norm`` does not add the 1e-6, and divides only where n is larger.

    >>> update, _ = clip_grad_norm(1.0).update(jnp.array([3.0, 4.0]), optax.EmptyState())
    >>> print(update)
    [0.5999999  0.79999983]
    """
    number = plain_number(max_norm)
    if number is not None and not number >= 0:
        raise InputError(f"clip_grad_norm: max_norm is {max_norm}; it must be at least 0")
    if not norm_type > 0:
        raise InputError(f"clip_grad_norm: norm_type is {norm_type}; it must be above 0")

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        with jax.numpy_dtype_promotion("standard"):
            updates = jax.tree.map(jnp.asarray, updates)
            norms = [_norm(g, norm_type) for g in jax.tree.leaves(updates)]
            if not norms:
                return updates, state
            total = _norm(jnp.stack(norms), norm_type)
            factor = jnp.minimum(1.0, max_norm / (total + 1e-6))
            return jax.tree.map(lambda g: (g * factor).astype(g.dtype), updates), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def clip_grad_value(clip_value: Number) -> optax.GradientTransformation:
    """Limit every gradient's elements to ±clip_value, as ``torch.nn.utils.clip_grad_value_`` does.

    Args:
        clip_value: The largest magnitude; may be traced.

    Returns:
        A transformation without state, for an ``optax.chain`` before the optimizer.

    Raises:
        InputError: `clip_value` is negative.

    Optax: ``optax.clip`` is equal.

    >>> update, _ = clip_grad_value(1.0).update(jnp.array([0.5, -4.0]), optax.EmptyState())
    >>> print(update)
    [ 0.5 -1. ]
    """
    number = plain_number(clip_value)
    if number is not None and not number >= 0:
        raise InputError(f"clip_grad_value: clip_value is {clip_value}; it must be at least 0")
    return optax.clip(clip_value)


def _norm(array: Array, order: float) -> Array:
    sizes = jnp.abs(array)
    if order == math.inf:
        return jnp.max(sizes, initial=0.0)
    if order == 2:
        return jnp.sqrt(jnp.sum(sizes * sizes))
    return jnp.sum(sizes**order) ** (1 / order)
