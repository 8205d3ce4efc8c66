"""Whose weights two models are run with, and which of them differ."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.interop import Match, match
from jaxmnist.interop.match.jax_tree import Tree
from jaxmnist.interop.match.layout import assemble
from jaxmnist.interop.match.torch_units import tied
from jaxmnist.verify.locate.align import informative, ordered


class Difference(NamedTuple):
    """A parameter that the two models do not share."""

    module: str
    """The dotted name of the torch submodule."""
    cause: str
    missing: str | None = None
    """What one of the models is without, in words."""


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


def matched(params: Any, module: Any, names: Mapping[str, str] | None) -> Match:
    """Match the parameters of two models, which may have none.

    Args:
        params: Ours.
        module: The torch module.
        names: What `interop.match` is told.

    Returns:
        The correspondence.

    Raises:
        InputError: One of the models has parameters and the other none; or as `interop.match` does.
    """
    ours = [x for x in jax.tree.leaves(params) if hasattr(x, "dtype")]
    theirs = [name for name, _ in module.named_parameters()]
    if ours or theirs:
        return match(params, module, names)
    tree = Tree((), (), lambda _: {}, lambda _: params)
    return Match((), (), (), (), tree, tied(module))


def weights(found: Match, params: Mapping[str, np.ndarray], module: Any) -> Weights:
    """Decide whether two models have the same weights, or the module is to be given ours.

    They have if at least half of the arrays that are more than a constant have the same elements,
    in whatever order: then the ones that differ are differences to report.

    Args:
        found: The correspondence.
        params: Our parameters by path.
        module: The torch module.

    Returns:
        What to run with.

    Raises:
        InputError: A parameter has no certain counterpart.
    """
    alone, unclear = _left_over(found)
    if unclear:
        raise InputError(
            f"{_listed(unclear)}; give names={{path in params: name in the module}} for what is "
            "the same under other names"
        )
    found = replace(found, unmatched=())
    theirs = {name: _array(x) for name, x in module.state_dict(keep_vars=False).items()}
    compared = []
    for entry in found.entries:
        ours, other = params[entry.jax], assemble(entry.blocks, theirs, entry.jax_shape)
        if informative(ours) and informative(other):
            compared.append((entry, ours, other, _same_elements(ours, other)))
    # Another layer's weights are the same model's as well, in the wrong place.
    elsewhere = {
        entry.jax: there
        for entry, ours, _, same in compared
        if not same and (there := _elsewhere(ours, compared))
    }
    shared = [one for one in compared if one[3] or one[0].jax in elsewhere]
    if compared and 2 * len(shared) >= len(compared):
        differing = [
            Difference(
                entry.torch_module,
                _why(entry, ours, other, same, elsewhere.get(entry.jax), module),
            )
            for entry, ours, other, same in compared
            if not (same and _close(ours, other))
        ]
        note = "both models have the same weights, and ran with their own"
        return Weights(found, {}, (*alone, *differing), (note,) if differing else ())
    return Weights(found, _loaded(found, params), alone, ())


def _loaded(match: Match, params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    tensors = match.to_torch(match.build(params))
    return {name: _array(tensor) for name, tensor in tensors.items()}


def _left_over(match: Match) -> tuple[tuple[Difference, ...], list[Any]]:
    """What one side has alone in a layer that both have, and what has no counterpart at all."""
    alone, unclear = [], []
    # Where one side alone has more, that is no other name of anything: the layer is not there.
    is_missing = bool(match.entries) and {each.side for each in match.unmatched} == {"torch"}
    for each in match.unmatched:
        owners = (
            {each.module}
            if each.side == "torch"
            else {e.torch_module for e in match.entries if e.jax_module == each.module}
        )
        in_both = any(e.torch_module in owners for e in match.entries)
        if each.candidates or not (in_both or is_missing):
            unclear.append(each)
            continue
        kind = _kind(each) if in_both else "layer"
        words = "missing" if each.side == "torch" else "extra"
        where = "PyTorch has" if each.side == "torch" else "JAX has"
        cause = f"{words} {kind}: {where} {each.name} {each.shape}"
        alone.append(Difference(min(owners, key=len), cause, left_over(each)))
    return tuple(alone), unclear


def _kind(each: Any) -> str:
    """In one word: what is a vector and no bias scales what a layer computes."""
    if "bias" in each.name.lower() or each.name.endswith("/b"):
        return "bias"
    named = each.name.lower().endswith(("weight", "scale", "gamma", "/g"))
    return "scale" if named and len(each.shape) == 1 else "parameter"


def _why(
    entry: Any,
    ours: np.ndarray,
    theirs: np.ndarray,
    same: bool,
    elsewhere: str | None,
    module: Any,
) -> str:
    own = " + ".join(entry.torch)
    names = f"{entry.jax} against {own}"
    kind = type(module.get_submodule(entry.torch_module)).__name__
    if kind.startswith(("LSTM", "GRU")) and (same or elsewhere == own):
        return f"gate order of the weights: {names}"
    if elsewhere is not None:
        return f"weights of another layer: {entry.jax} is {elsewhere}"
    if not same:
        return f"weight differs: {names}"
    for axes in ((1, 0), (0, 1, 3, 2), (1, 0, 2, 3)):
        other = theirs.transpose(axes) if ours.ndim == len(axes) else theirs
        if other is not theirs and other.shape == ours.shape and _close(ours, other):
            return f"transposed weight: {names}"
    for axes in ((-1,), (-2, -1), (-2,), (0,), (0, 1), (1,)):
        if ours.ndim > 2 and ours.shape == theirs.shape and _close(ours, np.flip(theirs, axes)):
            return f"kernel flipped: {names}"
    return f"order of a weight's elements: {names}"


def _elsewhere(ours: np.ndarray, compared: list[Any]) -> str | None:
    """The module's parameter that has the same elements, if there is one."""
    for entry, _, theirs, _ in compared:
        if theirs.shape == ours.shape and _same_elements(ours, theirs):
            return " + ".join(entry.torch)
    return None


def _same_elements(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if _close(ours, theirs):
        return True
    # Sums tell most of them apart, and sorting is slow.
    size = float(np.abs(theirs).sum())
    if abs(float(ours.sum()) - float(theirs.sum())) > np.finfo(np.float32).eps * size:
        return False
    return _close(ordered(ours), ordered(theirs))


def _close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether arrays are equal but for a conversion to float32 on one side."""
    scale = float(np.abs(theirs).max(initial=0.0))
    return bool(np.abs(ours - theirs).max(initial=0.0) <= np.finfo(np.float32).eps * scale)


def _array(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy()


def _listed(unclear: list[Any]) -> str:
    """Name the first few of each side."""
    parts = []
    for side in ("torch", "jax"):
        found = [each for each in unclear if each.side == side]
        parts += [left_over(each) for each in found[:2]]
        if len(found) > 2:
            parts.append(f"and {len(found) - 2} more")
    return "; ".join(parts)


def left_over(each: Any) -> str:
    """Say what one side has alone.

    Args:
        each: An `interop.match.Unmatched`.

    Returns:
        In words, with its name and shape and what it might be on the other side.
    """
    if each.side == "torch":
        words = f"the params have no {each.name!r}, which is {each.shape} in the torch module"
    else:
        words = f"the torch module has no {each.name!r}, which is {each.shape} in the params"
    if each.candidates:
        words += f": {each.reason} among {', '.join(each.candidates[:4])}"
    return words
