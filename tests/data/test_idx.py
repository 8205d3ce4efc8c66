"""IDX folders: what is read, and what is refused."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmnist.data import load_dataset
from jaxmnist.data.idx import FILE_NAMES, read_idx

FIELDS = ("train_images", "train_labels", "test_images", "test_labels")


DOTTED = tuple(name.replace("-idx", ".idx") for name in FILE_NAMES)


@pytest.mark.parametrize("names", [FILE_NAMES, DOTTED], ids=["hyphens", "dots"])
@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
def test_idx_folder_round_trip(tmp_path, names, gz, small_arrays, write_idx_folder, assert_holds):
    folder = write_idx_folder(tmp_path / "MNIST" / "raw", small_arrays(classes=7), names, gz)
    dataset = load_dataset(folder)
    assert_holds(dataset, small_arrays(classes=7))
    assert (dataset.num_classes, dataset.name) == (7, str(folder))
    assert dataset.train_images.flags.writeable


def test_idx_plain_file_wins_over_its_gzipped_twin(
    tmp_path, small_arrays, write_idx_folder, assert_holds
):
    write_idx_folder(tmp_path, small_arrays(train=3), gz=True)
    write_idx_folder(tmp_path, small_arrays())
    assert_holds(load_dataset(tmp_path), small_arrays())


def emnist_names(part: str) -> list[str]:
    return [f"emnist-{part}-{name.replace('t10k', 'test')}" for name in FILE_NAMES]


def test_idx_emnist_is_set_upright(tmp_path, small_arrays, write_idx_folder, assert_holds):
    arrays = small_arrays()
    write_idx_folder(tmp_path, arrays, emnist_names("digits"), gz=True)
    for field in ("train_images", "test_images"):
        arrays[field] = np.swapaxes(arrays[field], 1, 2)
    assert_holds(load_dataset(tmp_path), arrays)


def test_idx_several_sets_in_one_folder(tmp_path, small_arrays, write_idx_folder, refused):
    for part in ("digits", "letters"):
        write_idx_folder(tmp_path, small_arrays(), emnist_names(part))
    with refused(tmp_path, "2 sets", "emnist-digits-*", "emnist-letters-*", "folder of their own"):
        load_dataset(tmp_path)


def test_idx_missing_files_are_named(tmp_path, small_arrays, write_idx_folder, refused):
    write_idx_folder(tmp_path, small_arrays())
    (tmp_path / FILE_NAMES[1]).unlink()
    (tmp_path / FILE_NAMES[2]).unlink()
    with refused(tmp_path, FILE_NAMES[1], FILE_NAMES[2]) as info:
        load_dataset(tmp_path)
    assert FILE_NAMES[0] not in str(info.value)


def test_idx_empty_folder(tmp_path, refused):
    with refused(tmp_path, *FILE_NAMES):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b, _: b[:-1], ["truncated", "9423 bytes", "9424"]),
        (lambda b, _: b + b"\0", ["bytes after its end", "9425"]),
        (lambda b, _: b[:10], ["truncated", "10 bytes", "16"]),
        (lambda b, _: b"", ["is empty"]),
        (lambda b, _: gzip.compress(b""), ["is empty"]),
        (lambda b, _: b"\n<!DOCTYPE html>\n<html><body>404</body></html>", ["web page (HTML)"]),
        (lambda b, _: gzip.compress(b"<html>not here</html>"), ["web page (HTML)"]),
        (
            lambda b, _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            ["Git LFS pointer", "git lfs pull"],
        ),
        (lambda b, _: b"\0\0\x0d\x03" + b[4:], ["0x00000d03", "0x00000803"]),
        (lambda b, idx: idx(np.zeros(12, np.uint8)), ["images", "0x00000801", "0x00000803"]),
        (lambda b, _: gzip.compress(b)[:-9], ["gzip"]),
        (lambda b, _: gzip.compress(b)[:5], ["gzip"]),
        (lambda b, _: gzip.compress(b) + b"x", ["gzip"]),
        (lambda b, _: gzip.compress(b)[:-8] + b"\0" * 8, ["gzip", "CRC"]),
        (lambda b, idx: idx(np.zeros((12, 32, 28), np.uint8)), ["(12, 32, 28)", "28, 28"]),
        (lambda b, idx: idx(np.zeros((11, 28, 28), np.uint8)), ["11 train_images", "12"]),
    ],
)
def test_idx_damage_is_named(
    tmp_path, damage, words, small_arrays, write_idx_folder, refused, idx_bytes
):
    path = write_idx_folder(tmp_path, small_arrays()) / FILE_NAMES[0]
    path.write_bytes(damage(path.read_bytes(), idx_bytes))
    with refused(tmp_path, *words):
        load_dataset(tmp_path)


# ------------------------------------------------------------------------------- where they are


@pytest.mark.parametrize("filled", [False, True], ids=["empty folders", "folders with files"])
def test_idx_folders_of_the_files_names_beside_the_files(
    tmp_path, filled, small_arrays, write_idx_folder, assert_holds
):
    """Kaggle's copy has `train-images.idx3-ubyte` beside a folder `train-images-idx3-ubyte`."""
    write_idx_folder(tmp_path, small_arrays(), DOTTED)
    for name in FILE_NAMES:
        (tmp_path / name).mkdir()
    if filled:
        other = write_idx_folder(tmp_path / "other", small_arrays(train=3))
        for name in FILE_NAMES:
            (other / name).rename(tmp_path / name / name)
    assert_holds(load_dataset(tmp_path), small_arrays())


def test_idx_files_each_in_a_folder_of_its_name(
    tmp_path, small_arrays, write_idx_folder, assert_holds
):
    flat = write_idx_folder(tmp_path / "flat", small_arrays())
    for name in FILE_NAMES:
        (tmp_path / "set" / name).mkdir(parents=True)
        (flat / name).rename(tmp_path / "set" / name / name)
    assert_holds(load_dataset(tmp_path / "set"), small_arrays())


def test_idx_file_under_two_spellings_is_refused_where_they_differ(
    tmp_path, small_arrays, write_idx_folder, assert_holds, refused
):
    write_idx_folder(tmp_path, small_arrays())
    write_idx_folder(tmp_path, small_arrays(), DOTTED)
    assert_holds(load_dataset(tmp_path), small_arrays())
    write_idx_folder(tmp_path, small_arrays(train=3), DOTTED)
    with refused(tmp_path, FILE_NAMES[2], DOTTED[2], "differ"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("inner", ["raw", "MNIST/raw"])
def test_idx_files_some_folders_deeper(
    tmp_path, inner, small_arrays, write_idx_folder, assert_holds
):
    write_idx_folder(tmp_path / inner, small_arrays())
    assert_holds(load_dataset(tmp_path), small_arrays())


def test_idx_several_sets_deeper_are_named(tmp_path, small_arrays, write_idx_folder, refused):
    for name in ("MNIST", "KMNIST"):
        write_idx_folder(tmp_path / name / "raw", small_arrays())
    with refused(tmp_path, str(tmp_path / "MNIST/raw"), str(tmp_path / "KMNIST/raw"), "name one"):
        load_dataset(tmp_path)


def test_idx_files_missing_deeper_are_named_with_their_place(
    tmp_path, small_arrays, write_idx_folder, refused
):
    (write_idx_folder(tmp_path / "MNIST/raw", small_arrays()) / FILE_NAMES[2]).unlink()
    with refused(tmp_path, FILE_NAMES[2], str(tmp_path / "MNIST/raw")):
        load_dataset(tmp_path)
    write_idx_folder(tmp_path / "a/b/c", small_arrays())
    with refused(tmp_path / "a" / "b" / "none", "no such"):
        load_dataset(tmp_path / "a" / "b" / "none")
    assert load_dataset(tmp_path / "a").num_classes == 10


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
def test_idx_qmnist_labels_are_the_first_of_eight_numbers(
    tmp_path, gz, small_arrays, write_idx_folder, assert_holds, refused
):
    arrays = small_arrays()
    names = [f"qmnist-{name.replace('t10k', 'test')}" for name in FILE_NAMES]
    write_idx_folder(tmp_path, arrays, names, gz)
    for split, name in (("train", names[1]), ("test", names[3])):
        old = tmp_path / f"{name}{'.gz' * gz}"
        old.unlink()
        rows = np.random.default_rng(0).integers(0, 9999, (len(arrays[f"{split}_labels"]), 8))
        rows[:, 0] = arrays[f"{split}_labels"]
        content = struct.pack(">4B2I", 0, 0, 12, 2, *rows.shape) + rows.astype(">i4").tobytes()
        path = old.with_name(old.name.replace("idx1-ubyte", "idx2-int"))
        path.write_bytes(gzip.compress(content) if gz else content)
    assert_holds(load_dataset(tmp_path), arrays)
    path.write_bytes(content[:-4])
    with refused(path, "truncated"):
        load_dataset(tmp_path)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(*[st.integers(0, 5)] * 3),
    data=st.data(),
    gz=st.booleans(),
)
def test_idx_reads_what_was_written_and_refuses_it_cut(
    tmp_path_factory, shape, data, gz, refused, idx_bytes
):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = gzip.compress(idx_bytes(array)) if gz else idx_bytes(array)
    path = tmp_path_factory.getbasetemp() / "any.idx"
    path.write_bytes(content)
    np.testing.assert_array_equal(read_idx(path, ndim=3), array, strict=True)

    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with refused(path):
        read_idx(path, ndim=3)
