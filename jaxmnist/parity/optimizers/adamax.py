"""torch.optim.Adamax, composed of Optax's transformations."""

import optax

from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, decay, descend, drop_in


def adamax(
    lr: Scheduled = 2e-3,
    betas: tuple[Scheduled, Scheduled] = (0.9, 0.999),
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.Adamax`` does.

    With the gradient g, to which ``weight_decay · w`` is added, and t = 1 at the first update:

        m ← b1·m + (1 - b1)·g
        u ← max(b2·u, |g| + eps)
        w ← w - lr · m / (1 - b1^t) / u

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        betas: b1 and b2; numbers or schedules.
        eps: Added to |g|.
        weight_decay: Times w, added to the gradient.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range.

    Optax: ``optax.adamax`` is equal; ``optax.adamaxw`` has the decay apart from the gradient,
    which ``torch.optim.Adamax`` has not.

    References: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, section 7.1.

    >>> import jax.numpy as jnp
    >>> optimizer = adamax(lr=0.5)
    >>> update, state = optimizer.update(jnp.array(3.0), optimizer.init(jnp.array(0.0)))
    >>> print(f"{update:.4f}")
    -0.5000
    """

    def make(
        lr: Number, beta1: Number, beta2: Number, eps: Number, weight_decay: Number
    ) -> optax.GradientTransformation:
        direction = optax.scale_by_adamax(beta1, beta2, eps)
        return optax.chain(decay(weight_decay), direction, descend(lr))

    numbers = {
        "lr": lr,
        "beta1": betas[0],
        "beta2": betas[1],
        "eps": eps,
        "weight_decay": weight_decay,
    }
    return drop_in("adamax", make, numbers, maximize=maximize)
