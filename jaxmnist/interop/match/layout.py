"""How the numbers of a PyTorch array lie in a JAX one: transposed, flipped, reshaped, summed.

Every leaf is put together of blocks. A block is the sum of slices of PyTorch's arrays, with its
numbers in another order: a linear map, but for a constant, with an adjoint that converts gradients.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]


class Layout(NamedTuple):
    """A reordering of numbers: reshape, transpose, flip, reshape."""

    before: Shape
    """The shape that is transposed."""
    axes: tuple[int, ...]
    flipped: tuple[int, ...]
    """The axes that are reversed, counted after the transposition."""
    after: Shape
    """The shape in JAX."""
    words: str
    """What it does, for a reader."""

    def to_jax(self, array: np.ndarray) -> np.ndarray:
        """Reorder PyTorch's numbers as JAX has them."""
        moved = np.flip(array.reshape(self.before).transpose(self.axes), self.flipped)
        return np.asarray(moved.reshape(self.after))  # One without axes would be a scalar.

    def to_torch(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """Reorder JAX's numbers as PyTorch has them, in its shape: the inverse, and the adjoint."""
        moved = array.reshape([self.before[axis] for axis in self.axes])
        moved = np.flip(moved, self.flipped).transpose(np.argsort(self.axes))
        return np.asarray(moved.reshape(shape))


class Source(NamedTuple):
    """A slice of one of PyTorch's arrays."""

    name: str
    """In the ``state_dict``."""
    shape: Shape
    """Of the whole array."""
    axis: int = 0
    start: int = 0
    stop: int | None = None

    @property
    def where(self) -> Any:
        """Return what selects the slice."""
        if self.whole:
            return ...
        return (*(slice(None),) * self.axis, slice(self.start, self.stop))

    @property
    def whole(self) -> bool:
        """Return whether it is the whole array."""
        return self.stop is None

    @property
    def sliced(self) -> Shape:
        """Return the slice's shape."""
        if self.stop is None:
            return self.shape
        before, after = self.shape[: self.axis], self.shape[self.axis + 1 :]
        return (*before, self.stop - self.start, *after)

    def part(self, index: int, count: int) -> "Source":
        """Return one of equal parts of the slice, along its axis."""
        size = self.sliced[self.axis] // count
        start = self.start + index * size
        return self._replace(start=start, stop=start + size)

    def take(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the slice of the array of this name."""
        array = arrays[self.name]
        return array if self.whole else array[self.where]

    def __str__(self) -> str:
        if self.whole:
            return self.name
        return f"{self.name}[{':, ' * self.axis}{self.start}:{self.stop}]"


class Block(NamedTuple):
    """A part of a JAX leaf: the sum of sources in another layout, and a constant."""

    sources: tuple[Source, ...]
    layout: Layout
    at: tuple[slice, ...] = ()
    """Where in the leaf."""
    plus: float = 0.0


def assemble(
    blocks: tuple[Block, ...], arrays: Mapping[str, np.ndarray], shape: Shape
) -> np.ndarray:
    """Return a JAX leaf from PyTorch's arrays."""
    leaf = np.empty(shape, arrays[blocks[0].sources[0].name].dtype)
    for block in blocks:
        first, *others = (source.take(arrays) for source in block.sources)
        # A copy only where something is added, so that a weight is copied once.
        total = sum(others, first) if others else first
        moved = block.layout.to_jax(total)
        leaf[block.at] = moved + np.asarray(block.plus, leaf.dtype) if block.plus else moved
    return leaf


def disassemble(
    blocks: tuple[Block, ...],
    leaf: np.ndarray,
    write: Callable[[Source, np.ndarray], None],
    gradients: bool = False,
) -> None:
    """Write a JAX leaf's numbers into the slices that it is made of.

    Args:
        blocks: The leaf's.
        leaf: Its numbers, or the gradient with respect to it.
        write: Called with every source and its numbers.
        gradients: Whether to apply the adjoint, by which every summand has the whole gradient;
            otherwise the first summand is the sum, and the others are zero.
    """
    for block in blocks:
        part = np.asarray(leaf[block.at])
        for position, source in enumerate(block.sources):
            numbers = block.layout.to_torch(part, source.sliced)
            if not gradients and block.plus:
                numbers = numbers - np.asarray(block.plus, leaf.dtype)
            if not gradients and position:
                numbers = np.zeros_like(numbers)
            write(source, numbers)


def unchanged(shape: Shape) -> Layout:
    """Return the layout of numbers that stay where they are."""
    return Layout(shape, tuple(range(len(shape))), (), shape, "same")


def reshaped(shape: Shape, after: Shape) -> Layout | None:
    """Return the layout that only reshapes; None where the sizes differ."""
    if math.prod(shape) != math.prod(after):
        return None
    words = "same" if shape == after else f"reshape to {after}"
    return Layout(shape, tuple(range(len(shape))), (), after, words)


def permuted(
    shape: Shape, axes: tuple[int, ...], after: Shape, words: str, flipped: tuple[int, ...] = ()
) -> Layout | None:
    """Return the layout that transposes to a shape of those factors; None where it cannot.

    Every axis of the transposed array may be split into several: (in, out) into (in, heads, size).
    """
    moved = tuple(shape[axis] for axis in axes)
    if not _splits(moved, after):
        return None
    return Layout(
        shape, axes, flipped, after, words if moved == after else f"{words}, reshape to {after}"
    )


def _splits(shape: Shape, after: Shape) -> bool:
    """Return whether the second shape is the first with axes split in place."""
    if not shape:
        return not after
    product = 1
    for used, size in enumerate(after, start=1):
        product *= size
        if product == shape[0] and _splits(shape[1:], after[used:]):
            return True
    return False
