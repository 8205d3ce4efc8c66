"""The parity table's optimizers: every class of torch.optim."""

from collections.abc import Callable
from typing import Any, Final

import jax
import numpy as np
import optax

from jaxmnist import parity
from jaxmnist.parity.table import adams
from jaxmnist.parity.table.row import DIFFERS, Kind, Row
from jaxmnist.verify.compare import Comparisons
from jaxmnist.verify.function import function
from jaxmnist.verify.optimizer import DISPLACEMENT, optimizer

STEPS: Final = 40
SEED: Final = 0
SHAPE: Final = (5, 3)


def rows() -> list[Row]:
    """Return the rows, optimizer by optimizer."""
    return [*_plain(), *adams.rows(), *_others()]


def _plain() -> list[Row]:
    from torch import optim

    return [
        Row(lambda params: optim.SGD(params, lr=0.1), lambda: optax.sgd(0.1)),
        Row(lambda params: optim.SGD(params, lr=0.1, momentum=0.9), lambda: optax.sgd(0.1, 0.9)),
        Row(
            lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
            lambda: optax.sgd(0.1, 0.9, nesterov=True),
        ),
        Row(
            lambda params: optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5),
            lambda: optax.sgd(0.1, 0.9),
            DIFFERS,
            "Dampening weighs all gradients but the first by 1 - dampening; Optax has none.",
            lambda: parity.sgd(lr=0.1, momentum=0.9, dampening=0.5),
            causes=("dampening",),
        ),
        Row(
            lambda params: optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.9),
            lambda: optax.chain(optax.ema(0.9, debias=False), optax.sgd(0.1)),
            DIFFERS,
            "An average with its weights 0.9 and 0.1 weighs the first gradient by 0.1 too.",
            lambda: parity.sgd(lr=0.1, momentum=0.9, dampening=0.9),
            causes=("the first gradient's weight",),
        ),
        Row(
            lambda params: optim.SGD(params, lr=0.1, weight_decay=0.1),
            lambda: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)),
            on="weights",
        ),
        Row(
            lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1),
            lambda: optax.chain(
                optax.trace(0.9), optax.add_decayed_weights(0.1), optax.scale_by_learning_rate(0.1)
            ),
            DIFFERS,
            "PyTorch's decay enters the velocity.",
            lambda: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, 0.9)),
            on="weights",
            causes=("weight decay's place",),
        ),
        Row(
            lambda params: optim.SGD(params, lr=0.1, maximize=True),
            lambda: optax.chain(optax.scale(-1.0), optax.sgd(0.1)),
        ),
        Row(
            lambda params: optim.RMSprop(params, lr=0.01),
            lambda: optax.rmsprop(0.01),
            DIFFERS,
            "PyTorch's decay is 0.99 and its epsilon outside the root; Optax's 0.9 and inside.",
            lambda: optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False),
            causes=("epsilon's place", "decay"),
        ),
        Row(
            lambda params: optim.RMSprop(params, lr=0.01, alpha=0.9, eps=1e-4),
            lambda: optax.rmsprop(0.01, decay=0.9, eps=1e-4),
            DIFFERS,
            "PyTorch's epsilon is outside the root, Optax's inside.",
            lambda: optax.rmsprop(0.01, decay=0.9, eps=1e-4, eps_in_sqrt=False),
            causes=("epsilon's place",),
        ),
        Row(
            lambda params: optim.RMSprop(params, lr=0.01, momentum=0.9),
            lambda: optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False, momentum=0.9),
            difference="The velocity in Optax is PyTorch's times the negative rate.",
        ),
        Row(
            lambda params: optim.RMSprop(params, lr=0.01, centered=True),
            lambda: optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False, centered=True),
        ),
        Row(
            lambda params: optim.RMSprop(params, lr=0.01, weight_decay=0.1),
            lambda: optax.chain(
                optax.add_decayed_weights(0.1),
                optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False),
            ),
            on="weights",
        ),
        Row(
            lambda params: optim.Adagrad(params, lr=0.01),
            lambda: optax.adagrad(0.01),
            DIFFERS,
            "PyTorch's sum starts at 0, Optax's at 0.1; epsilon is outside the root and 1e-10.",
            lambda: parity.adagrad(lr=0.01),
            causes=("the initial accumulator", "epsilon's place", "epsilon's size"),
        ),
        Row(
            lambda params: optim.Adagrad(params, lr=0.01, initial_accumulator_value=0.1, eps=1e-3),
            lambda: optax.adagrad(0.01, initial_accumulator_value=0.1, eps=1e-3),
            DIFFERS,
            "PyTorch's epsilon is outside the root, Optax's inside; no setting is equal.",
            lambda: parity.adagrad(lr=0.01, initial_accumulator_value=0.1, eps=1e-3),
            causes=("epsilon's place",),
        ),
        Row(
            lambda params: optim.Adagrad(params, lr=0.01, lr_decay=0.1),
            lambda: optax.adagrad(lambda t: 0.01 / (1 + 0.1 * t), 0.0, 1e-20),
            DIFFERS,
            "The schedule is equal; PyTorch's epsilon of 1e-10 counts beside gradients of 1e-6.",
            lambda: parity.adagrad(lr=0.01, lr_decay=0.1),
            causes=("epsilon's place", "epsilon's size"),
        ),
        Row(
            lambda params: optim.Adagrad(params, lr=0.01, lr_decay=0.1),
            lambda: optax.adagrad(optax.exponential_decay(0.01, 1, 0.9), 0.0, 1e-20),
            DIFFERS,
            "lr_decay divides the first rate by 1 + lr_decay · t.",
            lambda: parity.adagrad(lr=0.01, lr_decay=0.1),
            causes=("epsilon's place", "epsilon's size", "the learning rate"),
        ),
        Row(lambda params: optim.Adadelta(params), lambda: optax.adadelta(1.0)),
        Row(
            lambda params: optim.Adadelta(params, lr=0.5, rho=0.95, eps=1e-4),
            lambda: optax.adadelta(0.5, 0.95, 1e-4),
        ),
        Row(
            lambda params: optim.Adadelta(params, weight_decay=0.1),
            lambda: optax.adadelta(1.0, weight_decay=0.1),
            on="weights",
        ),
        Row(
            lambda params: optim.Rprop(params, lr=0.01),
            lambda: optax.rprop(0.01),
            DIFFERS,
            "Optax applies the previous step's update, so that its first step is 0.",
            lambda: parity.rprop(lr=0.01),
            causes=("the step that is applied",),
        ),
        Row(
            lambda params: optim.ASGD(params, lr=0.01),
            lambda: optax.sgd(0.01),
            DIFFERS,
            "ASGD also shrinks the weights by lambd, 1e-4, and its rate falls.",
            lambda: parity.asgd(lr=0.01),
            on="weights",
            causes=("weight decay", "the learning rate"),
        ),
        Row(
            lambda params: optim.ASGD(params, lr=0.1, lambd=0.1, alpha=0.5),
            lambda: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)),
            DIFFERS,
            "The rate is lr / (1 + lambd · lr · t)^alpha.",
            lambda: parity.asgd(lr=0.1, lambd=0.1, alpha=0.5),
            on="weights",
            causes=("the learning rate",),
        ),
    ]


def _others() -> list[Row]:
    from torch import optim

    return [
        Row(
            lambda params: optim.Adafactor(params, lr=0.01),
            lambda: optax.adafactor(0.01),
            DIFFERS,
            "Optax factors sizes from 128 on only; its rate is not bounded by 1/√t.",
            lambda: parity.adafactor(lr=0.01),
            on="weights",
            causes=(
                "the average squares of a matrix",
                "epsilon",
                "the precision of the decay of the squares",
            ),
        ),
        Row(
            lambda params: optim.Adafactor(params, lr=0.01, weight_decay=0.1),
            lambda: optax.adafactor(0.01, min_dim_size_to_factor=1, weight_decay_rate=0.1),
            DIFFERS,
            "PyTorch's decay is times the rate, and its epsilons are other ones.",
            lambda: parity.adafactor(lr=0.01, weight_decay=0.1),
            on="weights",
            causes=("weight decay's size", "epsilon", "the precision of the decay of the squares"),
        ),
        Row(
            lambda params: optim.Muon(params, lr=0.01),
            lambda: optax.contrib.muon(0.01),
            DIFFERS,
            "PyTorch computes Newton and Schulz's iteration in bfloat16, decays by 0.1, and has no "
            "bias correction in Nesterov's momentum.",
            lambda: parity.muon(lr=0.01),
            on="weights",
            causes=(
                "weight decay",
                "the factor for a matrix's shape",
                "bias correction",
                "the precision of the Newton-Schulz iteration",
            ),
        ),
        Row(
            lambda params: optim.Muon(params, lr=0.01, weight_decay=0.0, nesterov=False),
            lambda: optax.contrib.muon(0.01, nesterov=False),
            DIFFERS,
            "PyTorch computes Newton and Schulz's iteration in bfloat16.",
            lambda: parity.muon(lr=0.01, weight_decay=0.0, nesterov=False),
            on="weights",
            causes=(
                "the factor for a matrix's shape",
                "bias correction",
                "the precision of the Newton-Schulz iteration",
            ),
        ),
        Row(
            lambda params: optim.SparseAdam(params, lr=0.01),
            lambda: optax.adam(0.01),
            DIFFERS,
            "Rows without a gradient keep their moments and their weights.",
            lambda: parity.sparse_adam(lr=0.01),
            on="absent",
            causes=("epsilon's place", "elements without a gradient"),
        ),
        Row(
            lambda start: minimized(lambda w: optim.LBFGS([w]), start),
            lambda start: minimized_by_optax(optax.lbfgs(), start),
            DIFFERS,
            "A step of PyTorch's has up to 20 iterations and no line search; Optax's has one and "
            "searches.",
            lambda start: minimized_by_optax(parity.lbfgs(), start),
            on="start",
        ),
    ]


def _bowl(w: Any) -> Any:
    """A function with its least value at 1, 1/2 and 1/3."""
    scaled = [(n + 1) * w[..., n] - 1 for n in range(3)]
    return sum((s**2 + s**4).sum() for s in scaled)


def minimized(make: Callable[[Any], Any], start: Any) -> Any:
    """Take 2 steps of an optimizer of PyTorch that asks for the loss again."""
    weight = start.clone().requires_grad_(True)
    torch_optimizer = make(weight)

    def loss() -> Any:
        torch_optimizer.zero_grad()
        value = _bowl(weight)
        value.backward()
        return value

    for _ in range(2):
        torch_optimizer.step(loss)
    return weight.detach()


def minimized_by_optax(tx: optax.GradientTransformationExtraArgs, start: Any) -> Any:
    """Take 2 steps of an optimizer of Optax that asks for the loss again."""
    w, state = start, tx.init(start)
    for _ in range(2):
        value, gradient = jax.value_and_grad(_bowl)(w)
        updates, state = tx.update(gradient, state, w, value=value, grad=gradient, value_fn=_bowl)
        w = optax.apply_updates(w, updates)
    return w


def _compare(row: Row, other: Callable[..., Any]) -> Comparisons:
    start = np.random.default_rng(SEED).normal(size=SHAPE)
    if row.on == "start":
        return function(other, row.torch, start, wrt=())
    gradients: Any = "random"
    if row.on == "absent":
        rng = np.random.default_rng((SEED, 1))
        present = rng.random((STEPS, SHAPE[0], 1)) < 0.5
        gradients = list(rng.normal(size=(STEPS, *SHAPE)) * present)
    if row.on != "weights":
        start = np.zeros(SHAPE)
    found = optimizer(other(), row.torch, params=start, gradients=gradients, steps=STEPS, seed=SEED)
    # What an optimizer stores under a name is its own affair: the steps are what is claimed.
    return Comparisons(found.name, (found[DISPLACEMENT],))


KIND = Kind(
    "Optimizers",
    rows,
    _compare,
    f"The displacement of a {SHAPE[0]} × {SHAPE[1]} matrix at each of {STEPS} steps in float64, on "
    f"random gradients of scales from 1e-6 to 1e3, seed {SEED}. The matrix starts at 0; at random "
    "numbers where the update depends on it, and then what rounding those explains is no error.",
    STEPS,
)
