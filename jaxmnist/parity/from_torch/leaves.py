"""Which leaf of a JAX tree is which parameter of a live torch optimizer, and in which layout."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.errors import InputError, nearest
from jaxmnist.interop.match import Match
from jaxmnist.interop.match.jax_tree import read
from jaxmnist.interop.match.layout import assemble
from jaxmnist.interop.parameters import flatten

Shape = tuple[int, ...]


class Leaf(NamedTuple):
    """A leaf of the tree with the parameters that it is made of."""

    name: str
    """Its path."""
    sources: tuple[str, ...]
    """PyTorch's names; several are joined."""
    convert: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    """From PyTorch's arrays by name, such as averages of the gradients, to the leaf's."""
    is_same: bool
    """Whether both have the same layout."""


def tree_of(params: Any) -> Any:
    """Return the tree of parameters itself, of a `Match` the one that was matched."""
    return params.build({}) if isinstance(params, Match) else params


def leaves(params: Any) -> list[Leaf | None]:
    """Name every leaf as PyTorch does, in the order of ``jax.tree.leaves``.

    Args:
        params: A tree whose paths are PyTorch's names, the tutorial's MLP's parameters, or a
            `Match`.

    Returns:
        None for an array that is no parameter.

    Raises:
        InputError: The match is not complete, or is of a module whose leaves have other names.
    """
    tree = tree_of(params)
    named = read(tree).named(tree)
    if len(named) != len(jax.tree.leaves(tree)):
        raise InputError(
            f"params is a {type(tree).__name__} with leaves that are no arrays; give the tree that "
            "the optimizer is to be given, such as nnx.state(model, nnx.Param)"
        )
    if isinstance(params, Match):
        found = _matched(params)
        if missing := [name for name in found if name not in named]:
            raise InputError(
                f"params has no {missing[0]}, which was matched; match the tree that the optimizer "
                "is to be given, such as nnx.state(model, nnx.Param)"
            )
        return [found.get(name) for name in named]
    tutorial = _tutorial_names(params)
    return [_plain(name, tutorial.get(id(leaf)), leaf) for name, leaf in named.items()]


def torch_names(optimizer: Any, params: Any, known: Sequence[Leaf | None]) -> list[list[str]]:
    """Name every parameter of the optimizer, group by group.

    Args:
        optimizer: A ``torch.optim.Optimizer``.
        params: What `leaves` was given.
        known: What it returned.

    Returns:
        The names that the optimizer was given, or those in the order of the module's parameters,
        or those that their shapes tell.

    Raises:
        InputError: It was given no names, and neither order nor shapes tell them.
    """
    groups = optimizer.param_groups
    if all("param_names" in group for group in groups):
        return [list(group["param_names"]) for group in groups]
    shapes = [[tuple(weight.shape) for weight in group["params"]] for group in groups]
    flat = [shape for group in shapes for shape in group]
    expected = _in_order(params, known)
    if len(groups) == 1 and [shape for _, shape in expected] == flat and _is_ordered(params):
        return [[name for name, _ in expected]]
    by_shape = {shape: name for name, shape in expected}
    if len(set(flat)) == len(flat) and len(by_shape) == len(expected):
        if unknown := [shape for shape in flat if shape not in by_shape]:
            raise InputError(
                f"the optimizer has a parameter of shape {unknown[0]}, and params has none; it has "
                f"{', '.join(f'{name} {shape}' for shape, name in by_shape.items())}"
            )
        return [[by_shape[shape] for shape in group] for group in shapes]
    raise InputError(
        f"the optimizer's {len(flat)} parameters have no names, and their shapes do not tell which "
        "is which; build it from module.named_parameters()"
    )


def check(names: Sequence[str], weights: Sequence[Any], params: Any, known: Any) -> None:
    """Refuse names, shapes and dtypes that the tree does not have.

    Args:
        names: Of the optimizer's parameters.
        weights: The parameters.
        params: What `leaves` was given.
        known: What it returned.

    Raises:
        InputError: The message has both names, shapes and dtypes.
    """
    arrays = jax.tree.leaves(tree_of(params))
    by_source = {
        source: (leaf, array)
        for leaf, array in zip(known, arrays, strict=True)
        if leaf is not None
        for source in leaf.sources
    }
    for name, weight in zip(names, weights, strict=True):
        if name not in by_source:
            raise InputError(
                f"the optimizer has {name} {tuple(weight.shape)}, and params has no such leaf; it "
                f"has {', '.join(by_source)}{nearest(name, by_source)}; name its leaves as the "
                "module does, or give interop.match(params, module)"
            )
        leaf, array = by_source[name]
        theirs = str(weight.dtype).removeprefix("torch.")
        is_apart = leaf.is_same and jnp.shape(array) != tuple(weight.shape)
        if is_apart or str(jnp.result_type(array)) != theirs:
            raise InputError(
                f"{name} is {theirs} of shape {tuple(weight.shape)} in the optimizer, and "
                f"{leaf.name} is {jnp.result_type(array)} of shape {jnp.shape(array)} in params; "
                "they must be the same, or give interop.match(params, module) for another layout"
            )


def _plain(name: str, standard: str | None, leaf: Any) -> Leaf | None:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return None
    source = name.replace("/", ".") if standard is None else standard
    return Leaf(name, (source,), lambda arrays: arrays[source], True)


def _matched(match: Match) -> dict[str, Leaf]:
    match.to_torch(match.build({}))  # Refuses what has no certain counterpart.
    found = {}
    for entry in match.entries:
        # A constant that is added to a weight is not added to what is averaged of its gradient.
        blocks = tuple(block._replace(plus=0.0) for block in entry.blocks)
        for block in blocks:
            if len(block.sources) > 1:
                raise InputError(
                    f"{entry.jax} is the sum of {' and '.join(map(str, block.sources))}; PyTorch's "
                    "optimizer moves each, so that no optimizer of the sum takes the same steps"
                )

        def convert(
            arrays: Mapping[str, np.ndarray], blocks: Any = blocks, shape: Shape = entry.jax_shape
        ) -> np.ndarray:
            return assemble(blocks, arrays, shape)

        (first, *others) = blocks
        is_same = (
            not others
            and first.sources[0].whole
            and first.layout.before == first.layout.after == entry.jax_shape
            and first.layout.axes == tuple(range(len(entry.jax_shape)))
            and not first.layout.flipped
        )
        found[entry.jax] = Leaf(entry.jax, entry.torch, convert, is_same)
    return found


def _tutorial_names(params: Any) -> dict[int, str]:
    """Return the tutorial's names by its leaves' identities, for its MLP's parameters."""
    try:
        return {id(leaf): name for name, leaf in flatten(params).items()}
    except (KeyError, TypeError, IndexError):
        return {}


def _is_ordered(params: Any) -> bool:
    """Return whether the order of the names is the module's; a dict has none."""
    return isinstance(params, Match | list | tuple) or bool(_tutorial_names(params))


def _in_order(params: Any, known: Sequence[Leaf | None]) -> list[tuple[str, Shape]]:
    """Return every parameter's name and shape, in the module's order where it is known."""
    if isinstance(params, Match):
        shapes = {name: array.shape for name, array in params.to_torch(tree_of(params)).items()}
        sources = {name for leaf in known if leaf is not None for name in leaf.sources}
        return [(name, tuple(shape)) for name, shape in shapes.items() if name in sources]
    arrays = jax.tree.leaves(params)
    found = {
        leaf.sources[0]: tuple(array.shape)
        for leaf, array in zip(known, arrays, strict=True)
        if leaf is not None
    }
    names = list(flatten(params)) if _tutorial_names(params) else list(found)
    return [(name, found[name]) for name in names]
