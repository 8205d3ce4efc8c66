"""PyTorch's optimizers as counterparts of those here: their names, and their ``param_groups``."""

from collections.abc import Mapping
from typing import Any

from jaxmnist import optim
from jaxmnist.errors import InputError
from jaxmnist.optim.entry import TorchCounterpart


def torch_counterpart(name: str) -> TorchCounterpart:
    """Look up the PyTorch optimizer that computes the same as one here.

    Args:
        name: One of `optim.NAMES`.

    Returns:
        Its names for the optimizer, the hyperparameters and the accumulators.

    Raises:
        InputError: PyTorch has none.
    """
    found = optim.ENTRIES[name].torch
    if found is None:
        known = [each for each, entry in optim.ENTRIES.items() if entry.torch is not None]
        raise InputError(f"torch.optim has no {name}; choose one of {', '.join(known)}")
    return found


_ALWAYS_OFF = {"weight_decay": 0, "maximize": False}


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
    counterpart = torch_counterpart(name)
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

    A group has what PyTorch's optimizer always writes, and perhaps more: how it computes
    (``foreach``), its name, and what schedulers note there (``initial_lr``, ``max_lr``,
    ``base_momentum``, ``swa_lr`` ...). Those change no step, and are passed over.

    Args:
        name: One of `optim.NAMES`.
        groups: The ``param_groups`` of a ``state_dict``.

    Returns:
        Hyperparameters by their names here.

    Raises:
        InputError: There is no group, two differ, one lacks what this optimizer writes, or has an
            option on that does not exist here.
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
    absent = torch_counterpart(name).absent
    return first if absent is None else {**first, absent: 0.0}


def check_state(name: str, state: Mapping[Any, Mapping[str, Any]]) -> None:
    """Refuse the accumulators of another optimizer.

    Args:
        name: One of `optim.NAMES`.
        state: The ``state`` of a ``state_dict``, checked after its groups.

    Raises:
        InputError: A parameter's state has what this optimizer does not keep.
    """
    counterpart = torch_counterpart(name)
    known = {*counterpart.accumulators.values(), *(("step",) if counterpart.counts else ())}
    for index, entry in state.items():
        unknown = sorted(key for key in entry if key not in known and entry[key] is not None)
        if unknown:
            raise InputError(
                f"the state_dict is of another optimizer than torch.optim.{counterpart.optimizer}, "
                f"the counterpart of {name}: its state of parameter {index} has {unknown[0]!r}"
            )


def _read_group(name: str, group: Mapping[str, Any]) -> dict[str, float]:
    counterpart = torch_counterpart(name)
    optimizer = f"torch.optim.{counterpart.optimizer}"
    group = dict(group)
    if "betas" in group:
        group["beta1"], group["beta2"] = group.pop("betas")
    written = (*counterpart.hyper.values(), *counterpart.off, "params")
    missing = [key for key in written if key not in group]
    if missing:
        raise InputError(
            f"the state_dict is of another optimizer than {optimizer}, the counterpart of {name}: "
            f"its param_group has no {missing[0]!r}"
        )
    off = {**_ALWAYS_OFF, **counterpart.off}
    for option, value in off.items():
        if group.get(option, value) != value:
            raise InputError(
                f"the state_dict has {option} {group[option]}, which {name} here does not have; "
                f"it must be {value}"
            )
    return {ours: float(group[theirs]) for ours, theirs in counterpart.hyper.items()}
