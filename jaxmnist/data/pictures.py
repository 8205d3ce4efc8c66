"""A person's picture of one digit, brought into the form of MNIST's images."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxmnist.errors import InputError

_FAINTEST_INK = 24
"""The smallest difference between ink and paper, of 255, that is taken for a drawing."""


def read_digit(path: str | Path) -> UInt8[np.ndarray, "28 28"]:
    """Read a picture of one digit, dark on light or light on dark, of any size.

    The paper is the median of the border, and ink is the distance from it, so both polarities
    are one. A 28x28 picture is taken as it is. Any other is cropped to its ink, scaled so that
    its longer side is 20 pixels, and placed with its centre of mass in the middle of 28x28, as
    MNIST's own images were made.

    Args:
        path: A PNG, JPEG, or any file Pillow reads; transparency is taken for paper.

    Returns:
        Ink as uint8, 0 for paper and 255 for the strongest ink.

    Raises:
        InputError: The file cannot be read, is no picture, or shows nothing.

    Source: the preparation described with the MNIST data (LeCun, Cortes and Burges).
    """
    ink = _ink(_read_grey(Path(path)))
    if ink.max() < _FAINTEST_INK:
        raise InputError(f"{path} shows no digit: its pixels are all of nearly one grey")
    if ink.shape == (28, 28):
        return ink.round().astype(np.uint8)
    return _center(_crop(ink * (255 / ink.max())))


def _read_grey(path: Path) -> Float[np.ndarray, "height width"]:
    try:
        with Image.open(path) as file:
            picture = _in_bytes(ImageOps.exif_transpose(file)).convert("RGBA")
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture that can be read; use PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large a picture: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the picture {path}: {reason}") from error
    greys = []
    # White ink on nothing would vanish on white paper, so black paper is the second try.
    for paper in ("white", "black"):
        background = Image.new("RGBA", picture.size, paper)
        flat = Image.alpha_composite(background, picture).convert("L")
        greys.append(np.asarray(flat, dtype=np.float64))
    return max(greys, key=np.ptp) if np.ptp(greys[0]) < _FAINTEST_INK else greys[0]


def _in_bytes(picture: Image.Image) -> Image.Image:
    """Bring a PNG's 16-bit greys to 8 bits; Pillow's own conversion would clip them."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture) / 257).round().clip(0, 255).astype(np.uint8))


def _ink(grey: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return np.abs(grey - np.median(border))


def _crop(ink: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "rows columns"]:
    # A fifth of the strongest ink: above a photograph's noise, below a pen's edge.
    ink = np.where(ink < 0.2 * ink.max(), 0.0, ink)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _center(ink: Float[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "28 28"]:
    scale = 20 / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    resized = Image.fromarray(ink.astype(np.float32)).resize(
        (width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    )
    small = np.clip(np.asarray(resized), 0, 255)
    small *= 255 / small.max()
    mass = small.sum()
    # In MNIST the centre of mass is within half a pixel of the middle of pixel (14, 14).
    row = round(14 - float((small.sum(axis=1) * np.arange(height)).sum() / mass))
    column = round(14 - float((small.sum(axis=0) * np.arange(width)).sum() / mass))
    row, column = np.clip(row, 0, 28 - height), np.clip(column, 0, 28 - width)
    digit = np.zeros((28, 28), np.uint8)
    digit[row : row + height, column : column + width] = small.round()
    return digit
