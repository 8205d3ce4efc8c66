"""Data of any shape by name or path: `.npz` files and folders of images."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxmnist as jm
from jaxmnist.data import load_arrays

X = np.random.default_rng(0).normal(size=(6, 4, 2))
Y = X.sum(axis=2)


def save(path: Path, **changed) -> Path:
    arrays = {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2], **changed}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def raises(*words: object):
    pattern = "".join(f"(?=.*{re.escape(str(word))})" for word in words)
    return pytest.raises(jm.InputError, match=rf"\A{pattern}[^\n]*\Z")


def draw(path: Path, value: int, size=(5, 3), mode="L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "I;16") else (value, 0, 9)).save(path)


# ------------------------------------------------------------------------------- npz


def test_npz_of_any_shape_is_taken_as_it_is(tmp_path):
    (x, y), (x_test, y_test) = load_arrays(save(tmp_path / "a.npz"))
    for found, expected in ((x, X), (y, Y), (x_test, X[:2]), (y_test, Y[:2])):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.float64


def test_whole_numbers_of_64_bits_are_stored_in_32(tmp_path):
    labels = np.arange(6)
    (_, found), _ = load_arrays(save(tmp_path / "a.npz", y_train=labels, y_test=labels[:2]))
    assert found.dtype == np.int32
    assert found.tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x_test": None}, ["no array named x_test"]),
        ({"y_train": Y[:5]}, ["x_train has 6 samples and y_train 5"]),
        ({"x_test": X[:2, :3]}, ["x_train is float64[6, 4, 2]", "x_test float64[2, 3, 2]"]),
        ({"x_test": X[:2].astype(np.float32)}, ["x_test float32[2, 4, 2]"]),
        ({"y_test": np.array(["a", "b"])}, ["y_test has dtype <U1", "numbers are needed"]),
        ({"x_train": X[:0], "y_train": Y[:0]}, ["x_train has shape (0, 4, 2)"]),
        ({"x_train": np.float32(1)}, ["x_train has shape ()"]),
        ({"y_test": np.array([0, 2**31])}, ["y_test has numbers from 0 to 2147483648"]),
    ],
    ids=str,
)
def test_npz_without_the_arrays_that_are_needed_is_refused(changed, words, tmp_path):
    with raises(tmp_path / "a.npz", *words):
        load_arrays(save(tmp_path / "a.npz", **changed))


@pytest.mark.slow
def test_names_of_data_sets_are_taken_as_before():
    (images, labels), _ = load_arrays("mnist")
    np.testing.assert_array_equal(images, jm.load_dataset("mnist").train_images)
    assert labels.dtype == np.int32
    with raises("no such data set", "did you mean 'fashion_mnist'?"):
        load_arrays("fashion")


# ------------------------------------------------------------------------------- image folders


def test_folder_with_train_and_test_is_read_by_class_and_name(tmp_path):
    for part, count in (("train", 3), ("test", 1)):
        for label, name in enumerate(("ant", "bee")):
            for index in range(count):
                draw(tmp_path / part / name / f"{index}.png", 100 * label + index)
    (tmp_path / "train" / "ant" / "notes.txt").write_text("ignored")
    (tmp_path / "train" / "ant" / ".hidden.png").write_text("ignored")
    (images, labels), (test, test_labels) = load_arrays(tmp_path)
    assert (images.shape, images.dtype) == ((6, 3, 5), np.uint8)
    assert images[:, 0, 0].tolist() == [0, 1, 2, 100, 101, 102]
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert (test[:, 0, 0].tolist(), test_labels.tolist()) == ([0, 100], [0, 1])


def test_every_fifth_image_of_a_class_is_a_test_image(tmp_path):
    for name, count in (("ant", 10), ("bee", 6)):
        for index in range(count):
            draw(tmp_path / name / f"{index:02}.png", index)
    (images, labels), (test, test_labels) = load_arrays(tmp_path)
    assert images[:, 0, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 0, 1, 2, 3, 5]
    assert test[:, 0, 0].tolist() == [4, 9, 4]
    assert (labels.tolist(), test_labels.tolist()) == ([0] * 8 + [1] * 5, [0, 0, 1])


def test_colour_gives_all_images_three_channels(tmp_path):
    for index in range(5):
        draw(tmp_path / "ant" / f"{index}.png", 10 * index, mode="RGB" if index else "L")
    (images, _), (test, _) = load_arrays(tmp_path)
    assert images.shape == (4, 3, 5, 3)
    assert images[:2, 0, 0].tolist() == [[0, 0, 0], [10, 0, 9]]
    assert test[0, 0, 0].tolist() == [40, 0, 9]


def few(path: Path) -> None:
    for index in range(5):
        draw(path / "ant" / f"{index}.png", 0)


def test_unusable_folders_are_refused(tmp_path):
    few(tmp_path / "sizes")
    draw(tmp_path / "sizes" / "bee" / "x.png", 0, (4, 3))
    with raises("x.png is 4x3 pixels", "0.png 5x3", "same size"):
        load_arrays(tmp_path / "sizes")
    few(tmp_path / "broken")
    (tmp_path / "broken" / "ant" / "0.png").write_bytes(b"no picture")
    with raises("0.png cannot be read as an image"):
        load_arrays(tmp_path / "broken")
    few(tmp_path / "cut")
    whole = (tmp_path / "cut" / "ant" / "3.png").read_bytes()
    (tmp_path / "cut" / "ant" / "3.png").write_bytes(whole[:44])
    with raises("3.png cannot be read as an image"):
        load_arrays(tmp_path / "cut")
    few(tmp_path / "empty")
    (tmp_path / "empty" / "bee").mkdir()
    with raises("bee has no images"):
        load_arrays(tmp_path / "empty")
    few(tmp_path / "half" / "train")
    with raises("a folder train and no folder test"):
        load_arrays(tmp_path / "half")
    few(tmp_path / "odd" / "train")
    draw(tmp_path / "odd" / "test" / "bee" / "0.png", 0)
    with raises("train has the class 'ant', and"):
        load_arrays(tmp_path / "odd")
    draw(tmp_path / "small" / "ant" / "0.png", 0)
    with raises("fewer than 5 images in every class"):
        load_arrays(tmp_path / "small")
    few(tmp_path / "deep")
    draw(tmp_path / "deep" / "ant" / "0.png", 900, mode="I;16")
    with raises("0.png has Pillow's mode I;16"):
        load_arrays(tmp_path / "deep")
