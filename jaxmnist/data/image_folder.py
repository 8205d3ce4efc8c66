"""Images in folders that are named after their classes, as arrays.

Two layouts are read: ``DIR/train/CLASS/*.png`` with ``DIR/test/CLASS/*.png``, and
``DIR/CLASS/*.png``, of whose images every fifth is a test image.
"""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from jaxmnist.errors import InputError
from jaxmnist.reading import check_bytes, check_regular

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""The formats of images that are read, as Pillow names them."""
_GREY = ("1", "L")
_COLOUR = ("RGB", "P", "RGBA", "LA", "PA", "CMYK", "YCbCr")

Part = tuple[np.ndarray, np.ndarray]


def is_image_folder(path: Path) -> bool:
    """Return whether a path is a folder with folders in it, and no IDX files beside them.

    Args:
        path: Any path.
    """
    if not path.is_dir():
        return False
    entries = list(path.iterdir())
    return bool(_folders(path)) and not any("ubyte" in each.name for each in entries)


def load_image_folder(path: Path) -> tuple[Part, Part]:
    """Load images in class-named folders.

    All images have the same size and are in memory, at most 4 GiB together (or ``--max-bytes``).
    PNG, JPEG, BMP, GIF, WebP and TIFF are read, whatever a file's ending. Classes are numbered in
    the order of their folders' names, images follow in the order of class and file name. Other
    files, and those whose names begin with a dot, are ignored. If all images are grey, they have
    no channel axis; otherwise all have the channels red, green and blue, and transparency is
    dropped. Images of 16 bits a channel are refused.

    Args:
        path: A folder with ``train`` and ``test``, each with a folder for every class; or with
            the classes' folders themselves. Then the 5th, 10th, ... image of each class by file
            name is a test image.

    Returns:
        ``((images, labels), (images, labels))``: uint8, ``(N, height, width)`` or
        ``(N, height, width, 3)``, and int32.

    Raises:
        InputError: The two parts have different classes, a class has no image, sizes differ, a
            file is no image, or there are too many of them.
    """
    parts = [folder for folder in _folders(path) if folder.name in ("train", "test")]
    if len(parts) == 1:
        other = "test" if parts[0].name == "train" else "train"
        raise InputError(
            f"{path} has a folder {parts[0].name} and no folder {other}; give both, or a folder "
            "for each class"
        )
    if parts:
        test, train = (list(_files(part)) for part in parts)  # In the order of their names.
        names = [sorted({file.parent.name for file, _ in part}) for part in (train, test)]
        if names[0] != names[1]:
            (odd, *_) = sorted(set(names[0]) ^ set(names[1]))
            have, lack = ("train", "test") if odd in names[0] else ("test", "train")
            raise InputError(f"{path}/{have} has the class {odd!r}, and {path}/{lack} has not")
    else:
        train, test = [], []
        for label, folder in enumerate(_folders(path)):
            for index, found in enumerate(_files_of(folder, label)):
                (test if index % 5 == 4 else train).append(found)
        if not test:
            raise InputError(
                f"{path} has fewer than 5 images in every class, and the 5th of a class is its "
                "first test image; add images, or give folders train and test"
            )
    size, is_grey = _check([file for file, _ in (*train, *test)])
    return _read(train, size, is_grey), _read(test, size, is_grey)


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and each.name[0] != ".")


def _files(part: Path) -> Iterator[tuple[Path, int]]:
    if not _folders(part):
        raise InputError(f"{part} has no folders; there must be one for each class")
    for label, folder in enumerate(_folders(part)):
        yield from _files_of(folder, label)


def _files_of(folder: Path, label: int) -> list[tuple[Path, int]]:
    """Return the images of a class, with its number."""
    found = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in ENDINGS and file.name[0] != "." and file.is_file()
    )
    if not found:
        raise InputError(
            f"{folder} has no images; a class needs at least one file that ends in "
            f"{', '.join(ENDINGS)}"
        )
    return [(file, label) for file in found]


def _check(files: list[Path]) -> tuple[tuple[int, int], bool]:
    """Return the common size, and whether all images are grey, from their headers alone."""
    size, first, is_grey = None, files[0], True
    for file in files:
        with _opened(file) as image:
            found, mode = image.size, image.mode
        if mode not in (*_GREY, *_COLOUR):
            raise InputError(
                f"{file} has Pillow's mode {mode}; grey or colour images of 8 bits a channel are "
                "needed"
            )
        size = size or found
        if found != size:
            raise InputError(
                f"{file} is {found[0]}x{found[1]} pixels and {first} {size[0]}x{size[1]}; all "
                "images must have the same size"
            )
        is_grey &= mode in _GREY
    width, height = size or (0, 0)
    total = len(files) * width * height * (1 if is_grey else 3)
    check_bytes(f"{first.parent.parent}: {len(files)} images of {width}x{height} pixels", total)
    return (width, height), is_grey


def _read(files: list[tuple[Path, int]], size: tuple[int, int], is_grey: bool) -> Part:
    width, height = size
    images = np.empty((len(files), height, width) + (() if is_grey else (3,)), np.uint8)
    for index, (file, _) in enumerate(files):
        with _opened(file) as image:
            images[index] = np.asarray(image.convert("L" if is_grey else "RGB"))
    return images, np.array([label for _, label in files], np.int32)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """Open an image; whatever Pillow meets in a damaged one becomes one line."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Sizes are checked here.
            check_regular(file)
            with Image.open(file, formats=FORMATS) as image:
                yield image
    except (InputError, MemoryError):
        raise
    # Each of Pillow's readers has errors of its own: struct.error, SyntaxError, EOFError, ...
    except Exception as error:
        raise InputError(f"{file} cannot be read as an image: {error}") from error
