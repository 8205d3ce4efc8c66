"""`jaxmnist train` refuses a mistake in one line, and writes nothing."""

import os
import shutil
from pathlib import Path

import pytest


def words(line: str) -> list[str]:
    return line.split()


MISTAKES = [
    (["--dataset", "nope"], ["'nope'", "mnist, fashion_mnist", "tfds:NAME", ".npz"]),
    (["--dataset", "fashion-mnist"], ["did you mean 'fashion_mnist'?"]),
    (["--dataset", "kmnist", "--data-dir", "nowhere"], ["'kmnist'", "not prepared", "nowhere"]),
    (["--optimizer", "foo"], ["'foo'", "sgd, momentum, adagrad, rmsprop, adadelta, adam"]),
    (["--convention", "bar"], ["'bar'", "document, pytorch, optax"]),
    *(
        (["--learning-rate", word], ["learning_rate is", f"{float(word)};", "finite", "at least 0"])
        for word in ("-1", "-1e-9", "nan", "inf", "-inf", "1e400")
    ),
    *(
        ([f"--{name}", word], [f"{name.replace('-', '_')} is {word};", "whole", "at least 1"])
        for name in ("batch-size", "eval-batch-size", "epochs")
        for word in ("0", "-1")
    ),
    *((["--hidden", word], [f"size {word};", "at least 1"]) for word in ("0", "-3")),
    (["--hidden", "8", "0", "8"], ["size 0;", "at least 1"]),
    (["--seed", "-1"], ["seed is -1;", "0 to 2**32 - 1"]),
    (["--seed", str(2**32)], [f"seed is {2**32};", "0 to 2**32 - 1"]),
    *(
        ([f"--{name}", word], [f"--{name} cannot be '{word}'", kind])
        for name, word, kind in (
            ("learning-rate", "fast", "FLOAT"),
            ("batch-size", "many", "INT"),
            ("eval-batch-size", "1.5", "INT"),
            ("epochs", "1e3", "INT"),
            ("epochs", "inf", "INT"),
            ("hidden", "nan", "INT"),
            ("seed", "x", "INT"),
        )
    ),
    (["--hidden", "8", "wide"], ["--hidden cannot be 'wide'", "INT"]),
    (["--batch-size", "301"], ["batch_size is 301", "only 300 samples"]),
    (["--eval-batch-size", "101"], ["eval_batch_size is 101", "only 100 samples"]),
    (["--learning-rate"], ["--learning-rate needs a value"]),
    (["--bogus", "3"], ["--bogus"]),
    (["stray"], ["stray"]),
]


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=lambda part: " ".join(part))
def test_train_refuses_and_writes_nothing(
    mistake, words, npz, tmp_path, monkeypatch, refused, options
):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--dataset", npz, *options, *mistake]
    assert refused([*arguments, "--out", tmp_path / "run"], *words) == ""
    refused(arguments, *words)
    assert list(tmp_path.iterdir()) == []


def test_train_refuses_with_overwrite_and_leaves_the_old_run(run, npz, tmp_path, refused, contents):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    for mistake in (["--epochs", "0"], ["--batch-size", "301"], ["--dataset", "nope"]):
        refused(["train", "--dataset", npz, "--overwrite", "--out", folder, *mistake])
        assert contents(folder) == contents(run)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"PK", lambda _: b""])
def test_train_refuses_a_corrupt_npz(damage, npz, tmp_path, refused):
    path = tmp_path / "corrupt.npz"
    path.write_bytes(damage(npz.read_bytes()))
    refused(["train", "--dataset", path, "--out", tmp_path / "run"], str(path))
    assert not (tmp_path / "run").exists()


def test_train_refuses_a_folder_that_holds_a_run(run, npz, refused, contents, options):
    before = contents(run)
    words = (str(run), "holds a run already", "--overwrite")
    refused(["train", "--dataset", npz, "--out", run, *options], *words)
    assert contents(run) == before


@pytest.mark.parametrize("place", ["file", "file/run", "file/deep/run"])
def test_train_refuses_a_place_that_is_no_folder(place, npz, tmp_path, refused, contents, options):
    (tmp_path / "file").write_text("mine")
    words = (str(tmp_path / place), "not a folder")
    refused(["train", "--dataset", npz, "--out", tmp_path / place, *options], *words)
    assert contents(tmp_path) == {"file": b"mine"}


def test_train_refuses_a_name_that_no_folder_can_have(npz, tmp_path, refused, options):
    out = tmp_path / ("x" * 300)
    refused(["train", "--dataset", npz, "--out", out, *options], "x" * 300, "too long")


@pytest.mark.slow
def test_train_refuses_when_the_disk_is_full_and_leaves_no_half_file(
    npz, tmp_path, refused, monkeypatch, options
):
    flush = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(".model"):
            os.ftruncate(descriptor, 100)
            raise OSError(28, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    words = ("model.safetensors", "No space left on device")
    refused(["train", "--dataset", npz, "--out", tmp_path / "run", *options], *words)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["config.json", "metrics.jsonl"]
