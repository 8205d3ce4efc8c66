"""What a stream decoded is kept in a file, once and whole, and nothing depends on it."""

import io
import os
import shutil
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from jaxmnist.data import PreparedSet, kept, load_arrays, load_dataset, open_arrays, open_stream
from jaxmnist.data import stream as streaming
from jaxmnist.data import tfds as reading
from jaxmnist.data.cache import cache_directory
from jaxmnist.data.stream import Split, pieces, read_rows

TRAIN, TEST = 90, 70
RECORDS = "kmnist-train.array_record-00000-of-00001"

pytestmark = pytest.mark.usefixtures("small_and_at_home")


@pytest.fixture
def decoded(monkeypatch) -> list[tuple[str, int]]:
    """The split and the row of every sample that is decoded from now on."""
    counted: list[tuple[str, int]] = []
    read_records = streaming.read_records

    def counting(prepared, split, rows):
        counted.extend((split, row) for row in rows)
        return read_records(prepared, split, rows)

    monkeypatch.setattr(streaming, "read_records", counting)
    return counted


def read_all(stream: PreparedSet) -> list[np.ndarray]:
    """Every sample, by row, as an epoch reads them: in pieces, the training split shuffled."""
    order = np.random.default_rng(0).permutation(len(stream.train))
    arrays = []
    splits: dict[Split, np.ndarray] = {"train": order, "test": np.arange(len(stream.test))}
    for split, rows in splits.items():
        read = zip(*pieces(stream, split, rows, 32), strict=True)
        arrays += [np.concatenate(leaves)[np.argsort(rows)] for leaves in read]
    return arrays


def files() -> list[Path]:
    return list(cache_directory().iterdir()) if cache_directory().is_dir() else []


def test_each_record_is_decoded_once(root, decoded, monkeypatch, assert_same_arrays):
    stream = open_stream("kmnist", root)
    expected = read_all(stream._replace(kept=None))
    decoded.clear()
    assert_same_arrays(read_all(stream), expected)
    every = [("train", row) for row in range(TRAIN)] + [("test", row) for row in range(TEST)]
    assert sorted(decoded) == sorted(every)
    decoded.clear()
    for later in (stream, open_stream("kmnist", root)):
        found = read_all(later)
        assert_same_arrays(found, expected)
        assert [array.dtype for array in found] == [np.uint8, np.int32] * 2
        assert not any(isinstance(array, np.memmap) for array in found)
    assert decoded == []

    monkeypatch.setattr(reading, "_decode", None)
    dataset = load_dataset("kmnist", root)
    assert_same_arrays(
        [dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels],
        expected,
    )
    assert (dataset.num_classes, dataset.class_names) == (stream.num_classes, stream.class_names)
    assert len(files()) == 1


def test_what_was_decoded_for_memory_is_read(root, decoded, assert_same_arrays):
    dataset = load_dataset("kmnist", root)
    images, _, _, labels = read_all(open_stream("kmnist", root))
    assert_same_arrays((images, labels), (dataset.train_images, dataset.test_labels))
    assert decoded == []


def test_nothing_is_kept_before_every_sample_was_read(root, decoded):
    for rows in ([3, 1], [0]):
        stream = open_stream("kmnist", root)
        for _ in range(2):
            read_rows(stream, "train", rows)
            for _ in pieces(stream, "test", range(TEST), 32):
                pass
        assert files() == []
    assert decoded.count(("train", 3)) == 2


def test_threads_that_read_at_once_get_their_samples(root, assert_same_arrays):
    stream = open_stream("kmnist", root)
    expected = read_all(stream._replace(kept=None))
    found: list = [None] * 4

    def read(number: int) -> None:
        found[number] = read_all(stream)

    threads = [threading.Thread(target=read, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        assert_same_arrays(each, expected)
    assert len(files()) == 1


def test_images_in_colour_are_kept(prepared_colours, decoded, assert_same_arrays):
    train, test = load_arrays("tfds:colours", prepared_colours)
    stream = open_arrays("tfds:colours", prepared_colours)
    assert isinstance(stream, PreparedSet)
    for _ in range(2):
        assert_same_arrays(read_all(stream), [*train, *test])
    assert len(decoded) == 300 + 130


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-100],
        lambda content: b"x" * 99,
        lambda content: _flipped(content, len(content) // 2),
        lambda content: _flipped(content, content.index(b"train_labels.npy") + 200),
    ],
)
def test_damaged_file_is_not_read_and_made_anew(root, decoded, damage, assert_same_arrays):
    expected = read_all(open_stream("kmnist", root))
    [path] = files()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    decoded.clear()
    assert_same_arrays(read_all(open_stream("kmnist", root)), expected)
    assert len(decoded) == TRAIN + TEST
    assert files() == [path]
    assert_same_arrays(read_all(open_stream("kmnist", root)), expected)
    assert len(decoded) == TRAIN + TEST


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_changed_set_is_decoded_again(root, decoded):
    read_all(open_stream("kmnist", root))
    path = root / "kmnist" / "3.0.1" / RECORDS
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    read_all(open_stream("kmnist", root))
    assert len(decoded) == 2 * (TRAIN + TEST)
    assert len(files()) == 1


def test_set_that_changes_while_it_is_read_is_not_kept(root):
    stream = open_stream("kmnist", root)
    read_rows(stream, "train", [0])
    path = root / "kmnist" / "3.0.1" / RECORDS
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    read_all(stream)
    assert files() == []


def test_damaged_record_is_refused_every_time_and_nothing_kept(root, refused):
    directory = root / "kmnist" / "3.0.1"
    content = bytearray((directory / RECORDS).read_bytes())
    middle = content.index(b"\x89PNG", len(content) // 3)
    content[middle : middle + 20] = bytes(20)
    (directory / RECORDS).write_bytes(content)
    stream = open_stream("kmnist", root)
    for _ in range(2):
        with refused(directory, "cannot be read as a TFDS set", "jaxmnist data prepare again"):
            read_all(stream)
    assert files() == []


def _folder_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")


def _no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)


def _disk_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    free = 4 * (TRAIN + TEST) * (28 * 28 + 4) - 1
    monkeypatch.setattr(kept.shutil, "disk_usage", lambda _: usage(2 * free, free, free))


def _more_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXMNIST_MAX_BYTES", str((TRAIN + TEST) * (28 * 28 + 4) - 1))


def _disk_full_while_filling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.FileIO):
        def write(self, content) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.tempfile, "TemporaryFile", lambda **_: Full(os.devnull, "r+"))


def _disk_full_while_copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.KeptSamples, "_copy", fail)


@pytest.mark.parametrize(
    "hinder",
    [
        _folder_is_a_file,
        _no_home,
        _disk_nearly_full,
        _more_than_allowed,
        _disk_full_while_filling,
        _disk_full_while_copying,
    ],
)
def test_where_nothing_can_be_kept_the_records_are_decoded(
    root, tmp_path, monkeypatch, decoded, hinder, assert_same_arrays
):
    expected = read_all(open_stream("kmnist", root)._replace(kept=None))
    decoded.clear()
    hinder(tmp_path, monkeypatch)
    stream = open_stream("kmnist", root)
    for _ in range(2):
        assert_same_arrays(read_all(stream), expected)
    assert len(decoded) == 2 * (TRAIN + TEST)
    monkeypatch.undo()
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("*"))


def test_two_data_directories_are_kept_apart(root, tmp_path, decoded):
    other = shutil.copytree(root, tmp_path / "other")
    for _ in range(2):
        read_all(open_stream("kmnist", root))
        read_all(open_stream("kmnist", other))
    assert len(decoded) == 2 * (TRAIN + TEST)
    assert len(files()) == 2
