"""torch.optim.SparseAdam: Adam for the rows that have a gradient, and nothing for the others."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxmnist.parity.optimizers import moments
from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, descend, drop_in, real_only
from jaxmnist.parity.optimizers.moments import MomentsState


def sparse_adam(
    lr: Scheduled = 1e-3,
    betas: tuple[Scheduled, Scheduled] = (0.9, 0.999),
    eps: Number = 1e-8,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.SparseAdam`` does.

    Of the rows whose gradient g is not zero, and with t = 1 at the first update:

        m ← b1·m + (1 - b1)·g
        v ← b2·v + (1 - b2)·g²
        w ← w - lr · sqrt(1 - b2^t) / (1 - b1^t) · m / (sqrt(v) + eps)

    All other rows keep m, v and w; t counts every update. JAX's gradients are dense: a row, which
    is one index of the first axis, is present if it is not all zeros. PyTorch's sparse gradient of
    an ``nn.Embedding(sparse=True)`` also has rows that were looked up and whose gradient is zero;
    there alone both differ.

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        betas: b1 and b2; numbers or schedules.
        eps: Added to the root before its correction, in units of g.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range, or a parameter is complex.

    Optax: it has none for sparse gradients.

    >>> optimizer = sparse_adam(lr=1.0)
    >>> params = jnp.zeros((2, 2))
    >>> gradient = jnp.array([[0.0, 0.0], [3.0, -2.0]])
    >>> update, state = optimizer.update(gradient, optimizer.init(params))
    >>> print(jnp.round(update, 4))
    [[-0. -0.]
     [-1.  1.]]
    """

    def make(lr: Number, beta1: Number, beta2: Number, eps: Number) -> optax.GradientTransformation:
        return optax.chain(_scale_by_sparse_adam(beta1, beta2, eps), descend(lr))

    numbers = {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps}
    return drop_in("sparse_adam", make, numbers, maximize=maximize, accepts=real_only)


def _scale_by_sparse_adam(
    beta1: Number, beta2: Number, eps: Number
) -> optax.GradientTransformation:
    def init(params: optax.Params) -> MomentsState:
        return moments.start(params)

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, MomentsState]:
        del params
        dense = moments.advance(state, updates, beta1, beta2)
        present = jax.tree.map(_present, updates)
        exp_avg = jax.tree.map(jnp.where, present, dense.exp_avg, state.exp_avg)
        exp_avg_sq = jax.tree.map(jnp.where, present, dense.exp_avg_sq, state.exp_avg_sq)
        first = moments.correction(beta1, dense.step)
        second = moments.correction(beta2, dense.step)

        def direction(row: Array, m: Array, v: Array) -> Array:
            return jnp.where(row, jnp.sqrt(second) / first * m / (jnp.sqrt(v) + eps), 0.0)

        new = jax.tree.map(direction, present, exp_avg, exp_avg_sq)
        return new, MomentsState(dense.step, exp_avg, exp_avg_sq)

    return optax.GradientTransformation(init, update)


def _present(g: Array) -> Array:
    """Return, for every element, whether its row has any that is not zero."""
    return jnp.broadcast_to(jnp.any(g != 0, tuple(range(1, g.ndim)), keepdims=True), g.shape)
