"""Folders of IDX files, the format MNIST was published in; gzipped or not.

A folder has four files, as published, as torchvision unpacks them (`MNIST/raw`), with a dot in
place of the last hyphens (`train-images.idx3-ubyte`), or with a prefix as EMNIST has
(`emnist-digits-train-images-idx3-ubyte.gz`). EMNIST's files store every image transposed; a folder
with the prefix `emnist-` is therefore set upright.
"""

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxmnist.data.dataset import Dataset, classes_in
from jaxmnist.errors import InputError

FILE_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_PATTERN = re.compile(
    r"(?P<prefix>.*-)?(?P<split>train|t10k|test)-(?P<kind>images[.-]idx3|labels[.-]idx1)-ubyte"
    r"(?P<gz>\.gz)?"
)


class IdxFiles(NamedTuple):
    """The four files of one set."""

    train_images: Path
    train_labels: Path
    test_images: Path
    test_labels: Path


def load_idx(folder: Path) -> Dataset:
    """Load a folder of four IDX files; EMNIST's images are set upright.

    Args:
        folder: The folder of one set.

    Raises:
        InputError: Files are missing, or there are several sets, or a file is corrupt.
    """
    sets = find_idx_files(folder)
    if len(sets) > 1:
        raise InputError(
            f"{folder}: has {len(sets)} sets ({', '.join(f'{p}*' for p in sorted(sets))}); "
            "put the four files of one of them in a folder of their own"
        )
    [(prefix, files)] = sets.items()
    train_images, train_labels, test_images, test_labels = read_idx_files(files)
    if prefix.startswith("emnist-"):
        train_images, test_images = upright(train_images), upright(test_images)
    return Dataset(
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        num_classes=classes_in(train_labels, test_labels),
        name=str(folder),
    )


def find_idx_files(folder: Path) -> dict[str, IdxFiles]:
    """Find the complete sets of IDX files in a folder, by the prefix of their names.

    Args:
        folder: The folder to list; its subfolders are not searched.

    Returns:
        At least one set, under its prefix: `""` for MNIST's own names, or such as
        `"emnist-digits-"`. Of a gzipped file and its plain twin, the plain one.

    Raises:
        InputError: The folder cannot be listed or has no complete set.
    """
    try:
        paths = sorted(folder.iterdir(), reverse=True)  # "x.gz" before "x": the plain one stays.
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from error
    found: dict[str, dict[str, Path]] = {}
    for path in paths:
        if match := _PATTERN.fullmatch(path.name):
            split = "train" if match["split"] == "train" else "test"
            found.setdefault(match["prefix"] or "", {})[f"{split}_{match['kind'][:6]}"] = path
    sets = {
        prefix: IdxFiles(**files)
        for prefix, files in found.items()
        if len(files) == len(IdxFiles._fields)
    }
    if not sets:
        have = {field for files in found.values() for field in files}
        missing = [
            name
            for field, name in zip(IdxFiles._fields, FILE_NAMES, strict=True)
            if field not in have
        ]
        raise InputError(
            f"{folder}: no {', '.join(missing or FILE_NAMES)} in this folder (each may end in .gz);"
            f" the four files of one set are needed"
        )
    return sets


def read_idx_files(files: IdxFiles) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read a set's four files: images uint8 `(N, rows, columns)`, labels uint8 `(N,)`, as stored.

    Raises:
        InputError: A file is unreadable or corrupt.
    """
    return (
        read_idx(files.train_images, ndim=3),
        read_idx(files.train_labels, ndim=1),
        read_idx(files.test_images, ndim=3),
        read_idx(files.test_labels, ndim=1),
    )


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read one IDX file of bytes: `0 0 8 ndim`, the big-endian sizes, then the data.

    Args:
        path: The file; its content shows whether it is gzipped.
        ndim: Number of dimensions it must have: 3 for images, 1 for labels.

    Returns:
        uint8, of the shape in the header.

    Raises:
        InputError: The file is unreadable, is no such IDX file, or has too few or too many bytes.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: damaged gzip file: {error}") from error
    magic = bytes([0, 0, 8, ndim])
    if content[:4] != magic:
        raise InputError(
            f"{path}: not an IDX file of {'images' if ndim == 3 else 'labels'}: "
            f"it begins with 0x{content[:4].hex()}, not 0x{magic.hex()}"
        )
    header = 4 + 4 * ndim
    if len(content) < header:
        raise InputError(f"{path}: truncated: {len(content)} bytes, and the header has {header}")
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise InputError(
            f"{path}: {'truncated' if len(content) < expected else 'has bytes after its end'}: "
            f"{len(content)} bytes, where its header (shape {shape}) means {expected}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()  # Writable.


def upright(images: UInt8[np.ndarray, "n a b"]) -> UInt8[np.ndarray, "n b a"]:
    """Transpose each image: EMNIST stores them column by column."""
    return np.ascontiguousarray(images.transpose(0, 2, 1))
