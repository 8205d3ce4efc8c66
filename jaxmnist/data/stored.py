"""Data of any shape that stay on disk, or wherever they are, until some rows of them are read."""

import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxmnist.data.arrays import check_numbers, check_parts, narrowed
from jaxmnist.data.image_folder import (
    ImageFiles,
    Labelled,
    is_image_folder,
    list_image_folder,
    read_images,
)
from jaxmnist.data.npz import KEYS, map_arrays
from jaxmnist.errors import InputError
from jaxmnist.reading import expanded


@dataclass(frozen=True)
class StoredPart:
    """The training or the test part of data that stay where they are until they are read.

    Attributes:
        samples: How many there are.
        read: ``read(rows) -> batch``: the samples of some row numbers, in that order, as a pytree
            of NumPy arrays with a leading sample axis. Several threads may call it at once.

    >>> squares = StoredPart(10, lambda rows: np.square(rows))
    >>> len(squares), squares.read([3, 1])
    (10, array([9, 1]))
    """

    samples: int
    read: Callable[[Sequence[int]], PyTree]

    def __len__(self) -> int:
        return self.samples


class StoredSet(NamedTuple):
    """Data that stay where they are until they are read, for `jaxmnist.fit`."""

    train: StoredPart
    """The training data."""
    test: StoredPart
    """The test data."""


def stored_arrays(train: PyTree, test: PyTree) -> StoredSet:
    """Return arrays as data of which some rows at a time are read.

    Memory-mapped arrays (`numpy.memmap`, or `numpy.load` with ``mmap_mode="r"``) stay on disk:
    what was read of a file is given back to the system at once.

    Args:
        train: A pytree of NumPy arrays with a leading sample axis.
        test: The same.

    Returns:
        The set.

    Raises:
        InputError: The arrays of a part have no or different numbers of samples.

    >>> part = {"x": np.arange(6).reshape(3, 2)}
    >>> stored_arrays(part, part).test.read([2, 0])
    {'x': array([[4, 5],
           [0, 1]])}
    """
    return StoredSet(_part(train), _part(test))


def open_npz(path: Path) -> StoredSet:
    """Open an `.npz` of any shapes without reading its arrays.

    Args:
        path: A file as `jaxmnist.data.load_arrays` takes it, written by `numpy.savez`. What is
            read is not compared with the file's checksums.

    Returns:
        The set: pairs of inputs and targets.

    Raises:
        InputError: The file cannot be read, is compressed, lacks an array, or has no usable ones.
    """
    arrays = map_arrays(path, KEYS)
    check_numbers(path, arrays)
    check_parts(path, arrays)

    def part(x: int, y: int) -> StoredPart:
        whole = _part((arrays[x], arrays[y]))

        def read(rows: Sequence[int]) -> PyTree:
            inputs, targets = whole.read(rows)
            return narrowed(inputs, f"{path}: {KEYS[x]}"), narrowed(targets, f"{path}: {KEYS[y]}")

        return StoredPart(whole.samples, read)

    return StoredSet(part(0, 1), part(2, 3))


def open_image_folder(path: Path) -> StoredSet:
    """Open a folder of images, of which only the headers are read.

    Args:
        path: As `list_image_folder` takes it.

    Returns:
        The set: pairs of images and labels, as `load_image_folder` returns them.

    Raises:
        InputError: As of `list_image_folder`.
    """
    files = list_image_folder(path)

    def part(files: ImageFiles, listed: list[Labelled]) -> StoredPart:
        return StoredPart(len(listed), lambda rows: read_images(files, [listed[i] for i in rows]))

    return StoredSet(part(files, files.train), part(files, files.test))


def open_path(name: str | os.PathLike[str]) -> StoredSet | None:
    """Open an `.npz` or a folder of images.

    Args:
        name: A path.

    Returns:
        The set, or None if the name is neither.

    Raises:
        InputError: It is one that cannot be used.
    """
    path = expanded(name)
    try:
        if path.suffix == ".npz":
            return open_npz(path)
        return open_image_folder(path) if is_image_folder(path) else None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from error


def _part(arrays: PyTree) -> StoredPart:
    leaves = jax.tree.leaves(arrays)
    lengths = {np.shape(leaf)[:1] for leaf in leaves}
    if len(lengths) != 1 or () in lengths:
        raise InputError(
            f"the arrays have the shapes {', '.join(str(np.shape(leaf)) for leaf in leaves)}; all "
            "must have a leading axis of the same number of samples"
        )
    mappings = [found for found in map(_mapping, leaves) if found is not None]

    def read(rows: Sequence[int]) -> PyTree:
        at = np.asarray(rows)
        taken = jax.tree.map(lambda leaf: np.asarray(leaf[at]), arrays)
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapping in mappings:
                mapping.madvise(mmap.MADV_DONTNEED)
        return taken

    return StoredPart(leaves[0].shape[0], read)


def _mapping(array: Any) -> mmap.mmap | None:
    """Return the file that an array is a read-only view of, if it is one.

    Of a copy-on-write mapping the system would give back what was written too.
    """
    if not (isinstance(array, np.memmap) and array.mode == "r"):
        return None
    while isinstance(array, np.ndarray):
        array = array.base
    return array if isinstance(array, mmap.mmap) else None
