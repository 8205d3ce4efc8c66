"""The parameters of a JAX model, whatever its library, as named leaves; and the tree anew."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from jaxmnist.errors import InputError
from jaxmnist.interop.tensors import to_numpy

_COLLECTIONS = ("params", "batch_stats")  # Of Flax Linen's variables.


class Leaf(NamedTuple):
    """An array of a JAX model."""

    name: str
    """Its path in the tree, such as ``params/Dense_0/kernel``."""
    parts: tuple[str, ...]
    """The path without the collection."""
    shape: tuple[int, ...]
    position: tuple[int, ...] | None
    """Its place in the order of definition; None in a dict, which JAX sorts by key."""
    in_torch_layout: bool | None
    """Whether its layer has PyTorch's layout; None where neither library nor name tells."""
    owner: Any = None
    """The module that has it, where the model itself was given."""


class Tree(NamedTuple):
    """A JAX model's leaves, and how to build such a tree."""

    leaves: tuple[Leaf, ...]
    others: tuple[str, ...]
    """Paths of arrays that are no floating-point numbers: counters, random keys."""
    named: Callable[[Any], dict[str, Any]]
    """From a tree, such as that of gradients, to its arrays by name."""
    build: Callable[[Mapping[str, Any]], Any]
    """From arrays by name to a tree of this structure, with everything else as it was given."""


def read(params: Any) -> Tree:
    """List the arrays of a JAX model.

    Args:
        params: A Flax Linen variables dict or the parameters alone, an NNX module or state, an
            Equinox module or the pair of module and state, a Haiku dict, or any tree of arrays.

    Returns:
        Its leaves; values are not looked at, so that ``jax.ShapeDtypeStruct`` will do.

    Raises:
        InputError: It has no arrays.
    """
    named, build = _functions(params)
    arrays = named(params)
    root = _root(params)
    leaves, others = [], []
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            others.append(name)
            continue
        path = [part for part in name.split("/") if part != "~"]
        in_collection = path[0] in _COLLECTIONS and isinstance(params, Mapping)
        parts = tuple(path[1:] if in_collection and len(path) > 1 else path)
        position, owner = _owner(root, parts)
        library = type(owner).__module__.partition(".")[0]
        layout = True if library == "equinox" else False if parts[-1] == "kernel" else None
        leaves.append(Leaf(name, parts, tuple(array.shape), position, layout, owner))
    if not leaves:
        raise InputError(
            f"params is a {type(params).__name__} without arrays of floating-point numbers; give "
            "a model's parameters"
        )
    return Tree(tuple(leaves), tuple(others), named, build)


def arrays_of(tree: Tree, params: Any, what: str, partly: bool = False) -> dict[str, np.ndarray]:
    """Return a tree's numbers by the names of the leaves.

    Args:
        tree: What was matched.
        params: A tree of the same structure.
        what: What it is, for the message.
        partly: Whether leaves may be missing.

    Returns:
        Arrays.

    Raises:
        InputError: A leaf is missing or has another shape.
    """
    found = tree.named(params)
    arrays = {}
    for leaf in tree.leaves:
        if leaf.name not in found:
            if partly:
                continue
            raise InputError(f"{what} has no {leaf.name}; it has {', '.join(found) or 'no arrays'}")
        array = to_numpy(found[leaf.name], leaf.name)
        if array.shape != leaf.shape:
            raise InputError(
                f"{what}: {leaf.name} has shape {array.shape}; it was matched with {leaf.shape}"
            )
        arrays[leaf.name] = array
    return arrays


def _functions(
    params: Any,
) -> tuple[Callable[[Any], dict[str, Any]], Callable[[Mapping[str, Any]], Any]]:
    nnx, eqx = sys.modules.get("flax.nnx"), sys.modules.get("equinox")
    if nnx is not None and isinstance(params, nnx.Module):
        graph, state = nnx.split(params)

        def named(tree: Any) -> dict[str, Any]:
            return _named(nnx.state(tree) if isinstance(tree, nnx.Module) else tree)

        return named, lambda arrays: nnx.merge(graph, _rebuilt(state, arrays))
    if eqx is not None and _with_state(eqx, params):
        return _stateful(eqx, params)
    return _named, lambda arrays: _rebuilt(params, arrays)


def _flat(tree: Any) -> tuple[list[str], list[Any], Any]:
    """Return names, leaves and structure."""
    leaves, structure = jax.tree.flatten(tree)
    # The same order, with the name of NNX's variable or of Linen's box for the array in it.
    homes = (("flax.nnx", "Variable"), ("flax.core.meta", "AxisMetadata"))
    boxes = tuple(getattr(sys.modules[home], name) for home, name in homes if home in sys.modules)
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, lambda x: isinstance(x, boxes))
    paths = [path for path, _ in flat]
    names = [keystr(path, simple=True, separator="/") or "w" for path in paths]
    return names, leaves, structure


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _named(tree: Any) -> dict[str, Any]:
    names, leaves, _ = _flat(tree)
    return {name: leaf for name, leaf in zip(names, leaves, strict=True) if _is_array(leaf)}


def _rebuilt(tree: Any, arrays: Mapping[str, Any]) -> Any:
    names, leaves, structure = _flat(tree)
    pairs = zip(names, leaves, strict=True)
    return structure.unflatten([arrays.get(name, leaf) for name, leaf in pairs])


# ------------------------------------------------------------------------------ Equinox's state


def _with_state(eqx: Any, params: Any) -> bool:
    return isinstance(params, tuple) and len(params) == 2 and isinstance(params[1], eqx.nn.State)


def _stateful(eqx: Any, params: Any) -> Any:
    """Return the functions of a pair of a module and its state, named by the module's indices."""

    def indices(module: Any) -> dict[str, Any]:
        found, _ = jax.tree_util.tree_flatten_with_path(
            module, lambda x: isinstance(x, eqx.nn.StateIndex)
        )
        return {
            keystr(path, simple=True, separator="/"): index
            for path, index in found
            if isinstance(index, eqx.nn.StateIndex)
        }

    def named(pair: Any) -> dict[str, Any]:
        if not _with_state(eqx, pair):  # Gradients have no state.
            return _named(pair)
        module, state = pair
        arrays = _named(module)
        for path, index in indices(module).items():
            held = _named(state.get(index))
            known = _STATISTICS if len(held) == 2 else ("",)
            arrays |= {
                "/".join((*path.split("/")[:-1], name or path.split("/")[-1])): array
                for name, array in zip(known, held.values(), strict=True)
            }
        return arrays

    def build(arrays: Mapping[str, Any]) -> Any:
        module, state = params
        # Setting a value ends a state's use, so it is a copy that is set.
        state = jax.tree.map(lambda leaf: leaf, state)
        for path, index in indices(module).items():
            held = state.get(index)
            parent = path.rpartition("/")[0]
            names = ["/".join(filter(None, (parent, name))) for name in _STATISTICS]
            if all(name in arrays for name in names) and len(jax.tree.leaves(held)) == 2:
                state = state.set(index, tuple(arrays[name] for name in names))
            elif path.endswith("ema_first_time_index"):
                # PyTorch's statistics exist from the start; Equinox's first batch would set them.
                state = state.set(index, jnp.zeros_like(held))
            elif path.endswith("batch_counter"):
                # So many batches that the correction of the running statistics is by 1.
                state = state.set(index, jnp.full_like(held, jnp.iinfo(held.dtype).max // 2))
        return _rebuilt(module, arrays), state

    return named, build


_STATISTICS = ("mean", "var")


# ------------------------------------------------------------------------------ who has a leaf


def _root(params: Any) -> Any:
    """Return the model itself, where it was given and not only its numbers in a dict."""
    eqx = sys.modules.get("equinox")
    return params[0] if eqx is not None and _with_state(eqx, params) else params


def _owner(root: Any, parts: tuple[str, ...]) -> tuple[tuple[int, ...] | None, Any]:
    """Return a leaf's place in the order of definition, if any, and the module that has it."""
    position: list[int] = []
    current, owner = root, None
    for part in parts:
        if isinstance(current, Mapping):
            return None, owner
        if part.isdigit() and hasattr(current, "__getitem__"):
            position.append(int(part))
            current = current[int(part)]
        elif part in (attributes := getattr(current, "__dict__", {})):
            owner = current
            position.append([*attributes].index(part))
            current = attributes[part]
        else:  # Of the state, such as Equinox's running statistics.
            return (*position, len(attributes)), current
    return tuple(position), owner
