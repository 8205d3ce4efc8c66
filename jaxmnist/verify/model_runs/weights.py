"""Whose weights two models are run with, and which of them differ."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.interop.match import Match
from jaxmnist.interop.match.layout import assemble
from jaxmnist.verify.locate.align import informative, ordered


class Difference(NamedTuple):
    """A parameter that the two models do not share."""

    module: str
    """The dotted name of the torch submodule."""
    cause: str


class Weights(NamedTuple):
    """What both models are run with.

    Attributes:
        match: The correspondence, of what has a counterpart.
        loaded: What is loaded into the module, by name; empty where it has the same weights.
        left_over: Parameters of one side alone, and weights that differ.
        notes: What was assumed.
    """

    match: Match
    loaded: dict[str, np.ndarray]
    left_over: tuple[Difference, ...]
    notes: tuple[str, ...]


def weights(match: Match, params: Mapping[str, np.ndarray], module: Any) -> Weights:
    """Decide whether two models have the same weights, or the module is to be given ours.

    They have if at least half of the arrays that are more than a constant have the same elements,
    in whatever order: then the ones that differ are differences to report.

    Args:
        match: The correspondence.
        params: Our parameters by path.
        module: The torch module.

    Returns:
        What to run with.

    Raises:
        InputError: A parameter has no certain counterpart.
    """
    alone, unclear = _left_over(match)
    if unclear:
        listed = "; ".join(f"{each} ({_side(each.side)})" for each in unclear)
        raise InputError(
            f"{len(unclear)} of the arrays have no certain counterpart: {listed}; give "
            "names={path in params: name in the module} for them"
        )
    match = replace(match, unmatched=())
    theirs = {name: _array(x) for name, x in module.state_dict(keep_vars=False).items()}
    compared = []
    for entry in match.entries:
        ours, other = params[entry.jax], assemble(entry.blocks, theirs, entry.jax_shape)
        if informative(ours) and informative(other):
            compared.append((entry, ours, other, _same_elements(ours, other)))
    shared = [one for one in compared if one[3]]
    if compared and 2 * len(shared) >= len(compared):
        differing = [
            Difference(entry.torch_module, _why(entry, ours, other, same, module))
            for entry, ours, other, same in compared
            if not (same and _close(ours, other))
        ]
        note = "both models have the same weights, and ran with their own"
        return Weights(match, {}, (*alone, *differing), (note,) if differing else ())
    return Weights(match, _loaded(match, params), alone, ())


def _loaded(match: Match, params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    tensors = match.to_torch(match.build(params))
    return {name: _array(tensor) for name, tensor in tensors.items()}


def _left_over(match: Match) -> tuple[tuple[Difference, ...], list[Any]]:
    """What one side has alone in a layer that both have, and what has no counterpart at all."""
    alone, unclear = [], []
    for each in match.unmatched:
        owners = (
            {each.module}
            if each.side == "torch"
            else {e.torch_module for e in match.entries if e.jax_module == each.module}
        )
        in_both = any(e.torch_module in owners for e in match.entries)
        if not in_both or each.candidates:
            unclear.append(each)
            continue
        kind = "bias" if "bias" in each.name.lower() or each.name.endswith("/b") else "parameter"
        words = "missing" if each.side == "torch" else "extra"
        where = "PyTorch has" if each.side == "torch" else "JAX has"
        cause = f"{words} {kind}: {where} {each.name} {each.shape}"
        alone.append(Difference(min(owners, key=len), cause))
    return tuple(alone), unclear


def _why(entry: Any, ours: np.ndarray, theirs: np.ndarray, same: bool, module: Any) -> str:
    names = f"{entry.jax} against {' + '.join(entry.torch)}"
    if not same:
        return f"weight differs: {names}"
    kind = type(module.get_submodule(entry.torch_module)).__name__
    if kind.startswith(("LSTM", "GRU")):
        return f"gate order of the weights: {names}"
    for axes in ((1, 0), (0, 1, 3, 2), (1, 0, 2, 3)):
        other = theirs.transpose(axes) if ours.ndim == len(axes) else theirs
        if other is not theirs and other.shape == ours.shape and _close(ours, other):
            return f"transposed weight: {names}"
    return f"order of a weight's elements: {names}"


def _same_elements(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return _close(ordered(ours), ordered(theirs))


def _close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether arrays are equal but for a conversion to float32 on one side."""
    scale = float(np.abs(theirs).max(initial=0.0))
    return bool(np.abs(ours - theirs).max(initial=0.0) <= np.finfo(np.float32).eps * scale)


def _array(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def _side(side: str) -> str:
    return "in JAX" if side == "jax" else "in PyTorch"
