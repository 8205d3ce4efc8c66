"""Reading a prepared set piece by piece: the rows in order, reading ahead, and clear errors."""

import contextlib
import json
import time
from pathlib import Path

import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist.data import PreparedSet, open_stream
from jaxmnist.data import stream as streaming
from jaxmnist.data.stream import head, pieces

TRAIN, TEST = 650, 245
PIECE, PIECES = 128, 6


@pytest.fixture(scope="module")
def stream(prepared_kmnist: Path) -> PreparedSet:
    return open_stream("kmnist", prepared_kmnist)


@pytest.fixture(scope="module")
def dataset(kmnist_in_memory) -> jm.Dataset:
    return kmnist_in_memory


def test_pieces_are_the_rows_in_the_given_order(stream, dataset):
    order = np.random.default_rng(0).permutation(TRAIN).astype(np.int32)
    read = list(pieces(stream, "train", order, PIECE))
    assert [len(labels) for _, labels in read] == [128] * 5 + [10]
    for start, (images, labels) in enumerate(read):
        rows = order[start * PIECE : (start + 1) * PIECE]
        np.testing.assert_array_equal(images, dataset.train_images[rows])
        np.testing.assert_array_equal(labels, dataset.train_labels[rows])
        assert (images.dtype, labels.dtype) == (np.uint8, np.int32)


def test_pieces_of_the_test_set_in_stored_order(stream, dataset):
    images, labels = zip(*pieces(stream, "test", range(TEST), 96), strict=True)
    np.testing.assert_array_equal(np.concatenate(images), dataset.test_images)
    np.testing.assert_array_equal(np.concatenate(labels), dataset.test_labels)


@pytest.mark.parametrize("taken", [0, 1, 4, PIECES])
def test_restored_iterator_gives_exactly_the_remaining_pieces(stream, taken, assert_same_arrays):
    order = np.random.default_rng(1).permutation(TRAIN)
    whole = list(pieces(stream, "train", order, PIECE))
    with contextlib.closing(pieces(stream, "train", order, PIECE)) as interrupted:
        for _ in range(taken):
            next(interrupted)
        state = json.loads(json.dumps(interrupted.get_state()))
    resumed = pieces(stream, "train", order, PIECE)
    resumed.set_state(state)
    rest = list(resumed)
    assert len(rest) == PIECES - taken
    assert_same_arrays(rest, whole[taken:])


def test_iterator_goes_back_to_a_state_of_its_own(stream, assert_same_arrays):
    iterator = pieces(stream, "train", np.arange(TRAIN), PIECE)
    next(iterator)
    state = iterator.get_state()
    first = list(iterator)
    iterator.set_state(state)
    assert_same_arrays(list(iterator), first)


def test_few_pieces_are_read_ahead(stream, reads):
    with contextlib.closing(pieces(stream, "train", np.arange(TRAIN), 10)) as iterator:
        for taken in (1, 2):
            next(iterator)
            deadline = time.monotonic() + 5
            while len(reads) < taken + streaming._AHEAD and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1)
            assert len(reads) == taken + streaming._AHEAD


def test_emnist_is_read_upright(stream, dataset):
    emnist = stream._replace(name="emnist/digits", kept=None)
    [(images, _)] = pieces(emnist, "test", range(TEST), TEST)
    np.testing.assert_array_equal(images, dataset.test_images.transpose(0, 2, 1))


def test_head_is_the_first_images(stream, dataset):
    few = head(stream, 300)
    assert (few.num_classes, few.name) == (10, "kmnist")
    np.testing.assert_array_equal(few.train_images, dataset.train_images[:300])
    np.testing.assert_array_equal(few.train_labels, dataset.train_labels[:300])
    np.testing.assert_array_equal(few.test_images, dataset.test_images)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist", ["in the package", "jaxmnist data prepare mnist", "tfds:mnist"]),
        ("./digits", ["'./digits'", "data prepare NAME --from DIR", "tfds:NAME"]),
        ("digits.npz", ["'digits.npz'", "only a prepared set can be streamed"]),
        ("fashon_mnist", ["did you mean 'fashion_mnist'?"]),
        ("emnist/digits", ["not prepared", "jaxmnist data prepare emnist/digits --data-dir"]),
        ("tfds:cifar10", ["no such set", "array_record"]),
    ],
)
def test_what_cannot_be_streamed_says_what_to_do(prepared_kmnist, name, words, refused):
    with refused(*words):
        open_stream(name, prepared_kmnist)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("dataset_info.json", '"array_record"', '"tfrecord"', ["stored as tfrecord", "--data-dir"]),
        ("features.json", '"28",', '"32",', ["(32, 32, 1)", "(28, 28, 1) is needed"]),
        ("features.json", '"1"\n', '"3"\n', ["(28, 28, 3)", "(28, 28, 1) is needed"]),
        ("features.json", '"label": {', '"class": {', ["image and label are needed"]),
        ("dataset_info.json", '"name": "train"', '"name": "all"', ["train and test are needed"]),
    ],
)
def test_set_of_another_kind_is_refused(tmp_path, file, old, new, words, refused, damaged_kmnist):
    path = damaged_kmnist / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with refused(path.parent, *words):
        open_stream("kmnist", tmp_path)


def test_set_too_large_to_be_shuffled_is_refused(prepared_kmnist, monkeypatch, refused):
    assert streaming.LARGEST == 2**24 - 1
    monkeypatch.setattr(streaming, "LARGEST", TRAIN - 1)
    with refused(f"has {TRAIN} training images", f"at most {TRAIN - 1}"):
        open_stream("kmnist", prepared_kmnist)
    monkeypatch.setattr(streaming, "LARGEST", TRAIN)
    assert len(open_stream("kmnist", prepared_kmnist).train) == TRAIN


def test_label_that_is_none_is_named_with_its_record(tmp_path, dataset, refused, damaged_kmnist):
    path = damaged_kmnist / "features.json"
    path.write_text(path.read_text().replace('"numClasses": "10"', '"numClasses": "9"'))
    wrong = int(np.flatnonzero(dataset.train_labels == 9)[2])
    narrow = open_stream("kmnist", tmp_path)
    with refused(f"train record {wrong} has the label 9", "0 to 8 are allowed"):
        next(pieces(narrow, "train", np.array([wrong]), 1))
