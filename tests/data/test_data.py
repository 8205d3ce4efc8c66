"""Data sets held in files: the bundled MNIST, IDX folders, Keras .npz files, and load_dataset."""

import gzip
import hashlib
import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmnist.data import Dataset, available, bundled, load_dataset
from jaxmnist.data.idx import FILE_NAMES, read_idx
from jaxmnist.data.npz import KEYS
from jaxmnist.errors import InputError

# Of the arrays' bytes, from the original IDX files.
MNIST_SHA256 = {
    "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "train_labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
FIELDS = tuple(MNIST_SHA256)


def small_arrays(train: int = 12, test: int = 5, classes: int = 10) -> dict[str, np.ndarray]:
    """Random images, and labels that run through the classes from the top."""
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (train, 28, 28), dtype=np.uint8),
        "train_labels": (np.arange(train, 0, -1) % classes).astype(np.uint8),
        "test_images": rng.integers(0, 256, (test, 28, 28), dtype=np.uint8),
        "test_labels": (classes - 1 - np.arange(test) % classes).astype(np.uint8),
    }


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx_folder(folder: Path, arrays: dict[str, np.ndarray], names=FILE_NAMES, gz=False):
    folder.mkdir(parents=True, exist_ok=True)
    for field, name in zip(FIELDS, names, strict=True):
        content = idx_bytes(arrays[field])
        if gz:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **dict(zip(KEYS, (arrays[field] for field in FIELDS), strict=True)))
    return path


def assert_holds(dataset: Dataset, arrays: dict[str, np.ndarray]) -> None:
    for field in FIELDS:
        got = getattr(dataset, field)
        assert got.dtype == (np.uint8 if "images" in field else np.int32)
        np.testing.assert_array_equal(got, arrays[field], strict=False)


def raises(*words: object):
    """Expect an InputError of one line that has every word."""
    pattern = "".join(f"(?=.*{_escape(str(word))})" for word in words)
    return pytest.raises(InputError, match=rf"\A{pattern}[^\n]*\Z")


def _escape(word: str) -> str:
    return "".join(f"\\{c}" if not c.isalnum() and c not in " _" else c for c in word)


# ------------------------------------------------------------------------------- Dataset


def test_dataset_keeps_labels_as_int32():
    for dtype in (np.uint8, np.int16, np.int64, np.uint64):
        arrays = small_arrays()
        arrays["train_labels"] = arrays["train_labels"].astype(dtype)
        assert_holds(Dataset(**arrays, num_classes=10, name="small"), small_arrays())


def in_aligned_memory(array: np.ndarray) -> np.ndarray:
    memory = np.zeros(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    aligned = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    aligned[:] = array
    return aligned


def test_dataset_arrays_are_device_copies():
    # jax.device_put shares memory that is aligned to 64 bytes.
    aligned = {field: in_aligned_memory(array) for field, array in small_arrays().items()}
    dataset = Dataset(**aligned, num_classes=10, name="small")
    arrays = dataset.arrays()
    dataset.train_images[:] = 0
    for field, array in arrays._asdict().items():
        assert isinstance(array, jax.Array)
        assert array.dtype == (np.uint8 if "images" in field else np.int32)
        np.testing.assert_array_equal(array, small_arrays()[field])


def with_label(position: int, label: int) -> np.ndarray:
    labels = small_arrays()["train_labels"].astype(np.int64)
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
def test_dataset_refuses(change, words):
    with raises("small: ", *words):
        Dataset(**{**small_arrays(), "num_classes": 10, "name": "small", **change})


# ------------------------------------------------------------------------------- bundled MNIST


def test_bundled_mnist_is_the_original_to_the_byte():
    mnist = load_dataset("mnist")
    assert (mnist.name, mnist.num_classes) == ("mnist", 10)
    for field, sha256 in MNIST_SHA256.items():
        content = getattr(mnist, field).astype(np.uint8).tobytes()
        assert hashlib.sha256(content).hexdigest() == sha256


@pytest.mark.parametrize("position", [0, 5_000_000, -1])
def test_bundled_mnist_damaged_names_the_checksum(tmp_path, monkeypatch, position):
    content = bytearray(bundled.PATH.read_bytes())
    content[position] ^= 1
    damaged = tmp_path / "mnist.npz"
    damaged.write_bytes(content)
    monkeypatch.setattr(bundled, "PATH", damaged)
    with raises(damaged, "SHA-256", bundled.SHA256, "reinstall"):
        load_dataset()


def test_bundled_mnist_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "PATH", tmp_path / "mnist.npz")
    with raises("No such file", "reinstall"):
        load_dataset()


def test_import_stays_light():
    heavy = "{'tensorflow', 'tensorflow_datasets', 'matplotlib', 'torch'}"
    code = f"import sys, jaxmnist.data; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


# ------------------------------------------------------------------------------- IDX


DOTTED = tuple(name.replace("-idx", ".idx") for name in FILE_NAMES)


@pytest.mark.parametrize("names", [FILE_NAMES, DOTTED], ids=["hyphens", "dots"])
@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
def test_idx_folder_round_trip(tmp_path, names, gz):
    folder = write_idx_folder(tmp_path / "MNIST" / "raw", small_arrays(classes=7), names, gz)
    dataset = load_dataset(folder)
    assert_holds(dataset, small_arrays(classes=7))
    assert (dataset.num_classes, dataset.name) == (7, str(folder))
    assert dataset.train_images.flags.writeable


def test_idx_plain_file_wins_over_its_gzipped_twin(tmp_path):
    write_idx_folder(tmp_path, small_arrays(train=3), gz=True)
    write_idx_folder(tmp_path, small_arrays())
    assert_holds(load_dataset(tmp_path), small_arrays())


def emnist_names(part: str) -> list[str]:
    return [f"emnist-{part}-{name.replace('t10k', 'test')}" for name in FILE_NAMES]


def test_idx_emnist_is_set_upright(tmp_path):
    arrays = small_arrays()
    write_idx_folder(tmp_path, arrays, emnist_names("digits"), gz=True)
    for field in ("train_images", "test_images"):
        arrays[field] = np.swapaxes(arrays[field], 1, 2)
    assert_holds(load_dataset(tmp_path), arrays)


def test_idx_several_sets_in_one_folder(tmp_path):
    for part in ("digits", "letters"):
        write_idx_folder(tmp_path, small_arrays(), emnist_names(part))
    with raises(tmp_path, "2 sets", "emnist-digits-*", "emnist-letters-*", "folder of their own"):
        load_dataset(tmp_path)


def test_idx_missing_files_are_named(tmp_path):
    write_idx_folder(tmp_path, small_arrays())
    (tmp_path / FILE_NAMES[1]).unlink()
    (tmp_path / FILE_NAMES[2]).unlink()
    with raises(tmp_path, FILE_NAMES[1], FILE_NAMES[2]) as info:
        load_dataset(tmp_path)
    assert FILE_NAMES[0] not in str(info.value)


def test_idx_empty_folder(tmp_path):
    with raises(tmp_path, *FILE_NAMES):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:-1], ["truncated", "9423 bytes", "9424"]),
        (lambda b: b + b"\0", ["bytes after its end", "9425"]),
        (lambda b: b[:10], ["truncated", "10 bytes", "16"]),
        (lambda b: b"", ["begins with 0x,"]),
        (lambda b: b"\0\0\x0d\x03" + b[4:], ["0x00000d03", "0x00000803"]),
        (lambda b: idx_bytes(np.zeros(12, np.uint8)), ["images", "0x00000801", "0x00000803"]),
        (lambda b: gzip.compress(b)[:-9], ["gzip"]),
        (lambda b: gzip.compress(b)[:5], ["gzip"]),
        (lambda b: gzip.compress(b) + b"x", ["gzip"]),
        (lambda b: gzip.compress(b)[:-8] + b"\0" * 8, ["gzip", "CRC"]),
        (lambda b: idx_bytes(np.zeros((12, 32, 28), np.uint8)), ["(12, 32, 28)", "28, 28"]),
        (lambda b: idx_bytes(np.zeros((11, 28, 28), np.uint8)), ["11 train_images", "12"]),
    ],
)
def test_idx_damage_is_named(tmp_path, damage, words):
    path = write_idx_folder(tmp_path, small_arrays()) / FILE_NAMES[0]
    path.write_bytes(damage(path.read_bytes()))
    with raises(tmp_path, *words):
        load_dataset(tmp_path)


def test_idx_directory_in_a_files_place(tmp_path):
    path = write_idx_folder(tmp_path, small_arrays()) / FILE_NAMES[3]
    path.unlink()
    path.mkdir()
    with raises(path, "Is a directory"):
        load_dataset(tmp_path)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(*[st.integers(0, 5)] * 3),
    data=st.data(),
    gz=st.booleans(),
)
def test_idx_reads_what_was_written_and_refuses_it_cut(tmp_path_factory, shape, data, gz):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = gzip.compress(idx_bytes(array)) if gz else idx_bytes(array)
    path = tmp_path_factory.getbasetemp() / "any.idx"
    path.write_bytes(content)
    np.testing.assert_array_equal(read_idx(path, ndim=3), array, strict=True)

    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with raises(path):
        read_idx(path, ndim=3)


# ------------------------------------------------------------------------------- .npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_round_trip(tmp_path, save):
    path = tmp_path / "digits.npz"
    save(path, **dict(zip(KEYS, small_arrays(classes=8).values(), strict=True)), other=np.ones(3))
    dataset = load_dataset(str(path))
    assert_holds(dataset, small_arrays(classes=8))
    assert (dataset.num_classes, dataset.name) == (8, str(path))


def test_npz_missing_keys_are_named(tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, x_train=np.ones(3), x_test=np.ones(3))
    with raises(path, "no array named y_train, y_test", "it has x_train, x_test"):
        load_dataset(path)


def test_npz_objects_are_never_unpickled(tmp_path):
    path = tmp_path / "digits.npz"
    arrays = dict(zip(KEYS, small_arrays().values(), strict=True))
    arrays["y_train"] = np.array([print], dtype=object)
    np.savez(path, **arrays)
    with raises(path, "y_train", "allow_pickle=False"):
        load_dataset(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"PK\x03\x04 and no more"]
)
def test_npz_not_an_archive(tmp_path, content):
    path = tmp_path / "digits.npz"
    path.write_bytes(content)
    with raises(path, "npz"):
        load_dataset(path)


def test_npz_member_without_an_array(tmp_path):
    path = tmp_path / "digits.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key in KEYS:
            archive.writestr(f"{key}.npy", b"no array")
    with raises(path, "x_train"):
        load_dataset(path)


def test_npz_bytes_after_an_array(tmp_path):
    path = tmp_path / "digits.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key, array in zip(KEYS, small_arrays().values(), strict=True):
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{key}.npy", buffer.getvalue() + b"\0" * (key == "x_test"))
    with raises(path, "x_test", "after"):
        load_dataset(path)


def test_npz_strings_as_labels(tmp_path):
    with raises("train_labels", "<U5", "integer"):
        load_dataset(
            write_npz(
                tmp_path / "a.npz", {**small_arrays(), "train_labels": np.array(["seven"] * 12)}
            )
        )


def test_npz_missing_or_a_folder(tmp_path):
    with raises(tmp_path / "no.npz", "No such file"):
        load_dataset(tmp_path / "no.npz")
    (tmp_path / "folder.npz").mkdir()
    with raises(tmp_path / "folder.npz", "Is a directory"):
        load_dataset(tmp_path / "folder.npz")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), cut=st.booleans(), compressed=st.booleans())
def test_npz_damage_is_refused_or_harmless(tmp_path_factory, data, cut, compressed):
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


# ------------------------------------------------------------------------------- load_dataset


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
def test_load_dataset_unknown_name(name, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises(*words):
        load_dataset(name)


def test_load_dataset_a_file_of_another_kind(tmp_path):
    path = tmp_path / "digits.csv"
    path.write_text("0,1")
    with raises(path, "folder of IDX files", ".npz"):
        load_dataset(path)


def test_load_dataset_permission_denied(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    folder = write_idx_folder(tmp_path, small_arrays())
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with raises(folder, "Permission denied"):
        load_dataset(folder)
    monkeypatch.setattr(Path, "iterdir", refuse)
    with raises(folder, "Permission denied"):
        load_dataset(folder)
    with raises(folder, "Permission denied"):
        load_dataset("kmnist", data_dir=folder)
    monkeypatch.setattr(Path, "is_dir", refuse)
    with raises(folder, "Permission denied"):
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
