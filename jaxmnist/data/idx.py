"""Folders of IDX files, the format MNIST was published in; gzipped or not.

A folder has four files, as published, with a dot in place of the last hyphens
(`train-images.idx3-ubyte`), each in a folder of its own name (as Kaggle's copy has them), or with a
prefix as EMNIST and QMNIST have (`emnist-digits-train-images-idx3-ubyte.gz`). Where a folder has
none, the folders up to two levels below are searched (`MNIST/raw`, as torchvision unpacks them).
QMNIST's labels are rows of eight numbers (`qmnist-train-labels-idx2-int`), the class first.
EMNIST's files store every image transposed; a set with the prefix `emnist-` is therefore set
upright.
"""

import filecmp
import gzip
import io
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxmnist.data.class_names import for_classes, of_labels
from jaxmnist.data.dataset import Dataset, classes_in
from jaxmnist.errors import InputError
from jaxmnist.mistaken_files import mistaken_file
from jaxmnist.reading import check_bytes, read_bytes

FILE_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_DEPTH = 2
"""How many levels of folders below the given one are searched for a set."""
_PATTERN = re.compile(
    r"(?P<prefix>.*-)?(?P<split>train|t10k|test)-(?P<kind>images[.-]idx3-ubyte|labels[.-]idx1-ubyte|labels[.-]idx2-int)"
    r"(?P<gz>\.gz)?"
)


_TYPES = {"uint8": 8, "int32": 12}
"""The third byte of a file, by what the data are."""


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
    num_classes = classes_in(train_labels, test_labels)
    return Dataset(
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        num_classes=num_classes,
        name=str(folder),
        class_names=for_classes(of_labels(train_labels, prefix), num_classes),
    )


def find_idx_files(folder: Path) -> dict[str, IdxFiles]:
    """Find the complete sets of IDX files in a folder, by the prefix of their names.

    Args:
        folder: The folder; only where it has no complete set are the folders below it searched,
            two levels deep.

    Returns:
        At least one set, under its prefix: `""` for MNIST's own names, or such as
        `"emnist-digits-"`. Of a gzipped file and its plain twin, the plain one; of a file and one
        in a folder of the same name, the file.

    Raises:
        InputError: A folder cannot be listed, none has a complete set, several have one, or a file
            is there twice under different spellings.
    """
    searched = {folder: _files_in(folder)}
    level = [folder]
    for _ in range(_DEPTH + 1):
        complete = {each: sets for each in level if (sets := _complete(searched[each], each))}
        if len(complete) > 1:
            raise InputError(
                f"{folder}: {' and '.join(str(each) for each in complete)} each have a set; "
                "name one of them"
            )
        if complete:
            [sets] = complete.values()
            return sets
        level = [
            below
            for each in level
            for below in _listed(each)
            if below.is_dir() and os.access(below, os.R_OK | os.X_OK)
        ]
        searched |= {each: _files_in(each) for each in level}
    nearest_folder = max(
        searched, key=lambda each: max(map(len, searched[each].values()), default=0)
    )
    have = {field for files in searched[nearest_folder].values() for field in files}
    missing = [
        name for field, name in zip(IdxFiles._fields, FILE_NAMES, strict=True) if field not in have
    ]
    where = (
        "this folder or the folders up to two levels below it"
        if nearest_folder == folder
        else f"{nearest_folder}, where others of the set are"
    )
    raise InputError(
        f"{folder}: no {', '.join(missing or FILE_NAMES)} in {where} (each may end in .gz); "
        "the four files of one set are needed"
    )


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from error


def _files_in(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """List a folder's IDX files by prefix and field, the files before those in folders."""
    found: dict[str, dict[str, list[Path]]] = {}
    inner = []
    for path in _listed(folder):
        if match := _PATTERN.fullmatch(path.name):
            if path.is_dir():
                inner += [
                    (each, within)
                    for each in _listed(path)
                    if not each.is_dir()
                    and (within := _PATTERN.fullmatch(each.name))
                    and _field(within) == _field(match)
                ]
            else:
                _, fields = _field(match)
                found.setdefault(match["prefix"] or "", {}).setdefault(fields, []).append(path)
    outer = {(prefix, field) for prefix, fields in found.items() for field in fields}
    for path, match in inner:
        if _field(match) not in outer:
            prefix, field = _field(match)
            found.setdefault(prefix, {}).setdefault(field, []).append(path)
    return found


def _field(match: re.Match[str]) -> tuple[str, str]:
    """Return the prefix of a file's name, and which of a set's four files it is."""
    split = "train" if match["split"] == "train" else "test"
    return match["prefix"] or "", f"{split}_{match['kind'][:6]}"


def _complete(found: dict[str, dict[str, list[Path]]], folder: Path) -> dict[str, IdxFiles]:
    """Choose the files of the complete sets."""
    return {
        prefix: IdxFiles(**{field: _one_of(paths, folder) for field, paths in fields.items()})
        for prefix, fields in found.items()
        if len(fields) == len(IdxFiles._fields)
    }


def _one_of(paths: list[Path], folder: Path) -> Path:
    plain = [path for path in paths if path.suffix != ".gz"] or paths
    first, *others = plain
    if any(not filecmp.cmp(each, first, shallow=False) for each in others):
        raise InputError(
            f"{folder}: has {' and '.join(str(each.relative_to(folder)) for each in plain)}, "
            "which differ; remove all but one of them"
        )
    return first


def read_idx_files(files: IdxFiles) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read a set's four files: images uint8 `(N, rows, columns)`, labels `(N,)`, as stored.

    Raises:
        InputError: A file is unreadable or corrupt.
    """
    return (
        read_idx(files.train_images, ndim=3),
        _read_labels(files.train_labels),
        read_idx(files.test_images, ndim=3),
        _read_labels(files.test_labels),
    )


def _read_labels(path: Path) -> np.ndarray:
    """Read labels of one byte each, or QMNIST's rows of eight numbers with the class first."""
    if "idx2" not in path.name:
        return read_idx(path, ndim=1)
    rows = read_idx(path, ndim=2, dtype="int32")
    if rows.shape[1] != 8:
        raise InputError(f"{path}: has rows of {rows.shape[1]} numbers; QMNIST's labels have 8")
    return rows[:, 0]


def read_idx(path: Path, ndim: int, dtype: Literal["uint8", "int32"] = "uint8") -> np.ndarray:
    """Read one IDX file: `0 0 type ndim`, the big-endian sizes, then the data.

    Args:
        path: The file; its content shows whether it is gzipped.
        ndim: Number of dimensions it must have: 3 for images, 1 for labels, 2 for QMNIST's labels.
        dtype: What it must have been written as: uint8 (type 8) or int32 (type 12, big-endian).

    Returns:
        That dtype, of the shape in the header.

    Raises:
        InputError: The file is unreadable, is no such IDX file, or has too few or too many bytes;
            or its header asks for more memory than `jaxmnist.reading.max_bytes`.
    """
    header = 4 + 4 * ndim
    stored = np.dtype(dtype).newbyteorder(">")
    try:
        content = read_bytes(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    packed = content.startswith(b"\x1f\x8b")
    stream = io.BytesIO(content)
    try:
        file = gzip.GzipFile(fileobj=stream) if packed else stream
        beginning = file.read(1000)
        if mistake := mistaken_file(beginning):
            raise InputError(f"{path}: {mistake}")
        shape = _shape(beginning[:header], ndim, dtype, path)
        expected = header + math.prod(shape) * stored.itemsize
        # A size of 0 makes the others no smaller: NumPy has no array of such a shape.
        check_bytes(str(path), math.prod(max(1, size) for size in shape) * stored.itemsize)
        if packed:  # One byte more than the header means, whatever else is in there.
            content = beginning + file.read(max(0, expected + 1 - len(beginning)))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file: {error}") from error
    if len(content) != expected:
        least = "at least " if packed and len(content) > expected else ""
        raise InputError(
            f"{path}: {'truncated' if len(content) < expected else 'has bytes after its end'}: "
            f"{least}{len(content)} bytes, where its header (shape {shape}) means {expected}"
        )
    # astype copies, so that the result is writable.
    return np.frombuffer(content, stored, offset=header).reshape(shape).astype(dtype)


def _shape(header: bytes, ndim: int, dtype: str, path: Path) -> tuple[int, ...]:
    """Return the sizes that a file begins with."""
    magic = bytes([0, 0, _TYPES[dtype], ndim])
    if header[:4] != magic:
        raise InputError(
            f"{path}: not an IDX file of {'images' if ndim == 3 else 'labels'}: "
            f"it begins with 0x{header[:4].hex()}, not 0x{magic.hex()}"
        )
    if len(header) < 4 + 4 * ndim:
        raise InputError(
            f"{path}: truncated: {len(header)} bytes, and the header has {4 + 4 * ndim}"
        )
    return struct.unpack_from(f">{ndim}I", header, 4)


def upright(images: UInt8[np.ndarray, "n a b"]) -> UInt8[np.ndarray, "n b a"]:
    """Transpose each image: EMNIST stores them column by column."""
    return np.ascontiguousarray(images.transpose(0, 2, 1))
