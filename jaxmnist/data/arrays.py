"""Data of any shape by name or by path, as a pair ``(train, test)`` of pairs of arrays.

The tutorial's `load_dataset` asks for 28x28 bytes with a class each. A task of one's own may have
images of any size and channels, float features and float targets.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmnist.data.catalogue import STANDARD_SETS
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.image_folder import is_image_folder, load_image_folder
from jaxmnist.data.load import load_dataset
from jaxmnist.data.npz import KEYS, read_arrays
from jaxmnist.data.tfds import open_images, read_all
from jaxmnist.errors import InputError
from jaxmnist.reading import expanded

Part = tuple[np.ndarray, np.ndarray]
"""Inputs and targets, with the same number of samples on their first axes."""


def load_arrays(
    name: str | os.PathLike[str] = "mnist",
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[Part, Part]:
    """Load the data of a task by name or by path.

    Args:
        name: One of

            - a path that ends in ``.npz``: the arrays ``x_train``, ``y_train``, ``x_test`` and
              ``y_test``, of any shapes and any numbers, with a leading sample axis;
            - a path to a folder of class-named folders of images, see `load_image_folder`;
            - ``tfds:NAME``, a prepared TFDS set of images of any one size;
            - whatever `load_dataset` takes: its images and labels.
        data_dir: As in `load_dataset`.

    Returns:
        ``((x_train, y_train), (x_test, y_test))``. Whole numbers of 64 bits are stored in 32, as
        JAX does; floating ones keep their precision.

    Raises:
        InputError: The name is unknown, or the data are not usable.

    >>> (images, labels), _ = load_arrays("mnist")
    >>> images.shape, labels.dtype
    ((60000, 28, 28), dtype('int32'))
    """
    text = os.fspath(name)
    path = expanded(text)
    try:
        if path.suffix == ".npz":
            return _load_npz(path)
        if text not in STANDARD_SETS and is_image_folder(path):
            return load_image_folder(path)
    except OSError as error:
        raise InputError(f"{text}: cannot be read: {error.strerror}") from error
    if text.startswith("tfds:"):
        prepared = open_images(text.removeprefix("tfds:"), data_dir)
        if prepared.image_shape != (28, 28):
            train, test = read_all(prepared)
            return _narrow_labels(*train), _narrow_labels(*test)
    return _parts(load_dataset(name, data_dir))


def _narrow_labels(images: np.ndarray, labels: np.ndarray) -> Part:
    return images, labels.astype(np.int32)


def _parts(dataset: Dataset) -> tuple[Part, Part]:
    train = dataset.train_images, dataset.train_labels
    return train, (dataset.test_images, dataset.test_labels)


def _load_npz(path: Path) -> tuple[Part, Part]:
    arrays = read_arrays(path, KEYS, source=str(path))
    check_numbers(path, arrays)
    arrays = [narrowed(array, f"{path}: {key}") for key, array in zip(KEYS, arrays, strict=True)]
    check_parts(path, arrays)
    x_train, y_train, x_test, y_test = arrays
    return (x_train, y_train), (x_test, y_test)


def check_numbers(path: Path, arrays: Sequence[np.ndarray]) -> None:
    """Refuse arrays that are no samples of numbers.

    Args:
        path: The file that they are from, for messages.
        arrays: Training inputs and targets, test inputs and targets.

    Raises:
        InputError: An array is of another kind, or has no samples.
    """
    for key, array in zip(KEYS, arrays, strict=True):
        if array.dtype.kind not in "biufc":
            raise InputError(f"{path}: {key} has dtype {array.dtype}; numbers are needed")
        if not array.ndim or not len(array):
            raise InputError(
                f"{path}: {key} has shape {array.shape}; its first axis must be that of at least "
                "one sample"
            )


def check_parts(path: Path, arrays: Sequence[np.ndarray]) -> None:
    """Refuse arrays that do not go together.

    Args:
        path: The file that they are from, for messages.
        arrays: Training inputs and targets, test inputs and targets.

    Raises:
        InputError: Two of a part differ in the number of samples, or the parts in the shapes or
            dtypes of a sample.
    """
    x_train, y_train, x_test, y_test = arrays
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if len(x) != len(y):
            raise InputError(
                f"{path}: x_{part} has {len(x)} samples and y_{part} {len(y)}; "
                "they must be the same"
            )
    for key, train, test in (("x", x_train, x_test), ("y", y_train, y_test)):
        if train.shape[1:] != test.shape[1:] or _narrow(train.dtype) != _narrow(test.dtype):
            raise InputError(
                f"{path}: {key}_train is {train.dtype}{list(train.shape)} and {key}_test "
                f"{test.dtype}{list(test.shape)}; they may differ in the first number only"
            )


def narrowed(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array with its whole numbers in at most 32 bits.

    Args:
        array: Numbers.
        name: What error messages call it.

    Returns:
        The same array, or int32.

    Raises:
        InputError: A number does not fit into 32 bits.
    """
    if array.dtype != _narrow(array.dtype):
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        if low < -(2**31) or high >= 2**31:
            raise InputError(
                f"{name} has numbers from {low} to {high}; whole numbers of 32 bits, -2147483648 "
                "to 2147483647, are allowed: store larger ones as floating numbers"
            )
        return array.astype(np.int32)
    return array


def _narrow(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.int32) if dtype.kind in "iu" and dtype.itemsize == 8 else dtype
