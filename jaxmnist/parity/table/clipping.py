"""The parity table's clipping of gradients."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

from jaxmnist import parity
from jaxmnist.parity.table.inputs import SEED, compare_functions
from jaxmnist.parity.table.row import DIFFERS, Kind, Row


def rows() -> list[Row]:
    """Return the rows."""
    from torch.nn import utils

    claimed = [
        Row(
            lambda p, t: clipped(lambda w: utils.clip_grad_norm_(w, 1.0), p, t),
            lambda p, t: clip(optax.clip_by_global_norm(1.0), p, t),
            DIFFERS,
            "PyTorch adds 1e-6 to the norm.",
            lambda p, t: clip(parity.clip_grad_norm(1.0), p, t),
            "a factor",
        ),
        Row(
            lambda p, t: clipped(lambda w: utils.clip_grad_norm_(w, 100.0), p, t),
            lambda p, t: clip(optax.clip_by_global_norm(100.0), p, t),
            difference="Below the bound nothing changes.",
        ),
        Row(
            lambda p, t: clipped(lambda w: utils.clip_grad_norm_(w, 1.0), p, t),
            lambda p, t: clip(optax.clip(1.0), p, t),
            DIFFERS,
            "optax.clip bounds each element, as clip_grad_value_.",
            lambda p, t: clip(parity.clip_grad_norm(1.0), p, t),
        ),
        Row(
            lambda p, t: clipped(lambda w: utils.clip_grad_norm_(w, 1.0), p, t),
            lambda p, t: (
                *clip(optax.clip_by_global_norm(1.0), p),
                *clip(optax.clip_by_global_norm(1.0), t),
            ),
            DIFFERS,
            "The norm is that of all gradients together.",
            lambda p, t: clip(parity.clip_grad_norm(1.0), p, t),
        ),
        Row(
            lambda p, t: clipped(lambda w: utils.clip_grad_norm_(w, 1.0), p, t),
            lambda p, t: clip(optax.clip_by_block_rms(1.0), p, t),
            DIFFERS,
            "clip_by_block_rms bounds the root mean square of each array.",
            lambda p, t: clip(parity.clip_grad_norm(1.0), p, t),
        ),
        Row(
            lambda p, t: clipped(lambda w: utils.clip_grad_norm_(w, 1.0, math.inf), p, t),
            lambda p, t: clip(optax.clip(1.0), p, t),
            DIFFERS,
            "The norm inf scales all by the largest element; optax.clip bounds each alone.",
            lambda p, t: clip(parity.clip_grad_norm(1.0, math.inf), p, t),
        ),
        Row(
            lambda p, t: clipped(lambda w: utils.clip_grad_norm_(w, 1.0, 1.0), p, t),
            lambda p, t: clip(optax.clip_by_global_norm(1.0), p, t),
            DIFFERS,
            "Optax has the norm 2 alone.",
            lambda p, t: clip(parity.clip_grad_norm(1.0, 1.0), p, t),
            "a factor",
        ),
        Row(
            lambda p, t: clipped(lambda w: utils.clip_grad_value_(w, 0.5), p, t),
            lambda p, t: clip(optax.clip(0.5), p, t),
        ),
        Row(
            lambda p, t: clipped(lambda w: utils.clip_grad_value_(w, 0.5), p, t),
            lambda p, t: clip(optax.clip_by_global_norm(0.5), p, t),
            DIFFERS,
            "clip_grad_value_ bounds each element.",
            lambda p, t: clip(parity.clip_grad_value(0.5), p, t),
        ),
        Row(
            lambda p, t: utils.get_total_norm([p, t]),
            lambda p, t: optax.global_norm([p, t]),
        ),
    ]
    return [row._replace(wrt=()) for row in claimed]


def clipped(change: Callable[[list[Any]], Any], *gradients: Any) -> tuple[Any, ...]:
    """Clip gradients in place, as PyTorch does, in parameters of their own."""
    import torch

    weights = [torch.zeros_like(gradient) for gradient in gradients]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient.clone()
    change(weights)
    return tuple(weight.grad for weight in weights)


def clip(tx: optax.GradientTransformation, *gradients: Any) -> Any:
    """Clip gradients by a transformation of Optax."""
    zeros = tuple(jnp.zeros_like(gradient) for gradient in gradients)
    return tx.update(gradients, tx.init(zeros), zeros)[0]


KIND = Kind(
    "Clipping of gradients",
    rows,
    compare_functions,
    f"The clipped gradients, two of 6 × 5 elements, in float64, seed {SEED}.",
)
