"""Keras-style `.npz` files: `x_train`, `y_train`, `x_test`, `y_test` in one zip archive."""

import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np

from jaxmnist.data.dataset import Dataset, classes_in
from jaxmnist.errors import InputError

KEYS = ("x_train", "y_train", "x_test", "y_test")


def load_npz(path: Path) -> Dataset:
    """Load a Keras-style `.npz`: images uint8 `(N, 28, 28)`, integer labels `(N,)`.

    Args:
        path: The file. It is never unpickled.

    Raises:
        InputError: The file is missing, unreadable, corrupt, or lacks an array.
    """
    x_train, y_train, x_test, y_test = read_arrays(path, KEYS, source=str(path))
    return Dataset(
        train_images=x_train,
        train_labels=y_train,
        test_images=x_test,
        test_labels=y_test,
        num_classes=classes_in(y_train, y_test),
        name=str(path),
    )


def read_arrays(file: Path | BytesIO, keys: Iterable[str], source: str) -> list[np.ndarray]:
    """Read some arrays of an `.npz`, each checked against its checksum and never unpickled.

    Args:
        file: The path, or the content.
        keys: The arrays' names.
        source: Name of the file in error messages.

    Raises:
        InputError: The file cannot be opened, is not a zip archive, lacks an array, or is corrupt.
    """
    try:
        archive = zipfile.ZipFile(file)
    except OSError as error:
        raise InputError(f"{source}: cannot be opened: {error.strerror or error}") from error
    except Exception as error:  # As below.
        raise InputError(f"{source}: not a whole .npz (zip) archive: {_line(error)}") from error
    with archive:
        present = [name.removesuffix(".npy") for name in archive.namelist()]
        missing = [key for key in keys if key not in present]
        if missing:
            raise InputError(
                f"{source}: no array named {', '.join(missing)}; it has {', '.join(present)}, "
                f"and {', '.join(keys)} are needed"
            )
        return [_read_member(archive, key, source) for key in keys]


def _read_member(archive: zipfile.ZipFile, key: str, source: str) -> np.ndarray:
    try:
        with archive.open(f"{key}.npy") as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
            # Reading to the end is also what makes zipfile compare the checksum.
            if member.read(1):
                raise ValueError("bytes after the array's end")
    # Damaged bytes surface as any of a dozen types (zlib.error, EOFError, NotImplementedError, …),
    # and all of them mean the same to the reader.
    except Exception as error:
        raise InputError(f"{source}: {key} cannot be read: {_line(error)}") from error
    return array


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
