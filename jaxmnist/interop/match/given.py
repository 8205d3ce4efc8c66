"""What a person said of the names: which layer or parameter is which."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxmnist.errors import InputError, nearest
from jaxmnist.interop.match.groups import Group
from jaxmnist.interop.match.jax_tree import Leaf
from jaxmnist.interop.match.pairing import Pair, Pairing, pair
from jaxmnist.interop.match.recipes import fit
from jaxmnist.interop.match.torch_units import Unit

_OTHER_LAYOUT = ".T"


class Given(NamedTuple):
    """The pairs that names settle, and what they leave."""

    inside: Pairing
    """The pairs, and what two parts that are named have left open."""
    units: list[Unit]
    """The rest of PyTorch's layers."""
    groups: list[Group]
    """The rest of JAX's."""
    other_layout: frozenset[str]
    """Leaves that are to be transposed where by their shape and name they would not be, or the
    other way round."""


def settle(
    names: Mapping[str, str],
    units: Sequence[Unit],
    layers: Sequence[Group],
    shapes: Mapping[str, tuple[int, ...]],
) -> Given:
    """Pair what a person has named.

    Args:
        names: PyTorch's name by JAX's path: of a parameter, a layer, or of all that begins so. A
            name that ends in ``.T`` settles that the leaf has the other of two possible layouts.
        units: PyTorch's layers.
        layers: JAX's.
        shapes: Of PyTorch's arrays, by name.

    Returns:
        The pairs; layers inside of two that are named are paired with each other alone.

    Raises:
        InputError: A name is on neither side, or the shapes do not fit.
    """
    done = Pairing([], [], [])
    other: set[str] = set()
    left, right = list(units), list(layers)
    # The longest first, so that a part of a layer can be an exception.
    for here, there in sorted(names.items(), key=lambda item: -len(_parts(item[0]))):
        plain = there.removesuffix(_OTHER_LAYOUT)
        ours = [group for group in right if _is_in_group(here, group)]
        theirs = [unit for unit in left if _is_in_unit(plain, unit)]
        if not ours or not theirs:
            raise _unknown(here, plain, layers, shapes, missing_here=not ours)
        if len(ours) == len(theirs) == 1:
            ours, theirs = _narrowed(here, plain, ours[0], theirs[0], right, left)
            found = fit(theirs[0], ours[0])
            if found is None:
                raise InputError(
                    f"names has {here!r}: {there!r}, and their shapes do not fit: "
                    f"{_shapes(ours[0].leaves.values())} in JAX, "
                    f"{_of(theirs[0], shapes)} in the {theirs[0].kind} layer of PyTorch"
                )
            settled = Pairing([Pair(theirs[0], ours[0], found, "given")], [], [])
        else:
            settled = pair(theirs, ours)
            given = [each._replace(why=f"given, {each.why}") for each in settled.pairs]
            settled = settled._replace(pairs=given)
        done = done.joined(settled)
        if there != plain:
            pairs = settled.pairs
            other |= {leaf.name for each in pairs for leaf in each.group.leaves.values()}
        taken = {id(each) for each in (*ours, *theirs)}
        left = [unit for unit in left if id(unit) not in taken]
        right = [group for group in right if id(group) not in taken]
    return Given(done, left, right, frozenset(other))


def _narrowed(
    here: str, there: str, group: Group, unit: Unit, right: list[Group], left: list[Unit]
) -> tuple[list[Group], list[Unit]]:
    """Take single parameters out of their layers, where they have other roles."""
    leaf_roles = [r for r, leaf in group.leaves.items() if _same_path(here, leaf)]
    slot_roles = [r for r, slot in unit.slots.items() if any(s.name == there for s in slot)]
    if not leaf_roles or not slot_roles or leaf_roles == slot_roles or group.cell:
        return [group], [unit]
    (leaf_role,), slot_role = leaf_roles, slot_roles[0]
    one_leaf = group._replace(leaves={"value": group.leaves[leaf_role]})
    one_slot = unit._replace(slots={"value": unit.slots[slot_role]}, kind="other")
    rest = {r: leaf for r, leaf in group.leaves.items() if r != leaf_role}
    others = {r: slot for r, slot in unit.slots.items() if r != slot_role}
    right.remove(group)
    left.remove(unit)
    right += [group._replace(leaves=rest)] if rest else []
    left += [unit._replace(slots=others)] if others else []
    return [one_leaf], [one_slot]


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("/", ".").split(".") if part not in ("", "~")]


def _begins(path: Sequence[str], name: Sequence[str]) -> bool:
    return list(path[: len(name)]) == list(name)


def _same_path(name: str, leaf: Leaf) -> bool:
    return _parts(name) in (_parts(leaf.name), list(leaf.parts))


def _is_in_group(name: str, group: Group) -> bool:
    parts = _parts(name)
    return any(
        _begins(path, parts)
        for leaf in group.leaves.values()
        for path in (_parts(leaf.name), leaf.parts)
    )


def _is_in_unit(name: str, unit: Unit) -> bool:
    parts = _parts(name)
    sources = [source.name for slot in unit.slots.values() for source in slot]
    return any(_begins(_parts(path), parts) for path in (unit.label, *sources))


def _shapes(leaves: Any) -> str:
    return ", ".join(f"{leaf.name} {leaf.shape}" for leaf in leaves)


def _of(unit: Unit, shapes: Mapping[str, tuple[int, ...]]) -> str:
    names = dict.fromkeys(source.name for slot in unit.slots.values() for source in slot)
    return ", ".join(f"{name} {shapes[name]}" for name in names)


def _unknown(
    here: str,
    there: str,
    layers: Sequence[Group],
    shapes: Mapping[str, tuple[int, ...]],
    missing_here: bool,
) -> InputError:
    leaves = [leaf for group in layers for leaf in group.leaves.values()]
    side, name = ("params", here) if missing_here else ("the module", there)
    paths = [*map(str, layers), *(leaf.name for leaf in leaves)] if missing_here else shapes
    close = nearest(name, paths)
    return InputError(
        f"names has {here!r}: {there!r}, and {side} has no {name!r} that is not paired already"
        f"{close}; params has {_shapes(leaves)}; the module has "
        f"{', '.join(f'{name} {shape}' for name, shape in shapes.items())}"
    )
