"""torch.optim.ASGD: gradient descent with a falling rate, and the average of its way."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxmnist.parity.optimizers import moments
from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, decay, drop_in


class AsgdState(NamedTuple):
    """State of ASGD between two updates."""

    step: Int[Array, ""]  # updates made so far
    eta: Float[Array, ""]  # the rate of the next one, in float32
    mu: Float[Array, ""]  # the share of the parameters in their average, in float32
    ax: PyTree[Float[Array, "..."]]  # that average


def asgd(
    lr: Scheduled = 1e-2,
    lambd: Number = 1e-4,
    alpha: Number = 0.75,
    t0: Number = 1e6,
    weight_decay: Number = 0.0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.ASGD`` does.

    With the gradient g, to which ``weight_decay · w`` is added, and t = 1 at the first update:

        w ← w - η · lambd · w - η · g
        a ← w where μ = 1, else a + μ · (w - a)
        η ← lr / (1 + lambd · lr · t)^alpha
        μ ← 1 / max(1, t - t0)

    η starts at `lr` and μ at 1. The average a is ``ax`` in the state; PyTorch too leaves the use of
    it to its caller.

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update, whose
            value enters the next update's η.
        lambd: The share of w that a step at rate 1 takes from it.
        alpha: The power by which η falls.
        t0: The number of updates after which the average begins.
        weight_decay: Times w, added to the gradient.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters; it needs them.

    Raises:
        InputError: A number is outside PyTorch's range, or an update has no parameters.

    Precision: η and μ are rounded to float32, as they are in PyTorch unless its default dtype is
    float64; all else is in the parameters' precision. So both have the same η, and agree to 1e-12
    in float64.

    Optax: it has no ASGD.

    References: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.

    >>> optimizer = asgd(lr=0.5, lambd=0.5)
    >>> params = jnp.array(2.0)
    >>> update, state = optimizer.update(jnp.array(3.0), optimizer.init(params), params)
    >>> print(f"{update:.4f}, then at a rate of {state.inner[1].eta:.4f}")
    -2.0000, then at a rate of 0.4229
    """

    def make(
        lr: Number, lambd: Number, alpha: Number, t0: Number, weight_decay: Number
    ) -> optax.GradientTransformation:
        return optax.chain(decay(weight_decay), _asgd(lr, lambd, alpha, t0))

    numbers = {
        "lr": lr,
        "lambd": lambd,
        "alpha": alpha,
        "t0": t0,
        "weight_decay": weight_decay,
    }
    return drop_in("asgd", make, numbers, maximize=maximize, needs_params=True)


def _asgd(lr: Number, lambd: Number, alpha: Number, t0: Number) -> optax.GradientTransformation:
    def init(params: optax.Params) -> AsgdState:
        eta, mu = jnp.asarray(lr, jnp.float32), jnp.ones((), jnp.float32)
        return AsgdState(jnp.zeros((), jnp.int32), eta, mu, jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AsgdState]:
        assert params is not None
        step = moments.increment(state.step)
        t = moments.real(step)
        eta, mu = state.eta.astype(t.dtype), state.mu.astype(t.dtype)
        new = jax.tree.map(lambda g, w: -lambd * eta * w - eta * g, updates, params)

        def averaged(ax: Array, w: Array, change: Array) -> Array:
            moved = w + change
            return jnp.where(mu == 1, moved, ax + mu * (moved - ax))

        ax = jax.tree.map(averaged, state.ax, params, new)
        next_eta = jnp.asarray(lr / (1 + lambd * lr * t) ** alpha, jnp.float32)
        next_mu = jnp.asarray(1 / jnp.maximum(1, t - t0), jnp.float32)
        return new, AsgdState(step, next_eta, next_mu, ax)

    return optax.GradientTransformation(init, update)
