"""torch.optim.Adadelta, composed of Optax's transformations."""

import optax

from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, decay, descend, drop_in


def adadelta(
    lr: Scheduled = 1.0,
    rho: Number = 0.9,
    eps: Number = 1e-6,
    weight_decay: Number = 0.0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.Adadelta`` does.

    With the gradient g, to which ``weight_decay · w`` is added:

        s ← rho·s + (1 - rho)·g²
        c = g · sqrt(d + eps) / sqrt(s + eps)
        d ← rho·d + (1 - rho)·c²
        w ← w - lr · c

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        rho: The share of both averages that each update keeps.
        eps: Added inside both roots.
        weight_decay: Times w, added to the gradient.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range.

    Optax: ``optax.adadelta(1.0)`` is equal.

    References: Zeiler, "ADADELTA: an adaptive learning rate method", 2012; tutorial row D24.

    >>> import jax.numpy as jnp
    >>> optimizer = adadelta(rho=0.75, eps=1.0)
    >>> update, state = optimizer.update(jnp.array(2.0), optimizer.init(jnp.array(0.0)))
    >>> print(f"{update:.4f}")
    -1.4142
    """

    def make(
        lr: Number, rho: Number, eps: Number, weight_decay: Number
    ) -> optax.GradientTransformation:
        return optax.chain(decay(weight_decay), optax.scale_by_adadelta(rho, eps), descend(lr))

    numbers = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}
    return drop_in("adadelta", make, numbers, maximize=maximize)
