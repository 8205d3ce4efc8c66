"""How long an optimizer's steps are on a given sequence of gradients (rows D21 to D26)."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def step_lengths(
    tx: optax.GradientTransformation, gradients: Float[Array, " steps"]
) -> Float[Array, " steps"]:
    """Run an optimizer on a given sequence of gradients of one parameter.

    Args:
        tx: The optimizer.
        gradients: In the order in which it is given them.

    Returns:
        Minus each update: how far it moves against the sign of the gradient.

    Source: tutorial rows D21 to D26.

    >>> from jaxmnist import optim
    >>> print(step_lengths(optim.momentum(1.0, momentum=0.5), jnp.ones(4)))
    [1.    1.5   1.75  1.875]
    """

    def step(state: Any, gradient: Float[Array, ""]) -> tuple[Any, Float[Array, ""]]:
        update, state = tx.update(gradient, state)
        return state, -jnp.asarray(update)

    return jax.lax.scan(step, tx.init(jnp.zeros(())), gradients)[1]
