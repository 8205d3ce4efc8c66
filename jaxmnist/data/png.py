"""Decoding many small PNG images of one size at once.

A PNG's rows are compressed together, each after a filter that subtracts a prediction from its
bytes: nothing, the pixel to the left (Sub), the one above (Up), the mean of both (Average), or
that of left, above and above left which is closest to left + above - above left (Paeth). For one
small image a decoder spends most of its time on opening it. Here only the decompression is done
image by image; the filters are undone for all images together, one row after another.

Source: the PNG specification, third edition, sections 7.3 (filtering), 9 and 10.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, UInt8

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# The specification's color type for so many channels of 8 bits.
_COLOR_TYPES: Final = {1: 0, 3: 2, 4: 6}
# Images whose filters are undone together: their rows stay in the processor's cache.
_TOGETHER: Final = 4096
_SUB, _UP, _AVERAGE, _PAETH = 1, 2, 3, 4


def decode_small(
    encoded: Sequence[bytes], shape: tuple[int, ...]
) -> tuple[UInt8[np.ndarray, "images *shape"], Bool[np.ndarray, " images"]]:
    """Decode those of the images that are plain PNGs of this shape.

    Plain means 8 bits a channel, not interlaced, and no other chunks than the image's own. This
    pays where there are at least as many images as an image has pixels; of fewer, none is decoded.

    Args:
        encoded: Files, one for each image.
        shape: Height, width and, if it is not 1, the number of channels: 3 or 4.

    Returns:
        The images, and which of them were decoded. The others' pixels are 0: they are of another
        kind, or damaged, which a general decoder finds out.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.fromarray(np.array([[1, 2], [3, 4]], np.uint8)).save(file, "PNG")
    >>> images, plain = decode_small([file.getvalue()] * 5, (2, 2))
    >>> images[4].tolist(), plain.all()
    ([[1, 2], [3, 4]], np.True_)
    """
    images = np.zeros((len(encoded), *shape), np.uint8)
    plain = np.zeros(len(encoded), bool)
    height, width, channels = (*shape, 1)[:3]
    if height * width > len(encoded):
        return images, plain
    header = _header(height, width, channels)
    size = height * (1 + width * channels)
    for start in range(0, len(encoded), _TOGETHER):
        here = slice(start, start + _TOGETHER)
        raw = [_inflated(file, header, size) for file in encoded[here]]
        rows = np.frombuffer(b"".join(each or bytes(size) for each in raw), np.uint8)
        rows = rows.reshape(-1, height, 1 + width * channels)
        found = np.array([each is not None for each in raw]) & (rows[:, :, 0] <= _PAETH).all(1)
        plain[here] = found
        pixels = rows[:, :, 1:].reshape(-1, height, width, channels)
        images[here][found] = _unfiltered(pixels[found], rows[found, :, 0]).reshape(-1, *shape)
    return images, plain


def _header(height: int, width: int, channels: int) -> bytes:
    """The bytes that such a file begins with: its signature and its first chunk."""
    fields = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", fields)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return _CHUNK.pack(len(data), kind) + data + _NUMBER.pack(zlib.crc32(kind + data))


_NUMBER: Final = struct.Struct(">I")
_CHUNK: Final = struct.Struct(">I4s")
"""What a chunk begins with: its length and its kind; a checksum follows its data."""
_END: Final = _chunk(b"IEND", b"")


def _inflated(file: bytes, header: bytes, size: int) -> bytes | None:
    """The filtered rows of a plain PNG, or None if it is no such file or damaged."""
    if not (file.startswith(header) and file.endswith(_END)):
        return None
    inflater = zlib.decompressobj()
    found, start, end = b"", len(header), len(file) - len(_END)
    try:
        while start < end:
            length, kind = _CHUNK.unpack_from(file, start)
            stop = start + 8 + length
            if (
                kind != b"IDAT"
                or stop + 4 > end
                or _NUMBER.unpack_from(file, stop) != (zlib.crc32(file[start + 4 : stop]),)
            ):
                return None
            # One byte more than is needed, so that a file which has more is noticed.
            found += inflater.decompress(file[start + 8 : stop], size + 1 - len(found))
            start = stop + 4
    except (struct.error, zlib.error):
        return None
    complete = len(found) == size and inflater.eof and not inflater.unused_data
    return found if complete else None


def _unfiltered(
    filtered: UInt8[np.ndarray, "images height width channels"],
    kinds: UInt8[np.ndarray, "images height"],
) -> UInt8[np.ndarray, "images height width channels"]:
    """Undo each row's filter; bytes are added modulo 256."""
    pixels = filtered.copy()
    above = np.zeros_like(pixels[:, 0])
    for row, kind in zip(pixels.swapaxes(0, 1), kinds.T, strict=True):
        row[kind == _SUB] = np.cumsum(row[kind == _SUB], axis=1, dtype=np.uint8)
        row[kind == _UP] += above[kind == _UP]
        for one, predicted in ((_AVERAGE, _average), (_PAETH, _paeth)):
            chosen = np.flatnonzero(kind == one)
            if chosen.size:
                row[chosen] = _from_the_left(row[chosen], above[chosen], predicted)
        above = row
    return pixels


def _from_the_left(
    row: np.ndarray, above: np.ndarray, predicted: Callable[..., np.ndarray]
) -> np.ndarray:
    """Undo a filter that looks to the left, pixel by pixel for all images."""
    columns, up = (np.ascontiguousarray(x.swapaxes(0, 1), np.int16) for x in (row, above))
    left = corner = np.zeros_like(columns[0])
    for column, b in zip(columns, up, strict=True):
        column += predicted(left, b, corner)
        column &= 255
        left, corner = column, b
    return columns.swapaxes(0, 1)


def _average(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    del corner
    return (left + above) >> 1


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The one of the three that is closest to left + above - corner; the first of equal ones."""
    from_left, from_above = np.abs(above - corner), np.abs(left - corner)
    from_corner = np.abs(left + above - 2 * corner)
    second = np.where(from_above <= from_corner, above, corner)
    first = (from_left <= from_above) & (from_left <= from_corner)
    return np.where(first, left, second)
