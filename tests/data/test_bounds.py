"""What a file claims is checked before memory is taken for it; only documented formats are read."""

import gzip
import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxmnist.data import load_arrays, load_dataset, open_arrays
from jaxmnist.data.dataset import MAX_CLASSES
from jaxmnist.data.npz import KEYS
from jaxmnist.data.pictures import FORMATS, _scaled_down, read_picture
from jaxmnist.data.stream import read_rows

MILLION = 10**6


@pytest.fixture
def peak():
    """Bytes that Python and NumPy had allocated at most since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def npy(shape: tuple[int, ...], content: bytes, descr: str = "|u1") -> bytes:
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


def archive(path: Path, how: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", how) as file:
        for key in KEYS:
            file.writestr(f"{key}.npy", members.get(key, npy((1,), b"\0")))
    return path


def test_npz_that_unpacks_to_much_is_not_unpacked(tmp_path, monkeypatch, refused, peak):
    path = archive(tmp_path / "bomb.npz", x_train=npy((50 * MILLION,), bytes(50 * MILLION)))
    assert path.stat().st_size < 100_000
    monkeypatch.setenv("JAXMNIST_MAX_BYTES", str(20 * MILLION))
    tracemalloc.reset_peak()
    for load in (load_dataset, load_arrays):
        with refused(path, "needs 47.6 MiB of memory", "at most 19.0 MiB", "--max-bytes"):
            load(path)
    assert peak() < 60 * MILLION  # The bytes that the archive was written from, and no more.


@pytest.mark.parametrize("shape", [(10**12,), (2**63, 2), (3, -1), (0, 28, 28), (2**40, 0)])
def test_npz_whose_header_claims_another_size_is_refused(tmp_path, shape, refused, peak):
    path = archive(tmp_path / "a.npz", x_train=npy(shape, b"\0"))
    with refused(path, "x_train"):
        load_dataset(path)
    path = archive(tmp_path / "a.npz", zipfile.ZIP_STORED, x_train=npy(shape, b"\0"))
    with refused(path, "x_train"):
        open_arrays(path)
    assert peak() < 10 * MILLION


def test_npz_that_says_it_unpacks_to_more_than_is_stored_is_not_mapped(tmp_path, refused):
    """Its rows would be whatever follows in the file."""
    path = archive(tmp_path / "a.npz", zipfile.ZIP_STORED, x_train=npy((9,), bytes(8)))
    content, size = path.read_bytes(), len(npy((9,), bytes(8)))
    entry = content.index(b"PK\1\2")  # The central directory begins with the first member.
    assert struct.unpack_from("<I", content, entry + 24) == (size,)
    path.write_bytes(content[: entry + 24] + struct.pack("<I", size + 1) + content[entry + 28 :])
    with refused(path, "x_train", "too few bytes: 8"):
        open_arrays(path)


@pytest.mark.parametrize("descr", ["|V0", "|S0", "|O", [("a", "<f4")]])
def test_npz_of_no_numbers_is_refused(tmp_path, descr, refused):
    how, content = zipfile.ZIP_STORED, npy((1,), b"\0", descr)
    path = archive(tmp_path / "a.npz", how, x_train=content)
    for load in (load_dataset, load_arrays, open_arrays):
        with refused(path, "x_train"):
            load(path)


def test_what_is_streamed_is_bounded_by_what_is_read_at_once(tmp_path, monkeypatch, refused):
    """Images of 300 bytes: 5 of them are too many, 1 or 3 are not. An array's file is mapped."""
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    for index in range(5):
        Image.new("RGB", (10, 10)).save(folder / f"{index}.png")
    path = archive(
        tmp_path / "a.npz",
        zipfile.ZIP_STORED,
        x_train=npy((1, 5000), bytes(5000)),
        x_test=npy((1, 5000), bytes(5000)),
    )
    monkeypatch.setenv("JAXMNIST_MAX_BYTES", "1000")
    with refused(tmp_path / "set", "5 images of 10x10", "--max-bytes 16G, or stream them"):
        load_arrays(tmp_path / "set")
    with refused(path, "needs", "--max-bytes"):
        load_arrays(path)
    images, arrays = open_arrays(tmp_path / "set"), open_arrays(path)
    assert read_rows(images, "train", [0, 1, 2])[0].shape == (3, 10, 10, 3)
    assert read_rows(arrays, "train", [0])[0].shape == (1, 5000)
    with refused(tmp_path / "set", "4 images of 10x10"):
        read_rows(images, "train", [0, 1, 2, 3])


@pytest.mark.slow
def test_prepared_set_is_bounded_in_memory_and_by_its_image(prepared_colours, monkeypatch, refused):
    """430 images of 360 bytes, twice."""
    monkeypatch.setenv("JAXMNIST_MAX_BYTES", "300000")
    with refused("colours", "needs 0.2 MiB", "or stream them: --stream"):
        load_arrays("tfds:colours", prepared_colours)
    open_arrays("tfds:colours", prepared_colours)
    monkeypatch.setenv("JAXMNIST_MAX_BYTES", "300")
    with refused("colours", "an image of shape (10, 12, 3)", "needs 0.3 KiB"):
        open_arrays("tfds:colours", prepared_colours)


def test_idx_that_unpacks_to_more_than_it_says_is_not_unpacked(
    tmp_path, small_arrays, write_idx_folder, refused, peak
):
    folder = write_idx_folder(tmp_path, small_arrays())
    path = next(folder.glob("train-images*"))
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    path.write_bytes(gzip.compress(content + bytes(50 * MILLION)))
    tracemalloc.reset_peak()
    with refused(path, "has bytes after its end", "at least"):
        load_dataset(folder)
    assert peak() < 10 * MILLION


@pytest.mark.parametrize("packed", [False, True])
def test_idx_that_claims_much_is_refused(
    tmp_path, packed, small_arrays, write_idx_folder, refused, peak
):
    folder = write_idx_folder(tmp_path, small_arrays())
    path = next(folder.glob("train-images*"))
    content = struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 28, 28)
    path.write_bytes(gzip.compress(content) if packed else content)
    with refused(path, "needs 3,135.9 GiB of memory", "--max-bytes"):
        load_dataset(folder)
    path.write_bytes(struct.pack(">BBBBIII", 0, 0, 8, 3, 0, 2**32 - 1, 2**32 - 1))
    with refused(path):
        load_dataset(folder)
    assert peak() < 10 * MILLION


@pytest.mark.parametrize("largest", [MAX_CLASSES, 2**31 - 2, 2**31 - 1, 2**63 - 1])
def test_labels_that_are_no_classes_are_refused(tmp_path, largest, small_arrays, write_npz):
    arrays = small_arrays()
    arrays["train_labels"] = arrays["train_labels"].astype(np.int64)
    arrays["train_labels"][3] = largest
    with pytest.raises(ValueError, match=f"{largest + 1}"):
        load_dataset(write_npz(tmp_path / "a.npz", arrays))


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (2**31 - 1, 2**31 - 1)])
def test_pictures_that_claim_much_are_refused(tmp_path, width, height, refused, recwarn):
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    for index in range(20):
        (folder / f"{index:02}.png").write_bytes(png(width, height))
    with refused(folder / "00.png", "too large a picture"):
        read_picture(folder / "00.png")
    with refused(tmp_path / "set"):
        load_arrays(tmp_path / "set")
    assert not recwarn.list


def test_16_bit_picture_takes_no_floats_of_all_its_pixels(tmp_path, peak):
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((3000, 3000), 40_000, np.uint16)).save(path)
    tracemalloc.reset_peak()
    assert (read_picture(path) == 156).all()
    assert peak() < 60 * MILLION  # As floats it would be 72 million bytes, several times.


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P"])
def test_scaling_before_the_conversion_gives_the_same_pixels(mode):
    noise = np.random.default_rng(0).integers(0, 256, (400, 500, 4), np.uint8)
    picture = Image.fromarray(noise).convert(mode)
    size, box = (300, 240), Image.Resampling.BOX
    expected = picture.convert("RGBA").resize(size, box)
    np.testing.assert_array_equal(_scaled_down(picture).convert("RGBA"), expected)


@pytest.mark.parametrize("kind", ["PPM", "ICO", "PCX", "TGA", "EPS", "PDF"])
def test_formats_that_are_not_documented_are_refused(tmp_path, kind, refused):
    assert kind not in FORMATS
    for index in range(5):
        Image.new("RGB", (16, 16)).save(tmp_path / f"a{index}.png", kind)
    with refused(tmp_path / "a0.png", "PNG, JPEG, WebP or BMP"):
        read_picture(tmp_path / "a0.png")
    folder = tmp_path / "set" / "a"
    folder.mkdir(parents=True)
    for path in tmp_path.glob("*.png"):
        path.rename(folder / path.name)
    for load in (load_arrays, open_arrays):
        with refused(folder / "a0.png", "cannot be read as an image"):
            load(tmp_path / "set")
