"""What models take and return, whatever holds it, as arrays by name."""

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import jax
import numpy as np

from jaxmnist.errors import InputError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""
MODELS: Final = ("apply_fn", "the torch module")


def leaves_by_name(value: Any, who: str) -> dict[str, Any]:
    """List the arrays of a nested value under their paths, joined by dots.

    Mappings, dataclasses, named tuples, tuples, lists and JAX's registered nodes are opened; None
    is left out. A single array has the name "".

    Args:
        value: What a model returned: arrays or tensors, in anything.
        who: The model, for the message.

    Returns:
        The arrays, as they are.

    Raises:
        InputError: Something in it is no array.

    >>> leaves_by_name({"a": (1.0, None), "b": [2.0]}, "apply_fn")
    {'a.0': array(1.), 'b.0': array(2.)}
    """
    return {".".join(path): leaf for path, leaf in _leaves(value, (), who)}


def _leaves(value: Any, path: tuple[str, ...], who: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    if value is None:
        return
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        yield path, value
        return
    if isinstance(value, int | float | complex | np.generic):
        yield path, np.asarray(value)
        return
    for name, child in _children(value, path, who):
        yield from _leaves(child, (*path, name), who)


def _children(value: Any, path: tuple[str, ...], who: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(name), child) for name, child in value.items())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        yield from ((name, getattr(value, name)) for name in names)
    elif isinstance(value, tuple | list):
        names = getattr(value, "_fields", map(str, range(len(value))))  # of a named tuple
        yield from zip(names, value, strict=True)
    else:
        children, _ = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value)
        if len(children) == 1 and children[0][1] is value:
            where = f" at {'.'.join(path)}" if path else ""
            raise InputError(
                f"{who} returned a {type(value).__name__}{where}; it must return arrays, or a "
                "tuple, mapping or dataclass of them"
            )
        for key, child in children:
            yield jax.tree_util.keystr(key, simple=True), child


def paired_names(
    ours: Mapping[str, tuple[int, ...]],
    theirs: Mapping[str, tuple[int, ...]],
    fits: Callable[[tuple[int, ...], tuple[int, ...]], bool] = operator.eq,
    who: tuple[str, str] = MODELS,
) -> dict[str, tuple[str, str]]:
    """Pair the outputs of both models, in the torch module's order.

    They pair by name. A single output on each side is a pair whatever the names.

    Args:
        ours: Shapes by name, of the JAX function.
        theirs: Of the torch module.
        fits: Whether a shape here is one there, up to the layout.
        who: Both, for the message.

    Returns:
        The name to report -> the names here and there.

    Raises:
        InputError: There is none, or the names or the shapes differ.

    >>> paired_names({"": (2, 3)}, {"logits": (2, 3)})
    {'logits': ('', 'logits')}
    """
    both = f"{who[0]} returns {_listed(ours)}, and {who[1]} {_listed(theirs)}"
    if not ours or not theirs:
        raise InputError(f"{both}; both must return at least one array")
    if len(ours) == len(theirs) == 1:
        (here,), (there,) = ours, theirs
        pairs = {there or here: (here, there)}
    elif ours.keys() == theirs.keys():
        pairs = {name: (name, name) for name in theirs}
    else:
        raise InputError(f"{both}; both must return arrays of the same names")
    for name, (here, there) in pairs.items():
        if not fits(ours[here], theirs[there]):
            logits = who == MODELS and len(pairs) == 1 and len(ours[here]) == 2
            what = (
                "the logits have" if logits else f"output {name} has" if name else "the output has"
            )
            raise InputError(
                f"{what} shape {ours[here]} here and {theirs[there]} in {who[1]}; both "
                "must have the same shape"
            )
    return pairs


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name or 'an array of'} {shape}" for name, shape in shapes.items()) or "none"


def call_arguments(inputs: Any) -> Arguments:
    """Split inputs into the positional and the keyword arguments of both models.

    Args:
        inputs: A tuple of positional arguments, a mapping of keyword arguments, or the one input.

    Returns:
        Positional arguments and keyword arguments.
    """
    if isinstance(inputs, Mapping):
        return (), {str(name): value for name, value in inputs.items()}
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def converted(array: Any, dtype: str, what: str) -> np.ndarray:
    """Convert to NumPy, and floats to a dtype.

    Args:
        array: An array or what NumPy makes one of.
        dtype: Of the floats.
        what: Its name, for the message.

    Returns:
        The array.

    Raises:
        InputError: It holds no numbers, or one that is NaN or infinite.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    try:
        found = np.asarray(array)
    except Exception as error:
        raise InputError(
            f"{what} is a {type(array).__name__}; it must be an array of numbers"
        ) from error
    if jax.numpy.issubdtype(found.dtype, np.floating):
        found = found.astype(dtype)
    if found.dtype.kind not in "fiubc":
        raise InputError(f"{what} has dtype {found.dtype}; it must be an array of numbers")
    bad = np.argwhere(~np.isfinite(found))
    if bad.size:
        position = tuple(int(i) for i in bad[0])
        where = f"{what}{list(position)}" if position else what
        raise InputError(f"{where} is {found[position]}; every number must be finite")
    return found
