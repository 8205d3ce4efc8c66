"""References for optimizers: the formulas in NumPy, PyTorch's own, and Optax's own.

First the optimizers as plain NumPy, line by line from their formulas: the reference on paper. Each
function returns a `Recurrence`, whose `update` takes one gradient and the state, and returns what
to add to the parameter and the next state. Defaults are the tutorial's. `eps` is added to a root
and `eps_root` inside it; a learning rate may be a schedule, called with the number of updates made
before.

No trick for precision is played here: a reference must be easy to check against its formula. In
double precision its worst rounding is that of `1 - b2**t`, 1.1e-13 of it at t = 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optax

from jaxmnist import optim
from jaxmnist.conventions import defaults
from jaxmnist.errors import InputError

Values = Any
"""A NumPy array, or the scalar that arithmetic leaves of one without axes."""
State = dict[str, Values]
LearningRate = float | Callable[[int], float]


class Recurrence(NamedTuple):
    """An optimizer as two functions of one array; every leaf of a tree gets its own state."""

    init: Callable[[Values], State]
    """From the parameter to the state before the first update."""
    update: Callable[[Values, State], tuple[Values, State]]
    """From a gradient and the state to what is added to the parameter, and the next state."""


def sgd(learning_rate: LearningRate = 0.1) -> Recurrence:
    """SGD: w ← w - rate·g (tutorial row D20)."""

    def update(g: Values, state: State) -> tuple[Values, State]:
        rate = _at(learning_rate, state)
        return -rate * g, _count(state)

    return Recurrence(_start(), update)


def momentum(
    learning_rate: LearningRate = 0.01,
    momentum: float = 0.9,
    learning_rate_in_velocity: bool = True,
) -> Recurrence:
    """Momentum (tutorial row D21).

    v ← momentum·v + rate·g, w ← w - v; or, with the rate outside, v ← momentum·v + g,
    w ← w - rate·v.
    """

    def update(g: Values, state: State) -> tuple[Values, State]:
        rate = _at(learning_rate, state)
        if learning_rate_in_velocity:
            v = momentum * state["velocity"] + rate * g
            return -v, _count(state, velocity=v)
        v = momentum * state["velocity"] + g
        return -rate * v, _count(state, velocity=v)

    return Recurrence(_start(velocity=0.0), update)


def adagrad(
    learning_rate: LearningRate = 0.01,
    initial_accumulator_value: float = 0.0,
    eps: float = 0.0,
    eps_root: float = 1e-10,
) -> Recurrence:
    """Adagrad: s ← s + g², w ← w - rate·g / √(s + eps_root) (tutorial row D22)."""

    def update(g: Values, state: State) -> tuple[Values, State]:
        rate = _at(learning_rate, state)
        s = state["sum_of_squares"] + g**2
        return -rate * g / (np.sqrt(s + eps_root) + eps), _count(state, sum_of_squares=s)

    return Recurrence(_start(sum_of_squares=initial_accumulator_value), update)


def rmsprop(
    learning_rate: LearningRate = 0.001,
    decay: float = 0.9,
    eps: float = 0.0,
    eps_root: float = 1e-10,
) -> Recurrence:
    """RMSProp (tutorial row D23).

    s ← decay·s + (1 - decay)·g², w ← w - rate·g / √(s + eps_root).
    """

    def update(g: Values, state: State) -> tuple[Values, State]:
        rate = _at(learning_rate, state)
        s = decay * state["mean_square"] + (1 - decay) * g**2
        return -rate * g / (np.sqrt(s + eps_root) + eps), _count(state, mean_square=s)

    return Recurrence(_start(mean_square=0.0), update)


def adadelta(
    learning_rate: LearningRate | None = None,
    rho: float = 0.9,
    eps: float = 0.0,
    eps_root: float = 1e-6,
) -> Recurrence:
    """Adadelta (tutorial row D24).

    s ← rho·s + (1 - rho)·g², change = g·√(Δ + eps_root) / √(s + eps_root),
    Δ ← rho·Δ + (1 - rho)·change², w ← w - change; with a rate, w ← w - rate·change.
    """

    def update(g: Values, state: State) -> tuple[Values, State]:
        rate = 1.0 if learning_rate is None else _at(learning_rate, state)
        s = rho * state["mean_square"] + (1 - rho) * g**2
        delta = state["mean_square_update"]
        change = g * (np.sqrt(delta + eps_root) + eps) / (np.sqrt(s + eps_root) + eps)
        delta = rho * delta + (1 - rho) * change**2
        return -rate * change, _count(state, mean_square=s, mean_square_update=delta)

    return Recurrence(_start(mean_square=0.0, mean_square_update=0.0), update)


def adam(
    learning_rate: LearningRate = 0.001,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 0.0,
    eps_root: float = 1e-8,
) -> Recurrence:
    """Adam (tutorial row D25).

    v ← b1·v + (1 - b1)·g, s ← b2·s + (1 - b2)·g², and with t = 1 at the first update
    v̂ = v / (1 - b1ᵗ), ŝ = s / (1 - b2ᵗ), w ← w - rate·v̂ / √(ŝ + eps_root).
    """

    def update(g: Values, state: State) -> tuple[Values, State]:
        rate, t = _at(learning_rate, state), int(state["count"]) + 1
        v = b1 * state["mu"] + (1 - b1) * g
        s = b2 * state["nu"] + (1 - b2) * g**2
        v_hat, s_hat = v / (1 - b1**t), s / (1 - b2**t)
        return -rate * v_hat / (np.sqrt(s_hat + eps_root) + eps), _count(state, mu=v, nu=s)

    return Recurrence(_start(mu=0.0, nu=0.0), update)


RECURRENCES: dict[str, Callable[..., Recurrence]] = {
    "sgd": sgd,
    "momentum": momentum,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adadelta": adadelta,
    "adam": adam,
}


def numpy_reference(
    name: str,
    learning_rate: LearningRate | None = None,
    convention: str = "document",
    **overrides: float | bool,
) -> Recurrence:
    """Build the recurrence of `jaxmnist.optim.create` with the same arguments.

    Args:
        name: One of `jaxmnist.optim.NAMES`.
        learning_rate: A number or a schedule; None for the convention's default.
        convention: One of `jaxmnist.optim.CONVENTIONS`.
        **overrides: Arguments of the recurrence, in place of the convention's.

    Returns:
        The recurrence in NumPy.

    Raises:
        InputError: The name or the convention is unknown.

    >>> adagrad = numpy_reference("adagrad", learning_rate=0.5)
    >>> change, state = adagrad.update(np.array(3.0), adagrad.init(np.array(0.0)))
    >>> print(f"{change:.4f}, sum of squares {state['sum_of_squares']}")
    -0.5000, sum of squares 9.0
    """
    arguments = defaults(name, convention)
    if convention == "document":
        arguments = {}  # the recurrence's own, which no mistake in the table can reach
    if learning_rate is not None:
        arguments["learning_rate"] = learning_rate
    return RECURRENCES[name](**arguments | overrides)


def torch_reference(name: str, **overrides: float | bool) -> Callable[[Any], Any]:
    """Build a factory of PyTorch's own optimizer of that name, to give `verify.optimizer`.

    Args:
        name: One of `jaxmnist.optim.NAMES`; "momentum" is PyTorch's SGD with momentum 0.9.
        **overrides: Arguments of PyTorch's class, in place of its defaults.

    Returns:
        `factory(params) -> torch.optim.Optimizer`. torch is imported when it is called.

    Raises:
        InputError: There is no such optimizer.
    """
    defaults(name)  # refuses an unknown name
    counterpart = optim.ENTRIES[name].torch
    if counterpart is None:
        raise InputError(f"torch.optim has no {name}; compare it with numpy_reference({name!r})")

    def factory(params: Any) -> Any:
        import torch

        optimizer = getattr(torch.optim, counterpart.optimizer)
        return optimizer(params, **{**counterpart.arguments, **overrides})

    return factory


def optax_reference(
    name: str, learning_rate: Any = None, **overrides: Any
) -> optax.GradientTransformation:
    """Build Optax's own optimizer of that name.

    Args:
        name: One of `jaxmnist.optim.NAMES`; "momentum" is Optax's SGD with momentum 0.9.
        learning_rate: A number or a schedule; None for the tutorial's, or 1 for Adadelta, since
            Optax has no defaults.
        **overrides: Arguments of Optax's function, in place of its defaults.

    Returns:
        What Optax's function returns.

    Raises:
        InputError: There is no such optimizer.

    >>> sgd = optax_reference("sgd")
    >>> float(sgd.update(1.0, sgd.init(0.0))[0])
    -0.1
    """
    defaults(name)  # refuses an unknown name
    factory = optim.ENTRIES[name].optax
    if factory is None:
        raise InputError(f"optax has no {name}; compare it with numpy_reference({name!r})")
    rate = {} if learning_rate is None else {"learning_rate": learning_rate}
    return factory(**rate, **overrides)


def _at(learning_rate: LearningRate, state: State) -> float:
    """The learning rate of this update."""
    return float(learning_rate(int(state["count"]))) if callable(learning_rate) else learning_rate


def _start(**values: float) -> Callable[[Values], State]:
    """The state before the first update: arrays full of the given values, and a count of 0."""

    def init(w: Values) -> State:
        state = {name: np.full_like(w, value) for name, value in values.items()}
        return {"count": np.zeros((), np.int64), **state}

    return init


def _count(state: State, **values: Values) -> State:
    """The next state: the new values, and one more update."""
    return {"count": state["count"] + 1, **values}
