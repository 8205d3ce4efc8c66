"""A person's picture of one digit, brought into the form of MNIST's images."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxmnist.data.strokes import FAINTEST_INK, FoundDigit, find_digit
from jaxmnist.errors import InputError
from jaxmnist.reading import check_regular

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
"""The formats of pictures that are read, as Pillow names them."""
MAX_PIXELS = 100_000_000
"""The most pixels of a picture that is decoded."""
_WORKING_SIDE = 300
"""Longest side, in pixels, of the copy in which the digit is looked for."""


def read_digit(path: str | Path) -> UInt8[np.ndarray, "28 28"]:
    """Read a picture of one digit, dark on light or light on dark, of any size.

    A 28x28 picture on paper of one grey is taken for an image of the data set: only its ink is
    scaled to 255. In any other the digit is looked for, as `jaxmnist.data.strokes.find_digit`
    describes, and brought into MNIST's form.

    Args:
        path: A PNG, JPEG, WebP or BMP of at most 100 million pixels; transparency is taken for
            paper.

    Returns:
        Ink as uint8, 0 for paper and 255 for the strongest ink.

    Raises:
        InputError: The file cannot be read, is no such picture, or shows no digit or several.

    Source: the preparation described with the MNIST data (LeCun, Cortes and Burges).
    """
    return digit_in(read_picture(path), str(path)).image


def read_picture(path: str | Path) -> UInt8[np.ndarray, "height width 3"]:
    """Read a picture as its camera meant it: turned upright, transparency taken for paper.

    Args:
        path: A PNG, JPEG, WebP or BMP of at most 100 million pixels.

    Returns:
        Its pixels in red, green and blue, scaled down to a longer side of at most 300.

    Raises:
        InputError: The file cannot be read, is no such picture, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            check_regular(Path(path))
            file = Image.open(path, formats=FORMATS)
        with file:
            # The header says how large it is; a small file may stand for more than memory holds.
            if file.width * file.height > MAX_PIXELS:
                raise InputError(
                    f"{path} is too large a picture: {file.width}x{file.height} pixels; "
                    f"at most {MAX_PIXELS:,} are read; scale it down or crop it"
                )
            file.draft("RGB", (_WORKING_SIDE, _WORKING_SIDE))  # A JPEG is decoded smaller at once.
            ImageOps.exif_transpose(file, in_place=True)
            picture = _scaled_down(_in_bytes(file)).convert("RGBA")
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path} is not a picture that can be read; use PNG, JPEG, WebP or BMP"
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large a picture: {error}") from error
    except (InputError, MemoryError):
        raise
    # Each of Pillow's readers has errors of its own: struct.error, SyntaxError, EOFError, ...
    except Exception as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the picture {path}: {reason}") from error
    tries = []
    # White ink on nothing would vanish on white paper, so black paper is the second try.
    for paper in ("white", "black"):
        background = Image.new("RGBA", picture.size, paper)
        tries.append(np.asarray(Image.alpha_composite(background, picture).convert("RGB")))
    return max(tries, key=_contrast) if _contrast(tries[0]) < FAINTEST_INK else tries[0]


def digit_in(picture: UInt8[np.ndarray, "height width 3"], name: str) -> FoundDigit:
    """Return the digit of a picture in the form of MNIST's images.

    Args:
        picture: As `read_picture` returns it.
        name: Of the picture; error messages begin with it.

    Returns:
        The digit and what was left out.

    Raises:
        InputError: There is no digit, or there are several.
    """
    as_it_is = _image_of_the_set(picture.astype(np.float64))
    if as_it_is is not None:
        return FoundDigit(as_it_is, ())
    return find_digit(picture.astype(np.float64), name)


def _image_of_the_set(
    picture: Float[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "28 28"] | None:
    """Return the ink of a 28x28 picture in place, or None where it is no such image."""
    if picture.shape[:2] != (28, 28):
        return None
    border = np.concatenate([picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]])
    paper = np.median(border, axis=0)
    if np.mean(np.abs(border - paper).max(axis=1) < FAINTEST_INK / 4) < 0.6:
        return None
    ink = np.abs(picture - paper).max(axis=2)
    if ink.max() < FAINTEST_INK:
        return None
    return (ink * (255 / ink.max())).round().astype(np.uint8)


def _contrast(picture: np.ndarray) -> float:
    return float(np.ptp(picture.reshape(-1, 3).astype(np.float64), axis=0).max())


def _in_bytes(picture: Image.Image) -> Image.Image:
    """Bring a PNG's 16-bit greys to 8 bits; Pillow's own conversion would clip them."""
    if not picture.mode.startswith("I"):
        return picture
    grey = np.empty((picture.height, picture.width), np.uint8)
    rows = max(1, 2**20 // picture.width)  # A strip at a time: a float takes eight bytes.
    for top in range(0, picture.height, rows):
        strip = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        grey[top : top + rows] = (np.asarray(strip) / 257).round().clip(0, 255)
    return Image.fromarray(grey)


def _scaled_down(picture: Image.Image) -> Image.Image:
    """Scale a large picture to the working size, before its pixels take four bytes each."""
    if max(picture.size) <= _WORKING_SIDE:
        return picture
    if picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode not in ("L", "RGB") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    scale = _WORKING_SIDE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)
