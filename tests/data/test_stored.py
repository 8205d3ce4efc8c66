"""Data of any shape on disk: the samples of the same data in memory, and no more of them read."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxmnist as jm
from jaxmnist.data import StoredSet, load_arrays, open_arrays, stored_arrays
from jaxmnist.data.stream import pieces, read_rows, sample

ROWS = [3, 0, 3, 1]


@pytest.fixture(params=["npz", "fortran", "folder", "tfds"])
def named(request, tmp_path, prepared_colours) -> tuple[str, Path | None]:
    """A name and a folder, as `load_arrays` and `open_arrays` take them."""
    rng = np.random.default_rng(0)
    if request.param == "tfds":
        return "tfds:colours", prepared_colours
    if request.param == "folder":
        for label in range(2):
            (tmp_path / "images" / f"class {label}").mkdir(parents=True)
            for index in range(6):
                pixels = rng.integers(0, 256, (3, 5, 3), np.uint8)
                path = tmp_path / "images" / f"class {label}" / f"{index}.png"
                Image.fromarray(pixels).save(path)
        return str(tmp_path / "images"), None
    x, y = rng.normal(size=(6, 4, 2)), np.arange(6)
    x = np.asfortranarray(x) if request.param == "fortran" else x
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    return str(tmp_path / "a.npz"), None


def test_samples_are_those_in_memory(named, assert_same_arrays):
    stored, (train, test) = open_arrays(*named), load_arrays(*named)
    assert (len(stored.train), len(stored.test)) == (len(train[1]), len(test[1]))
    for split, (x, y) in (("train", train), ("test", test)):
        rows = [row % len(y) for row in ROWS]
        found = read_rows(stored, split, rows)  # pyright: ignore[reportArgumentType]
        assert_same_arrays(found, (x[rows], y[rows]))
        assert [leaf.dtype for leaf in found] == [x.dtype, y.dtype]
    one = sample(stored)
    assert [(leaf.shape, leaf.dtype) for leaf in one] == [
        ((1, *leaf.shape[1:]), leaf.dtype) for leaf in train
    ]
    order = np.random.default_rng(1).permutation(len(train[1]))
    read = list(pieces(stored, "train", order, 4))
    assert_same_arrays(
        [np.concatenate(leaves) for leaves in zip(*read, strict=True)],
        [leaf[order] for leaf in train],
    )


def test_any_pytree_of_arrays_is_read_by_rows(assert_same_arrays):
    part = {"x": np.arange(12).reshape(6, 2), "more": (np.arange(6.0),)}
    stored = stored_arrays(part, part)
    assert_same_arrays(stored.train.read(ROWS), {"x": part["x"][ROWS], "more": (np.array(ROWS),)})


def resident() -> float:
    """The memory of this process in MB."""
    (line,) = re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) / 1000


def test_memory_does_not_grow_with_what_was_read(tmp_path):
    """200 MB, of which 10 at a time are in memory."""
    array = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (2000, 100_000))
    del array
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    part = stored_arrays(mapped, mapped).train
    part.read(range(100))
    before = resident()
    for first in range(0, 2000, 100):
        part.read(range(first, first + 100))
    assert resident() - before < 60


def test_what_was_written_to_a_copy_in_memory_is_kept(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    mapped[1] = 7
    part = stored_arrays(mapped, mapped).train
    assert [part.read([1]).tolist() for _ in range(2)] == [[[7, 7]], [[7, 7]]]


def test_large_whole_number_is_refused_when_it_is_read(tmp_path, refused):
    y = np.array([0, 2**31])
    np.savez(tmp_path / "a.npz", x_train=y, y_train=y, x_test=y, y_test=y)
    stored = open_arrays(tmp_path / "a.npz")
    assert isinstance(stored, StoredSet)
    with refused(tmp_path / "a.npz", "x_train has numbers from 0 to 2147483648"):
        stored.train.read([0, 1])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x_test": None}, ["no array named x_test"]),
        ({"y_train": np.zeros(3)}, ["x_train has 4 samples and y_train 3"]),
        ({"x_train": np.array([None] * 4)}, ["x_train cannot be read"]),
        ({"y_test": np.zeros(0)}, ["y_test has shape (0,)"]),
    ],
)
def test_npz_that_cannot_be_used_is_refused(changed, words, tmp_path, refused):
    arrays = dict.fromkeys(("x_train", "y_train", "x_test", "y_test"), np.zeros(4))
    kept = {name: array for name, array in {**arrays, **changed}.items() if array is not None}
    np.savez(tmp_path / "a.npz", **kept)
    with refused(tmp_path / "a.npz", *words):
        open_arrays(tmp_path / "a.npz")


def test_what_cannot_be_streamed_says_what_to_do(tmp_path, prepared_colours, refused):
    zeros = np.zeros(4)
    np.savez_compressed(
        tmp_path / "a.npz", x_train=zeros, y_train=zeros, x_test=zeros, y_test=zeros
    )
    with refused("x_train is compressed", "numpy.savez"):
        open_arrays(tmp_path / "a.npz")
    with refused("only an .npz, a folder of images or a prepared set can be streamed"):
        open_arrays(tmp_path / "nowhere")
    with refused("in the package", "tfds:mnist"):
        open_arrays("mnist")
    with refused("shape (10, 12, 3)", "(28, 28, 1) is needed"):
        jm.data.open_stream("tfds:colours", prepared_colours)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"10",', '"-1",', ["shape (None, 12, 3)", "one size"]),
        ('"3"\n', '"2"\n', ["shape (10, 12, 2)", "1, 3 or 4 channels"]),
        ('"10",', '"11",', ["an image of 12x10 pixels in mode RGB; 12x11"]),
    ],
)
def test_images_of_no_one_size_are_refused(old, new, words, prepared_colours, tmp_path, refused):
    folder = shutil.copytree(prepared_colours, tmp_path / "root") / "colours" / "1.0.0"
    text = (folder / "features.json").read_text()
    assert old in text
    (folder / "features.json").write_text(text.replace(old, new, 1))
    with refused(folder, *words):
        read_rows(open_arrays("tfds:colours", tmp_path / "root"), "train", [0])
