"""Which layer of a JAX model is which of a PyTorch module: by shape, by name, by order."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from jaxmnist.interop.match.groups import Group
from jaxmnist.interop.match.numbering import in_order
from jaxmnist.interop.match.recipes import Fit, fit
from jaxmnist.interop.match.torch_units import Unit
from jaxmnist.interop.match.words import similarity


class Pair(NamedTuple):
    """A layer in both frameworks."""

    unit: Unit
    group: Group
    fit: Fit
    why: str
    """name, similar name, only shape, order, given, tied."""


class Pairing(NamedTuple):
    """What was paired, and what is left, with what would fit by its shape."""

    pairs: list[Pair]
    units: list[tuple[Unit, list[Group]]]
    groups: list[tuple[Group, list[Unit]]]

    def joined(self, other: "Pairing") -> "Pairing":
        """Return what both have."""
        return Pairing(
            self.pairs + other.pairs, self.units + other.units, self.groups + other.groups
        )


Found = Iterator[tuple[Unit, Group, str]]


def pair(units: Sequence[Unit], layers: Sequence[Group]) -> Pairing:
    """Pair the layers of two models.

    Layers fit if the shapes do, up to the layouts of their kind. Of those that fit, names decide;
    where names are alike, the numbers in them; and then the order of definition, if both sides have
    one. What could still be in several ways is left open.

    Args:
        units: PyTorch's layers, in the order of definition.
        layers: JAX's.

    Returns:
        The pairs, and what is left.
    """
    pairs: list[Pair] = []
    open_units, open_groups = _distinct(units, layers)
    # First layers of which every array has a counterpart; then those where one has a bias too
    # many; last those whose parameters are another layer's, which JAX may have or not.
    rounds: tuple[Callable[[Unit, Fit], bool], ...] = (
        lambda unit, found: found.complete and not _is_optional(unit),
        lambda unit, found: not _is_optional(unit),
        lambda unit, found: True,
    )
    fits: dict[tuple[int, int], Fit] = {}
    for i, unit in enumerate(open_units):
        for j, group in enumerate(open_groups):
            if found := fit(unit, group):
                fits[i, j] = found
    left, right = set(range(len(open_units))), set(range(len(open_groups)))
    for allowed in rounds:
        edges = {
            (i, j)
            for (i, j), found in fits.items()
            if i in left and j in right and allowed(open_units[i], found)
        }
        for i, j, why in _settled(open_units, open_groups, edges):
            is_tied = all(role in open_units[i].optional for role in open_units[i].slots)
            why = "tied" if is_tied and open_units[i].kind != "norm" else why
            pairs.append(Pair(units[i], layers[j], fits[i, j], why))
            left.discard(i)
            right.discard(j)
    return Pairing(
        pairs,
        [(units[i], [layers[b] for a, b in fits if a == i and b in right]) for i in sorted(left)],
        [(layers[j], [units[a] for a, b in fits if b == j and a in left]) for j in sorted(right)],
    )


def _is_optional(unit: Unit) -> bool:
    return unit.slots.keys() <= unit.optional


def _distinct(units: Sequence[Unit], layers: Sequence[Group]) -> tuple[list[Unit], list[Group]]:
    """Leave out the words that all names of a side have and none of the other's: a prefix."""
    theirs = [unit.words.words for unit in units]
    ours = [group.words.words for group in layers]

    def prefix(side: list[frozenset[str]], other: list[frozenset[str]]) -> frozenset[str]:
        common = frozenset.intersection(*side) if len(side) > 1 else frozenset[str]()
        return common.difference(*other)

    there, here = prefix(theirs, ours), prefix(ours, theirs)
    return (
        [u._replace(words=u.words._replace(words=u.words.words - there)) for u in units],
        [g._replace(words=g.words._replace(words=g.words.words - here)) for g in layers],
    )


def _settled(
    units: list[Unit], layers: list[Group], edges: set[tuple[int, int]]
) -> Iterator[tuple[int, int, str]]:
    """Yield the pairs that are certain among those that fit."""
    for us, gs in _components(edges):
        inside = {(i, j) for i, j in edges if i in us}
        forced = _forced(inside) if len(us) == len(gs) else None
        if forced:
            i, j = forced
            why = _likeness(units[i].words.words, layers[j].words.words)
            yield i, j, why or "only shape"
            rest = {(a, b) for a, b in inside if a != i and b != j}
            yield from _settled(units, layers, rest)
            continue
        place = {id(units[i]): i for i in us} | {id(layers[j]): j for j in gs}
        found = _by_names([units[i] for i in sorted(us)], [layers[j] for j in sorted(gs)])
        for unit, group, why in found:
            i, j = place[id(unit)], place[id(group)]
            if (i, j) in inside:
                yield i, j, why


def _components(edges: set[tuple[int, int]]) -> list[tuple[set[int], set[int]]]:
    found: list[tuple[set[int], set[int]]] = []
    for i, j in sorted(edges):
        touching = [each for each in found if i in each[0] or j in each[1]]
        found = [each for each in found if each not in touching]
        us = {i}.union(*(each[0] for each in touching))
        found.append((us, {j}.union(*(each[1] for each in touching))))
    return found


def _forced(edges: set[tuple[int, int]]) -> tuple[int, int] | None:
    """Return a pair of which one fits nothing else."""
    for side in (0, 1):
        places = [edge[side] for edge in edges]
        for edge in sorted(edges):
            if places.count(edge[side]) == 1:
                return edge
    return None


Key = frozenset[str]


def _likeness(one: Key, other: Key) -> str | None:
    if one and one == other:
        return "name"
    return "similar name" if similarity(one, other) else None


def _by_names(units: list[Unit], layers: list[Group]) -> Found:
    """Pair layers of one shape by the words of their names, and by the numbers in them."""
    theirs: dict[Key, list[Unit]] = {}
    ours: dict[Key, list[Group]] = {}
    for unit in units:
        theirs.setdefault(unit.words.words, []).append(unit)
    for group in layers:
        ours.setdefault(group.words.words, []).append(group)
    whole = len(units) == len(layers)
    while best := _best(theirs, ours, whole):
        there, here = best
        why = _likeness(there, here) or "order"
        yield from _numbered(theirs.pop(there), ours.pop(here), why)
    if not whole:
        yield from _same_names(theirs, ours)
        return
    for there, here in _merged(theirs, ours):
        # Several names in PyTorch, one in JAX that counts.
        members = [unit for unit in units if unit.words.words in there]
        yield from _numbered(members, ours.pop(here), "order")
        for each in there:
            del theirs[each]
    left = [unit for unit in units if unit.words.words in theirs]
    right = [group for group in layers if group.words.words in ours]
    if len(left) != len(right) or not left:
        return
    if len(ours) == 1:
        alike = _likeness(*theirs, *ours) if len(theirs) == 1 else "order"
        yield from _numbered(left, right, alike or ("order" if len(left) > 1 else "only shape"))
    else:
        yield from _defined(left, right)


def _best(
    theirs: dict[Key, list[Unit]], ours: dict[Key, list[Group]], whole: bool
) -> tuple[Key, Key] | None:
    """Return two names of as many layers that are more like each other than like any other."""
    alike = {(a, b): similarity(a, b) for a in theirs for b in ours}
    for rivals in ("all", "as many"):
        for (a, b), value in sorted(alike.items(), key=lambda item: -item[1]):
            if value == 0 or len(theirs[a]) != len(ours[b]):
                continue
            others = [
                other
                for (c, d), other in alike.items()
                if ((c == a) != (d == b)) and (rivals == "all" or len(theirs[c]) == len(ours[d]))
            ]
            if all(other < value for other in others):
                return a, b
        if not whole:
            return None
    return None


def _merged(
    theirs: dict[Key, list[Unit]], ours: dict[Key, list[Group]]
) -> list[tuple[list[Key], Key]]:
    """Return names of JAX that are nearest to several of PyTorch, which have as many together."""
    nearest: dict[Key, list[Key]] = {}
    for a in theirs:
        alike = {b: similarity(a, b) for b in ours}
        best = [b for b, value in alike.items() if value == max(alike.values())]
        if len(best) == 1 and alike[best[0]] > 0:
            nearest.setdefault(best[0], []).append(a)
    return [
        (keys, b)
        for b, keys in nearest.items()
        if len(keys) > 1 and sum(len(theirs[a]) for a in keys) == len(ours[b])
    ]


def _numbered(units: list[Unit], layers: list[Group], why: str) -> Found:
    """Pair layers whose names differ in numbers alone; `why` if the numbers agree."""
    if len(units) == 1:
        yield units[0], layers[0], why
        return
    found = in_order(units, layers)
    if found is None:
        yield from _defined(units, layers)
        return
    in_turn, agree = found
    for unit, group in zip(units, in_turn, strict=True):
        yield unit, group, why if agree else "order"


def _defined(units: list[Unit], layers: list[Group]) -> Found:
    """Pair layers in the order of definition, where JAX's model has one."""
    positions = [group.position for group in layers]
    if any(position is None for position in positions):
        return
    in_turn = sorted(layers, key=lambda group: group.position or ())
    for unit, group in zip(units, in_turn, strict=True):
        yield unit, group, "order"


def _same_names(theirs: dict[Key, list[Unit]], ours: dict[Key, list[Group]]) -> Found:
    """Pair layers of the very same name: where one is missing, no number is a rank."""
    everything = itertools.chain.from_iterable
    by_name = _unique((_plain(str(group)), group) for group in everything(ours.values()))
    for name, unit in _unique((_plain(str(u)), u) for u in everything(theirs.values())).items():
        if name in by_name and not name.isdigit():
            yield unit, by_name[name], "name"


def _unique(named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for name, each in named:
        found.setdefault(name, []).append(each)
    return {name: each[0] for name, each in found.items() if len(each) == 1}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
