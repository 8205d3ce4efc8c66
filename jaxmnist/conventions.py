"""What each optimizer's arguments are worth by default, in the three places users come from.

The same names mean different arithmetic in the document, in PyTorch and in Optax. `TABLE` is the
whole difference: `eps_root` is added inside the root of a denominator and `eps` outside it,
`sqrt(s + eps_root) + eps`. Nothing here imports JAX, so that a command can list and check names
before it pays for that import.

Read in torch 2.13.0 and optax 0.2.8. PyTorch and Optax have momentum as an argument of their SGD,
off by default; the 0.9 is the document's. Optax's optimizers have no default learning rate, so
its rows carry the document's; its Adadelta carries PyTorch's 1.0, since without a rate Optax
returns the update un-negated, which climbs.
"""

import math
import numbers
from collections.abc import Mapping
from typing import Any, Final

from jaxmnist.errors import InputError, nearest

CONVENTIONS: Final = ("document", "pytorch", "optax")

TABLE: Final[Mapping[str, Mapping[str, Mapping[str, float | bool | None]]]] = {
    "sgd": {
        "document": {"learning_rate": 0.1},
        "pytorch": {"learning_rate": 1e-3},
        "optax": {"learning_rate": 0.1},
    },
    "momentum": {
        "document": {"learning_rate": 0.01, "momentum": 0.9, "learning_rate_in_velocity": True},
        "pytorch": {"learning_rate": 1e-3, "momentum": 0.9, "learning_rate_in_velocity": False},
        "optax": {"learning_rate": 0.01, "momentum": 0.9, "learning_rate_in_velocity": False},
    },
    "adagrad": {
        "document": {
            "learning_rate": 0.01,
            "initial_accumulator_value": 0.0,
            "eps": 0.0,
            "eps_root": 1e-10,
        },
        "pytorch": {
            "learning_rate": 0.01,
            "initial_accumulator_value": 0.0,
            "eps": 1e-10,
            "eps_root": 0.0,
        },
        "optax": {
            "learning_rate": 0.01,
            "initial_accumulator_value": 0.1,
            "eps": 0.0,
            "eps_root": 1e-7,
        },
    },
    "rmsprop": {
        "document": {"learning_rate": 1e-3, "decay": 0.9, "eps": 0.0, "eps_root": 1e-10},
        "pytorch": {"learning_rate": 0.01, "decay": 0.99, "eps": 1e-8, "eps_root": 0.0},
        "optax": {"learning_rate": 1e-3, "decay": 0.9, "eps": 0.0, "eps_root": 1e-8},
    },
    "adadelta": {
        "document": {"learning_rate": None, "rho": 0.9, "eps": 0.0, "eps_root": 1e-6},
        "pytorch": {"learning_rate": 1.0, "rho": 0.9, "eps": 0.0, "eps_root": 1e-6},
        "optax": {"learning_rate": 1.0, "rho": 0.9, "eps": 0.0, "eps_root": 1e-6},
    },
    "adam": {
        "document": {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 0.0, "eps_root": 1e-8},
        "pytorch": {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0},
        "optax": {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0},
    },
}

NAMES: Final = tuple(TABLE)

# Weights of an average: at 1 nothing new would ever enter, and beyond it the past would grow.
_DECAYS: Final = frozenset({"momentum", "decay", "rho", "b1", "b2"})


def defaults(name: str, convention: str = "document") -> dict[str, Any]:
    """Every argument of the optimizer `name` with its value in `convention`.

    Raises:
        InputError: `name` is not in `NAMES`, or `convention` is not in `CONVENTIONS`.

    >>> defaults("momentum", "pytorch")
    {'learning_rate': 0.001, 'momentum': 0.9, 'learning_rate_in_velocity': False}
    """
    if name not in NAMES:
        raise InputError(
            f"there is no optimizer {name!r}; choose one of {', '.join(NAMES)}"
            f"{nearest(name, NAMES)}"
        )
    if convention not in CONVENTIONS:
        choices = ", ".join(CONVENTIONS)
        raise InputError(
            f"there is no convention {convention!r}; choose one of {choices}"
            f"{nearest(convention, CONVENTIONS)}"
        )
    return dict(TABLE[name][convention])


def hyperparameters(name: str, convention: str = "document") -> dict[str, float | None]:
    """The arguments that are numbers, and so may be traced, with their values in `convention`.

    A training program takes these as its input and rebuilds the optimizer from the traced values:
    `optim.create(name, convention=convention, **values)`.

    Raises:
        InputError: as `defaults`.

    >>> hyperparameters("momentum")
    {'learning_rate': 0.01, 'momentum': 0.9}
    """
    every = defaults(name, convention)
    return {argument: value for argument, value in every.items() if not isinstance(value, bool)}


def check_arguments(name: str, /, **arguments: Any) -> None:
    """Refuses arguments that the optimizer `name` does not have or that make no sense for it.

    Only Python's and NumPy's numbers are compared with their range. An array, traced or not, is
    asked for its shape alone, so this never forces a value out of a traced program.

    Raises:
        InputError: names the argument, its value, and what is allowed.
    """
    known = defaults(name)
    for argument, value in arguments.items():
        if argument not in known:
            raise InputError(
                f"{name} has no argument {argument!r}; it has {', '.join(known)}"
                f"{nearest(argument, known)}"
            )
        wanted = _what_is_wanted(argument, value, optional=known[argument] is None)
        if wanted is not None:
            raise InputError(f"{name}: {argument} is {value!r}, but {wanted}.")


def _what_is_wanted(argument: str, value: Any, *, optional: bool) -> str | None:
    """What `argument` should have been, or None where `value` will do."""
    if argument == "learning_rate_in_velocity":
        return None if isinstance(value, bool) else "it is either True or False"
    if value is None and optional:
        return None
    if callable(value):
        return None if argument == "learning_rate" else "only learning_rate may be a schedule"
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        if argument in _DECAYS:
            return None if 0 <= float(value) < 1 else "it must be at least 0 and less than 1"
        return None if 0 <= float(value) < math.inf else "it must be at least 0 and finite"
    shape = getattr(value, "shape", None)
    if shape is None:
        return "it must be a number"
    return None if shape == () else "one number is wanted; jax.vmap runs over many"
