"""torch.optim.Adam and AdamW: Optax's Adam, and an AMSGrad that takes its maximum first."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxmnist.parity.optimizers import moments
from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, decay, descend, drop_in


class AmsgradState(NamedTuple):
    """State of AMSGrad between two updates."""

    step: Int[Array, ""]  # updates made so far
    exp_avg: PyTree[Float[Array, "..."]]  # the average of the gradients
    exp_avg_sq: PyTree[Float[Array, "..."]]  # the average of their squares
    max_exp_avg_sq: PyTree[Float[Array, "..."]]  # the largest that this average has been


def adam(
    lr: Scheduled = 1e-3,
    betas: tuple[Scheduled, Scheduled] = (0.9, 0.999),
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.Adam`` does.

    With the gradient g, to which ``weight_decay · w`` is added, and t = 1 at the first update:

        m ← b1·m + (1 - b1)·g
        v ← b2·v + (1 - b2)·g²
        s = v, or with ``amsgrad`` the largest v so far
        w ← w - lr · m / (1 - b1^t) / (sqrt(s / (1 - b2^t)) + eps)

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        betas: b1 and b2; numbers or schedules.
        eps: Added to the root, in units of g.
        weight_decay: Times w, added to the gradient.
        amsgrad: Whether to divide by the root of the largest average square.
        maximize: Whether to climb.
        decoupled_weight_decay: Whether the decay shrinks w alone, as in `adamw`.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range.

    Optax: ``optax.adam`` is equal without AMSGrad. ``optax.amsgrad`` takes the maximum of
    v / (1 - b2^t), which falls while v rises, so that no setting of it is equal.

    References: Kingma and Ba, "Adam: a method for stochastic optimization", 2015; Reddi, Kale and
    Kumar, "On the convergence of Adam and beyond", 2018; tutorial row D25.

    >>> optimizer = adam(lr=0.5, betas=(0.5, 0.75), amsgrad=True)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (1.0, 4.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(f"{update:.4f}")
    -0.5000
    -0.4848
    """
    return _adam("adam", lr, betas, eps, weight_decay, amsgrad, maximize, decoupled_weight_decay)


def adamw(
    lr: Scheduled = 1e-3,
    betas: tuple[Scheduled, Scheduled] = (0.9, 0.999),
    eps: Number = 1e-8,
    weight_decay: Number = 1e-2,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.AdamW`` does: `adam` with w ← w - lr · weight_decay · w apart.

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        betas: b1 and b2; numbers or schedules.
        eps: Added to the root, in units of g.
        weight_decay: Times the learning rate and w, what each update takes from w.
        amsgrad: Whether to divide by the root of the largest average square.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range.

    Optax: ``optax.adamw`` is equal with ``weight_decay=1e-2``; its default is 1e-4.

    References: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

    >>> optimizer = adamw(lr=0.5, weight_decay=0.5)
    >>> params = jnp.array(2.0)
    >>> update, state = optimizer.update(jnp.array(3.0), optimizer.init(params), params)
    >>> print(f"{update:.4f}")
    -1.0000
    """
    return _adam("adamw", lr, betas, eps, weight_decay, amsgrad, maximize, True)


def _adam(
    name: str,
    lr: Scheduled,
    betas: tuple[Scheduled, Scheduled],
    eps: Number,
    weight_decay: Number,
    amsgrad: bool,
    maximize: bool,
    decoupled: bool,
) -> optax.GradientTransformationExtraArgs:
    def make(
        lr: Number, beta1: Number, beta2: Number, eps: Number, weight_decay: Number
    ) -> optax.GradientTransformation:
        direction = _scale_by_amsgrad if amsgrad else optax.scale_by_adam
        parts = [decay(weight_decay), direction(beta1, beta2, eps)]
        return optax.chain(*(reversed(parts) if decoupled else parts), descend(lr))

    numbers = {
        "lr": lr,
        "beta1": betas[0],
        "beta2": betas[1],
        "eps": eps,
        "weight_decay": weight_decay,
    }
    return drop_in(name, make, numbers, maximize=maximize)


def _scale_by_amsgrad(beta1: Number, beta2: Number, eps: Number) -> optax.GradientTransformation:
    def init(params: optax.Params) -> AmsgradState:
        both = moments.start(params)
        return AmsgradState(*both, both.exp_avg_sq)

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AmsgradState]:
        del params
        both = moments.advance(moments.MomentsState(*state[:3]), updates, beta1, beta2)
        largest = jax.tree.map(jnp.maximum, state.max_exp_avg_sq, both.exp_avg_sq)
        first = moments.correction(beta1, both.step)
        second = moments.correction(beta2, both.step)

        def direction(m: Array, s: Array) -> Array:
            return m / first / (jnp.sqrt(s) / jnp.sqrt(second) + eps)

        return jax.tree.map(direction, both.exp_avg, largest), AmsgradState(*both, largest)

    return optax.GradientTransformation(init, update)
