"""A small run of the command, the same run through the library, and how to look at commands."""

import contextlib
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxmnist as jm
from jaxmnist import cli, interop, runs, training

# 300 training and 100 test images: 5 and 3 batches, the last ones short.
CONFIG = jm.Config(
    hidden=(8, 6),
    optimizer="momentum",
    learning_rate=0.05,
    epochs=2,
    batch_size=64,
    eval_batch_size=48,
    seed=3,
)


@pytest.fixture(scope="session")
def config() -> jm.Config:
    """The run's configuration."""
    return CONFIG


@pytest.fixture(scope="session")
def options() -> list[str]:
    """The same as options of `train`."""
    return [
        *("--hidden", "8", "6", "--optimizer", "momentum", "--learning-rate", "0.05"),
        *("--epochs", "2", "--batch-size", "64", "--eval-batch-size", "48", "--seed", "3"),
        *("--checkpoint-every", "0"),
    ]


@pytest.fixture(scope="session")
def files() -> list[str]:
    """The files that it leaves, sorted."""
    return [
        "config.json",
        "curves.png",
        "eval_accuracy.png",
        "eval_loss.png",
        "metrics.jsonl",
        "model.safetensors",
        "predictions.csv",
        "predictions.png",
        "train_accuracy.png",
        "train_loss.png",
    ]


@pytest.fixture(scope="session")
def write_npz() -> Callable[..., Path]:
    """A function that writes some of MNIST's digits below `classes` as a Keras-style file."""
    mnist = jm.load_dataset("mnist")

    def write(path: Path, classes: int = 10, count: int = 100) -> Path:
        train = np.flatnonzero(mnist.train_labels < classes)[:300]
        test = np.flatnonzero(mnist.test_labels < classes)[:count]
        np.savez(
            path,
            x_train=mnist.train_images[train],
            y_train=mnist.train_labels[train],
            x_test=mnist.test_images[test],
            y_test=mnist.test_labels[test],
        )
        return path

    return write


@pytest.fixture(scope="session")
def npz(write_npz, tmp_path_factory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "few.npz")


@pytest.fixture(scope="session")
def dataset(npz) -> jm.Dataset:
    return jm.load_dataset(npz)


@pytest.fixture(scope="session")
def piped(npz, options, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A run of the installed command with its output piped, and that output."""
    out = tmp_path_factory.mktemp("runs") / "run"
    command = [sys.executable, "-m", "jaxmnist", "train", "--dataset", npz, "--out", out, *options]
    return out, subprocess.run(command, capture_output=True, check=False)


@pytest.fixture(scope="session")
def run(piped) -> Path:
    """The folder of a run."""
    return piped[0]


@pytest.fixture(scope="session")
def fitted(dataset):
    """The same run through the library."""
    return jm.fit(CONFIG, dataset)


@pytest.fixture
def digit(dataset, tmp_path) -> Path:
    """The first test image as a PNG."""
    path = tmp_path / "digit.png"
    Image.fromarray(dataset.test_images[0]).save(path)
    return path


@pytest.fixture(scope="session")
def untrained_run() -> Callable[[Path, Path, int], Path]:
    """A function that writes a run's folder with the weights as they were drawn."""

    def write(path: Path, npz: Path, num_classes: int) -> Path:
        written = runs.Run(path, CONFIG, num_classes, str(npz))
        runs.create(written)
        params = written.model.init(jax.random.key(0), jnp.zeros((1, 28, 28)))
        interop.save_safetensors(params, path / "model.safetensors")
        return path

    return write


@pytest.fixture(scope="session")
def logits_of() -> Callable[..., np.ndarray]:
    """A function from the run's parameters and images to logits."""

    def apply(params, images: np.ndarray) -> np.ndarray:
        x = jm.normalize(jnp.asarray(images))
        return np.asarray(jm.MLP(CONFIG.hidden).apply(params, x), np.float64)

    return apply


# ------------------------------------------------------------------------------- commands


@pytest.fixture(scope="session")
def run_command() -> Callable[..., str]:
    """A function that runs a command that must succeed, and returns what it printed."""

    def run(*words: object) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            cli.main([str(word) for word in words])
        return printed.getvalue()

    return run


@pytest.fixture(scope="session")
def run_on_terminal() -> Callable[..., tuple[int, str]]:
    """A function that runs a command on a terminal: its exit status, and all it showed."""

    def run(*words: object) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "jaxmnist", *map(str, words)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
        )
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # Linux's word for the end of a terminal.
                break
            if not chunk:
                break
            shown += chunk
        os.close(ours)
        return process.wait(timeout=60), shown.decode()

    return run


@pytest.fixture
def refused(capsys) -> Callable[..., str]:
    """A function that runs a command which must be refused in one line with every word given."""

    def refuse(arguments: list, *words: str, status: int = 2) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        assert stopped.value.code == status
        assert re.fullmatch(r"jaxmnist: [^\n]+\n", err)
        assert "Traceback" not in out + err
        for word in words:
            assert word in err
        return out

    return refuse


@pytest.fixture(scope="session")
def rows_of() -> Callable[[str], list[list[str]]]:
    """A function from a printed table to its cells, without its heading."""

    def rows(table: str) -> list[list[str]]:
        return [
            [cell.strip() for cell in line.strip("│").split("│")]
            for line in table.splitlines()
            if line.startswith("│")
        ]

    return rows


@pytest.fixture(scope="session")
def epoch_lines() -> Callable[..., list[str]]:
    """A function from a history to the lines that `train` prints of it."""

    def lines(history) -> list[str]:
        return [
            f"epoch: {epoch}, Train Loss: {row[0]:.6f}, Train Acc: {row[1]:.6f}, "
            f"Eval Loss: {row[2]:.6f}, Eval Acc: {row[3]:.6f}"
            for epoch, row in enumerate(zip(*map(np.asarray, history[:4]), strict=True))
        ]

    return lines


@pytest.fixture(scope="session")
def assert_reached() -> Callable[[Path, jm.Dataset, int], None]:
    """A function that asserts that a folder has so many whole epochs, and the last one's model."""

    def check(folder: Path, dataset: jm.Dataset, epochs: int) -> None:
        text = (folder / "metrics.jsonl").read_text()
        assert text.endswith("\n")
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["epoch"] for line in lines] == list(range(epochs))
        trained, params = runs.load(folder)
        metrics = training.evaluate(
            params,
            jnp.asarray(dataset.test_images),
            jnp.asarray(dataset.test_labels),
            apply_fn=trained.model.apply,
            batch_size=trained.config.eval_batch_size,
        )
        assert float(metrics.loss.mean()) == pytest.approx(lines[-1]["eval_loss"], rel=1e-5)
        assert float(metrics.accuracy.mean()) == pytest.approx(lines[-1]["eval_accuracy"], abs=1e-6)

    return check
