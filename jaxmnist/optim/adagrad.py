"""Adagrad: a step per coordinate that shrinks with all the gradient it has seen."""

from functools import partial
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxmnist.conventions import check_arguments
from jaxmnist.optim import arithmetic
from jaxmnist.optim.arithmetic import Hyperparameter, LearningRate
from jaxmnist.optim.entry import Entry, TorchCounterpart


class AdagradState(NamedTuple):
    """State of Adagrad between two updates."""

    count: Int[Array, ""]  # updates made so far  # pyright: ignore[reportIncompatibleMethodOverride]
    sum_of_squares: PyTree[Float[Array, "..."]]  # of all gradients so far


def adagrad(
    learning_rate: LearningRate = 0.01,
    initial_accumulator_value: Hyperparameter = 0.0,
    eps: Hyperparameter = 0.0,
    eps_root: Hyperparameter = 1e-10,
) -> optax.GradientTransformationExtraArgs:
    """Adagrad, which divides the gradient by the root of the sum of its squares.

    With gradient g:

        sum_of_squares ← sum_of_squares + |g|²
        w ← w - learning_rate · g / (sqrt(sum_of_squares + eps_root) + eps)

    `sum_of_squares` starts at `initial_accumulator_value`. From 0, and but for `eps` and
    `eps_root`, the first step is learning_rate in size whatever g is, and step t under a constant
    g is learning_rate / sqrt(t).

    Args:
        learning_rate: The size of the first step, in the units of w; a number, or an Optax
            schedule, called with 0 for the first update.
        initial_accumulator_value: Where the sum starts, in units of g²; at least 0.
        eps: Added to the root, in units of g; at least 0.
        eps_root: Added inside the root, in units of g²; at least 0.

    Returns:
        An `optax.GradientTransformationExtraArgs` whose updates are to be added to w; it needs no
        extra argument and ignores any.

    Raises:
        InputError: A Python number is outside its range.

    Conventions: the tutorial's is the default, `eps_root` 1e-10.
    `create("adagrad", convention="pytorch")` has `eps` 1e-10 and `eps_root` 0; with "optax" the
    sum starts at 0.1 and `eps_root` is 1e-7. The tutorial says that Adagrad cannot converge: its
    step may become too small too soon, which is slow, but on a convex loss it converges.

    References: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", 2011, https://jmlr.org/papers/v12/duchi11a.html;
    tutorial row D22.

    The sums of the squares of 3 and 4 are 9 and 25:

    >>> import jax.numpy as jnp
    >>> optimizer = adagrad(learning_rate=0.5)
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for g in (3.0, 4.0):
    ...     update, state = optimizer.update(jnp.array(g), state)
    ...     print(f"{update:.4f}")
    -0.5000
    -0.4000
    """
    hyper = {"eps": eps, "eps_root": eps_root}
    check_arguments(
        "adagrad",
        learning_rate=learning_rate,
        initial_accumulator_value=initial_accumulator_value,
        **hyper,
    )

    def init(params: optax.Params) -> AdagradState:
        return AdagradState(
            count=arithmetic.start_count(),
            sum_of_squares=arithmetic.real_accumulators_like(params, initial_accumulator_value),
        )

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, AdagradState]:
        del params, extra_args
        rate = arithmetic.learning_rate_at(learning_rate, state.count)
        updates, sum_of_squares = _step(updates, state.sum_of_squares, rate=rate, **hyper)
        return updates, AdagradState(arithmetic.increment(state.count), sum_of_squares)

    return optax.GradientTransformationExtraArgs(init, update)


@arithmetic.leafwise
def _step(g, sum_of_squares, *, rate, eps, eps_root):
    sum_of_squares = sum_of_squares + arithmetic.squared_magnitude(g)
    return -rate / (arithmetic.root(sum_of_squares + eps_root) + eps) * g, sum_of_squares


ENTRY = Entry(
    factory=adagrad,
    recurrence="s ← s + g²; w ← w - ηg / {root}",
    meanings={"sum_of_squares": "sum of squares"},
    torch=TorchCounterpart(
        "Adagrad",
        {
            "learning_rate": "lr",
            "initial_accumulator_value": "initial_accumulator_value",
            "eps": "eps",
        },
        {"sum_of_squares": "sum"},
        absent="eps_root",
        off={"lr_decay": 0},
    ),
    optax=partial(optax.adagrad, learning_rate=0.01),
)
