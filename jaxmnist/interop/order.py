"""Which parameter each index in a PyTorch optimizer's state stands for: by name, or by shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.interop.names import standard_names, warn_renamed

Shape = tuple[int, ...]


def parameter_indices(
    state_dict: Mapping[str, Any], expected: Mapping[str, Shape], names: Sequence[str] | None
) -> dict[str, int]:
    """Find the index of each parameter in an optimizer's ``state_dict``.

    PyTorch numbers the parameters through its groups in the order in which the optimizer was given
    them. Names decide where there are any: those given, or the ``param_names`` of an optimizer that
    was built from ``module.named_parameters()``. Without names, a single group is in the order of
    ``module.parameters()``; the order of several groups is their maker's own, and is known only if
    no two parameters have the same shape, or if there is no state that could be mistaken.

    Args:
        state_dict: Of a ``torch.optim.Optimizer``.
        expected: Every parameter's shape by its name in the tutorial's ``nn.Sequential``.
        names: The parameters' names in the order of the indices, or None.

    Returns:
        The index in ``state_dict["state"]`` by the parameter's name, in the order of `expected`.

    Raises:
        InputError: Another number of parameters, other names, or an order that cannot be known.
    """
    groups = state_dict["param_groups"]
    indices = [index for group in groups for index in group["params"]]
    if len(indices) != len(expected):
        raise InputError(
            f"the state_dict is of {len(indices)} parameters; params has {len(expected)}"
        )
    if names is None and any("param_names" in group for group in groups):
        names = [name for group in groups for name in group.get("param_names", ())]
    if names is not None:
        return _by_name(indices, expected, names)
    shapes = {index: _shape(state_dict["state"].get(index, {})) for index in indices}
    known = {index: shape for index, shape in shapes.items() if shape is not None}
    by_position = dict(zip(expected, indices, strict=True))
    fits = all(
        known.get(index, expected[leaf]) == expected[leaf] for leaf, index in by_position.items()
    )
    if not known or (len(groups) == 1 and fits):
        return by_position
    if sorted(known.values()) != sorted(expected.values()):
        return by_position  # What is missing or misshapen is reported parameter by parameter.
    at = {shape: index for index, shape in known.items()}
    if len(at) < len(indices):
        alike = next(s for s in at if list(expected.values()).count(s) > 1)
        both = [leaf for leaf, shape in expected.items() if shape == alike]
        order = "in several param_groups" if len(groups) > 1 else "not in their module's order"
        raise InputError(
            f"{' and '.join(both)} have the same shape {alike}, and the state_dict has its "
            f"parameters {order} without their names, so whose state is whose cannot be known; "
            "give names=[...] in the order of the groups, or build the optimizer from "
            "module.named_parameters()"
        )
    return {leaf: at[shape] for leaf, shape in expected.items()}


def _by_name(
    indices: Sequence[int], expected: Mapping[str, Shape], names: Sequence[str]
) -> dict[str, int]:
    standard = standard_names(names)
    if standard is not None and len(standard) == len(names):
        warn_renamed(standard, stacklevel=4)
        names = [standard[name] for name in names]
    if sorted(names) != sorted(expected):
        raise InputError(
            f"the state_dict's parameters are named {list(names)}; they must be {list(expected)}, "
            "in any order"
        )
    at = dict(zip(names, indices, strict=True))
    return {leaf: at[leaf] for leaf in expected}


def _shape(entry: Mapping[str, Any]) -> Shape | None:
    """Return the shape that a parameter's accumulators have; None if it has none."""
    shapes = (
        np.shape(value) for key, value in entry.items() if key != "step" and value is not None
    )
    return next((tuple(shape) for shape in shapes), None)
