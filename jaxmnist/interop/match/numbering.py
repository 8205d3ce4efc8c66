"""The order of layers whose names differ in numbers alone."""

import itertools
from collections.abc import Sequence

from jaxmnist.interop.match.groups import Group
from jaxmnist.interop.match.torch_units import Unit

Numbers = tuple[int, ...]


def in_order(units: Sequence[Unit], layers: Sequence[Group]) -> tuple[list[Group], bool] | None:
    """Order JAX's layers as PyTorch's by the numbers in their names.

    A number counts by its rank, so that 0, 2, 4 of an ``nn.Sequential`` are 0, 1, 2. Where both
    have as many numbers they are paired by the words that they follow (block 3, norm 1), and
    otherwise as they come, or by how many different ones there are. Where PyTorch has more or
    fewer, its layers are in the order of definition, and JAX's in that of their numbers.

    Args:
        units: PyTorch's layers in the order of definition.
        layers: As many of JAX's.

    Returns:
        JAX's layers in the order of `units`, and whether the numbers follow the same words; None
        where the numbers leave the order open.
    """
    here, here_tags = _varying([group.words.numbers for group in layers])
    there, there_tags = _varying([unit.words.numbers for unit in units])
    if here is None or len(set(here)) < len(here):
        return None
    if there is None or len(set(there)) < len(there) or len(here[0]) != len(there[0]):
        return _sorted(layers, here), False
    order = _aligned(here_tags, there_tags, here, there)
    if order is None:
        return None
    here = [tuple(numbers[slot] for slot in order) for numbers in here]
    at = dict(zip(_ranks(here), layers, strict=True))
    ranks = _ranks(there)
    if set(ranks) != at.keys():
        # As in stages of other lengths: the order alone is left, PyTorch's that of definition.
        return _sorted(layers, here), False
    shared = set(here_tags) & set(there_tags)
    return [at[rank] for rank in ranks], bool(shared)


def _sorted(layers: Sequence[Group], numbers: Sequence[Numbers]) -> list[Group]:
    return [layers[place] for place in sorted(range(len(layers)), key=lambda at: numbers[at])]


def _varying(
    named: Sequence[tuple[tuple[str, int], ...]],
) -> tuple[list[Numbers] | None, list[str]]:
    """Return the numbers that differ, with the words that they follow; None if no such table."""
    tags = [[word for word, _ in numbers] for numbers in named]
    if any(each != tags[0] for each in tags):
        return None, []
    columns = [*zip(*([number for _, number in numbers] for numbers in named), strict=True)]
    kept = [slot for slot, column in enumerate(columns) if len(set(column)) > 1]
    rows = [tuple(columns[slot][row] for slot in kept) for row in range(len(named))]
    return rows, [tags[0][slot] for slot in kept]


def _counts(rows: Sequence[Numbers]) -> list[int]:
    return [len(set(column)) for column in zip(*rows, strict=True)]


def _aligned(
    here_tags: list[str],
    there_tags: list[str],
    here: Sequence[Numbers],
    there: Sequence[Numbers],
) -> list[int] | None:
    """Return for each number there which it is here: by its word, or the only way that fits."""
    ways = [[*way] for way in itertools.permutations(range(len(here_tags)))]
    agreeing = [sum(here_tags[a] == b for a, b in zip(w, there_tags, strict=True)) for w in ways]
    best = [way for way, number in zip(ways, agreeing, strict=True) if number == max(agreeing)]
    ours, theirs = _counts(here), _counts(there)
    fitting = [way for way in best if [ours[slot] for slot in way] == theirs]
    if len(best) == 1 or ways[0] in (fitting or best):
        # As they come, where nothing speaks against it.
        return best[0] if len(best) == 1 else ways[0]
    return fitting[0] if len(fitting) == 1 else None


def _ranks(rows: Sequence[Numbers]) -> list[Numbers]:
    ranks = [
        {number: rank for rank, number in enumerate(sorted(set(column)))}
        for column in zip(*rows, strict=True)
    ]
    return [tuple(rank[n] for rank, n in zip(ranks, row, strict=True)) for row in rows]
