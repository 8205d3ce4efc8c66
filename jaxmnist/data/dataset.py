"""One data set in memory, checked when it is made."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Array, Int32, UInt8

from jaxmnist.data.device import on_device
from jaxmnist.errors import InputError

MAX_CLASSES: Final = 2**20
"""The most classes of a set: a network has an output for each, and a byte lost in a label would
ask for millions."""


class Arrays(NamedTuple):
    """A data set's four arrays on the device: what a jitted program takes as its data."""

    train_images: UInt8[Array, "train 28 28"]
    train_labels: Int32[Array, " train"]
    test_images: UInt8[Array, "test 28 28"]
    test_labels: Int32[Array, " test"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images of 28x28 bytes, with a label each (tutorial row D4).

    Labels of any integer dtype are accepted and stored as int32.

    Args:
        train_images: Dtype uint8, `(N, 28, 28)`, 0 for paper and 255 for ink.
        train_labels: Integers `(N,)`, each in `0 … num_classes - 1`.
        test_images: Dtype uint8, `(M, 28, 28)`.
        test_labels: Integers `(M,)`.
        num_classes: Number of classes of the labels.
        name: Name of the set; error messages begin with it.
        note: What a user should know about how it was read, in one line, or "".
        class_names: A name for each class, or none where they are numbers.

    Raises:
        InputError: An array has another shape or dtype, is empty, or does not match its partner;
            a label is out of range; or the names are not one for each class.

    >>> images = np.zeros((3, 28, 28), np.uint8)
    >>> labels = np.array([0, 1, 9])
    >>> Dataset(images, labels, images[:1], labels[:1], num_classes=10, name="blank")
    Dataset(num_classes=10, name='blank')
    >>> Dataset(images, labels, images[:1], labels[:1], num_classes=9, name="blank")
    Traceback (most recent call last):
    ...
    jaxmnist.errors.InputError: blank: train_labels[2] is 9; with 9 classes, 0 to 8 are allowed
    """

    # __post_init__ checks shapes and dtypes: a type checker's error would come first, with less
    # information.
    train_images: np.ndarray = field(repr=False)
    train_labels: np.ndarray = field(repr=False)
    test_images: np.ndarray = field(repr=False)
    test_labels: np.ndarray = field(repr=False)
    num_classes: int
    name: str
    note: str = field(default="", repr=False)
    class_names: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Check every field, then store the labels as int32."""
        _check_split("train", self.train_images, self.train_labels, self.num_classes, self.name)
        _check_split("test", self.test_images, self.test_labels, self.num_classes, self.name)
        if self.class_names and len(self.class_names) != self.num_classes:
            raise InputError(
                f"{self.name}: {len(self.class_names)} class_names for {self.num_classes} classes; "
                "there must be one for each, or none"
            )
        # The only two assignments to a frozen instance, before any other reference to it exists.
        object.__setattr__(self, "train_labels", self.train_labels.astype(np.int32, copy=False))
        object.__setattr__(self, "test_labels", self.test_labels.astype(np.int32, copy=False))

    def arrays(self) -> Arrays:
        """Copy the four arrays to JAX's default device, images still as bytes.

        >>> import jax
        >>> from jaxmnist.data import load_dataset
        >>> jax.tree.map(lambda array: array.shape, load_dataset("mnist").arrays())
        Arrays(train_images=(60000, 28, 28), train_labels=(60000,),
               test_images=(10000, 28, 28), test_labels=(10000,))
        """
        of_training = self.train_images, self.train_labels
        return Arrays(*on_device((*of_training, self.test_images, self.test_labels)))


def classes_in(*labels: np.ndarray) -> int:
    """Return the number of classes that labels imply: the largest label plus one, at least 1."""
    # What is not a label at all is for Dataset to refuse.
    usable = [each for each in labels if each.size and np.issubdtype(each.dtype, np.integer)]
    return max([1, *(int(each.max()) + 1 for each in usable)])


def _check_split(
    split: str, images: np.ndarray, labels: np.ndarray, num_classes: int, name: str
) -> None:
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise InputError(f"{name}: {split}_images has shape {images.shape}; it must be (N, 28, 28)")
    if images.dtype != np.uint8:
        raise InputError(
            f"{name}: {split}_images has dtype {images.dtype}; it must be uint8 (0 to 255)"
        )
    if labels.ndim != 1:
        raise InputError(f"{name}: {split}_labels has shape {labels.shape}; it must be (N,)")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{name}: {split}_labels has dtype {labels.dtype}; it must be an integer one"
        )
    if len(images) != len(labels):
        raise InputError(
            f"{name}: {len(images)} {split}_images but {len(labels)} {split}_labels; "
            "there must be one label for each image"
        )
    if not len(images):
        raise InputError(f"{name}: {split}_images is empty; at least one image is needed")
    if not 1 <= num_classes < 2**31:
        raise InputError(
            f"{name}: num_classes is {num_classes}; 1 to 2147483647 are allowed (labels are int32)"
        )
    if num_classes > MAX_CLASSES:
        raise InputError(
            f"{name}: has {num_classes} classes (the largest label and one); at most {MAX_CLASSES} "
            "are allowed; number the classes from 0"
        )
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        first = int(wrong.argmax())
        raise InputError(
            f"{name}: {split}_labels[{first}] is {labels[first]}; "
            f"with {num_classes} classes, 0 to {num_classes - 1} are allowed"
        )
