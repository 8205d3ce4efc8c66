"""torch.optim.Rprop: steps that grow while a gradient keeps its sign, whatever its size."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, drop_in


class RpropState(NamedTuple):
    """State of Rprop between two updates."""

    prev: PyTree[Float[Array, "..."]]  # the gradient before, 0 where it had changed its sign
    step_size: PyTree[Float[Array, "..."]]  # the size of the last step


def rprop(
    lr: Scheduled = 1e-2,
    etas: tuple[Number, Number] = (0.5, 1.2),
    step_sizes: tuple[Number, Number] = (1e-6, 50.0),
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.Rprop`` does.

    With the gradient g, and p the one before, 0 at first:

        s ← s · etas[1] where g·p > 0, s · etas[0] where g·p < 0, within `step_sizes`
        g ← 0 where g·p < 0
        w ← w - sign(g) · s,  p ← g

    Args:
        lr: Where s starts; a schedule only gives its first value, as in PyTorch.
        etas: What s is multiplied by after a change of sign, and without one.
        step_sizes: The smallest and the largest s, in the units of w.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range.

    Optax: ``optax.rprop`` takes the previous step's update: its first step is 0.

    References: Riedmiller and Braun, "A direct adaptive method for faster backpropagation
    learning: the RPROP algorithm", 1993.

    The sign changes at the third step, which is none:

    >>> optimizer = rprop(lr=1.0)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (3.0, 1.0, -2.0, -1.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(f"{update:.1f}")
    -1.0
    -1.2
    -0.0
    0.6
    """
    numbers = {
        "lr": lr,
        "etaminus": etas[0],
        "etaplus": etas[1],
        "smallest": step_sizes[0],
        "largest": step_sizes[1],
    }
    return drop_in("rprop", _rprop, numbers, maximize=maximize)


def _rprop(
    lr: Number, etaminus: Number, etaplus: Number, smallest: Number, largest: Number
) -> optax.GradientTransformation:
    def init(params: optax.Params) -> RpropState:
        sizes = jax.tree.map(lambda w: jnp.full_like(w, lr), params)
        return RpropState(jax.tree.map(jnp.zeros_like, params), sizes)

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RpropState]:
        del params

        def size(sign: Array, s: Array) -> Array:
            factor = jnp.where(sign > 0, etaplus, jnp.where(sign < 0, etaminus, 1.0))
            return jnp.clip(s * factor, smallest, largest)

        signs = jax.tree.map(_sign_of_product, updates, state.prev)
        sizes = jax.tree.map(size, signs, state.step_size)
        kept = jax.tree.map(lambda g, sign: jnp.where(sign < 0, 0.0, g), updates, signs)
        new = jax.tree.map(lambda g, s: -jnp.sign(g) * s, kept, sizes)
        return new, RpropState(kept, sizes)

    return optax.GradientTransformation(init, update)


def _sign_of_product(g: Array, p: Array) -> Array:
    """The sign of g·p: 0 where PyTorch's product is, which is less than half the smallest number.

    XLA on a CPU would have 0 for every product below the smallest normal number already.
    """
    half = math.frexp(float(jnp.finfo(g.dtype).smallest_subnormal))[1] - 2  # Its power of two.
    scaled = jnp.abs(g) * 2.0 ** (-half // 2) * (jnp.abs(p) * 2.0 ** (-half - -half // 2))
    return jnp.where(scaled > 1, jnp.sign(g) * jnp.sign(p), 0)
