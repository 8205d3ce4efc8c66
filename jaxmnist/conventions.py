"""What each optimizer's arguments are, and their defaults in the three places users come from.

The same names mean different arithmetic in the tutorial, in PyTorch and in Optax. `TABLE` is the
whole difference: `eps_root` is added inside the root of a denominator and `eps` outside it,
`sqrt(s + eps_root) + eps`. The convention called "document" is the tutorial's; for an optimizer
that the tutorial does not have, its paper's. Nothing here imports JAX, so that a command can list
and check names before it pays for that import.

Read in torch 2.13.0 and optax 0.2.8. PyTorch and Optax have momentum as an argument of their SGD,
off by default; the 0.9 is the tutorial's. Optax's optimizers have no default learning rate, so
its rows have the tutorial's; its Adadelta has PyTorch's 1.0, since without a rate Optax
returns the update un-negated, which climbs.
"""

import math
import numbers
import sys
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from jaxmnist.errors import InputError, nearest

_LONGEST: Final = 200  # Characters of a value in a message.

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


class Argument(NamedTuple):
    """What an argument is, in every optimizer that has it."""

    help: str
    """For `--help`."""
    below: float = math.inf
    """A number must be less than this, and at least 0."""


ARGUMENTS: Final[Mapping[str, Argument]] = {
    "learning_rate": Argument("step sizes; Adadelta takes one too, which multiplies its change"),
    "momentum": Argument("share of the velocity that each update keeps", below=1),
    "initial_accumulator_value": Argument("initial value of the sum of squares"),
    "decay": Argument("share of the average square that each update keeps", below=1),
    "rho": Argument("share of both averages that each update keeps", below=1),
    "b1": Argument("share of the average gradient that each update keeps", below=1),
    "b2": Argument("share of the average square that each update keeps", below=1),
    "eps": Argument("added to the root of the denominator"),
    "eps_root": Argument("added inside the root of the denominator"),
    "learning_rate_in_velocity": Argument("whether the learning rate enters the velocity"),
}
"""Every argument of `TABLE`. A share at 1 would never let anything new into an average."""


def defaults(name: str, convention: str = "document") -> dict[str, Any]:
    """Return every argument of the optimizer `name` with its value in `convention`.

    Args:
        name: One of `NAMES`.
        convention: One of `CONVENTIONS` that the optimizer has rows for.

    Returns:
        A new dict.

    Raises:
        InputError: There is no such optimizer, or it has no such convention.

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
    if convention not in TABLE[name]:
        raise InputError(
            f"the convention {convention!r} has no {name}; choose one of {', '.join(TABLE[name])}"
        )
    return dict(TABLE[name][convention])


def hyperparameters(name: str, convention: str = "document") -> dict[str, float | None]:
    """Return the arguments that are numbers, and so may be traced, with their defaults.

    A training program takes these as its input and rebuilds the optimizer from the traced values:
    `optim.create(name, convention=convention, **values)`.

    Args:
        name: One of `NAMES`.
        convention: As in `defaults`.

    Returns:
        A new dict.

    Raises:
        InputError: As `defaults`.

    >>> hyperparameters("momentum")
    {'learning_rate': 0.01, 'momentum': 0.9}
    """
    every = defaults(name, convention)
    return {argument: value for argument, value in every.items() if not isinstance(value, bool)}


HYPERPARAMETERS: Final = tuple(
    argument for argument in ARGUMENTS if any(argument in hyperparameters(name) for name in NAMES)
)
"""The arguments of any optimizer that are numbers, in the order of `ARGUMENTS`."""


def describe(argument: str) -> str:
    """Return what an argument is and which optimizers have it, for `--help`.

    Args:
        argument: A name in `ARGUMENTS`.

    Returns:
        A sentence.

    >>> describe("rho")
    'Share of both averages that each update keeps (adadelta).'
    """
    text = ARGUMENTS[argument].help
    having = [name for name in NAMES if argument in defaults(name)]
    of = "" if len(having) == len(NAMES) else f" ({', '.join(having)})"
    return f"{text[0].upper()}{text[1:]}{of}."


def check_arguments(name: str, /, **arguments: Any) -> None:
    """Refuse arguments that the optimizer `name` does not have or that make no sense for it.

    Numbers are compared with their range, be they Python's, NumPy's or PyTorch's. An array of JAX,
    traced or not, is asked for its shape and dtype alone, so this never forces a value out of a
    traced program.

    Args:
        name: One of `NAMES`.
        **arguments: Some of that optimizer's arguments.

    Raises:
        InputError: An argument is unknown, of a wrong kind, or outside its range.
    """
    known = defaults(name)
    for argument, value in arguments.items():
        if argument not in known:
            raise InputError(
                f"{name} has no argument {argument!r}; it has {', '.join(known)}"
                f"{nearest(argument, known)}"
            )
        wanted = _what_is_wanted(argument, value, known[argument])
        if wanted is not None:
            raise InputError(f"{name}: {argument} is {shown(value)}; {wanted}")


def _what_is_wanted(argument: str, value: Any, default: Any) -> str | None:
    """What `argument` should have been, or None where `value` will do."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "it must be True or False"
    if value is None and default is None:
        return None
    if callable(value):
        return None if argument == "learning_rate" else "only learning_rate may be a schedule"
    shape = getattr(value, "shape", ())
    if shape != ():
        return "it must be one number; use jax.vmap for several"
    if is_jax_array(value):
        real = str(getattr(value, "dtype", "")).lstrip("bu").startswith(("float", "int"))
        return None if real else "it must be a real number"
    number = plain_number(value)
    if number is None:
        return "it must be a number"
    below = ARGUMENTS[argument].below
    limit = "finite" if below == math.inf else f"less than {below:g}"
    return (
        None
        if 0 <= number < below and number <= sys.float_info.max
        else f"it must be at least 0 and {limit}"
    )


def is_jax_array(value: Any) -> bool:
    """Return whether a value is an array of JAX, traced or not, without importing JAX."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.Array)


def plain_number(value: Any) -> int | float | None:
    """Return the Python number that a value stands for, or None if it stands for none.

    Args:
        value: Python's or NumPy's number; or an array of NumPy or JAX or a tensor of PyTorch that
            has no axes, and whose value is known. A bool stands for no number.

    Returns:
        An int for whole numbers' types, else a float: exactly the value, in double precision.

    >>> import numpy as np
    >>> plain_number(np.array(3)), plain_number(np.float32(0.1)), plain_number(np.True_)
    (3, 0.10000000149011612, None)
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        try:
            value = value.item()
        except (TypeError, RuntimeError, AttributeError, NotImplementedError):
            return None  # A value that is traced, on no device, or a random key.
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def shown(value: Any) -> str:
    """Write a value in one line for a message, also an array; of a long one only the beginning.

    >>> import numpy as np
    >>> shown(np.eye(2))
    'array([[1., 0.], [0., 1.]])'
    """
    try:
        text = repr(value) if isinstance(value, str) else " ".join(repr(value).split())
    except ValueError:  # A whole number of more digits than Python writes.
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
