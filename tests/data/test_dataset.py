"""A data set in memory, the bundled MNIST, and what `load_dataset` makes of a name."""

import hashlib
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxmnist.data import Dataset, available, bundled, load_dataset

# Of the arrays' bytes, from the original IDX files.
MNIST_SHA256 = {
    "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "train_labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
FIELDS = tuple(MNIST_SHA256)


def test_dataset_keeps_labels_as_int32(small_arrays, assert_holds):
    for dtype in (np.uint8, np.int16, np.int64, np.uint64):
        arrays = small_arrays()
        arrays["train_labels"] = arrays["train_labels"].astype(dtype)
        assert_holds(Dataset(**arrays, num_classes=10, name="small"), small_arrays())


def test_dataset_arrays_are_device_copies(small_arrays, in_aligned_memory):
    arrays = small_arrays()
    for field in FIELDS:
        arrays[field] = in_aligned_memory(arrays[field])
    dataset = Dataset(**arrays, num_classes=10, name="small")
    arrays = dataset.arrays()
    dataset.train_images[:] = 0
    for field, array in arrays._asdict().items():
        assert isinstance(array, jax.Array)
        assert array.dtype == (np.uint8 if "images" in field else np.int32)
        np.testing.assert_array_equal(array, small_arrays()[field])


def with_label(position: int, label: int) -> np.ndarray:
    labels = np.arange(12) % 10
    labels[position] = label
    return labels


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_images": np.zeros((12, 32, 32), np.uint8)}, ["(12, 32, 32)", "(N, 28, 28)"]),
        ({"test_images": np.zeros((5, 784), np.uint8)}, ["test_images", "(5, 784)"]),
        ({"train_images": np.zeros((12, 28, 28), np.float32)}, ["float32", "uint8"]),
        ({"test_images": np.zeros((4, 28, 28), np.uint8)}, ["4 test_images", "5 test_labels"]),
        ({"train_labels": np.zeros((12, 1), np.uint8)}, ["(12, 1)", "(N,)"]),
        ({"train_labels": np.zeros(12, np.float32)}, ["float32", "integer"]),
        ({"train_labels": np.array(["7"] * 12)}, ["<U1", "integer"]),
        ({"train_labels": with_label(3, 10)}, ["train_labels[3] is 10", "0 to 9"]),
        ({"train_labels": with_label(11, -1)}, ["train_labels[11] is -1", "0 to 9"]),
        ({"num_classes": 0}, ["num_classes is 0"]),
        ({"num_classes": 2**31}, ["num_classes is 2147483648", "int32"]),
        (
            {"test_images": np.zeros((0, 28, 28), np.uint8), "test_labels": np.zeros(0, np.uint8)},
            ["test_images is empty"],
        ),
    ],
)
def test_dataset_refuses(change, words, small_arrays, refused):
    with refused("small: ", *words):
        Dataset(**{**small_arrays(), "num_classes": 10, "name": "small", **change})


def test_bundled_mnist_is_the_original_to_the_byte():
    mnist = load_dataset("mnist")
    assert (mnist.name, mnist.num_classes) == ("mnist", 10)
    for field, sha256 in MNIST_SHA256.items():
        content = getattr(mnist, field).astype(np.uint8).tobytes()
        assert hashlib.sha256(content).hexdigest() == sha256


@pytest.mark.parametrize("position", [0, 5_000_000, -1])
def test_bundled_mnist_damaged_names_the_checksum(tmp_path, monkeypatch, position, refused):
    content = bytearray(bundled.PATH.read_bytes())
    content[position] ^= 1
    damaged = tmp_path / "mnist.npz"
    damaged.write_bytes(content)
    monkeypatch.setattr(bundled, "PATH", damaged)
    with refused(damaged, "SHA-256", bundled.SHA256, "reinstall"):
        load_dataset()


def test_bundled_mnist_missing(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(bundled, "PATH", tmp_path / "mnist.npz")
    with refused("No such file", "reinstall"):
        load_dataset()


def test_import_stays_light():
    heavy = "{'tensorflow', 'tensorflow_datasets', 'matplotlib', 'torch'}"
    code = f"import sys, jaxmnist.data; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MNIST", ["'MNIST'", "did you mean 'mnist'?", "kmnist", ".npz"]),
        ("fashion-mnist", ["did you mean 'fashion_mnist'?"]),
        ("emnist", ["did you mean 'emnist/balanced'?"]),
        ("emnist/digit", ["did you mean 'emnist/digits'?"]),
        ("no/such/folder", ["'no/such/folder': no such", "folder"]),
        ("cifar10", ["'cifar10'", "tfds:NAME"]),
        ("tfds:../mnist", ["'../mnist'", "not a TFDS name"]),
        ("tfds:", ["not a TFDS name"]),
    ],
)
def test_load_dataset_unknown_name(name, words, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    with refused(*words):
        load_dataset(name)


def test_load_dataset_a_file_of_another_kind(tmp_path, refused):
    path = tmp_path / "digits.csv"
    path.write_text("0,1")
    with refused(path, "folder of IDX files", ".npz"):
        load_dataset(path)


def test_load_dataset_permission_denied(
    tmp_path, monkeypatch, small_arrays, write_idx_folder, refused
):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    folder = write_idx_folder(tmp_path, small_arrays())
    monkeypatch.setattr("jaxmnist.data.idx.read_bytes", refuse)
    with refused(folder, "Permission denied"):
        load_dataset(folder)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with refused(folder, "Permission denied"):
        load_dataset(folder)
    with refused(folder, "Permission denied"):
        load_dataset("kmnist", data_dir=folder)
    monkeypatch.setattr(Path, "is_dir", refuse)
    with refused(folder, "Permission denied"):
        load_dataset(folder)


def test_available_lists_what_is_prepared(tmp_path):
    (tmp_path / "kmnist" / "3.0.1").mkdir(parents=True)
    (tmp_path / "kmnist" / "3.0.1" / "dataset_info.json").touch()
    (tmp_path / "emnist" / "digits" / "incomplete.AB12CD_3.1.0").mkdir(parents=True)
    (tmp_path / "emnist" / "digits" / "incomplete.AB12CD_3.1.0" / "dataset_info.json").touch()
    rows = {row.name: row for row in available(tmp_path)}
    assert list(rows)[:3] == ["mnist", "tfds:mnist", "fashion_mnist"]
    assert rows["mnist"] == ("mnist", "bundled", bundled.PATH)
    assert rows["kmnist"] == ("kmnist", "tfds", tmp_path / "kmnist" / "3.0.1")
    assert rows["emnist/digits"] == ("emnist/digits", "tfds", None)
