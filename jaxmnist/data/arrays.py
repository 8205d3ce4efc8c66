"""Data of any shape by name or by path, as a pair ``(train, test)`` of pairs of arrays.

The tutorial's `load_dataset` asks for 28x28 bytes with a class each. A task of one's own may have
images of any size and channels, float features and float targets.
"""

import os
from pathlib import Path

import numpy as np

from jaxmnist.data.catalogue import STANDARD_SETS
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.image_folder import is_image_folder, load_image_folder
from jaxmnist.data.load import load_dataset
from jaxmnist.data.npz import KEYS, read_arrays
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
    return _parts(load_dataset(name, data_dir))


def _parts(dataset: Dataset) -> tuple[Part, Part]:
    train = dataset.train_images, dataset.train_labels
    return train, (dataset.test_images, dataset.test_labels)


def _load_npz(path: Path) -> tuple[Part, Part]:
    arrays = read_arrays(path, KEYS, source=str(path))
    x_train, y_train, x_test, y_test = (
        _usable(array, f"{path}: {key}") for key, array in zip(KEYS, arrays, strict=True)
    )
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if len(x) != len(y):
            raise InputError(
                f"{path}: x_{part} has {len(x)} samples and y_{part} {len(y)}; "
                "they must be the same"
            )
    for key, train, test in (("x", x_train, x_test), ("y", y_train, y_test)):
        if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
            raise InputError(
                f"{path}: {key}_train is {train.dtype}{list(train.shape)} and {key}_test "
                f"{test.dtype}{list(test.shape)}; they may differ in the first number only"
            )
    return (x_train, y_train), (x_test, y_test)


def _usable(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array in a dtype that JAX stores, or refuse what is no batch of numbers."""
    if array.dtype.kind not in "biufc":
        raise InputError(f"{name} has dtype {array.dtype}; numbers are needed")
    if not array.ndim or not len(array):
        raise InputError(
            f"{name} has shape {array.shape}; its first axis must be that of at least one sample"
        )
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        if low < -(2**31) or high >= 2**31:
            raise InputError(
                f"{name} has numbers from {low} to {high}; whole numbers of 32 bits, -2147483648 "
                "to 2147483647, are allowed: store larger ones as floating numbers"
            )
        return array.astype(np.int32)
    return array
