"""torch.optim.Adagrad: this package's own Adagrad with a rate that falls with the steps."""

from typing import Any

import optax

from jaxmnist import optim
from jaxmnist.parity.optimizers import moments
from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, decay, drop_in


def adagrad(
    lr: Scheduled = 1e-2,
    lr_decay: Number = 0.0,
    weight_decay: Number = 0.0,
    initial_accumulator_value: Number = 0.0,
    eps: Number = 1e-10,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.Adagrad`` does.

    With the gradient g, to which ``weight_decay · w`` is added, and t = 1 at the first update:

        s ← s + g²
        w ← w - lr / (1 + (t - 1) · lr_decay) · g / (sqrt(s) + eps)

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        lr_decay: How much of the first rate each step adds to its divisor.
        weight_decay: Times w, added to the gradient.
        initial_accumulator_value: Where s starts, in units of g².
        eps: Added to the root, in units of g.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range.

    Optax: ``optax.adagrad`` adds eps inside the root, starts s at 0.1 and has no ``lr_decay``.
    `jaxmnist.optim.adagrad` has the first two of PyTorch's, and is used here.

    References: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", 2011; tutorial row D22.

    >>> import jax.numpy as jnp
    >>> optimizer = adagrad(lr=0.5, lr_decay=1.0)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (3.0, 4.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(f"{update:.4f}")
    -0.5000
    -0.2000
    """

    def make(
        lr: Number,
        lr_decay: Number,
        weight_decay: Number,
        initial_accumulator_value: Number,
        eps: Number,
    ) -> optax.GradientTransformation:
        def rate(count: Any) -> Any:
            return lr / (1 + moments.real(count) * lr_decay)

        direction = optim.adagrad(rate, initial_accumulator_value, eps=eps, eps_root=0.0)
        return optax.chain(decay(weight_decay), direction)

    numbers = {
        "lr": lr,
        "lr_decay": lr_decay,
        "weight_decay": weight_decay,
        "initial_accumulator_value": initial_accumulator_value,
        "eps": eps,
    }
    return drop_in("adagrad", make, numbers, maximize=maximize)
