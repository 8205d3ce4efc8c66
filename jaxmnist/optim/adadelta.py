"""Adadelta: RMSProp whose step size is the root mean square of its own past steps."""

from functools import partial
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxmnist.conventions import check_arguments
from jaxmnist.optim import arithmetic
from jaxmnist.optim.arithmetic import Hyperparameter, LearningRate
from jaxmnist.optim.entry import Entry, TorchCounterpart


class AdadeltaState(NamedTuple):
    """State of Adadelta between two updates."""

    count: Int[Array, ""]  # updates made so far  # pyright: ignore[reportIncompatibleMethodOverride]
    mean_square: PyTree[Float[Array, "..."]]  # the average of the squared gradients
    mean_square_update: PyTree[Float[Array, "..."]]  # the average of the squared changes


def adadelta(
    learning_rate: LearningRate | None = None,
    rho: Hyperparameter = 0.9,
    eps: Hyperparameter = 0.0,
    eps_root: Hyperparameter = 1e-6,
) -> optax.GradientTransformationExtraArgs:
    """Adadelta, which has no learning rate of its own.

    With gradient g:

        mean_square ← rho · mean_square + (1 - rho) · |g|²
        change = g · (sqrt(mean_square_update + eps_root) + eps)
                   / (sqrt(mean_square + eps_root) + eps)
        mean_square_update ← rho · mean_square_update + (1 - rho) · |change|²
        w ← w - change

    or w ← w - learning_rate · change where a rate is given; the averages do not see it. Both start
    at 0, so the first steps are of the order of sqrt(eps_root), and grow from there.

    Args:
        learning_rate: What multiplies the change; a number, an Optax schedule, called with 0 for
            the first update, or None for the tutorial's, which has none.
        rho: The share of both averages that each update keeps, in [0, 1).
        eps: Added to both roots, in units of g and of w; at least 0.
        eps_root: Added inside both roots, in units of g² and of w²; at least 0, and the steps
            never start unless one of the two is above 0.

    Returns:
        An `optax.GradientTransformationExtraArgs` whose updates are to be added to w; it needs no
        extra argument and ignores any.

    Raises:
        InputError: A Python number is outside its range.

    Conventions: the tutorial, PyTorch and Optax agree but for the rate, which is 1 for
    `create("adadelta", convention="pytorch")` and "optax". Optax's own `adadelta()` without a rate
    returns the change un-negated, and so climbs; this one descends.

    References: Zeiler, "ADADELTA: an adaptive learning rate method", 2012,
    https://arxiv.org/abs/1212.5701; tutorial row D24.

    The first change is 1 · sqrt(0 + 1) / sqrt(0.75 · 0 + 0.25 · 1² + 1) = 2 / sqrt(5), and
    the second 4 · sqrt(0.2 + 1) / sqrt(0.1875 + 4 + 1):

    >>> import jax.numpy as jnp
    >>> optimizer = adadelta(rho=0.75, eps_root=1.0)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (1.0, 4.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(f"{update:.4f}")
    -0.8944
    -1.9239
    """
    hyper = {"rho": rho, "eps": eps, "eps_root": eps_root}
    check_arguments("adadelta", learning_rate=learning_rate, **hyper)
    multiplier = 1.0 if learning_rate is None else learning_rate

    def init(params: optax.Params) -> AdadeltaState:
        return AdadeltaState(
            count=arithmetic.start_count(),
            mean_square=arithmetic.real_accumulators_like(params),
            mean_square_update=arithmetic.real_accumulators_like(params),
        )

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, AdadeltaState]:
        del params, extra_args
        rate = arithmetic.learning_rate_at(multiplier, state.count)
        updates, *averages = _step(
            updates, state.mean_square, state.mean_square_update, rate=rate, **hyper
        )
        return updates, AdadeltaState(arithmetic.increment(state.count), *averages)

    return optax.GradientTransformationExtraArgs(init, update)


@arithmetic.leafwise
def _step(g, mean_square, mean_square_update, *, rate, rho, eps, eps_root):
    mean_square = arithmetic.moving_average(mean_square, arithmetic.squared_magnitude(g), rho)
    numerator = arithmetic.root(mean_square_update + eps_root) + eps
    change = numerator / (arithmetic.root(mean_square + eps_root) + eps) * g
    mean_square_update = arithmetic.moving_average(
        mean_square_update, arithmetic.squared_magnitude(change), rho
    )
    return -rate * change, mean_square, mean_square_update


ENTRY = Entry(
    factory=adadelta,
    recurrence=(
        "s ← rho·s + (1-rho)·g²; g' = g √(Δ+ε) / √(s+ε); Δ ← rho·Δ + (1-rho)·g'²; "
        "w ← w - {outside}g'"
    ),
    meanings={
        "mean_square": "average square",
        "mean_square_update": "average squared change",
    },
    torch=TorchCounterpart(
        "Adadelta",
        {"learning_rate": "lr", "rho": "rho", "eps_root": "eps"},
        {"mean_square": "square_avg", "mean_square_update": "acc_delta"},
        absent="eps",
    ),
    optax=partial(optax.adadelta, learning_rate=1.0),
)
