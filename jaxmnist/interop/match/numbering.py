"""The order of layers whose names differ in numbers alone."""

import itertools
from collections.abc import Sequence

from jaxmnist.interop.match.groups import Group
from jaxmnist.interop.match.torch_units import Unit

Numbers = tuple[int, ...]


def in_order(units: Sequence[Unit], layers: Sequence[Group]) -> tuple[list[Group], str] | None:
    """Order JAX's layers as PyTorch's by the numbers in their names.

    A number counts by its rank, so that 0, 2, 4 of an ``nn.Sequential`` are 0, 1, 2. Where both
    have as many numbers they are paired by the words that they follow (block 3, norm 1), and
    otherwise by how many different ones there are. Where PyTorch has more or fewer, its layers are
    in the order of definition, and JAX's in that of their numbers.

    Args:
        units: PyTorch's layers in the order of definition.
        layers: As many of JAX's.

    Returns:
        JAX's layers in the order of `units`, and "name" if the numbers agree, otherwise "order";
        None where the numbers leave the order open.
    """
    here, here_tags = _varying([group.words.numbers for group in layers])
    there, there_tags = _varying([unit.words.numbers for unit in units])
    if here is None or len(set(here)) < len(here):
        return None
    if there is None or len(set(there)) < len(there) or len(here[0]) != len(there[0]):
        return _sorted(layers, here), "order"
    same_words = sorted(here_tags) == sorted(there_tags) and len(set(here_tags)) == len(here_tags)
    if same_words:
        order = [here_tags.index(tag) for tag in there_tags]
    else:
        order = _by_counts(here, there)
    if order is None:
        return None
    here = [tuple(numbers[slot] for slot in order) for numbers in here]
    at = dict(zip(_ranks(here), layers, strict=True))
    ranks = _ranks(there)
    if set(ranks) != at.keys():
        # As in stages of other lengths: the order alone is left, PyTorch's that of definition.
        return _sorted(layers, here), "order"
    return [at[rank] for rank in ranks], "name" if same_words else "order"


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


def _by_counts(here: Sequence[Numbers], there: Sequence[Numbers]) -> list[int] | None:
    """Return which number here is which there: as they come, or the only way that fits."""
    ours, theirs = _counts(here), _counts(there)
    as_they_come = list(range(len(ours)))
    if ours == theirs or sorted(ours) != sorted(theirs):
        return as_they_come
    ways = [
        [*way]
        for way in itertools.permutations(as_they_come)
        if [ours[slot] for slot in way] == theirs
    ]
    return ways[0] if len(ways) == 1 else None


def _ranks(rows: Sequence[Numbers]) -> list[Numbers]:
    ranks = [
        {number: rank for rank, number in enumerate(sorted(set(column)))}
        for column in zip(*rows, strict=True)
    ]
    return [tuple(rank[n] for rank, n in zip(ranks, row, strict=True)) for row in rows]
