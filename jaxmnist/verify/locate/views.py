"""Which elements of a storage the tensors on it have, and whether two share some."""

from typing import Any

import numpy as np


def view(tensor: Any) -> tuple[Any, ...]:
    """Return which elements of its storage a tensor has.

    Args:
        tensor: Strided.

    Returns:
        Its offset, shape, strides and dtype.
    """
    return (tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def overlap(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    """Return whether two views of one storage have an element in common.

    Args:
        a: What `view` returned.
        b: Of another tensor with the same storage.

    Returns:
        Whether writing to one changes the other.

    >>> overlap((0, (2, 3), (6, 1), None), (3, (2, 3), (6, 1), None))
    False
    """
    if a == b or a[3] != b[3]:
        return True
    ends = []
    for offset, shape, strides, _ in (a, b):
        if 0 in shape:
            return False
        steps = ((n - 1) * s for n, s in zip(shape, strides, strict=True))
        ends.append((offset, offset + sum(steps) + 1))
    (low_a, high_a), (low_b, high_b) = ends
    if high_a <= low_b or high_b <= low_a:
        return False
    start = min(low_a, low_b)
    taken = np.zeros(max(high_a, high_b) - start, bool)

    def part(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], _: Any) -> np.ndarray:
        return np.lib.stride_tricks.as_strided(taken[offset - start :], shape, strides)

    part(*a)[...] = True
    return bool(part(*b).any())
