"""Small data sets in memory and in files, shared by the tests of reading and preparing them."""

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxmnist.data import Dataset, catalogue, prepare
from jaxmnist.data.catalogue import StandardSet
from jaxmnist.data.idx import FILE_NAMES
from jaxmnist.data.npz import KEYS

FIELDS = ("train_images", "train_labels", "test_images", "test_labels")
TRAIN, TEST = 90, 70  # Below 64 KiB, array_record refuses a file as too small to be one.


def _small_arrays(train: int = 12, test: int = 5, classes: int = 10) -> dict[str, np.ndarray]:
    """Random images, and labels that run through the classes from the top."""
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (train, 28, 28), dtype=np.uint8),
        "train_labels": (np.arange(train, 0, -1) % classes).astype(np.uint8),
        "test_images": rng.integers(0, 256, (test, 28, 28), dtype=np.uint8),
        "test_labels": (classes - 1 - np.arange(test) % classes).astype(np.uint8),
    }


def _idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _write_idx_folder(folder: Path, arrays: dict[str, np.ndarray], names=FILE_NAMES, gz=False):
    folder.mkdir(parents=True, exist_ok=True)
    for field, name in zip(FIELDS, names, strict=True):
        content = _idx_bytes(arrays[field])
        if gz:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez(path, **dict(zip(KEYS, (arrays[field] for field in FIELDS), strict=True)))
    return path


def _assert_holds(dataset: Dataset, arrays: dict[str, np.ndarray]) -> None:
    for field in FIELDS:
        got = getattr(dataset, field)
        assert got.dtype == (np.uint8 if "images" in field else np.int32)
        np.testing.assert_array_equal(got, arrays[field], strict=False)


def _idx_files(prefix: str = "") -> dict[str, bytes]:
    """The four gzipped IDX files of a small set; labels 1 to 9."""
    rng = np.random.default_rng(0)
    contents = {}
    for name in FILE_NAMES:
        count = TRAIN if name.startswith("train") else TEST
        if "images" in name:
            array = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        else:
            array = (1 + np.arange(count) % 9).astype(np.uint8)
        content = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        if prefix:
            name = name.replace("t10k", "test")
        contents[f"{prefix}{name}.gz"] = gzip.compress(content + array.tobytes(), mtime=0)
    return contents


def _write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def _pairs(dataset: Dataset) -> dict[str, list[tuple[bytes, int]]]:
    """Image and label, in an order of their own: TFDS shuffles a set when it is prepared."""
    return {
        split: sorted(
            (image.tobytes(), int(label))
            for image, label in zip(
                getattr(dataset, f"{split}_images"),
                getattr(dataset, f"{split}_labels"),
                strict=True,
            )
        )
        for split in ("train", "test")
    }


def _in_aligned_memory(array: np.ndarray) -> np.ndarray:
    """`jax.device_put` shares memory that is aligned to 64 bytes."""
    memory = np.zeros(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    aligned = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    aligned[:] = array
    return aligned


@pytest.fixture(scope="session")
def in_aligned_memory() -> Callable:
    return _in_aligned_memory


@pytest.fixture(scope="session")
def small_arrays() -> Callable:
    return _small_arrays


@pytest.fixture(scope="session")
def idx_bytes() -> Callable:
    return _idx_bytes


@pytest.fixture(scope="session")
def write_idx_folder() -> Callable:
    return _write_idx_folder


@pytest.fixture(scope="session")
def write_npz() -> Callable:
    return _write_npz


@pytest.fixture(scope="session")
def assert_holds() -> Callable:
    return _assert_holds


@pytest.fixture(scope="session")
def idx_files() -> Callable:
    return _idx_files


@pytest.fixture(scope="session")
def write() -> Callable:
    return _write


@pytest.fixture
def small_and_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the standard sets be small ones, and every default folder a temporary one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "default"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("kmnist", "emnist/digits", "emnist/letters"):
        labels = catalogue.STANDARD_SETS[name].labels
        monkeypatch.setitem(catalogue.STANDARD_SETS, name, StandardSet(name, TRAIN, TEST, labels))


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    source = _write(folder / "idx", _idx_files())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            catalogue.STANDARD_SETS, "kmnist", StandardSet("kmnist", TRAIN, TEST, range(10))
        )
        prepare("kmnist", source, folder / "root")
    return folder


@pytest.fixture
def root(prepared_once: Path, tmp_path: Path) -> Path:
    """A data directory of one's own, with a small kmnist prepared in it."""
    return shutil.copytree(prepared_once / "root", tmp_path / "root")


@pytest.fixture
def source(prepared_once: Path) -> Path:
    return prepared_once / "idx"


@pytest.fixture(scope="session")
def pairs() -> Callable:
    return _pairs
