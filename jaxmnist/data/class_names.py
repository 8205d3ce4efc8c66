"""What the classes of a data set are called, where they have names and are not numbers only.

A name may have any characters: it is text from a file or a folder, to be shown by
`jaxmnist.errors.shortened` or by what a picture has of that kind.
"""

import hashlib
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from jaxmnist.reading import read_bytes

_MERGED: Final = string.digits + string.ascii_uppercase + "abdefghnqrt"
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "emnist/balanced": tuple(_MERGED),
    "emnist/bymerge": tuple(_MERGED),
    "emnist/byclass": tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase),
    # Its labels are 1 to 26, and TFDS counts 37 classes.
    "emnist/letters": ("0", *string.ascii_uppercase, *map(str, range(27, 37))),
}
_LARGEST: Final = 1 << 26


def of_prepared(directory: Path, name: str) -> tuple[str, ...]:
    """Return the names that a prepared TFDS set has, or that its standard set is known by.

    Args:
        directory: The set's folder.
        name: TFDS's name for it.

    Returns:
        A name for each class, or none.

    Raises:
        InputError: The list of names is no regular file, or too large.
        OSError: It cannot be read.
    """
    known = _NAMES.get(name.removeprefix("tfds:").partition(":")[0], ())
    try:
        text = read_bytes(directory / "label.labels.txt", _LARGEST).decode(errors="replace")
    except FileNotFoundError:
        return known
    names = tuple(line.strip() for line in text.split("\n") if line.strip())
    are_numbers = names == tuple(map(str, range(len(names))))
    return known if are_numbers else names


def of_labels(labels: np.ndarray, prefix: str = "") -> tuple[str, ...]:
    """Return the names of the standard set that some training labels are those of.

    Args:
        labels: Integers, in the published order.
        prefix: Of the names of the IDX files that they are from, such as ``emnist-letters-``.

    Returns:
        A name for each class, or none.

    >>> of_labels(np.arange(3), "emnist-balanced-")[10:13]
    ('A', 'B', 'C')
    """
    # Where it is needed: the catalogue imports the readers of files, which import this.
    from jaxmnist.data.catalogue import STANDARD_SETS

    if prefix.startswith("emnist-"):
        return _NAMES.get("emnist/" + prefix.removeprefix("emnist-").removesuffix("-"), ())
    if labels.size != STANDARD_SETS["fashion_mnist"].train or labels.dtype.kind not in "iu":
        return ()
    digest = hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest()
    for name, standard in STANDARD_SETS.items():
        if standard.train_labels_sha256 == digest:
            return _NAMES.get(name, ())
    return ()


def for_classes(names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """Return names for so many classes: none, if there are too few.

    Args:
        names: A name for each class, and maybe more.
        num_classes: How many classes there are.

    >>> for_classes(("a", "b", "c"), 2), for_classes(("a",), 2)
    (('a', 'b'), ())
    """
    return tuple(names[:num_classes]) if len(names) >= num_classes else ()
