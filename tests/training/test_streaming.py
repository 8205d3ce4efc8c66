"""Training from a set on disk: the in-memory numbers, pieces read ahead, and clear errors."""

import dataclasses
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import training
from jaxmnist.data import PreparedSet, catalogue, open_stream, preparation, prepare
from jaxmnist.data import stream as stream_reading
from jaxmnist.data.batches import permutation
from jaxmnist.data.catalogue import StandardSet
from jaxmnist.data.stream import pieces
from jaxmnist.training import streaming

# Short last batches: 10 of 64 and 5 of 48. With pieces of 128 the last of them are short too.
TRAIN, TEST = 650, 245
CONFIG = jm.Config(hidden=(8,), epochs=2, batch_size=64, eval_batch_size=48, seed=3)
PIECE, PIECES = 128, 6


@pytest.fixture(scope="module")
def stream(prepared_kmnist: Path) -> PreparedSet:
    return open_stream("kmnist", prepared_kmnist)


@pytest.fixture(scope="module")
def dataset(kmnist_in_memory) -> jm.Dataset:
    return kmnist_in_memory


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_PIECE", PIECE)


def test_fit_from_disk_gives_the_in_memory_numbers(stream, dataset, assert_same_arrays):
    config = dataclasses.replace(CONFIG, optimizer="adam")
    states: list[training.TrainState] = []
    state, history = jm.fit(config, stream, on_epoch=lambda _, state, __: states.append(state))
    expected_states: list[training.TrainState] = []
    expected_state, expected = jm.fit(
        config, dataset, on_epoch=lambda _, state, __: expected_states.append(state)
    )
    assert len(states) == CONFIG.epochs
    assert_same_arrays((states, state), (expected_states, expected_state))
    # Sums of 11 and 6 batches' metrics, in another order: each addition rounds by half an ULP.
    np.testing.assert_allclose(history, expected, rtol=11 * 2**-24)


@pytest.mark.slow
def test_fit_from_disk_takes_the_in_memory_batches(
    stream, dataset, monkeypatch, assert_same_arrays
):
    """Every epoch's order, from the same key, and every batch's loss, to the last bit."""
    taken, metrics = [], []
    jitted = streaming._jitted_metrics

    def recording(*arguments):
        read = pieces(*arguments)

        def record():
            for piece in read:
                taken.append((arguments[1], piece))
                yield piece

        return record()

    monkeypatch.setattr(streaming, "pieces", recording)
    monkeypatch.setattr(
        streaming,
        "_jitted_metrics",
        lambda *arguments: metrics.append(arguments[3]) or jitted(*arguments),
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

    state = training.init(key, jm.default_hyper(CONFIG), CONFIG)
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
    assert [streaming._piece_size(size, 788) for size in (1, 48, 64, 128, 129)] == [
        128,
        96,
        128,
        128,
        129,
    ]


@pytest.mark.slow
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

    def program(carry, piece):
        numbers, _ = piece
        events.append(f"run {int(numbers[0])}")
        return carry + 1, training.Means({"loss": numbers.astype(float)}, {})

    carry, metrics = streaming._over_pieces(
        program, 0, read(), lambda done: events.append(f"waited for {done - 1}")
    )
    assert (carry, metrics.loss.tolist()) == (4, [0, 1, 2, 3])
    assert events == [
        *("read 0", "run 0", "read 1", "run 1", "waited for 0", "read 2", "run 2"),
        *("waited for 1", "read 3", "run 3", "waited for 2", "waited for 3"),
    ]


@pytest.mark.slow
def test_diverging_run_stops_in_the_midst_of_the_epoch(stream, dataset, reads, assert_same_arrays):
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
    assert 2 <= len(reads) <= 2 + stream_reading._AHEAD < PIECES
    assert_same_arrays(streamed.value.state, in_memory.value.state)
    assert streamed.value.history.train_loss.size == 0


@pytest.mark.slow
def test_second_fit_from_disk_traces_nothing(stream, monkeypatch):
    jm.fit(CONFIG, stream)

    def traced_again(*_, **__):
        raise AssertionError("the program was traced again")

    monkeypatch.setattr(streaming, "update_epoch", traced_again)
    jm.fit(dataclasses.replace(CONFIG, seed=4, learning_rate=0.01, epochs=1), stream)


@pytest.mark.slow
def test_fit_ends_its_threads(stream, monkeypatch):
    kept = []  # So that they do not end by being forgotten.
    monkeypatch.setattr(streaming, "pieces", lambda *a: kept.append(pieces(*a)) or kept[-1])
    jm.fit(dataclasses.replace(CONFIG, epochs=1), stream)
    assert len(kept) == 2
    deadline = time.monotonic() + 5
    while alive := [t.name for t in threading.enumerate() if "grain" in t.name]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.01)


def test_batches_larger_than_the_stream_are_refused(stream, refused):
    for field, largest in (("batch_size", TRAIN), ("eval_batch_size", TEST)):
        config = dataclasses.replace(CONFIG, **{field: largest + 1})
        with refused(f"{field} is {largest + 1}", f"only {largest} samples"):
            jm.fit(config, stream)


def test_damaged_record_is_named_while_training(tmp_path, refused, damaged_kmnist):
    directory = damaged_kmnist
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
    prepared_kmnist, tmp_path, monkeypatch, change, words, refused
):
    fromarray = preparation.Image.fromarray
    monkeypatch.setattr(preparation.Image, "fromarray", lambda array: change(fromarray(array)))
    small = StandardSet("kmnist", TRAIN, TEST, range(10))
    monkeypatch.setitem(catalogue.STANDARD_SETS, "kmnist", small)
    prepare("kmnist", prepared_kmnist / "idx", tmp_path)
    with refused(tmp_path / "kmnist", *words):
        jm.fit(CONFIG, open_stream("kmnist", tmp_path))


@pytest.mark.slow
def test_streaming_is_quiet_and_tensorflow_stays_out(prepared_kmnist):
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
        [sys.executable, "-W", "default", "-c", code, str(prepared_kmnist)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
