"""torch.optim.RMSprop, composed of Optax's transformations."""

import optax

from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, decay, descend, drop_in, is_off


def rmsprop(
    lr: Scheduled = 1e-2,
    alpha: Number = 0.99,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    momentum: Scheduled = 0.0,
    centered: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.RMSprop`` does.

    With the gradient g, to which ``weight_decay · w`` is added:

        v ← alpha·v + (1 - alpha)·g²
        a ← alpha·a + (1 - alpha)·g
        d = g / (sqrt(v) + eps), or with ``centered`` g / (sqrt(v - a²) + eps)
        b ← momentum·b + d
        w ← w - lr · b

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        alpha: The share of both averages that each update keeps.
        eps: Added to the root, in units of g.
        weight_decay: Times w, added to the gradient.
        momentum: The share of the velocity b that each update keeps; a number or a schedule.
        centered: Whether to divide by an estimate of the standard deviation.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range.

    Optax: ``optax.rmsprop(decay=0.99, eps_in_sqrt=False)`` is equal; by default it adds eps inside
    the root and keeps 0.9. Its velocity is PyTorch's times the negative learning rate.

    References: Tieleman and Hinton, "Lecture 6.5", 2012; tutorial row D23.

    >>> import jax.numpy as jnp
    >>> optimizer = rmsprop(lr=0.5, alpha=0.75)
    >>> update, state = optimizer.update(jnp.array(3.0), optimizer.init(jnp.array(0.0)))
    >>> print(f"{update:.4f}")
    -1.0000
    """
    scaled = optax.scale_by_stddev if centered else optax.scale_by_rms
    off = is_off(momentum)

    def make(
        lr: Number, alpha: Number, eps: Number, weight_decay: Number, momentum: Number
    ) -> optax.GradientTransformation:
        direction = scaled(decay=alpha, eps=eps, eps_in_sqrt=False)
        velocity = [] if off else [optax.trace(momentum)]
        return optax.chain(decay(weight_decay), direction, *velocity, descend(lr))

    numbers = {
        "lr": lr,
        "alpha": alpha,
        "eps": eps,
        "weight_decay": weight_decay,
        "momentum": momentum,
    }
    return drop_in("rmsprop", make, numbers, maximize=maximize)
