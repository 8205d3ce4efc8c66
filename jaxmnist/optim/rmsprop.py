"""RMSProp: Adagrad with an average in place of the sum, so that its step need not shrink."""

from functools import partial
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxmnist.conventions import check_arguments
from jaxmnist.optim import arithmetic
from jaxmnist.optim.arithmetic import Hyperparameter, LearningRate
from jaxmnist.optim.entry import Entry, TorchCounterpart


class RmspropState(NamedTuple):
    """State of RMSProp between two updates."""

    count: Int[Array, ""]  # updates made so far  # pyright: ignore[reportIncompatibleMethodOverride]
    mean_square: PyTree[Float[Array, "..."]]  # the average of the squared gradients


def rmsprop(
    learning_rate: LearningRate = 0.001,
    decay: Hyperparameter = 0.9,
    eps: Hyperparameter = 0.0,
    eps_root: Hyperparameter = 1e-10,
) -> optax.GradientTransformationExtraArgs:
    """RMSProp, which divides the gradient by the root of an average of its squares.

    With gradient g:

        mean_square ← decay · mean_square + (1 - decay) · |g|²
        w ← w - learning_rate · g / (sqrt(mean_square + eps_root) + eps)

    `mean_square` starts at 0, and is not corrected for that: the first step is
    learning_rate / sqrt(1 - decay) in size, 3.2 times the later ones at 0.9.

    Args:
        learning_rate: The size of a step under a constant g, in the units of w; a number, or an
            Optax schedule, called with 0 for the first update.
        decay: The share of the average that each update keeps, in [0, 1).
        eps: Added to the root, in units of g; at least 0.
        eps_root: Added inside the root, in units of g²; at least 0.

    Returns:
        An `optax.GradientTransformationExtraArgs` whose updates are to be added to w; it needs no
        extra argument and ignores any.

    Raises:
        InputError: A Python number is outside its range.

    Conventions: the tutorial's is the default, `decay` 0.9 and `eps_root` 1e-10.
    `create("rmsprop", convention="pytorch")` has `decay` 0.99, `eps` 1e-8, `eps_root` 0 and a
    learning rate of 0.01; with "optax" `decay` is 0.9 and `eps_root` 1e-8.

    References: Tieleman and Hinton, 2012, lecture 6.5 of "Neural Networks for Machine Learning";
    tutorial row D23.

    The averages of the squares are 0.25 · 4² = 4 and 0.75 · 4 + 0.25 · 2² = 4:

    >>> import jax.numpy as jnp
    >>> optimizer = rmsprop(learning_rate=0.5, decay=0.75)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (4.0, 2.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(f"{update:.4f}")
    -1.0000
    -0.5000
    """
    hyper = {"decay": decay, "eps": eps, "eps_root": eps_root}
    check_arguments("rmsprop", learning_rate=learning_rate, **hyper)

    def init(params: optax.Params) -> RmspropState:
        return RmspropState(
            count=arithmetic.start_count(), mean_square=arithmetic.real_accumulators_like(params)
        )

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, RmspropState]:
        del params, extra_args
        rate = arithmetic.learning_rate_at(learning_rate, state.count)
        updates, mean_square = _step(updates, state.mean_square, rate=rate, **hyper)
        return updates, RmspropState(arithmetic.increment(state.count), mean_square)

    return optax.GradientTransformationExtraArgs(init, update)


@arithmetic.leafwise
def _step(g, mean_square, *, rate, decay, eps, eps_root):
    mean_square = arithmetic.moving_average(mean_square, arithmetic.squared_magnitude(g), decay)
    return -rate / (arithmetic.root(mean_square + eps_root) + eps) * g, mean_square


ENTRY = Entry(
    factory=rmsprop,
    recurrence="s ← decay·s + (1-decay)·g²; w ← w - ηg / {root}",
    meanings={"mean_square": "average square"},
    torch=TorchCounterpart(
        "RMSprop",
        {"learning_rate": "lr", "decay": "alpha", "eps": "eps"},
        {"mean_square": "square_avg"},
        absent="eps_root",
        off={"momentum": 0, "centered": False},
    ),
    optax=partial(optax.rmsprop, learning_rate=0.001),
)
