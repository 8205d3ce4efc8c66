"""The classes of torch.optim as drop-ins: their arguments, and where their state goes."""

import inspect
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from jaxmnist.errors import InputError
from jaxmnist.parity import optimizers


class Counterpart(NamedTuple):
    """The drop-in of a class in ``torch.optim``."""

    make: Any
    """The drop-in."""
    fields: Mapping[str, str]
    """From a field of a state of Optax's to PyTorch's name for it. A drop-in's own states have
    PyTorch's names."""
    needs_layout: bool = False
    """Whether a step depends on the order of the parameters' elements."""
    is_proportional: bool = True
    """Whether a step is proportional to the learning rate of that step."""


_ADAM: Final = {"mu": "exp_avg", "nu": "exp_avg_sq"}

COUNTERPARTS: Final[Mapping[str, Counterpart]] = {
    "SGD": Counterpart(optimizers.sgd, {"trace": "momentum_buffer"}),
    "Adam": Counterpart(optimizers.adam, _ADAM),
    "AdamW": Counterpart(optimizers.adamw, _ADAM),
    "NAdam": Counterpart(optimizers.nadam, {}),
    "RAdam": Counterpart(optimizers.radam, {}),
    "Adagrad": Counterpart(optimizers.adagrad, {"sum_of_squares": "sum"}),
    "Adadelta": Counterpart(optimizers.adadelta, {"e_g": "square_avg", "e_x": "acc_delta"}),
    "Adamax": Counterpart(optimizers.adamax, {"mu": "exp_avg", "nu": "exp_inf"}),
    "RMSprop": Counterpart(
        optimizers.rmsprop,
        {"nu": "square_avg", "mu": "grad_avg", "trace": "momentum_buffer"},
    ),
    "Rprop": Counterpart(optimizers.rprop, {}, is_proportional=False),
    "ASGD": Counterpart(optimizers.asgd, {}, is_proportional=False),
    "Adafactor": Counterpart(optimizers.adafactor, {}, needs_layout=True, is_proportional=False),
    "Muon": Counterpart(optimizers.muon, {}, needs_layout=True),
    "SparseAdam": Counterpart(optimizers.sparse_adam, {}),
    "LBFGS": Counterpart(optimizers.lbfgs, {}, is_proportional=False),
}
"""By the class's name."""


def counterpart(optimizer: Any) -> Counterpart:
    """Look up an optimizer's drop-in.

    Args:
        optimizer: A ``torch.optim.Optimizer``.

    Returns:
        Its counterpart.

    Raises:
        InputError: The class is not one of PyTorch's own, or has no drop-in.
    """
    made = type(optimizer)
    own = f"{made.__module__}.".startswith("torch.optim.")
    if not own or made.__name__ not in COUNTERPARTS:
        raise InputError(
            f"the optimizer is a {made.__module__}.{made.__qualname__}; it must be one of "
            f"torch.optim's {', '.join(COUNTERPARTS)} itself, since another class may take other "
            "steps"
        )
    return COUNTERPARTS[made.__name__]


def arguments(found: Counterpart, optimizer: Any, index: int) -> dict[str, Any]:
    """Return a group's entries that are arguments of the drop-in, as Python's numbers."""
    known, group = inspect.signature(found.make).parameters, optimizer.param_groups[index]
    given = {key: _plain(value) for key, value in group.items() if key in known}
    # Adagrad's sums start at the optimizer's own value, whatever a group has.
    ignored = {"initial_accumulator_value"} & given.keys()
    return given | {key: optimizer.defaults[key] for key in ignored}


def with_schedules(given: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with schedules in place of numbers; that of ``betas`` is for the first."""
    new = {**given, **found}
    if "betas" in found:
        new["betas"] = (found["betas"], given["betas"][1])
    return new


def steps_made(state: Mapping[str, Any]) -> int:
    """Return how often a parameter was stepped; those who do not count have 0 or 1."""
    return (
        int(state["step"]) if "step" in state else int(any(v is not None for v in state.values()))
    )


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_plain(each) for each in value)
    return value.item() if hasattr(value, "item") else value
