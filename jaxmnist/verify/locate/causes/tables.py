"""Causes that are a table, such as of positions: rounded, read from another row, or another one."""

import itertools
from collections.abc import Iterator
from typing import Final

import numpy as np

from jaxmnist.verify.locate.align import informative, magnitude, same_elements
from jaxmnist.verify.locate.causes.precision import rounded_to
from jaxmnist.verify.locate.forward import Alignment
from jaxmnist.verify.locate.torch_trace import Ref
from jaxmnist.verify.locate.trial import Hypothesis, with_argument

LATER: Final = 8
"""How many operations after the first the second of two tables is read."""
PAIRS: Final = 100
"""How many pairs of tables are tried."""


def hypotheses(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Yield our tables in the place of one that an operation reads.

    Args:
        alignment: Of the two programs.
        index: The position of the operation where they diverge.

    Yields:
        Changes to it; none if it reads no table.
    """
    own = _tables(alignment, index)
    for position, table in own.items():
        for other in _others(alignment, table):
            changed = with_argument(alignment.theirs.operations[index], position, _tensor(other))
            yield Hypothesis(_words(other, table), {index: changed})
    # A rotation has two: the cosines and the sines.
    operations = alignment.theirs.operations
    for later in range(index + 1, min(index + LATER, len(operations))):
        for (at, table), (there, second) in itertools.product(
            own.items(), _tables(alignment, later).items()
        ):
            pairs = itertools.product(
                [table, *_others(alignment, table)], [second, *_others(alignment, second)]
            )
            for one, two in itertools.islice(pairs, 1, PAIRS):
                changes = {
                    index: with_argument(operations[index], at, _tensor(one)),
                    later: with_argument(operations[later], there, _tensor(two)),
                }
                words = _words(two, second) if one is table else _words(one, table)
                yield Hypothesis(words, changes)


def _tables(alignment: Alignment, index: int) -> dict[int, np.ndarray]:
    """The arrays that an operation on data reads, and that are no parameters, by position."""
    values = alignment.theirs.values
    found = {}
    for position, x in enumerate(alignment.theirs.operations[index].arguments):
        if not isinstance(x, Ref):
            continue
        value = values[x.number]
        if value.data or value.name is not None or not value.tensor.is_floating_point():
            continue
        array = value.array()
        if informative(array) and array.ndim > 1:
            found[position] = array
    return found


def _others(alignment: Alignment, own: np.ndarray) -> list[np.ndarray]:
    """Our tables of the same size, or of half of it, which are then there twice."""
    tried: list[np.ndarray] = []
    for ours in alignment.ours.values:
        array = ours.array
        if ours.data or own.size not in (array.size, 2 * array.size) or not informative(array):
            continue
        if array.size == own.size:
            tables = [array.reshape(own.shape)]
        elif own.shape[-1] % 2:
            continue
        else:
            half = array.reshape(*own.shape[:-1], -1)
            tables = [np.concatenate((half, half), -1), np.repeat(half, 2, -1)]
        for table in tables:
            table = table.astype(own.dtype)
            if not any(np.array_equal(table, one) for one in [own, *tried]):
                tried.append(table)
    return tried


def _tensor(array: np.ndarray) -> object:
    import torch

    return torch.from_numpy(np.array(array))


def _words(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Say how one table differs from another."""
    if (dtype := rounded_to(ours, theirs)) is not None:
        return f"{dtype}: a table in JAX"
    if np.allclose(ours, -theirs, rtol=1e-9):
        return "sign of a table"
    rows, others = (x.reshape(-1, x.shape[-1]) for x in (ours, theirs))
    for by in range(1, min(4, len(rows))):
        if np.allclose(rows[:-by], others[by:], rtol=1e-9):
            return f"offset of a table: from row {by} in JAX, from row 0 in PyTorch"
        if np.allclose(rows[by:], others[:-by], rtol=1e-9):
            return f"offset of a table: from row 0 in JAX, from row {by} in PyTorch"
    if same_elements(ours, theirs):
        return "order of a table's elements"
    error = np.abs(ours - theirs).max() / magnitude(theirs)
    return f"table: other numbers in JAX, up to {error:.2g} of its largest away"
