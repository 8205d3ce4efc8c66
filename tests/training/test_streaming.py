"""Training from a set on disk: the in-memory numbers, pieces read ahead, and clear errors."""

import contextlib
import dataclasses
import gzip
import io
import json
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import cli, training
from jaxmnist.data import PreparedSet, catalogue, open_stream, preparation, prepare
from jaxmnist.data import stream as streaming
from jaxmnist.data.batches import permutation
from jaxmnist.data.catalogue import StandardSet
from jaxmnist.data.idx import FILE_NAMES
from jaxmnist.data.stream import head, pieces
from jaxmnist.runs import pictures

# Short last batches: 10 of 64 and 5 of 48. With pieces of 128 the last of them are short too.
TRAIN, TEST = 650, 245
CONFIG = jm.Config(hidden=(8,), epochs=2, batch_size=64, eval_batch_size=48, seed=3)
PIECE, PIECES = 128, 6


def write_idx(folder: Path) -> Path:
    """Real digits as four IDX files."""
    mnist = jm.load_dataset("mnist")
    arrays = (
        mnist.train_images[:TRAIN],
        mnist.train_labels[:TRAIN].astype(np.uint8),
        mnist.test_images[:TEST],
        mnist.test_labels[:TEST].astype(np.uint8),
    )
    folder.mkdir()
    for name, array in zip(FILE_NAMES, arrays, strict=True):
        head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (folder / f"{name}.gz").write_bytes(gzip.compress(head + array.tobytes()))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a small kmnist prepared in it."""
    folder = tmp_path_factory.mktemp("prepared")
    source = write_idx(folder / "idx")
    with pytest.MonkeyPatch.context() as patch:
        small = StandardSet("kmnist", TRAIN, TEST, range(10))
        patch.setitem(catalogue.STANDARD_SETS, "kmnist", small)
        prepare("kmnist", source, folder)
    return folder


@pytest.fixture(scope="module")
def stream(root: Path) -> PreparedSet:
    return open_stream("kmnist", root)


@pytest.fixture(scope="module")
def dataset(root: Path, tmp_path_factory: pytest.TempPathFactory) -> jm.Dataset:
    """The same set in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return jm.load_dataset("kmnist", root)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_PIECE", PIECE)


def damaged_copy(root: Path, tmp_path: Path) -> Path:
    return shutil.copytree(root / "kmnist", tmp_path / "kmnist") / "3.0.1"


@contextlib.contextmanager
def refused(*words: object) -> Iterator[None]:
    """Expect an InputError of one line, with these words in it."""
    with pytest.raises(jm.InputError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The split of every piece read from now on."""
    reads: list[str] = []
    read_records = streaming.read_records

    def counting(prepared, split, keys):
        reads.append(split)
        return read_records(prepared, split, keys)

    monkeypatch.setattr(streaming, "read_records", counting)
    return reads


def assert_same_arrays(first, second) -> None:
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(one, other)


# ------------------------------------------------------------------------------- reading


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
def test_restored_iterator_gives_exactly_the_remaining_pieces(stream, taken):
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


def test_iterator_goes_back_to_a_state_of_its_own(stream):
    iterator = pieces(stream, "train", np.arange(TRAIN), PIECE)
    next(iterator)
    state = iterator.get_state()
    first = list(iterator)
    iterator.set_state(state)
    assert_same_arrays(list(iterator), first)


def test_few_pieces_are_read_ahead(stream, monkeypatch):
    reads = count_reads(monkeypatch)
    with contextlib.closing(pieces(stream, "train", np.arange(TRAIN), 10)) as iterator:
        for taken in (1, 2):
            next(iterator)
            deadline = time.monotonic() + 5
            while len(reads) < taken + streaming._AHEAD and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1)
            assert len(reads) == taken + streaming._AHEAD


def test_emnist_is_read_upright(stream, dataset):
    emnist = stream._replace(name="emnist/digits")
    [(images, _)] = pieces(emnist, "test", range(TEST), TEST)
    np.testing.assert_array_equal(images, dataset.test_images.transpose(0, 2, 1))


def test_head_is_the_first_images(stream, dataset):
    few = head(stream, 300)
    assert (few.num_classes, few.name) == (10, "kmnist")
    np.testing.assert_array_equal(few.train_images, dataset.train_images[:300])
    np.testing.assert_array_equal(few.train_labels, dataset.train_labels[:300])
    np.testing.assert_array_equal(few.test_images, dataset.test_images)


# ------------------------------------------------------------------------------- training


def test_fit_from_disk_gives_the_in_memory_numbers(stream, dataset):
    config = dataclasses.replace(CONFIG, optimizer="adam")
    states: list[training.TrainState] = []
    state, history = jm.fit(config, stream, on_epoch=lambda _, state, __: states.append(state))
    expected_states: list[training.TrainState] = []
    expected_state, expected = jm.fit(
        config, dataset, on_epoch=lambda _, state, __: expected_states.append(state)
    )
    assert len(states) == CONFIG.epochs
    assert_same_arrays((states, state), (expected_states, expected_state))
    # Sums of 11 and 6 batches' figures, in another order: each addition rounds by half an ULP.
    np.testing.assert_allclose(history, expected, rtol=11 * 2**-24)


def test_fit_from_disk_takes_the_in_memory_batches(stream, dataset, monkeypatch):
    """Every epoch's order, from the same key, and every batch's loss, to the last bit."""
    taken, metrics = [], []
    figures = training._jitted_figures

    def recording(*arguments):
        read = pieces(*arguments)

        def record():
            for piece in read:
                taken.append((arguments[1], piece))
                yield piece

        return record()

    monkeypatch.setattr(training, "pieces", recording)
    monkeypatch.setattr(
        training,
        "_jitted_figures",
        lambda config, train, *rest: metrics.append(train) or figures(config, train, *rest),
    )
    jm.fit(CONFIG, stream)

    key = jax.random.key(CONFIG.seed)
    _, data_key = jax.random.split(key)
    orders = [permutation(jax.random.fold_in(data_key, epoch), TRAIN) for epoch in range(2)]
    labels = np.concatenate([labels for split, (_, labels) in taken if split == "train"])
    images = np.concatenate([images for split, (images, _) in taken if split == "train"])
    np.testing.assert_array_equal(images, dataset.train_images[np.concatenate(orders)])
    np.testing.assert_array_equal(labels, dataset.train_labels[np.concatenate(orders)])
    assert np.mean(orders[0] == orders[1]) < 0.05

    state = training.init(key, jm.hyper(CONFIG), CONFIG)
    data = dataset.arrays()
    train_epoch = jax.jit(training.train_epoch, static_argnames=("apply_fn", "tx", "batch_size"))
    for order, streamed in zip(orders, metrics, strict=True):
        state, expected = train_epoch(
            state,
            order,
            data.train_images,
            data.train_labels,
            apply_fn=jm.MLP(CONFIG.hidden).apply,
            tx=jm.optim.sgd(0.1),
            batch_size=64,
        )
        assert streamed.loss.shape == (11,)
        assert_same_arrays(streamed, expected)


def test_piece_has_whole_batches_and_at_least_one():
    assert [training._piece_size(size) for size in (1, 48, 64, 128, 129)] == [
        128,
        96,
        128,
        128,
        129,
    ]


def test_progress_is_told_within_the_epochs(stream):
    told = []
    jm.fit(CONFIG, stream, on_progress=told.append)
    share = [min(1.0, done * PIECE / TRAIN) for done in range(1, PIECES + 1)]
    assert told == [*share, *(1 + each for each in share)]


def test_next_piece_is_dispatched_before_the_last_is_waited_for():
    events = []

    def read():
        for index in range(4):
            events.append(f"read {index}")
            yield np.full(1, index), np.zeros(1)

    def program(carry, numbers, _):
        events.append(f"run {int(numbers[0])}")
        return carry + 1, training.BatchMetrics(numbers.astype(float), numbers.astype(float))

    carry, metrics = training._over_pieces(
        program, 0, read(), lambda done: events.append(f"waited for {done - 1}")
    )
    assert (carry, metrics.loss.tolist()) == (4, [0, 1, 2, 3])
    assert events == [
        *("read 0", "run 0", "read 1", "run 1", "waited for 0", "read 2", "run 2"),
        *("waited for 1", "read 3", "run 3", "waited for 2", "waited for 3"),
    ]


def test_diverging_run_stops_in_the_midst_of_the_epoch(stream, dataset, monkeypatch):
    reads = count_reads(monkeypatch)
    config = dataclasses.replace(CONFIG, learning_rate=1e30)
    with pytest.raises(jm.DivergedError) as streamed:
        jm.fit(config, stream)
    with pytest.raises(jm.DivergedError) as in_memory:
        jm.fit(config, dataset)
    assert str(streamed.value) == str(in_memory.value)
    assert streamed.value.epoch == 0
    assert streamed.value.step < PIECE / 64
    # The piece after the broken one was dispatched before the loss was seen.
    assert set(reads) == {"train"}
    assert 2 <= len(reads) <= 2 + streaming._AHEAD < PIECES
    assert_same_arrays(streamed.value.state, in_memory.value.state)
    assert streamed.value.history.train_loss.size == 0


def test_second_fit_from_disk_traces_nothing(stream, monkeypatch):
    jm.fit(CONFIG, stream)

    def traced_again(*_):
        raise AssertionError("the program was traced again")

    monkeypatch.setattr(training, "model_and_optimizer", traced_again)
    jm.fit(dataclasses.replace(CONFIG, seed=4, learning_rate=0.01, epochs=1), stream)


def test_fit_ends_its_threads(stream, monkeypatch):
    kept = []  # So that they do not end by being forgotten.
    monkeypatch.setattr(training, "pieces", lambda *a: kept.append(pieces(*a)) or kept[-1])
    jm.fit(dataclasses.replace(CONFIG, epochs=1), stream)
    assert len(kept) == 2
    deadline = time.monotonic() + 5
    while alive := [t.name for t in threading.enumerate() if "grain" in t.name]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.01)


def test_batches_larger_than_the_stream_are_refused(stream):
    for field, largest in (("batch_size", TRAIN), ("eval_batch_size", TEST)):
        config = dataclasses.replace(CONFIG, **{field: largest + 1})
        with refused(f"{field} is {largest + 1}", f"only {largest} images"):
            jm.fit(config, stream)


# ------------------------------------------------------------------------------- refusals


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
def test_what_cannot_be_streamed_says_what_to_do(root, name, words):
    with refused(*words):
        open_stream(name, root)


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
def test_set_of_another_kind_is_refused(root, tmp_path, file, old, new, words):
    path = damaged_copy(root, tmp_path) / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with refused(path.parent, *words):
        open_stream("kmnist", tmp_path)


def test_set_too_large_to_be_shuffled_is_refused(root, monkeypatch):
    assert streaming.LARGEST == 2**24 - 1
    monkeypatch.setattr(streaming, "LARGEST", TRAIN - 1)
    with refused(f"has {TRAIN} training images", f"at most {TRAIN - 1}"):
        open_stream("kmnist", root)
    monkeypatch.setattr(streaming, "LARGEST", TRAIN)
    assert len(open_stream("kmnist", root).train) == TRAIN


def test_damaged_record_is_named_while_training(root, tmp_path):
    directory = damaged_copy(root, tmp_path)
    [path] = directory.glob("*-train.array_record-*")
    content = bytearray(path.read_bytes())
    middle = content.index(b"\x89PNG", len(content) // 3)
    content[middle : middle + 20] = bytes(20)
    path.write_bytes(content)
    with refused(directory, "cannot be read as a TFDS set", "jaxmnist data prepare again"):
        jm.fit(CONFIG, open_stream("kmnist", tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image.resize((32, 28)), ["32x28 pixels", "28x28"]),
        (lambda image: image.convert("RGB"), ["mode RGB"]),
    ],
)
def test_images_of_another_kind_are_named_while_training(
    root, tmp_path, monkeypatch, change, words
):
    fromarray = preparation.Image.fromarray
    monkeypatch.setattr(preparation.Image, "fromarray", lambda array: change(fromarray(array)))
    small = StandardSet("kmnist", TRAIN, TEST, range(10))
    monkeypatch.setitem(catalogue.STANDARD_SETS, "kmnist", small)
    prepare("kmnist", root / "idx", tmp_path)
    with refused(tmp_path / "kmnist", *words):
        jm.fit(CONFIG, open_stream("kmnist", tmp_path))


def test_label_that_is_none_is_named_with_its_record(root, tmp_path, dataset):
    path = damaged_copy(root, tmp_path) / "features.json"
    path.write_text(path.read_text().replace('"numClasses": "10"', '"numClasses": "9"'))
    wrong = int(np.flatnonzero(dataset.train_labels == 9)[2])
    narrow = open_stream("kmnist", tmp_path)
    with refused(f"train record {wrong} has the label 9", "0 to 8 are allowed"):
        next(pieces(narrow, "train", np.array([wrong]), 1))


# ------------------------------------------------------------------------------- the command


def words(line: str) -> list[str]:
    return line.split()


OPTIONS = words("--hidden 8 --epochs 2 --batch-size 64 --eval-batch-size 48 --seed 3")


def test_train_stream_writes_what_train_writes(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        pictures, "write_picture", lambda _, path: path.touch()
    )  # They take seconds.
    printed = []
    for name, option in (("memory", []), ("disk", ["--stream"])):
        shown = io.StringIO()
        command = ["train", "--dataset", "kmnist", "--data-dir", str(root), *OPTIONS, *option]
        with contextlib.redirect_stdout(shown):
            cli.main([*command, "--out", str(tmp_path / name)])
        printed.append(shown.getvalue().splitlines())
    memory, disk = tmp_path / "memory", tmp_path / "disk"
    assert sorted(path.name for path in disk.iterdir()) == sorted(
        path.name for path in memory.iterdir()
    )
    for name in ("config.json", "model.safetensors", "predictions.csv"):
        assert (disk / name).read_bytes() == (memory / name).read_bytes(), name
    assert printed[0][:3] == printed[1][:3]


def test_streamed_run_goes_on_after_a_stop_with_the_same_weights(root, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "write_picture", lambda _, path: path.touch())
    where = ["--dataset", "kmnist", "--data-dir", str(root), "--stream"]

    def train(*more: str) -> list[str]:
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            cli.main(["train", *more])
        return shown.getvalue().splitlines()

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(*where, *OPTIONS, "--epochs", "3", "--checkpoint-every", "1", "--out", str(whole))

    class StoppedError(Exception):
        pass

    read_records, reads = streaming.read_records, []

    def read_until_the_second_epoch(*arguments):
        reads.append(arguments)
        # An epoch reads 6 training and 3 test pieces (of 128 and 96): in the midst of the second.
        if len(reads) > 12:
            raise StoppedError
        return read_records(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "read_records", read_until_the_second_epoch)
        with pytest.raises(StoppedError):
            train(
                *where, *OPTIONS, "--epochs", "3", "--checkpoint-every", "1", "--out", str(stopped)
            )
    assert (stopped / "metrics.jsonl").read_text().count("\n") == 1
    assert train("--resume", str(stopped), "--stream")[0] == "resuming after epoch 1 of 3"
    for name in ("config.json", "metrics.jsonl", "model.safetensors", "predictions.csv"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name


def test_train_stream_refuses_in_one_line_and_writes_nothing(root, tmp_path, capsys):
    for dataset, message in (("mnist", "jaxmnist data prepare mnist"), (str(root / "idx"), "IDX")):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["train", "--dataset", dataset, "--stream", "--out", str(tmp_path / "run")])
        assert stopped.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("jaxmnist: ")
        assert err.count("\n") == 1
        assert message in err
    assert not (tmp_path / "run").exists()


def test_streaming_is_quiet_and_tensorflow_stays_out(root):
    code = """
import sys
import jaxmnist as jm
from jaxmnist.data import open_stream
stream = open_stream("kmnist", sys.argv[1])
assert "grain" not in sys.modules
jm.fit(jm.Config(hidden=(4,), epochs=1), stream)
assert "grain" in sys.modules
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
