"""The leaves of a JAX model as layers: a kernel with its bias, the gates of a recurrent cell."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from jaxmnist.interop.match.jax_tree import Leaf
from jaxmnist.interop.match.words import Words, read, role

_CELLS = {
    "lstm": frozenset(["ii", "if", "ig", "io", "hi", "hf", "hg", "ho"]),
    "gru": frozenset(["ir", "iz", "in", "hr", "hz", "hn"]),
    "stacked": frozenset({"dense_i", "dense_h"}),
    "rnn": frozenset({"i", "h"}),
}
"""The layers of Flax's recurrent cells; ``stacked`` is any of NNX's."""


class Group(NamedTuple):
    """A layer of a JAX model."""

    module: tuple[str, ...]
    """The layer's path."""
    words: Words
    leaves: dict[str, Leaf]
    """By what they are: weight, bias, mean, var, value; in a cell also ``ii.weight`` ..."""
    cell: str | None = None

    @property
    def position(self) -> tuple[int, ...] | None:
        """Return the layer's place in the order of definition, if there is one."""
        return next(iter(self.leaves.values())).position

    def __str__(self) -> str:
        return "/".join(self.module)


def groups(leaves: Iterable[Leaf]) -> list[Group]:
    """Put the leaves of each layer together.

    Args:
        leaves: Of a whole model, or of a part of it.

    Returns:
        The layers in the order of their first leaves.
    """
    remaining = {leaf.name: leaf for leaf in leaves}
    found = [*_cells(remaining)]
    pairs = _pairs(remaining)
    layers: dict[tuple[str, ...], dict[str, Leaf]] = {}
    for leaf in remaining.values():
        kind, rest = role(leaf.parts[-1])
        module = leaf.parts[:-1]
        if leaf.name in pairs:
            kind, rest = pairs[leaf.name], ""
        if kind is None:
            kind, module, rest = "value", leaf.parts, ""
        key = (*module, rest) if rest else module
        if kind in layers.get(key, ()):
            key = leaf.parts
        layers.setdefault(key, {})[kind] = leaf
    found += [Group(key, read(key), held) for key, held in layers.items()]
    order = {name: place for place, name in enumerate(leaf.name for leaf in leaves)}
    return sorted(found, key=lambda g: min(order[leaf.name] for leaf in g.leaves.values()))


def _cells(remaining: dict[str, Leaf]) -> Iterable[Group]:
    """Take the leaves of recurrent cells out of those that remain."""
    by_parent: dict[tuple[str, ...], list[Leaf]] = {}
    for leaf in remaining.values():
        by_parent.setdefault(leaf.parts[:-1], []).append(leaf)
    for module, held in by_parent.items():
        names = {leaf.parts[-1]: leaf for leaf in held}
        if {"weight_ih", "weight_hh"} <= names.keys():
            yield Group(module, read(module), names, "torch")
            for leaf in held:
                del remaining[leaf.name]
    by_grandparent: dict[tuple[str, ...], dict[str, Leaf]] = {}
    for leaf in remaining.values():
        kind, rest = role(leaf.parts[-1])
        if len(leaf.parts) > 1 and kind and not rest:
            layer = leaf.parts[-2].rstrip("_")
            by_grandparent.setdefault(leaf.parts[:-2], {})[f"{layer}.{kind}"] = leaf
    for module, held in by_grandparent.items():
        present = {name.partition(".")[0] for name in held}
        for cell, layers in _CELLS.items():
            if layers <= present and (cell != "rnn" or layers == present):
                taken = {n: leaf for n, leaf in held.items() if n.partition(".")[0] in layers}
                yield Group(module, read(module), taken, cell)
                for leaf in taken.values():
                    del remaining[leaf.name]
                break


def _pairs(remaining: dict[str, Leaf]) -> dict[str, str]:
    """Find pairs (weight, bias) without names, which are told apart by their axes."""
    found = {}
    by_parent: dict[tuple[str, ...], list[Leaf]] = {}
    for leaf in remaining.values():
        if leaf.parts[-1].isdigit():
            by_parent.setdefault(leaf.parts[:-1], []).append(leaf)
    for held in by_parent.values():
        for weight, bias in itertools.permutations(held, 2):
            if len(held) == 2 and len(weight.shape) > 1 == len(bias.shape):
                found |= {weight.name: "weight", bias.name: "bias"}
    return found
