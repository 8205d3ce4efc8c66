"""Derivatives of a whole training run with respect to its hyperparameters.

`hypergradient` differentiates what `jaxmnist.make_train` returns: forwards, along with the run, for
a few hyperparameters, or backwards, through it, for many. Backwards, every state of the run is
needed again; `checkpointed_scan` stores few of them and computes the others twice.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from jaxmnist.config import Hyper
from jaxmnist.errors import InputError
from jaxmnist.training import Train, TrainState, by_name, scan_batches
from jaxmnist.training.state import Metered

Loss = Callable[[TrainState, Any], Float[Array, ""]]
"""``loss(state, history)``: one number of what a run returned."""
HypergradientFn = Callable[[Key[Array, ""], Hyper, Any], tuple[Float[Array, ""], Hyper]]
"""``(key, hyper, data) -> (loss, derivatives)``, the derivatives under the names of ``wrt``."""


def eval_loss(state: TrainState, history: Metered) -> Float[Array, ""]:
    """Return the loss on the test images after the last step.

    Args:
        state: The final state.
        history: The run's metrics.

    Returns:
        The tutorial's mean over batches, in nats.
    """
    del state
    return by_name(history)["eval_loss"][-1]


def train_loss(state: TrainState, history: Metered) -> Float[Array, ""]:
    """Return the loss over the last epoch's batches, each measured before its own step.

    Args:
        state: The final state.
        history: The run's metrics.

    Returns:
        The tutorial's mean over batches, in nats.
    """
    del state
    return by_name(history)["train_loss"][-1]


def hypergradient(
    train: Train, wrt: str | Sequence[str], *, loss: Loss = eval_loss, mode: str = "forward"
) -> HypergradientFn:
    """Differentiate the loss that a run ends with by hyperparameters of the run.

    With steps ``w_t = step(w_{t-1}, h)`` from ``w_0(h)``, both modes compute the same
    ``dL(w_n)/dh``. Forwards, ``dw_t/dh = (dstep/dw) dw_{t-1}/dh + dstep/dh`` is computed with the
    steps: its memory does not depend on n, and each hyperparameter costs about as much as a run.
    Backwards, ``dL/dw_{t-1} = (dstep/dw)^T dL/dw_t`` runs from the last step to the first: all
    hyperparameters together cost as much as a few runs, and every step's state is needed. For
    more than a handful, such as a learning rate per layer of a deep network, go backwards through
    ``make_train(config, scan=checkpointed_scan)``; without it memory grows with n.

    An optimizer that divides by the root of a mean of squared gradients, such as Optax's Adam, has
    the derivative NaN as soon as one weight's gradient was 0 in every step, as behind a ReLU that
    never switches on; give it ``eps_root=1e-16`` or so. Those of `jaxmnist.optim` need none.

    The result is the derivative of one run: one seed, one order of batches. It is of use for
    descent only while that run depends smoothly on h. Every step multiplies a perturbation by
    ``I - rate H``; where the rate times a curvature stays above 2, or the curvature is negative,
    the product grows exponentially with n, and the exact derivative is that of a jagged function,
    of no use for descent. Under SGD with the rate 0.1 and seed 0 the tutorial's network has, after
    25 steps, the derivative -0.13 by the rate, and between the rates 0.099 and 0.101 the loss falls
    at -0.11. After 100 steps the two are -6.7 and +23; after an epoch of 938 they are 5.1 and 4.7,
    and agree by chance. ReLU adds jumps that no
    derivative includes, where a unit switches during a step. So compare it with a finite
    difference; prefer short runs, `train_loss`, which averages over the steps, and the mean of
    several seeds' clipped derivatives.

    Args:
        train: What `make_train` returned, or any function of that form.
        wrt: Names of entries of ``hyper``: ``learning_rate``, which may be a dict of rates by
            layer, ``momentum``, ``b1``, ``eps_root`` ..., ``init_scale``.
        loss: The function to differentiate: `eval_loss`, `train_loss`, or your own.
        mode: Either forward or reverse.

    Returns:
        ``(key, hyper, data) -> (loss, derivatives)``, to be jitted. For n steps, train one epoch
        on n batches of data.

    Raises:
        InputError: The mode is another; or, when called, ``hyper`` has no number of such a name.

    Source: forwards and backwards as in Franceschi, Donini, Frasconi and Pontil, 2017,
    https://arxiv.org/abs/1703.01785; learning rates as in Maclaurin, Duvenaud and Adams, 2015,
    https://arxiv.org/abs/1502.03492.

    A rate of 0.01 is too small for 16 steps: the loss falls as it grows.

    >>> import jaxmnist as jm
    >>> config = jm.Config(hidden=(16,), epochs=1, learning_rate=0.01)
    >>> data = jax.tree.map(lambda array: array[:1024], jm.load_dataset("mnist").arrays())
    >>> slope = jax.jit(hypergradient(jm.make_train(config), ("learning_rate", "init_scale")))
    >>> _, by = slope(jax.random.key(0), {**jm.default_hyper(config), "init_scale": 1.0}, data)
    >>> sorted(by), bool(by["learning_rate"] < 0)
    (['init_scale', 'learning_rate'], True)
    """
    if mode not in ("forward", "reverse"):
        raise InputError(f"mode is {mode!r}; choose forward or reverse")
    names = (wrt,) if isinstance(wrt, str) else tuple(wrt)

    def value_and_derivatives(
        key: Key[Array, ""], hyper: Hyper, data: Any
    ) -> tuple[Float[Array, ""], Hyper]:
        def final_loss(values: Hyper) -> tuple[Float[Array, ""], Float[Array, ""]]:
            value = loss(*train(key, {**hyper, **values}, data))
            return value, value

        values = {name: _numbers(hyper, name) for name in names}
        differentiate = jax.jacfwd if mode == "forward" else jax.grad
        derivatives, value = differentiate(final_loss, has_aux=True)(values)
        return value, derivatives

    return value_and_derivatives


def checkpointed_scan(
    body: Callable[[Any, Any], tuple[Any, Any]], carry: PyTree, xs: PyTree
) -> tuple[PyTree, PyTree]:
    """Loop as ``jax.lax.scan`` does, storing few carries for the backward pass.

    The n steps are cut into blocks of ``sqrt(n)``. Forwards only the carry before each block is
    stored; backwards each block is run again, storing the carry before each of its steps, and each
    step once more. So about ``2 sqrt(n)`` carries and the inside of one step are in memory, in
    place of the insides of n steps, and the forward computation is done three times.

    Args:
        body: ``body(carry, x) -> (carry, y)``.
        carry: The initial carry.
        xs: Arrays with a first axis of length n.

    Returns:
        The final carry and the stacked ys, the numbers of ``jax.lax.scan``.

    Source: Chen, Xu, Zhang and Guestrin, 2016, https://arxiv.org/abs/1604.06174.

    >>> checkpointed_scan(lambda carry, x: (carry + x, carry), 0, jnp.arange(5))
    (Array(10, dtype=int32), Array([0, 0, 1, 3, 6], dtype=int32))
    """
    steps = jax.tree.leaves(xs)[0].shape[0]

    # Inside a scan nothing could merge the second computation with the first.
    @partial(jax.checkpoint, prevent_cse=False)
    def step(carry: PyTree, x: PyTree) -> tuple[PyTree, PyTree]:
        return body(carry, x)

    @partial(jax.checkpoint, prevent_cse=False)
    def block(carry: PyTree, xs: PyTree) -> tuple[PyTree, PyTree]:
        return jax.lax.scan(step, carry, xs)

    return scan_batches(block, carry, xs, max(1, math.isqrt(steps)))


def _numbers(hyper: Hyper, name: str) -> PyTree[Array]:
    """The values to differentiate by, as arrays."""
    if hyper.get(name) is None:
        there = ", ".join(key for key, value in hyper.items() if value is not None)
        raise InputError(f"wrt is {name!r}, and hyper has no such number; it has {there}")
    return jax.tree.map(lambda value: jnp.asarray(value, float), hyper[name])
