"""Keras .npz files: what is read, and what is refused."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmnist.data import load_dataset
from jaxmnist.data.npz import KEYS
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
