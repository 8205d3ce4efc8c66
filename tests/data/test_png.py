"""Many small PNGs decoded at once: with each filter and mixed, and never other than Pillow does."""

import io
import itertools
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jaxmnist.data.png import decode_small
from jaxmnist.data.tfds import PreparedSet, read_records

SHAPES = ((5, 7), (4, 3, 3), (3, 5, 4))
COLOR_TYPES = {1: 0, 3: 2, 4: 6}


def drawn(count: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Images whose bytes wrap around in every filter, flat ones and slopes among them."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    images[::3] = images[::3] // 100 * 127  # Few values: Paeth's distances are often equal.
    images[1::7] = np.cumsum(images[1::7] % 5, axis=2, dtype=np.uint8)
    return images


def filtered(pixels: np.ndarray, kinds) -> bytes:
    """Rows as PNG stores them, by the specification's formulas, byte by byte."""
    height, _, channels = (*pixels.shape, 1)[:3]
    rows = pixels.reshape(height, -1).astype(int)

    def at(y: int, x: int) -> int:
        return int(rows[y, x]) if y >= 0 and x >= 0 else 0

    def predicted(kind: int, y: int, x: int) -> int:
        a, b, c = at(y, x - channels), at(y - 1, x), at(y - 1, x - channels)
        p = a + b - c
        return (0, a, b, (a + b) // 2, min((a, b, c), key=lambda near: abs(p - near)))[kind]

    return b"".join(
        bytes([kind])
        + bytes((at(y, x) - predicted(kind, y, x)) % 256 for x in range(rows.shape[1]))
        for y, kind in enumerate(kinds)
    )


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(raw: bytes, shape: tuple[int, ...], parts: int = 1, between: bytes = b"") -> bytes:
    height, width, channels = (*shape, 1)[:3]
    header = struct.pack(">IIBBBBB", width, height, 8, COLOR_TYPES[channels], 0, 0, 0)
    data = zlib.compress(raw)
    cut = np.linspace(0, len(data), parts + 1).astype(int)
    pieces = [chunk(b"IDAT", data[a:b]) for a, b in itertools.pairwise(cut)]
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + between + b"".join(pieces) + chunk(b"IEND", b"")


def by_pillow(file: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(file)) as image:
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error):
        return None


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, "mixed"])
def test_every_filter_gives_the_pixels_that_were_filtered(shape, kind):
    images = drawn(60, shape)
    rng = np.random.default_rng(1)
    kinds = rng.integers(0, 5, (60, shape[0])) if kind == "mixed" else np.full((60, shape[0]), kind)
    files = [png(filtered(*each), shape) for each in zip(images, kinds, strict=True)]
    decoded, plain = decode_small(files, shape)
    assert plain.all()
    np.testing.assert_array_equal(decoded, images)
    np.testing.assert_array_equal([by_pillow(file) for file in files], images)


def test_images_beyond_the_first_thousands_are_decoded_too():
    images = drawn(5000, (2, 3))
    files = [png(filtered(image, (4, 1)), (2, 3), parts=2) for image in images]
    decoded, plain = decode_small(files, (2, 3))
    assert plain.all()
    np.testing.assert_array_equal(decoded, images)


def test_fewer_images_than_pixels_are_left_to_a_general_decoder():
    file = png(filtered(drawn(1, (5, 7))[0], [0] * 5), (5, 7))
    assert not decode_small([file] * 34, (5, 7))[1].any()
    assert decode_small([file] * 35, (5, 7))[1].all()


def other_kinds(shape=(2, 3)) -> dict[str, bytes]:
    image = drawn(1, shape)[0]
    raw = filtered(image, (1, 4))
    good = png(raw, shape)
    data = good.index(b"IDAT")

    def saved(kind: str, mode: str = "L", **options) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).convert(mode).save(file, kind, **options)
        return file.getvalue()

    def with_header(*last: int) -> bytes:
        start = good[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, *last))
        return start + good[data - 4 :]

    return {
        "JPEG": saved("JPEG"),
        "palette": saved("PNG", "P"),
        "one bit": saved("PNG", "1"),
        "with text": png(raw, shape, between=chunk(b"tEXt", b"a\0b")),
        "16 bits": saved("PNG", "I;16"),
        "interlaced": with_header(8, 0, 0, 0, 1),
        "another size": png(filtered(image.T, (0, 0, 0)), (3, 2)),
        "more rows": png(raw + raw[:4], shape),
        "fewer rows": png(raw[:4], shape),
        "filter 5": png(b"\5" + raw[1:], shape),
        "no data": good[: data - 4] + chunk(b"IEND", b""),
        "empty": b"",
        "cut short": good[:-5],
        "more after its end": good + b"\0",
        "wrong checksum": good[: data + 6] + b"\xff" + good[data + 7 :],
        "wrong sum of the data": png(raw, shape).replace(
            good[data - 4 : -12], chunk(b"IDAT", zlib.compress(raw)[:-1] + b"\0")
        ),
        "no sum of the data": png(raw, shape).replace(
            good[data - 4 : -12], chunk(b"IDAT", zlib.compress(raw)[:-4])
        ),
        "length beyond the end": good[: data - 1] + b"\xff" + good[data:],
    }


@pytest.mark.parametrize("name", other_kinds())
def test_what_is_no_plain_png_of_the_shape_is_left_out_and_the_others_are_decoded(name):
    image = drawn(1, (2, 3))[0]
    files = [png(filtered(image, (2, 3)), (2, 3))] * 8
    files[3] = other_kinds()[name]
    decoded, plain = decode_small(files, (2, 3))
    assert plain.tolist() == [True] * 3 + [False] + [True] * 4
    np.testing.assert_array_equal(decoded[plain], [image] * 7)
    assert not decoded[3].any()


@given(st.integers(0, 10**6), st.integers(1, 255), st.sampled_from(SHAPES))
def test_a_changed_byte_gives_no_other_image_than_pillow_does(place, change, shape):
    image = drawn(1, shape)[0]
    file = bytearray(png(filtered(image, [k % 5 for k in range(shape[0])]), shape, parts=2))
    file[place % len(file)] ^= change
    decoded, plain = decode_small([bytes(file)] * 40, shape)
    if plain[0]:
        np.testing.assert_array_equal(decoded[0], by_pillow(bytes(file)))


def test_data_that_expand_without_end_are_not_expanded():
    bomb = png(bytes(2**28), (2, 3))
    assert len(bomb) < 2**19
    tracemalloc.start()
    try:
        assert not decode_small([bomb] * 6, (2, 3))[1].any()
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


class Records(list):
    """Records as array_record has them."""

    def __getitems__(self, keys):
        return [self[key] for key in keys]


def test_a_set_of_both_kinds_is_read_as_pillow_reads_it():
    pytest.importorskip("tensorflow_datasets")
    from tensorflow_datasets.proto import tf_example_pb2

    images = drawn(20, (2, 3))
    files = [png(filtered(image, (4, 2)), (2, 3)) for image in images]
    files[7] = other_kinds()["JPEG"]
    files[11] = other_kinds()["with text"]
    records = Records()
    for label, file in enumerate(files):
        example = tf_example_pb2.Example()  # type: ignore[attr-defined]
        example.features.feature["image"].bytes_list.value.append(file)
        example.features.feature["label"].int64_list.value.append(label)
        records.append(example.SerializeToString())
    prepared = PreparedSet(Path("set"), records, records, 20, "set", (2, 3))
    keys = [*range(19, -1, -1)]
    decoded, labels = read_records(prepared, "train", keys)
    assert labels.tolist() == keys
    np.testing.assert_array_equal(decoded, [by_pillow(files[key]) for key in keys])
