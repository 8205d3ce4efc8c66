"""Adam: momentum and RMSProp at once, both averages corrected for having started at zero."""

from functools import partial
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Float, Inexact, Int, PyTree

from jaxmnist.conventions import check_arguments
from jaxmnist.optim import arithmetic
from jaxmnist.optim.arithmetic import Hyperparameter, LearningRate
from jaxmnist.optim.entry import Entry, TorchCounterpart


class AdamState(NamedTuple):
    """State of Adam between two updates."""

    count: Int[Array, ""]  # updates made so far, t  # pyright: ignore[reportIncompatibleMethodOverride]
    mu: PyTree[Inexact[Array, "..."]]  # the average of the gradients
    nu: PyTree[Float[Array, "..."]]  # the average of their squares


def adam(
    learning_rate: LearningRate = 0.001,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 0.0,
    eps_root: Hyperparameter = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    """Adam, which scales an average gradient by the root of an average square.

    With gradient g, and t = 1 at the first update:

        mu ← b1·mu + (1 - b1)·g
        nu ← b2·nu + (1 - b2)·|g|²
        m = mu / (1 - b1^t)
        n = nu / (1 - b2^t)
        w ← w - learning_rate · m / (sqrt(n + eps_root) + eps)

    `mu` and `nu` start at 0, which the two divisions undo: under a constant g, m = g and n = |g|²
    from the first update on.

    Args:
        learning_rate: The size of a step, in the units of w; a number, or an Optax schedule,
            called with 0 for the first update.
        b1: The share of the average gradient that each update keeps, in [0, 1).
        b2: The share of the average square that each update keeps, in [0, 1).
        eps: Added to the root, in units of g; at least 0.
        eps_root: Added inside the root, in units of g²; at least 0.

    Returns:
        An `optax.GradientTransformationExtraArgs` whose updates are to be added to w; it needs no
        extra argument and ignores any.

    Raises:
        InputError: A Python number is outside its range.

    Conventions: the tutorial's is the default, `eps_root` 1e-8. PyTorch and Optax share another,
    `create("adam", convention="pytorch")` or "optax": `eps` 1e-8, `eps_root` 0.

    References: Kingma and Ba, "Adam: a method for stochastic optimization", 2015,
    https://arxiv.org/abs/1412.6980; tutorial row D25.

    Both averages of g = 1 are corrected to 1; at g = 4, m = (0.25 + 2) / 0.75 = 3 and
    n = (0.1875 + 4) / 0.4375 = 67/7:

    >>> import jax.numpy as jnp
    >>> optimizer = adam(learning_rate=0.5, b1=0.5, b2=0.75, eps_root=0.0)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (1.0, 4.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(f"{update:.4f}")
    -0.5000
    -0.4848
    """
    hyper = {"b1": b1, "b2": b2, "eps": eps, "eps_root": eps_root}
    check_arguments("adam", learning_rate=learning_rate, **hyper)

    def init(params: optax.Params) -> AdamState:
        return AdamState(
            count=arithmetic.start_count(),
            mu=arithmetic.accumulators_like(params),
            nu=arithmetic.real_accumulators_like(params),
        )

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, AdamState]:
        del params, extra_args
        rate = arithmetic.learning_rate_at(learning_rate, state.count)
        count = arithmetic.increment(state.count)
        updates, mu, nu = _step(updates, state.mu, state.nu, rate=rate, count=count, **hyper)
        return updates, AdamState(count, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


def _corrections(*, count, b1, b2, **others):
    # The reciprocals: XLA forms them anyway where one leaf divides by a number that no other does.
    first, second = (1 / arithmetic.one_minus_power(decay, count) for decay in (b1, b2))
    return {**others, "b1": b1, "b2": b2, "first": first, "second": second}


@partial(arithmetic.leafwise, prepare=_corrections)
def _step(g, mu, nu, *, rate, b1, b2, first, second, eps, eps_root):
    mu = arithmetic.moving_average(mu, g, b1)
    nu = arithmetic.moving_average(nu, arithmetic.squared_magnitude(g), b2)
    m = first * mu
    n = second * nu
    return -rate / (arithmetic.root(n + eps_root) + eps) * m, mu, nu


ENTRY = Entry(
    factory=adam,
    recurrence=(
        "v ← b1·v + (1-b1)·g; s ← b2·s + (1-b2)·g²; v̂ = v/(1-b1ᵗ); ŝ = s/(1-b2ᵗ); "
        "w ← w - ηv̂ / {root}"
    ),
    meanings={"mu": "average gradient", "nu": "average square"},
    torch=TorchCounterpart(
        "Adam",
        {"learning_rate": "lr", "b1": "beta1", "b2": "beta2", "eps": "eps"},
        {"mu": "exp_avg", "nu": "exp_avg_sq"},
        absent="eps_root",
        off={"amsgrad": False},
    ),
    optax=partial(optax.adam, learning_rate=0.001),
)
