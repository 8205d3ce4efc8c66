"""Keras .npz files: what is read, and what is refused."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmnist.data import load_dataset
from jaxmnist.data.npz import KEYS, read_npz
from jaxmnist.errors import InputError

FIELDS = ("train_images", "train_labels", "test_images", "test_labels")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_round_trip(tmp_path, save, small_arrays, assert_holds):
    path = tmp_path / "digits.npz"
    save(path, **dict(zip(KEYS, small_arrays(classes=8).values(), strict=True)), other=np.ones(3))
    dataset = load_dataset(str(path))
    assert_holds(dataset, small_arrays(classes=8))
    assert (dataset.num_classes, dataset.name) == (8, str(path))


def test_npz_missing_keys_are_named(tmp_path, refused):
    path = tmp_path / "digits.npz"
    np.savez(path, x_train=np.ones(3), x_test=np.ones(3))
    with refused(path, "no array named y_train, y_test", "it has x_train, x_test"):
        load_dataset(path)


def test_member_that_is_no_npy_is_no_array(tmp_path, refused):
    path = tmp_path / "digits.npz"
    np.savez(path, x_test=np.ones(3), y_train=np.ones(3), y_test=np.ones(3))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train", b"")
    with refused(path, "no array named x_train", "it has x_test", "x_train (not an .npy)"):
        load_dataset(path)


MEDMNIST = {
    **dict(zip(FIELDS, FIELDS, strict=True)),
    "val_images": "test_images",
    "val_labels": "test_labels",
}


@pytest.mark.parametrize("channel", [False, True], ids=["N 28 28", "N 28 28 1"])
def test_npz_as_medmnist_writes_it(tmp_path, channel, small_arrays, assert_holds):
    arrays = small_arrays(classes=9)
    stored = {
        key: arrays[field][:, None] if "labels" in key else arrays[field]
        for key, field in MEDMNIST.items()
    }
    if channel:
        stored |= {key: stored[key][..., None] for key in stored if "images" in key}
    stored["val_labels"] = stored["val_labels"] + 20  # Not used: it adds no class.
    path = tmp_path / "medmnist.npz"
    np.savez(path, **stored)
    dataset = load_dataset(path)
    assert_holds(dataset, arrays)
    assert dataset.num_classes == 9
    assert dataset.note == "evaluated on its test split; val_images is not used"


@pytest.mark.parametrize("labels", [1, 14])
def test_npz_in_colour_is_read_but_not_for_the_tutorials_network(tmp_path, labels, refused):
    path = tmp_path / "blood.npz"
    images, targets = np.zeros((6, 28, 28, 3), np.uint8), np.ones((6, labels), np.uint8)
    np.savez(
        path, train_images=images, train_labels=targets, test_images=images, test_labels=targets
    )
    read = read_npz(path)
    assert read.train_images.shape == (6, 28, 28, 3)
    assert read.test_labels.shape == ((6,) if labels == 1 else (6, 14))
    with refused(path, "(6, 28, 28, 3)", "3 colour channels", "grey"):
        load_dataset(path)


def test_npz_several_labels_for_an_image_are_refused(tmp_path, small_arrays, refused):
    arrays = small_arrays()
    arrays["train_labels"] = np.tile(arrays["train_labels"][:, None], 14)
    np.savez(tmp_path / "chest.npz", **arrays)
    with refused("train_labels has shape (12, 14)", "(N,)"):
        load_dataset(tmp_path / "chest.npz")


@pytest.mark.parametrize(
    "keys",
    [
        ("train_x", "train_y", "test_x", "test_y"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("trainX", "trainY", "testX", "testY"),
    ],
)
def test_npz_under_other_names(tmp_path, keys, small_arrays, assert_holds):
    path = tmp_path / "digits.npz"
    np.savez(path, **dict(zip(keys, small_arrays().values(), strict=True)))
    assert_holds(load_dataset(path), small_arrays())


def test_npz_under_two_sets_of_names_is_refused(tmp_path, small_arrays, refused):
    path = tmp_path / "digits.npz"
    values = small_arrays().values()
    np.savez(path, **small_arrays(), **dict(zip(KEYS, values, strict=True)))
    with refused(path, "two sets of arrays", *FIELDS, *KEYS):
        load_dataset(path)


def test_npz_without_a_split_is_refused_with_what_it_has(tmp_path, refused):
    np.savez(tmp_path / "one.npz", train_images=np.ones(3), train_labels=np.ones(3))
    with refused("no array named test_images, test_labels", "it has train_images, train_labels"):
        load_dataset(tmp_path / "one.npz")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_npz_that_is_something_else_is_called_that(tmp_path, content, word, refused):
    path = tmp_path / "digits.npz"
    path.write_bytes(content)
    with refused(path, word):
        load_dataset(path)


def test_npz_objects_are_never_unpickled(tmp_path, small_arrays, refused):
    path = tmp_path / "digits.npz"
    arrays = dict(zip(KEYS, small_arrays().values(), strict=True))
    arrays["y_train"] = np.array([print], dtype=object)
    np.savez(path, **arrays)
    with refused(path, "y_train", "allow_pickle=False"):
        load_dataset(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"PK\x03\x04 and no more"]
)
def test_npz_not_an_archive(tmp_path, content, refused):
    path = tmp_path / "digits.npz"
    path.write_bytes(content)
    with refused(path, "npz"):
        load_dataset(path)


def test_npz_member_without_an_array(tmp_path, refused):
    path = tmp_path / "digits.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key in KEYS:
            archive.writestr(f"{key}.npy", b"no array")
    with refused(path, "x_train"):
        load_dataset(path)


def test_npz_bytes_after_an_array(tmp_path, small_arrays, refused):
    path = tmp_path / "digits.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key, array in zip(KEYS, small_arrays().values(), strict=True):
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{key}.npy", buffer.getvalue() + b"\0" * (key == "x_test"))
    with refused(path, "x_test", "after"):
        load_dataset(path)


def test_npz_strings_as_labels(tmp_path, small_arrays, write_npz, refused):
    with refused("train_labels", "<U5", "integer"):
        load_dataset(
            write_npz(
                tmp_path / "a.npz", {**small_arrays(), "train_labels": np.array(["seven"] * 12)}
            )
        )


def test_npz_missing_or_a_folder(tmp_path, refused):
    with refused(tmp_path / "no.npz", "No such file"):
        load_dataset(tmp_path / "no.npz")
    (tmp_path / "folder.npz").mkdir()
    with refused(tmp_path / "folder.npz", "Is a directory"):
        load_dataset(tmp_path / "folder.npz")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), cut=st.booleans(), compressed=st.booleans())
def test_npz_damage_is_refused_or_harmless(
    tmp_path_factory, data, cut, compressed, small_arrays, assert_holds
):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    save = np.savez_compressed if compressed else np.savez
    save(path, **dict(zip(KEYS, small_arrays(train=2, test=1).values(), strict=True)))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if cut:
        del content[position:]
    else:
        content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        dataset = load_dataset(path)
    except InputError as error:
        message = str(error)
    else:  # Such as a bit of a file's date.
        message = f"{path} is sound"
        assert not cut
        assert_holds(dataset, small_arrays(train=2, test=1))
    assert message.startswith(str(path))
    assert "\n" not in message
