"""Leaves that have the very name of a PyTorch parameter, and its shape: they are laid out as it."""

from collections.abc import Mapping, Sequence

from jaxmnist.interop.match.jax_tree import Leaf
from jaxmnist.interop.match.layout import Block, Source, unchanged
from jaxmnist.interop.match.result import Entry
from jaxmnist.interop.match.torch_units import Tied, Unit


def same_names(
    leaves: Sequence[Leaf], parameters: Tied, names: Mapping[str, str]
) -> tuple[tuple[Entry, ...], list[Leaf]]:
    """Pair leaves by their paths joined by dots.

    A model that was given with its modules is left to the layout of their library.

    Args:
        leaves: Of the JAX model.
        parameters: Of the PyTorch module.
        names: What a person said, which comes first.

    Returns:
        The pairs, and the leaves that are left.
    """
    if any(leaf.owner is not None or leaf.in_torch_layout is not None for leaf in leaves):
        return (), list(leaves)
    said = {_dotted(name) for item in names.items() for name in item}
    entries, left = [], []
    for leaf in leaves:
        name = ".".join(leaf.parts)
        named = any(f"{name}.".startswith(f"{one}.") for one in said)
        if parameters.shapes.get(name) == leaf.shape and not named:
            entries.append(_entry(leaf, name, parameters))
        else:
            left.append(leaf)
    return tuple(entries), left


def _dotted(name: str) -> str:
    return name.removesuffix(".T").replace("/", ".")


def _entry(leaf: Leaf, name: str, parameters: Tied) -> Entry:
    source = Source(parameters.first[name], leaf.shape)
    return Entry(
        jax=leaf.name,
        jax_shape=leaf.shape,
        jax_module="/".join(leaf.parts[:-1]),
        torch=(name,),
        torch_shapes=(leaf.shape,),
        torch_shown=(name,),
        torch_module=name.rpartition(".")[0],
        layout="same",
        why="same name",
        blocks=(Block((source,), unchanged(leaf.shape)),),
    )


def without(units: Sequence[Unit], entries: Sequence[Entry], parameters: Tied) -> list[Unit]:
    """Take what is paired out of PyTorch's layers.

    Args:
        units: The layers.
        entries: What is paired.
        parameters: Of the module.

    Returns:
        The layers with the rest.
    """
    done = {parameters.first[name] for entry in entries for name in entry.torch}
    left = []
    for unit in units:
        slots = {
            role: slot
            for role, slot in unit.slots.items()
            if any(parameters.first[source.name] not in done for source in slot)
        }
        if slots:
            left.append(unit._replace(slots=slots))
    return left
