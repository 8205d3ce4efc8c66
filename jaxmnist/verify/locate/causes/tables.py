"""Causes that are a table, such as of positions: rounded, read from another row, or another one."""

from collections.abc import Iterator

import numpy as np

from jaxmnist.verify.locate.align import informative, magnitude, same_elements
from jaxmnist.verify.locate.causes.precision import rounded_to
from jaxmnist.verify.locate.forward import Alignment
from jaxmnist.verify.locate.torch_trace import Ref
from jaxmnist.verify.locate.trial import Hypothesis, with_argument


def hypotheses(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Yield our tables in the place of one that an operation reads.

    Args:
        alignment: Of the two programs.
        index: The position of the operation where they diverge.

    Yields:
        Changes to it; none if it reads no table.
    """
    theirs = alignment.theirs
    operation = theirs.operations[index]
    for position, x in enumerate(operation.arguments):
        if not isinstance(x, Ref):
            continue
        value = theirs.values[x.number]
        if value.data or value.name is not None or not value.tensor.is_floating_point():
            continue
        own = value.array()
        if not informative(own) or own.ndim < 2:
            continue
        tried: list[np.ndarray] = []
        for ours in alignment.ours.values:
            array = ours.array
            if ours.data or array.size != own.size or not informative(array):
                continue
            table = array.reshape(own.shape).astype(own.dtype)
            if any(np.array_equal(table, one) for one in [own, *tried]):
                continue
            tried.append(table)
            changed = with_argument(operation, position, _tensor(table))
            yield Hypothesis(_words(table, own), {index: changed})


def _tensor(array: np.ndarray) -> object:
    import torch

    return torch.from_numpy(np.array(array))


def _words(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Say how one table differs from another."""
    if (dtype := rounded_to(ours, theirs)) is not None:
        return f"{dtype}: a table in JAX"
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
