"""torch.optim.SGD: Optax's momentum, and a dampening that spares the first gradient."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from jaxmnist.errors import InputError
from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, decay, descend, drop_in, is_off


class DampeningState(NamedTuple):
    """State of the dampening between two updates."""

    step: Int[Array, ""]  # updates made so far


def sgd(
    lr: Scheduled = 1e-3,
    momentum: Scheduled = 0.0,
    dampening: Number = 0.0,
    weight_decay: Number = 0.0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend by stochastic gradients as ``torch.optim.SGD`` does.

    With the gradient g, to which ``weight_decay · w`` is added:

        v ← g at the first step, momentum · v + (1 - dampening) · g from then on
        w ← w - lr · v, or with ``nesterov`` w ← w - lr · (g + momentum · v)

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        momentum: The share of the velocity that each update keeps; a number or a schedule.
        dampening: The share of a gradient that does not enter the velocity.
        weight_decay: Times w, added to the gradient.
        nesterov: Whether to look ahead by the velocity; it needs momentum and no dampening.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range, or `nesterov` has no momentum or has
            dampening.

    Optax: ``optax.sgd`` after ``optax.add_decayed_weights`` is equal without dampening, which it
    does not have.

    References: Sutskever et al., "On the importance of initialization and momentum in deep
    learning", 2013; tutorial rows D20 and D21.

    The first gradient is not dampened:

    >>> optimizer = sgd(lr=1.0, momentum=0.5, dampening=0.5)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (1.0, 4.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(update)
    -1.0
    -2.5
    """
    if nesterov and (is_off(momentum) or not is_off(dampening)):
        raise InputError(
            f"sgd: nesterov is True with momentum {momentum} and dampening {dampening}; it needs "
            "momentum above 0 and dampening 0, as in PyTorch"
        )

    def make(
        lr: Number, momentum: Number, dampening: Number, weight_decay: Number
    ) -> optax.GradientTransformation:
        velocity = [] if off else [_dampen(dampening), optax.trace(momentum, nesterov)]
        return optax.chain(decay(weight_decay), *velocity, descend(lr))

    off = is_off(momentum)
    numbers = {
        "lr": lr,
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": weight_decay,
    }
    return drop_in("sgd", make, numbers, maximize=maximize)


def _dampen(dampening: Number) -> optax.GradientTransformation:
    """Multiply every gradient but the first by 1 - dampening."""
    if is_off(dampening):
        return optax.identity()

    def init(params: optax.Params) -> DampeningState:
        del params
        return DampeningState(jnp.zeros((), jnp.int32))

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, DampeningState]:
        del params
        assert isinstance(state, DampeningState)
        weight = jnp.where(state.step == 0, 1.0, 1 - dampening)
        new = DampeningState(jnp.asarray(optax.safe_increment(state.step)))
        return jax.tree.map(lambda g: weight * g, updates), new

    return optax.GradientTransformation(init, update)
