"""PyTorch's optimizers as counterparts of those here: their names, and their ``param_groups``."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxmnist.errors import InputError


class Counterpart(NamedTuple):
    """The PyTorch optimizer that computes the same as one here."""

    optimizer: str
    """Its name in ``torch.optim``."""
    hyper: Mapping[str, str]
    """From a hyperparameter's name here to its name in a ``param_group``."""
    accumulators: Mapping[str, str]
    """From an accumulator's name here to its name in a parameter's state."""
    counts: bool
    """Whether a parameter's state has the number of steps."""
    absent: str | None
    """The hyperparameter that PyTorch lacks, and which is therefore 0."""
    off: Mapping[str, float]
    """Options of a ``param_group`` that have no counterpart here, with the value they may have."""


_RATE = {"learning_rate": "lr"}
_SGD_OFF = {"dampening": 0, "nesterov": False}
COUNTERPARTS: Mapping[str, Counterpart] = {
    "sgd": Counterpart("SGD", _RATE, {}, False, None, {**_SGD_OFF, "momentum": 0}),
    "momentum": Counterpart(
        "SGD",
        {**_RATE, "momentum": "momentum"},
        {"velocity": "momentum_buffer"},
        False,
        None,
        _SGD_OFF,
    ),
    "adagrad": Counterpart(
        "Adagrad",
        {**_RATE, "initial_accumulator_value": "initial_accumulator_value", "eps": "eps"},
        {"sum_of_squares": "sum"},
        True,
        "eps_root",
        {"lr_decay": 0},
    ),
    "rmsprop": Counterpart(
        "RMSprop",
        {**_RATE, "decay": "alpha", "eps": "eps"},
        {"mean_square": "square_avg"},
        True,
        "eps_root",
        {"momentum": 0, "centered": False},
    ),
    "adadelta": Counterpart(
        "Adadelta",
        {**_RATE, "rho": "rho", "eps_root": "eps"},
        {"mean_square": "square_avg", "mean_square_update": "acc_delta"},
        True,
        "eps",
        {},
    ),
    "adam": Counterpart(
        "Adam",
        {**_RATE, "b1": "beta1", "b2": "beta2", "eps": "eps"},
        {"mu": "exp_avg", "nu": "exp_avg_sq"},
        True,
        "eps_root",
        {"amsgrad": False},
    ),
}
_ALWAYS_OFF = {"weight_decay": 0, "maximize": False}

# How PyTorch computes, and not what; with no weight decay, how it would have been applied.
_WITHOUT_EFFECT = {
    "params",
    "param_names",
    "initial_lr",
    "foreach",
    "fused",
    "capturable",
    "differentiable",
    "decoupled_weight_decay",
}


def to_group(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Translate an optimizer's arguments here into those of PyTorch's optimizer.

    Args:
        name: One of `optim.NAMES`.
        arguments: Every argument of that optimizer's factory.

    Returns:
        Arguments for the class in ``torch.optim``.

    Raises:
        InputError: PyTorch has no such argument.
    """
    counterpart = COUNTERPARTS[name]
    absent = counterpart.absent
    if absent is not None and arguments[absent] != 0:
        raise InputError(
            f"{name}: {absent} is {arguments[absent]}, and torch.optim.{counterpart.optimizer} has "
            "none, so that it would continue with other numbers; train with convention='pytorch'"
        )
    arguments = {key: 1.0 if value is None else value for key, value in arguments.items()}
    group: dict[str, Any]
    group = {theirs: float(arguments[ours]) for ours, theirs in counterpart.hyper.items()}
    if "beta1" in group:
        group["betas"] = (group.pop("beta1"), group.pop("beta2"))
    return group


def from_groups(name: str, groups: list[Mapping[str, Any]]) -> dict[str, float]:
    """Translate PyTorch's groups, which must all agree, into an optimizer's hyperparameters here.

    Args:
        name: One of `optim.NAMES`.
        groups: The ``param_groups`` of a ``state_dict``.

    Returns:
        Hyperparameters by their names here.

    Raises:
        InputError: There is no group, two differ, or one has options that do not exist here.
    """
    if not groups:
        raise InputError("the state_dict's param_groups are empty; there must be one")
    first, *others = (_read_group(name, group) for group in groups)
    for index, other in enumerate(others, start=1):
        for key in first:
            if other[key] != first[key]:
                raise InputError(
                    f"param_groups 0 and {index} have {key} {first[key]} and {other[key]}; an "
                    "optimizer here has one for all parameters"
                )
    absent = COUNTERPARTS[name].absent
    return first if absent is None else {**first, absent: 0.0}


def _read_group(name: str, group: Mapping[str, Any]) -> dict[str, float]:
    counterpart = COUNTERPARTS[name]
    optimizer = f"torch.optim.{counterpart.optimizer}"
    group = dict(group)
    if "betas" in group:
        group["beta1"], group["beta2"] = group.pop("betas")
    off = {**_ALWAYS_OFF, **counterpart.off}
    known = {*counterpart.hyper.values(), *off, *_WITHOUT_EFFECT}
    missing = sorted({*counterpart.hyper.values(), "params"} - group.keys())
    unknown = sorted(group.keys() - known)
    if missing or unknown:
        difference = f"has no {missing[0]!r}" if missing else f"has {unknown[0]!r}"
        raise InputError(
            f"the state_dict is of another optimizer than {optimizer}, the counterpart of {name}: "
            f"its param_group {difference}"
        )
    for option, value in off.items():
        if group.get(option, value) != value:
            raise InputError(
                f"the state_dict has {option} {group[option]}, which {name} here does not have; "
                f"it must be {value}"
            )
    return {ours: float(group[theirs]) for ours, theirs in counterpart.hyper.items()}
