"""Which intermediate values of two programs are the same numbers, whatever their order.

Two frameworks lay the same values out differently: channels first or last, heads split before or
after, a batch folded into rows. So two arrays are the same here if their sorted elements are:
sorting moves no element's error, ``max|sort(a) - sort(b)| <= max|a - b|``. An array in which all
elements are equal says nothing and is no match.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

_FAR: Final = 1e300
"""In the place of infinity, so that two masks with the same infinities are equal."""


class Match(NamedTuple):
    """A value on the other side, and how far away it is."""

    number: int
    step: int | None
    """Of a loop, where the value is one step's."""
    error: float
    """Relative to the largest element."""


@dataclass
class Sorted:
    """One side's values, ready to be compared with any array.

    Attributes:
        arrays: The values by number; None for one that takes no part.
    """

    arrays: Sequence[np.ndarray | None]
    steps: Sequence[int]
    _by_size: dict[int, list[tuple[int, int | None]]] = field(default_factory=dict)
    _sorted: dict[tuple[int, int | None], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number, array in enumerate(self.arrays):
            if array is None or array.size == 0:
                continue
            self._by_size.setdefault(array.size, []).append((number, None))
            if 1 < self.steps[number] <= 64:
                size = array.size // self.steps[number]
                keys = [(number, step) for step in range(self.steps[number])]
                self._by_size.setdefault(size, []).extend(keys)

    def nearest(self, array: np.ndarray, among: set[int] | None = None) -> Match | None:
        """Find the value of the same size whose elements are nearest to an array's.

        Args:
            array: Of the other side.
            among: The numbers to choose from; None for all.

        Returns:
            The nearest, the first of several; None if there is none of this size.
        """
        wanted = ordered(array)
        size = magnitude(wanted)
        best: Match | None = None
        for key in self._by_size.get(array.size, ()):
            if among is not None and key[0] not in among:
                continue
            mine = self._ordered(key)
            if mine.shape != wanted.shape:
                continue
            # The sums alone tell most of them apart.
            if best is not None and abs(mine.mean() - wanted.mean()) > best.error * size:
                continue
            error = float(np.abs(mine - wanted).max(initial=0.0)) / size
            if best is None or error < best.error:
                best = Match(*key, error)
        return best

    def _ordered(self, key: tuple[int, int | None]) -> np.ndarray:
        if key not in self._sorted:
            array = self.arrays[key[0]]
            assert array is not None
            self._sorted[key] = ordered(array if key[1] is None else array[key[1]])
        return self._sorted[key]


def ordered(array: np.ndarray) -> np.ndarray:
    """Sort all elements; of complex ones the real and the imaginary parts.

    >>> ordered(np.array([[3.0, 1.0], [2.0, 0.0]])).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    flat = np.ravel(array)
    if np.iscomplexobj(array):
        flat = np.concatenate([np.real(array).ravel(), np.imag(array).ravel()])
    flat = np.nan_to_num(flat.astype(np.float64), nan=_FAR, posinf=_FAR, neginf=-_FAR)
    return np.sort(np.clip(flat, -_FAR, _FAR))


def magnitude(array: np.ndarray) -> float:
    """Return the largest finite magnitude of an array's elements, or 1 if that is 0.

    >>> magnitude(np.array([-3.0, 2.0, np.inf]))
    3.0
    """
    sizes = np.abs(array.astype(np.complex128 if np.iscomplexobj(array) else np.float64))
    return float(sizes[sizes < _FAR].max(initial=0.0)) or 1.0


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether float64 arrays are equal to a part in 10^9 of the second's magnitude."""
    return bool(np.abs(a - b).max(initial=0.0) <= 1e-9 * magnitude(b))


def informative(array: np.ndarray) -> bool:
    """Return whether an array's elements are floats and not all equal (or it has only one)."""
    if array.dtype.kind not in "fc" or array.size == 0:
        return False
    if array.size == 1:
        return bool(np.isfinite(array).all())
    finite = array[np.isfinite(array)]
    return bool(finite.size and np.any(finite != finite.flat[0]))


def same_elements(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays have the same elements, whatever their order.

    >>> same_elements(np.array([1.0, 2.0]), np.array([[2.0], [1.0]]))
    True
    """
    return a.size == b.size and np.array_equal(ordered(a), ordered(b))


def rearranged(values: np.ndarray, like: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Put values into the order that takes one array into another of the same elements.

    Args:
        values: To rearrange, of the shape of `like`.
        like: An array.
        target: The same elements in another order or shape.

    Returns:
        The values, in the shape of `target`.

    >>> rearranged(np.array([10, 20, 30]), np.array([3, 1, 2]), np.array([[1], [2], [3]])).tolist()
    [[20], [30], [10]]
    """
    result = np.empty(target.size, values.dtype)
    result[np.argsort(target.ravel(), kind="stable")] = values.ravel()[
        np.argsort(like.ravel(), kind="stable")
    ]
    return result.reshape(target.shape)
