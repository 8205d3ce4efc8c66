"""Data sets in one `.npz` file: as Keras writes them, as MedMNIST does, and under kindred names.

`read_npz` takes images of any shape; `load_npz` asks for the 28x28 grey ones that the tutorial's
network takes.
"""

import math
import zipfile
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxmnist.data.class_names import for_classes, of_labels
from jaxmnist.data.dataset import Dataset, classes_in
from jaxmnist.errors import InputError
from jaxmnist.mistaken_files import mistaken_file
from jaxmnist.reading import check_bytes, check_regular

Read = TypeVar("Read")
KEYS = ("x_train", "y_train", "x_test", "y_test")
_LAYOUTS = (
    KEYS,
    ("train_images", "train_labels", "test_images", "test_labels"),  # MedMNIST's.
    ("train_x", "train_y", "test_x", "test_y"),
    ("X_train", "y_train", "X_test", "y_test"),
    ("trainX", "trainY", "testX", "testY"),
)
"""Names of the four arrays: training images and labels, test images and labels."""
_VALIDATION = ("x_val", "val_images", "val_x", "X_val", "valX", "x_valid", "valid_images")


class NpzArrays(NamedTuple):
    """The arrays of a data set, as stored, but one label a number."""

    train_images: np.ndarray
    """`(N, ...)`."""
    train_labels: np.ndarray
    """`(N,)`."""
    test_images: np.ndarray
    """`(M, ...)`."""
    test_labels: np.ndarray
    """`(M,)`."""
    unused: str | None
    """The name of the validation images, which are not used, or None where there are none."""


def load_npz(path: Path) -> Dataset:
    """Load an `.npz` of 28x28 grey images; its test split is the one that is evaluated on.

    Args:
        path: A file that `read_npz` reads, with images uint8 `(N, 28, 28)` or `(N, 28, 28, 1)`.
            A validation split (`val_images`) is not used.

    Raises:
        InputError: The file is missing, unreadable, corrupt, lacks an array, or has images of
            another shape or dtype.
    """
    train_images, train_labels, test_images, test_labels, unused = read_npz(path)
    num_classes = classes_in(train_labels, test_labels)
    return Dataset(
        train_images=_grey(train_images, "training", path),
        train_labels=train_labels,
        test_images=_grey(test_images, "test", path),
        test_labels=test_labels,
        num_classes=num_classes,
        name=str(path),
        note=f"evaluated on its test split; {unused} is not used" if unused else "",
        class_names=for_classes(of_labels(train_labels), num_classes),
    )


def read_npz(path: Path) -> NpzArrays:
    """Read a data set's arrays from an `.npz`, with images of any shape.

    Args:
        path: The file, with `x_train`, `y_train`, `x_test` and `y_test` (Keras), `train_images`,
            `train_labels`, `test_images` and `test_labels` (MedMNIST), or `train_x`, `X_train` or
            `trainX` and their companions. It is never unpickled.

    Returns:
        The arrays as stored; labels `(N, 1)` as `(N,)`.

    Raises:
        InputError: The file is missing, unreadable, corrupt, or lacks an array; or it has the
            arrays under two sets of names.
    """
    source = str(path)
    present = _open(path, source, _names)
    complete = [keys for keys in _LAYOUTS if set(keys) <= set(present)]
    if len(complete) > 1:
        raise InputError(
            f"{source}: has two sets of arrays, {' and '.join(', '.join(k) for k in complete[:2])};"
            " write one of them to a file of its own"
        )
    # Where none is complete, the message names what the nearest one lacks.
    keys = complete[0] if complete else max(_LAYOUTS, key=lambda keys: len({*keys} & {*present}))
    train_images, train_labels, test_images, test_labels = read_arrays(path, keys, source)
    unused = next((name for name in _VALIDATION if name in present), None)
    return NpzArrays(
        train_images, _one_each(train_labels), test_images, _one_each(test_labels), unused
    )


def _one_each(labels: np.ndarray) -> np.ndarray:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _grey(images: np.ndarray, split: str, path: Path) -> np.ndarray:
    """Return images `(N, 28, 28)`; refuse coloured ones."""
    if images.ndim == 4 and images.shape[3] == 1:
        return images[..., 0]
    if images.ndim == 4 and images.shape[3] in (3, 4):
        raise InputError(
            f"{path}: its {split} images have shape {images.shape}, {images.shape[3]} colour "
            "channels; the tutorial's network takes grey ones, (N, 28, 28) or (N, 28, 28, 1)"
        )
    return images


def read_arrays(file: Path | BytesIO, keys: Iterable[str], source: str) -> list[np.ndarray]:
    """Read some arrays of an `.npz`, each checked against its checksum and never unpickled.

    Args:
        file: The path, or the content.
        keys: The arrays' names.
        source: Name of the file in error messages.

    Raises:
        InputError: The file cannot be opened, is not a zip archive, lacks an array, or is corrupt;
            or the arrays take more memory than `jaxmnist.reading.max_bytes`, which is found before
            any of it is allocated.
    """

    def read(archive: zipfile.ZipFile) -> list[np.ndarray]:
        _check_names(archive, keys, source)
        # What the archive says that its members unpack to, which zipfile reads no more than.
        check_bytes(source, sum(archive.getinfo(f"{key}.npy").file_size for key in keys))
        return [_read_member(archive, key, source) for key in keys]

    return _open(file, source, read)


def map_arrays(path: Path, keys: Iterable[str]) -> list[np.ndarray]:
    """Map some arrays of an `.npz` into memory: the system reads of the file what is used.

    Args:
        path: The file, as `numpy.savez` writes it. Its checksums are not compared.
        keys: The arrays' names.

    Returns:
        The arrays, read-only.

    Raises:
        InputError: The file cannot be opened, is not a zip archive, lacks an array, is compressed,
            or is corrupt.
    """

    def read(archive: zipfile.ZipFile) -> list[np.ndarray]:
        _check_names(archive, keys, str(path))
        return [_map_member(path, archive, key) for key in keys]

    return _open(path, str(path), read)


def _open(file: Path | BytesIO, source: str, read: Callable[[zipfile.ZipFile], Read]) -> Read:
    """Open the archive and read from it."""
    try:
        if isinstance(file, Path):
            check_regular(file)
        archive = zipfile.ZipFile(file)
    except OSError as error:
        raise InputError(f"{source}: cannot be opened: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:  # As in _read_member.
        mistake = mistaken_file(_beginning(file))
        reason = f"it {mistake}" if mistake else _line(error)
        raise InputError(f"{source}: not a whole .npz (zip) archive: {reason}") from error
    with archive:
        return read(archive)


def _beginning(file: Path | BytesIO) -> bytes:
    if isinstance(file, BytesIO):
        return file.getvalue()[:1000]
    with file.open("rb") as opened:
        return opened.read(1000)


def _names(archive: zipfile.ZipFile) -> list[str]:
    """Return the arrays' names; NumPy stores each as a member with the ending `.npy`."""
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _check_names(archive: zipfile.ZipFile, keys: Iterable[str], source: str) -> None:
    present = _names(archive)
    missing = [key for key in keys if key not in present]
    if missing:
        others = [name for name in archive.namelist() if not name.endswith(".npy")]
        present += [f"{name} (not an .npy)" for name in others]
        raise InputError(
            f"{source}: no array named {', '.join(missing)}; it has {', '.join(present)}, "
            f"and {', '.join(keys)} are needed"
        )


def _map_member(path: Path, archive: zipfile.ZipFile, key: str) -> np.ndarray:
    found = archive.getinfo(f"{key}.npy")
    if found.compress_type != zipfile.ZIP_STORED:
        raise InputError(
            f"{path}: {key} is compressed, and cannot be read piece by piece; write the file by "
            "numpy.savez"
        )
    try:
        with archive.open(found) as member:
            # As much as is stored, whatever the archive says that it unpacks to.
            shape, in_columns, dtype = _header(member, found.compress_size)
            begins = member.tell()
        with path.open("rb") as file:
            file.seek(found.header_offset)
            local = file.read(30)  # After these bytes, a name and an extra field of own lengths.
        skipped = sum(int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
        if not math.prod(shape):
            return np.empty(shape, dtype)
        offset, order = found.header_offset + 30 + skipped + begins, "F" if in_columns else "C"
        return np.memmap(path, dtype, "r", offset, shape, order)
    except Exception as error:  # As in _read_member.
        raise InputError(f"{path}: {key} cannot be read: {_line(error)}") from error


def _read_member(archive: zipfile.ZipFile, key: str, source: str) -> np.ndarray:
    try:
        size = archive.getinfo(f"{key}.npy").file_size
        with archive.open(f"{key}.npy") as member:
            # Whole: by parts, header first, zipfile would copy what it has with each part.
            content = member.read(size)
            # Reading to the end is also what makes zipfile compare the checksum.
            member.read(1)
        if len(content) != size:
            raise ValueError("it ends before the archive says")
        file = BytesIO(content)
        shape, in_columns, dtype = _header(file, size)
        order = "F" if in_columns else "C"
        array = (
            np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order=order).copy("K")
        )
    # Damaged bytes surface as any of a dozen types (zlib.error, EOFError, NotImplementedError, …),
    # and all of them mean the same to the reader.
    except Exception as error:
        raise InputError(f"{source}: {key} cannot be read: {_line(error)}") from error
    return array


def _header(member: Any, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read an array's shape, whether its columns are stored one by one, and its dtype.

    What follows is as many bytes as these mean, of the member's size.
    """
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(member)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(member)
    else:
        raise ValueError(f"it is of version {version}, which only named fields need")
    shape, _, dtype = header
    if dtype.hasobject:
        raise ValueError("it has Python objects, which are never unpickled (allow_pickle=False)")
    if not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"its header ({dtype}, shape {shape}) is of no array")
    expected, left = math.prod(shape) * dtype.itemsize, size - member.tell()
    if left != expected:
        kind = "too few bytes" if left < expected else "bytes after the end"
        raise ValueError(
            f"{kind}: {left}, where its header ({dtype}, shape {shape}) means {expected}"
        )
    return header


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
