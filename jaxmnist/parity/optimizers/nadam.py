"""torch.optim.NAdam: Adam with Nesterov's momentum, whose share grows with time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxmnist.parity.optimizers import moments
from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, decay, descend, drop_in


class NadamState(NamedTuple):
    """State of NAdam between two updates."""

    step: Int[Array, ""]  # updates made so far
    exp_avg: PyTree[Float[Array, "..."]]  # the average of the gradients
    exp_avg_sq: PyTree[Float[Array, "..."]]  # the average of their squares
    mu_product: Float[Array, ""]  # the product of every momentum so far, in float32


def nadam(
    lr: Scheduled = 2e-3,
    betas: tuple[Scheduled, Scheduled] = (0.9, 0.999),
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    momentum_decay: Number = 4e-3,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.NAdam`` does.

    With the gradient g, to which ``weight_decay · w`` is added, and t = 1 at the first update:

        m ← b1·m + (1 - b1)·g
        v ← b2·v + (1 - b2)·g²
        μ(t) = b1 · (1 - ½ · 0.96^(t · momentum_decay)),  P ← P · μ(t)
        n = (1 - μ(t)) / (1 - P) · g + μ(t + 1) / (1 - P · μ(t + 1)) · m
        w ← w - lr · n / (sqrt(v / (1 - b2^t)) + eps)

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        betas: b1 and b2; numbers or schedules.
        eps: Added to the root, in units of g.
        weight_decay: Times w, added to the gradient.
        momentum_decay: How fast μ rises from b1 / 2 to b1.
        decoupled_weight_decay: Whether the decay shrinks w alone, by lr · weight_decay · w.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range.

    Precision: P is a float32, as it is in PyTorch unless its default dtype is float64; all else is
    in the parameters' precision. So both round P alike, and agree to 1e-12 in float64.

    Optax: ``optax.nadam`` has μ = b1 throughout.

    References: Dozat, "Incorporating Nesterov momentum into Adam", 2016.

    The first step is more than lr · g / |g|, since m looks ahead:

    >>> optimizer = nadam(lr=1.0)
    >>> update, state = optimizer.update(jnp.array(2.0), optimizer.init(jnp.array(0.0)))
    >>> print(f"{update:.4f}")
    -1.0565
    """

    def make(
        lr: Number,
        beta1: Number,
        beta2: Number,
        eps: Number,
        weight_decay: Number,
        momentum_decay: Number,
    ) -> optax.GradientTransformation:
        parts = [decay(weight_decay), _scale_by_nadam(beta1, beta2, eps, momentum_decay)]
        return optax.chain(*(reversed(parts) if decoupled_weight_decay else parts), descend(lr))

    numbers = {
        "lr": lr,
        "beta1": betas[0],
        "beta2": betas[1],
        "eps": eps,
        "weight_decay": weight_decay,
        "momentum_decay": momentum_decay,
    }
    return drop_in("nadam", make, numbers, maximize=maximize)


def _scale_by_nadam(
    beta1: Number, beta2: Number, eps: Number, momentum_decay: Number
) -> optax.GradientTransformation:
    def init(params: optax.Params) -> NadamState:
        return NadamState(*moments.start(params), jnp.ones((), jnp.float32))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, NadamState]:
        del params
        both = moments.advance(moments.MomentsState(*state[:3]), updates, beta1, beta2)
        t = moments.real(both.step)
        now = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
        following = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
        mu_product = state.mu_product * now.astype(jnp.float32)
        product = mu_product.astype(t.dtype)
        of_gradient = (1 - now) / (1 - product)
        of_average = following / (1 - product * following)
        second = moments.correction(beta2, both.step)

        def direction(g: Array, m: Array, v: Array) -> Array:
            return (of_gradient * g + of_average * m) / (jnp.sqrt(v / second) + eps)

        new = jax.tree.map(direction, updates, both.exp_avg, both.exp_avg_sq)
        return new, NadamState(*both, mu_product)

    return optax.GradientTransformation(init, update)
