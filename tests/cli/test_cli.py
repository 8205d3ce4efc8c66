"""The commands as a person runs them: what they print, what they leave, and how they refuse."""

import contextlib
import csv
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import jaxmnist as jm
from jaxmnist import cli, interop, runs, training

COMMANDS = "train, predict, evaluate, sweep, verify, race, figures, export, data"


def words(line: str) -> list[str]:
    return line.split()


HIDDEN, EPOCHS, BATCH, EVAL_BATCH, SEED = (8, 6), 2, 64, 48, 3
CONFIG = jm.Config(
    hidden=HIDDEN,
    optimizer="momentum",
    learning_rate=0.05,
    epochs=EPOCHS,
    batch_size=BATCH,
    eval_batch_size=EVAL_BATCH,
    seed=SEED,
)
OPTIONS = words(
    "--hidden 8 6 --optimizer momentum --learning-rate 0.05 --epochs 2 --batch-size "
    "64 --eval-batch-size 48 --seed 3 --checkpoint-every 0"
)
# 5 and 3 batches, the last ones short.
TRAIN_IMAGES, TEST_IMAGES = 300, 100
PICTURES = [
    "curves.png",
    "eval_accuracy.png",
    "eval_loss.png",
    "predictions.png",
    "train_accuracy.png",
    "train_loss.png",
]
FILES = sorted([*PICTURES, "config.json", "metrics.jsonl", "model.safetensors", "predictions.csv"])
SUMMARY = (
    r"final: eval accuracy 0\.\d{4} \(best 0\.\d{4}, epoch \d\), "
    r"eval loss \d\.\d{4}, train loss \d\.\d{4}"
)
TIMES = r"time: import \d+\.\d s, load \d+\.\d s, compile \d+\.\d s, train \d+\.\d s"


def write_npz(path: Path, classes: int = 10, count: int = TEST_IMAGES) -> Path:
    """Some of MNIST's digits below `classes` as a Keras-style file."""
    mnist = jm.load_dataset("mnist")
    train = np.flatnonzero(mnist.train_labels < classes)[:TRAIN_IMAGES]
    test = np.flatnonzero(mnist.test_labels < classes)[:count]
    np.savez(
        path,
        x_train=mnist.train_images[train],
        y_train=mnist.train_labels[train],
        x_test=mnist.test_images[test],
        y_test=mnist.test_labels[test],
    )
    return path


def run_command(*words: object) -> str:
    """Run a command that must succeed, and return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        cli.main([str(word) for word in words])
    return printed.getvalue()


def run_on_terminal(*words: object) -> tuple[int, str]:
    """Run the installed command on a terminal: its exit status, and all it showed."""
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


@pytest.fixture
def refused(capsys):
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


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def npz(tmp_path_factory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "few.npz")


@pytest.fixture(scope="module")
def dataset(npz) -> jm.Dataset:
    return jm.load_dataset(npz)


@pytest.fixture(scope="module")
def piped(npz, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A run of the installed command with its output piped, and that output."""
    out = tmp_path_factory.mktemp("runs") / "run"
    command = [sys.executable, "-m", "jaxmnist", "train", "--dataset", npz, "--out", out, *OPTIONS]
    return out, subprocess.run(command, capture_output=True, check=False)


@pytest.fixture(scope="module")
def run(piped) -> Path:
    """The folder of a run."""
    return piped[0]


@pytest.fixture(scope="module")
def fitted(dataset):
    """The same run through the library."""
    return jm.fit(CONFIG, dataset)


@pytest.fixture
def digit(dataset, tmp_path) -> Path:
    """The first test image as a PNG."""
    path = tmp_path / "digit.png"
    Image.fromarray(dataset.test_images[0]).save(path)
    return path


def logits_of(params, images: np.ndarray) -> np.ndarray:
    x = jm.normalize(jnp.asarray(images))
    return np.asarray(jm.MLP(HIDDEN).apply(params, x), np.float64)


def untrained_run(path: Path, npz: Path, num_classes: int) -> Path:
    """A run's folder with the weights as they were drawn."""
    written = runs.Run(path, CONFIG, num_classes, str(npz))
    runs.create(written)
    params = written.model.init(jax.random.key(0), jnp.zeros((1, 28, 28)))
    interop.save_safetensors(params, path / "model.safetensors")
    return path


def epoch_lines(history) -> list[str]:
    return [
        f"epoch: {epoch}, Train Loss: {row[0]:.6f}, Train Acc: {row[1]:.6f}, "
        f"Eval Loss: {row[2]:.6f}, Eval Acc: {row[3]:.6f}"
        for epoch, row in enumerate(zip(*map(np.asarray, history[:4]), strict=True))
    ]


# ------------------------------------------------------------------------------- train


def test_train_prints_the_documents_lines_and_a_summary(piped, fitted):
    out, process = piped
    assert (process.returncode, process.stderr) == (0, b"")
    lines = process.stdout.decode().splitlines()
    history = fitted[1]
    assert lines[:EPOCHS] == epoch_lines(history)
    final, times, wrote = lines[EPOCHS:]
    assert re.fullmatch(SUMMARY, final)
    best = int(np.argmax(history.eval_accuracy))
    assert final == (
        f"final: eval accuracy {history.eval_accuracy[-1]:.4f} "
        f"(best {history.eval_accuracy[best]:.4f}, epoch {best}), "
        f"eval loss {history.eval_loss[-1]:.4f}, train loss {history.train_loss[-1]:.4f}"
    )
    assert re.fullmatch(TIMES, times)
    assert wrote == f"wrote: {out}"


def test_train_piped_has_no_control_codes(piped):
    printed = piped[1].stdout
    assert not [byte for byte in printed if byte < 32 and byte != ord("\n")]
    assert b"\x1b" not in printed
    assert b"\x7f" not in printed


def test_train_writes_the_whole_folder_and_nothing_else(run):
    assert sorted(path.name for path in run.iterdir()) == FILES
    for name in PICTURES:
        with Image.open(run / name) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert len(np.unique(np.asarray(picture))) > 10


def test_train_writes_its_configuration(run, npz):
    about = json.loads((run / "config.json").read_text())
    assert about["config"] == {
        "hidden": list(HIDDEN),
        "optimizer": "momentum",
        "learning_rate": 0.05,
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "eval_batch_size": EVAL_BATCH,
        "seed": SEED,
        "convention": "document",
        "dtype": "float32",
    }
    assert (about["dataset"], about["data_dir"], about["num_classes"]) == (str(npz), None, 10)
    assert about["versions"]["jaxmnist"] == jm.__version__


def test_train_writes_metrics_equal_to_the_history(run, fitted):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line.pop("epoch") for line in lines] == list(range(EPOCHS))
    history = fitted[1]
    for epoch, line in enumerate(lines):
        assert line == {name: float(x[epoch]) for name, x in history._asdict().items()}


def test_train_writes_a_model_that_torch_loads_with_the_same_logits(run, fitted, dataset):
    module = torch.nn.Sequential(
        torch.nn.Linear(784, 8),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 6),
        torch.nn.ReLU(),
        torch.nn.Linear(6, 10),
    )
    module.load_state_dict(load_file(run / "model.safetensors"), strict=True)
    x = np.array(jm.normalize(jnp.asarray(dataset.test_images)))
    with torch.no_grad():
        theirs = module(torch.from_numpy(x).flatten(1)).numpy()
    ours = logits_of(fitted[0].params, dataset.test_images)
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)
    assert np.ptp(theirs) > 0.5


def test_train_writes_the_first_test_batchs_predictions(run, fitted, dataset):
    with (run / "predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["index", "label", "prediction"]
    predictions = logits_of(fitted[0].params, dataset.test_images[:EVAL_BATCH]).argmax(axis=1)
    labels = dataset.test_labels[:EVAL_BATCH]
    np.testing.assert_array_equal(
        np.array(rows, int), np.stack([np.arange(EVAL_BATCH), labels, predictions], axis=1)
    )
    assert (predictions != labels).any()


def test_train_shows_a_bar_with_rate_and_time_left_on_a_terminal(npz, tmp_path):
    options = ["--hidden", "4", "--epochs", "100", "--batch-size", "2", "--eval-batch-size", "48"]
    options += ["--checkpoint-every", "0"]
    out = tmp_path / ("wide " * 20 + "run")  # Wider than the screen.
    status, shown = run_on_terminal("train", "--dataset", npz, "--out", out, *options)
    assert status == 0
    assert "\x1b[" in shown
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "compiling" in text
    assert re.search(r"training .*\d+/100 [\d,]+ images/s \d:\d\d:\d\d", text)
    lines = [line for line in re.split(r"[\r\n]+", text) if line.startswith("epoch: ")]
    assert len(lines) == 100
    assert f"wrote: {out}" in text


def test_train_takes_a_learning_rate_of_zero(npz, tmp_path):
    run_command("train", "--dataset", npz, "--out", tmp_path / "run", *OPTIONS, "--learning-rate=0")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert first["eval_loss"] == second["eval_loss"]


def test_train_makes_a_new_folder_under_runs_by_default(npz, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = run_command("train", "--dataset", npz, *OPTIONS)
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"few-momentum-\d{8}-\d{6}", folder.name)
    assert printed.endswith(f"wrote: runs/{folder.name}\n")
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_train_prints_a_folders_name_as_it_is(npz, tmp_path):
    out = tmp_path / "[red] :smile: [" / ("long " * 30)
    printed = run_command("train", "--dataset", npz, "--out", out, *OPTIONS, "--epochs", 1)
    assert printed.endswith(f"wrote: {out}\n")


def test_train_overwrites_a_run_and_leaves_what_is_not_its_own(run, npz, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "sub").mkdir()
    (folder / "sub" / "model.safetensors").write_text("mine too")
    before = contents(folder)
    run_command("train", "--dataset", npz, "--out", folder, *OPTIONS, "--epochs", 1, "--overwrite")
    after = contents(folder)
    assert after.keys() == before.keys()
    same = {name for name in before if before[name] == after[name]}
    assert same == {"notes.txt", "sub/model.safetensors"}
    assert after["metrics.jsonl"].count(b"\n") == 1


# ------------------------------------------------------------------------------- train refuses


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
    (["--batch-size", "301"], ["batch_size is 301", "only 300 images"]),
    (["--eval-batch-size", "101"], ["eval_batch_size is 101", "only 100 images"]),
    (["--learning-rate"], ["--learning-rate", "Missing value"]),
    (["--bogus", "3"], ["--bogus"]),
    (["stray"], ["stray"]),
]


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=lambda part: " ".join(part))
def test_train_refuses_and_writes_nothing(mistake, words, npz, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "--dataset", npz, *OPTIONS, *mistake]
    assert refused([*arguments, "--out", tmp_path / "run"], *words) == ""
    refused(arguments, *words)
    assert list(tmp_path.iterdir()) == []


def test_train_refuses_with_overwrite_and_leaves_the_old_run(run, npz, tmp_path, refused):
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


def test_train_refuses_a_folder_that_holds_a_run(run, npz, refused):
    before = contents(run)
    words = (str(run), "holds a run already", "--overwrite")
    refused(["train", "--dataset", npz, "--out", run, *OPTIONS], *words)
    assert contents(run) == before


@pytest.mark.parametrize("place", ["file", "file/run", "file/deep/run"])
def test_train_refuses_a_place_that_is_no_folder(place, npz, tmp_path, refused):
    (tmp_path / "file").write_text("mine")
    words = (str(tmp_path / place), "not a folder")
    refused(["train", "--dataset", npz, "--out", tmp_path / place, *OPTIONS], *words)
    assert contents(tmp_path) == {"file": b"mine"}


def test_train_refuses_a_name_that_no_folder_can_have(npz, tmp_path, refused):
    out = tmp_path / ("x" * 300)
    refused(["train", "--dataset", npz, "--out", out, *OPTIONS], "x" * 300, "too long")


def test_train_refuses_when_the_disk_is_full_and_leaves_no_half_file(
    npz, tmp_path, refused, monkeypatch
):
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name.startswith("model"):
            write(path, content[:100])
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    words = ("model.safetensors", "No space left on device")
    refused(["train", "--dataset", npz, "--out", tmp_path / "run", *OPTIONS], *words)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["config.json", "metrics.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["{train, predict, evaluate, sweep, verify, race, figures, export, data}"]),
        (
            ["trian"],
            ["trian", "train, predict, evaluate, sweep, verify, race, figures, export, data"],
        ),
        (["data"], ["{list, prepare, show}"]),
        (["data", "shwo"], ["shwo", "list, prepare, show"]),
        (["predict"], ["PATH", "folder of a run"]),
        (["evaluate"], ["PATH", "folder of a run"]),
        (["data", "prepare"], ["STR", "fashion_mnist"]),
    ],
    ids=lambda part: " ".join(part),
)
def test_incomplete_command_is_refused(arguments, words, refused):
    refused(arguments, *words)


UNREAD = (
    "jaxmnist: --epochs cannot be 'many'; it is --epochs INT Passes over the training images. "
    "(default: 20)"
)


def test_mistake_is_one_line_on_a_terminal():
    assert run_on_terminal("train", "--epochs", "many") == (2, UNREAD + "\r\n")
    line = "jaxmnist: Unrecognized options: trian; Available subcommands: "
    assert run_on_terminal("trian") == (
        2,
        f"{line}{COMMANDS}\r\n",
    )
    status, shown = run_on_terminal("data", "--help")
    assert status == 0
    assert "\x1b[1m" in shown


@pytest.mark.parametrize("encoding", ["ascii", "UTF-8", "utf-8", "latin-1"])
def test_mistake_is_one_line_in_every_encoding(encoding):
    process = subprocess.run(
        [sys.executable, "-m", "jaxmnist", "train", "--epochs", "many"],
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "40"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (2, "", UNREAD + "\n")


def test_mistake_names_a_long_value_in_one_piece(refused, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    refused(["train", "--epochs", "y" * 150], "y" * 150)
    refused(["predict", "run", "x" * 300 + ".png"], "x" * 300 + ".png")
    assert os.environ["COLUMNS"] == "60"


# ------------------------------------------------------------------------------- stopped runs


def assert_reached(folder: Path, dataset: jm.Dataset, epochs: int) -> None:
    """The folder holds that many whole epochs, and the model of the last of them."""
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


# Softmax regression, whose weights grow by about this rate with each step.
DIVERGING = words(
    "--hidden --learning-rate 2e34 --batch-size 150 --eval-batch-size 48 --checkpoint-every 0"
)


def test_train_diverging_says_the_step_and_keeps_whole_epochs(npz, dataset, tmp_path, refused):
    config = jm.Config(hidden=(), learning_rate=2e34, batch_size=150, eval_batch_size=48, epochs=20)
    with pytest.raises(jm.DivergedError) as expected:
        jm.fit(config, dataset)
    epoch, step = expected.value.epoch, expected.value.step
    assert epoch >= 1

    arguments = ["train", "--dataset", npz, "--out", tmp_path / "run", *DIVERGING]
    words = (
        f"the loss became inf at step {step} of epoch {epoch}",
        f"the {epoch} whole epochs before it are kept",
        "learning rate below 2e+34",
    )
    printed = refused(arguments, *words, status=1)
    lines = printed.splitlines()
    assert lines[:epoch] == epoch_lines(expected.value.history)
    assert lines[epoch].startswith("final: ")
    assert lines[epoch + 2 :] == [f"wrote: {tmp_path / 'run'}"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == FILES
    assert_reached(tmp_path / "run", dataset, epoch)


def test_train_diverging_at_once_keeps_no_epoch(npz, tmp_path, refused):
    arguments = ["train", "--dataset", npz, "--out", tmp_path / "run", *DIVERGING]
    words = ("the loss became nan at step 1 of epoch 0", "0 whole epochs")
    printed = refused([*arguments, "--learning-rate", "1e37"], *words, status=1)
    assert "epoch: 0" not in printed
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_train_interrupted_keeps_whole_epochs(npz, dataset, tmp_path):
    command = [sys.executable, "-m", "jaxmnist", "train", "--dataset", npz, "--epochs", "100000"]
    options = ["--out", tmp_path / "run", "--hidden", "4", "--eval-batch-size", "48"]
    options += ["--checkpoint-every", "0"]
    # A test run in the background may ignore SIGINT, and its children would too.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*map(str, command), *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, handler)
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert [line.split(",")[0] for line in seen] == [f"epoch: {epoch}" for epoch in range(5)]
    assert rest.count("\n") < 10_000
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["config.json", "metrics.jsonl", "model.safetensors"]
    epochs = (tmp_path / "run" / "metrics.jsonl").read_text().count("\n")
    assert_reached(tmp_path / "run", dataset, epochs)


def test_train_interrupted_between_two_files_writes_both(
    npz, dataset, tmp_path, monkeypatch, capsys
):
    save = interop.save_safetensors

    def interrupted_save(params, path) -> None:
        signal.raise_signal(signal.SIGINT)
        save(params, path)

    monkeypatch.setattr(interop, "save_safetensors", interrupted_save)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as stopped:
            cli.main(["train", "--dataset", str(npz), "--out", str(tmp_path / "run"), *OPTIONS])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert stopped.value.code == 130
    assert capsys.readouterr().err == ""
    assert_reached(tmp_path / "run", dataset, 1)


# ------------------------------------------------------------------------------- predict


def rows_of(table: str) -> list[list[str]]:
    """The cells of a printed table, without its heading."""
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in table.splitlines()
        if line.startswith("│")
    ]


def expected_row(name: str, label: str, image: np.ndarray, params) -> list[str]:
    (logits,) = logits_of(params, image[None])
    odds = np.exp(logits - logits.max())
    first, second = np.argsort(-odds)[:2]
    share = odds / odds.sum()
    return [name, label, str(first), f"{share[first]:.4f}", str(second), f"{share[second]:.4f}"]


def test_predict_by_index_and_by_image(run, fitted, dataset, digit):
    params = fitted[0].params
    printed = run_command("predict", run, "--indices", 0, 99, 7, 7, "--images", digit)
    images, labels = dataset.test_images, dataset.test_labels
    assert rows_of(printed) == [
        *(
            expected_row(f"test image {i}", str(labels[i]), images[i], params)
            for i in (0, 99, 7, 7)
        ),
        expected_row(str(digit), "", images[0], params),
    ]
    assert "\x1b" not in printed


def test_predict_piped_gives_names_in_full(run, digit, tmp_path):
    names = ["x" * 120 + ".png", "two words.png", "[bold]b.png", "[", "[red", ":smile:.png"]
    for name in names:
        shutil.copy(digit, tmp_path / name)
    printed = run_command("predict", run, "--images", *(tmp_path / name for name in names))
    assert [row[0] for row in rows_of(printed)] == [str(tmp_path / name) for name in names]
    assert all(len(row) == 6 for row in rows_of(printed))


@pytest.mark.parametrize("index", ["100", "-1", str(10**30)])
def test_predict_refuses_an_index_that_is_not_there(index, run, refused):
    arguments = ["predict", run, "--indices", "0", index]
    assert refused(arguments, f"no test image {index}", "0 to 99") == ""


def test_predict_refuses_words_for_indices_and_nothing_at_all(run, refused):
    refused(["predict", run, "--indices", "two"], "--indices cannot be 'two'", "INT")
    refused(["predict", run], "nothing to predict", "--indices", "--images")


def test_predict_refuses_pictures_that_cannot_be_read(run, digit, tmp_path, refused):
    (tmp_path / "words.png").write_text("seven")
    (tmp_path / "empty.png").touch()
    Image.new("L", (40, 50), 200).save(tmp_path / "blank.png")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    (tmp_path / "folder.png").mkdir()
    for name, word in (
        ("missing.png", "No such file"),
        ("words.png", "not a picture"),
        ("empty.png", "not a picture"),
        ("blank.png", "no digit"),
        ("cut.png", "truncated"),
        ("folder.png", "Is a directory"),
    ):
        path = tmp_path / name
        assert refused(["predict", run, "--images", digit, path], str(path), word) == ""


def test_predict_works_with_a_single_class(tmp_path):
    npz = write_npz(tmp_path / "zeros.npz", classes=1)
    folder = untrained_run(tmp_path / "run", npz, num_classes=1)
    (row,) = rows_of(run_command("predict", folder, "--indices", 0))
    assert row[:4] == ["test image 0", "0", "0", "1.0000"]


@pytest.mark.parametrize("command", [["predict", "--indices", "0"], ["evaluate"]], ids=" ".join)
def test_run_that_is_none_is_refused(command, run, tmp_path, refused, npz):
    name, *rest = command
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "nowhere", tmp_path / "empty", npz):
        refused([name, place, *rest], str(place), "holds no run", "config.json")
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "config.json").write_text("{")
    refused([name, folder, *rest], str(folder / "config.json"), "no run's configuration")
    shutil.copy(run / "config.json", folder)
    (folder / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-1])
    refused([name, folder, *rest], str(folder / "model.safetensors"), "not a whole safetensors")


# ------------------------------------------------------------------------------- evaluate


def test_evaluate_equals_the_runs_last_line(run, npz):
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert run_command("evaluate", run).splitlines() == [
        f"{npz}: 100 test images in batches of 48",
        f"mean over batches: Eval Loss: {last['eval_loss']:.6f}, "
        f"Eval Acc: {last['eval_accuracy']:.6f}",
        f"mean over samples: Eval Loss: {last['eval_loss_per_sample']:.6f}, "
        f"Eval Acc: {last['eval_accuracy_per_sample']:.6f}",
    ]
    assert last["eval_loss"] != last["eval_loss_per_sample"]


def test_evaluate_on_another_set_with_fewer_classes_and_images(run, fitted, tmp_path):
    other = write_npz(tmp_path / "other.npz", classes=5, count=30)
    printed = run_command("evaluate", run, "--dataset", other)
    images = jm.load_dataset(other)
    logits = logits_of(fitted[0].params, images.test_images)
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(odds[np.arange(30), images.test_labels]).mean()
    share = np.mean(logits.argmax(axis=1) == images.test_labels)
    figures = f"Eval Loss: {loss:.5f}\\d, Eval Acc: {share:.6f}"
    first, *means = printed.splitlines()
    assert first == f"{other}: 30 test images in batches of 30"
    for kind, line in zip(("batches", "samples"), means, strict=True):
        assert re.fullmatch(f"mean over {kind}: {figures}", line)


def test_evaluate_refuses_more_classes_than_the_model_has(npz, tmp_path, refused):
    untrained_run(tmp_path / "run", npz, num_classes=4)
    words = (str(npz), "has 10 classes", str(tmp_path / "run"), "only 4")
    refused(["evaluate", tmp_path / "run", "--dataset", npz], *words)
    refused(["evaluate", tmp_path / "run", "--dataset", "nope"], "'nope'")


# ------------------------------------------------------------------------------- data


def test_data_list_names_every_set_and_where_it_lies(tmp_path):
    place = tmp_path / ("deep[red]" * 20)
    (place / "kmnist" / "3.0.1").mkdir(parents=True)
    (place / "kmnist" / "3.0.1" / "dataset_info.json").touch()
    rows = rows_of(run_command("data", "list", "--data-dir", place))
    assert rows == [
        [row.name, row.source, str(row.path or f"not here: jaxmnist data prepare {row.name}")]
        for row in jm.data.available(place)
    ]
    assert ["kmnist", "tfds", str(place / "kmnist" / "3.0.1")] in rows
    assert rows[0][:2] == ["mnist", "bundled"]


def test_data_show_describes_and_draws(npz, tmp_path):
    line = f"{npz}: 300 training and 100 test images, 10 classes\n"
    assert run_command("data", "show", npz) == line
    out = tmp_path / "digits.png"
    assert run_command("data", "show", npz, "--out", out) == f"{line}wrote: {out}\n"
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("L")))) > 50
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["digits", "digits.txt", "digits.pgf", "digits.raw"])
def test_data_show_refuses_a_picture_of_another_kind(name, npz, tmp_path, refused):
    refused(["data", "show", npz, "--out", tmp_path / name], str(tmp_path / name), ".png")
    assert list(tmp_path.iterdir()) == []


def test_data_show_refuses_a_place_that_cannot_be_written(npz, tmp_path, refused):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for place, word in (
        ("nowhere/digits.png", "No such file"),
        ("file/digits.png", "Not a directory"),
        ("folder.png", "Is a directory"),
    ):
        path = tmp_path / place
        refused(["data", "show", npz, "--out", path], f"cannot write {path}", word)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.png"]
    refused(["data", "show", "nope"], "'nope'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nope"], ["'nope'", "cannot be prepared", "kmnist"]),
        (["fashion-mnist"], ["'fashion-mnist'"]),
        (["mnist2", "--from", "."], ["'mnist2'", "did you mean 'mnist'?"]),
        (["../mnist"], ["'../mnist'", "not a TFDS name"]),
    ],
    ids=lambda part: " ".join(part),
)
def test_data_prepare_refuses_a_name_that_is_none(arguments, words, tmp_path, refused):
    refused(["data", "prepare", *arguments, "--data-dir", tmp_path / "sets"], *words)
    assert list(tmp_path.iterdir()) == []


def test_data_prepare_does_nothing_twice(tmp_path):
    place = tmp_path / "kmnist" / "3.0.1"
    place.mkdir(parents=True)
    (place / "dataset_info.json").touch()
    printed = run_command("data", "prepare", "kmnist", "--data-dir", tmp_path)
    assert printed == f"already prepared: {place}\n"
