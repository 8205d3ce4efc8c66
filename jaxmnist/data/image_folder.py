"""Images in folders that are named after their classes, as arrays.

Two layouts are read: ``DIR/train/CLASS/*.png`` with ``DIR/test/CLASS/*.png``, and
``DIR/CLASS/*.png``, of whose images every fifth is a test image.
"""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
Labelled = tuple[Path, int]
"""An image's file and its class."""


class ImageFiles(NamedTuple):
    """The files of a folder of images, and what all of them are."""

    train: list[Labelled]
    """In the order of class and file name."""
    test: list[Labelled]
    """The same."""
    size: tuple[int, int]
    """Width and height of every image."""
    is_grey: bool
    """Whether all are grey."""


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
    """Load the images that `list_image_folder` finds: at most 4 GiB, or ``--max-bytes``.

    Args:
        path: As `list_image_folder` takes it.

    Returns:
        ``((images, labels), (images, labels))``, as `read_images` returns them.

    Raises:
        InputError: As of `list_image_folder`, or they take more memory than
            `jaxmnist.reading.max_bytes`.
    """
    files = list_image_folder(path)
    _check_bytes(files, len(files.train) + len(files.test))
    with warnings.catch_warnings(action="ignore"):  # Sizes are checked here.
        return read_images(files, files.train), read_images(files, files.test)


def list_image_folder(path: Path) -> ImageFiles:
    """List images in class-named folders, and read their headers.

    All images have the same size. PNG, JPEG, BMP, GIF, WebP and TIFF are read, whatever a file's
    ending. Classes are numbered in the order of their folders' names, images follow in the order
    of class and file name. Other files, and those whose names begin with a dot, are ignored.
    Images of 16 bits a channel are refused.

    Args:
        path: A folder with ``train`` and ``test``, each with a folder for every class; or with
            the classes' folders themselves. Then the 5th, 10th, ... image of each class by file
            name is a test image.

    Returns:
        The files.

    Raises:
        InputError: The two parts have different classes, a class has no image, sizes differ, or a
            file is no image.
    """
    train, test = image_files(path)
    with warnings.catch_warnings(action="ignore"):  # As in load_image_folder.
        return ImageFiles(train, test, *_check([file for file, _ in (*train, *test)]))


def image_files(path: Path) -> tuple[list[Labelled], list[Labelled]]:
    """List the files of the training and of the test images of a folder, and open none.

    Args:
        path: As `list_image_folder` takes it.

    Returns:
        Both lists, in the order of class and file name.

    Raises:
        InputError: The two parts have different classes, or a class has no image.
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
    return train, test


def class_folders(path: Path) -> tuple[str, ...]:
    """Return the names of the classes of a folder of images, in the order of their numbers.

    Args:
        path: As `list_image_folder` takes it.
    """
    folders = _folders(path)
    parts = [folder for folder in folders if folder.name == "train"]
    return tuple(folder.name for folder in (_folders(parts[0]) if parts else folders))


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
    return size or (0, 0), is_grey


def read_images(files: ImageFiles, chosen: list[Labelled]) -> Part:
    """Decode some images of a folder.

    If all images of the folder are grey, they have no channel axis; otherwise all have the
    channels red, green and blue, and transparency is dropped.

    Args:
        files: What `list_image_folder` returned.
        chosen: Some of its entries.

    Returns:
        Their images, uint8, ``(N, height, width)`` or ``(N, height, width, 3)``, and their
        classes, int32.

    Raises:
        InputError: A file cannot be read, or the images take more memory than
            `jaxmnist.reading.max_bytes`.
    """
    _check_bytes(files, len(chosen))
    width, height = files.size
    channels = () if files.is_grey else (3,)
    images = np.empty((len(chosen), height, width, *channels), np.uint8)
    for index, (file, _) in enumerate(chosen):
        with _opened(file) as image:
            images[index] = np.asarray(image.convert("L" if files.is_grey else "RGB"))
    return images, np.array([label for _, label in chosen], np.int32)


def _check_bytes(files: ImageFiles, count: int) -> None:
    """Refuse so many images of a folder that they take more memory than is allowed."""
    width, height = files.size
    folder = files.train[0][0].parent.parent
    check_bytes(
        f"{folder}: {count} images of {width}x{height} pixels",
        count * width * height * (1 if files.is_grey else 3),
        "or stream them: --stream",
    )


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """Open an image; whatever Pillow meets in a damaged one becomes one line.

    Pillow's warnings are left to the caller: several threads may be here at once, and what a
    warning does is the same for all of them.
    """
    try:
        check_regular(file)
        with Image.open(file, formats=FORMATS) as image:
            yield image
    except (InputError, MemoryError):
        raise
    # Each of Pillow's readers has errors of its own: struct.error, SyntaxError, EOFError, ...
    except Exception as error:
        raise InputError(f"{file} cannot be read as an image: {error}") from error
