"""torch.optim.RAdam: Adam without its denominator until the average square can be trusted."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxmnist.parity.optimizers import moments
from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, decay, descend, drop_in
from jaxmnist.parity.optimizers.moments import MomentsState


def radam(
    lr: Scheduled = 1e-3,
    betas: tuple[Scheduled, Scheduled] = (0.9, 0.999),
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.RAdam`` does.

    With the gradient g, to which ``weight_decay · w`` is added, and t = 1 at the first update:

        m ← b1·m + (1 - b1)·g
        v ← b2·v + (1 - b2)·g²
        R = 2 / (1 - b2) - 1,  L = R - 2·t·b2^t / (1 - b2^t)
        w ← w - lr · m / (1 - b1^t) · c / (sqrt(v) + eps) where L > 5, with
            c = sqrt(1 - b2^t) · sqrt((L - 4)·(L - 2)·R / ((R - 4)·(R - 2)·L)),
        w ← w - lr · m / (1 - b1^t) else

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        betas: b1 and b2; numbers or schedules.
        eps: Added to the root before its correction, in units of g.
        weight_decay: Times w, added to the gradient.
        decoupled_weight_decay: Whether the decay shrinks w alone, by lr · weight_decay · w.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range.

    Optax: ``optax.radam`` adds eps after the correction, and takes L ≥ 5; at ``eps=0`` both are
    equal.

    References: Liu et al., "On the variance of the adaptive learning rate and beyond", 2020.

    The first five steps are those of momentum:

    >>> optimizer = radam(lr=0.5)
    >>> update, state = optimizer.update(jnp.array(4.0), optimizer.init(jnp.array(0.0)))
    >>> print(f"{update:.4f}")
    -2.0000
    """

    def make(
        lr: Number, beta1: Number, beta2: Number, eps: Number, weight_decay: Number
    ) -> optax.GradientTransformation:
        parts = [decay(weight_decay), _scale_by_radam(beta1, beta2, eps)]
        return optax.chain(*(reversed(parts) if decoupled_weight_decay else parts), descend(lr))

    numbers = {
        "lr": lr,
        "beta1": betas[0],
        "beta2": betas[1],
        "eps": eps,
        "weight_decay": weight_decay,
    }
    return drop_in("radam", make, numbers, maximize=maximize)


def _scale_by_radam(beta1: Number, beta2: Number, eps: Number) -> optax.GradientTransformation:
    def init(params: optax.Params) -> MomentsState:
        return moments.start(params)

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, MomentsState]:
        del params
        state = moments.advance(state, updates, beta1, beta2)
        t = moments.real(state.step)
        first = moments.correction(beta1, state.step)
        second = moments.correction(beta2, state.step)
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * (1 - second) / second
        is_long = length > 5
        # Kept from lengths at which the root is of a negative number.
        rho = jnp.where(is_long, length, 6.0)
        rectified = (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)
        factor = jnp.sqrt(jnp.where(is_long, rectified, 1.0)) * jnp.sqrt(second)

        def direction(m: Array, v: Array) -> Array:
            return m / first * jnp.where(is_long, factor / (jnp.sqrt(v) + eps), 1.0)

        return jax.tree.map(direction, state.exp_avg, state.exp_avg_sq), state

    return optax.GradientTransformation(init, update)
