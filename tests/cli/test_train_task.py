"""`jaxmnist train FILE`: a task of one's own, its options, its folder, and how it is resumed."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxmnist as jm
from jaxmnist import runs
from jaxmnist.training import streaming

LINE = '''
"""Fit a line with noise in every step, and a state that counts the steps."""
import dataclasses
import jax
import jax.numpy as jnp
import numpy as np
import optax
import jaxmnist as jm


@dataclasses.dataclass(frozen=True)
class Config:
    """Options.

    Attributes:
        learning_rate: Step size of Adam.
        sizes: Of nothing.
    """

    learning_rate: float = 0.1
    sizes: tuple[int, ...] = (2, 1)
    epochs: int = 4


def task(config):
    def init(key, hyper, inputs):
        return jm.Model({"w.a": jax.random.normal(key, inputs.shape[1:])}, {"steps": jnp.zeros(())})

    def measure(model, batch, key, training):
        x, y = batch
        noise = 0.1 * jax.random.normal(key, y.shape) if training else 0
        error = x @ model.params["w.a"] + noise - y
        metrics = {"loss": error**2, "mae": abs(error), "steps": model.state["steps"]}
        return metrics, {"steps": model.state["steps"] + float(training)}

    def predict(model, batch):
        return batch[0] @ model.params["w.a"]

    def optimizer(hyper):
        return optax.chain(optax.clip(1.0), optax.adam(hyper["learning_rate"]))

    hyper = {"learning_rate": config.learning_rate}
    return jm.Task(init, measure, optimizer, hyper, predict=predict)


def data(config):
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    y = x @ np.arange(1, 4).astype(np.float32)
    return (x, y), (x[:20], y[:20])
'''
SIZES = ["--batch-size", "16", "--eval-batch-size", "8", "--checkpoint-every", "1"]


@pytest.fixture(scope="module", autouse=True)
def promotion():
    """Optax's Adam mixes dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def line(tmp_path) -> Path:
    path = tmp_path / "line.py"
    path.write_text(LINE)
    return path


@pytest.fixture(scope="module")
def trained(promotion, tmp_path_factory, run_command) -> tuple[Path, str]:
    """A run of the file, and what it printed."""
    folder = tmp_path_factory.mktemp("task")
    (folder / "line.py").write_text(LINE)
    printed = run_command("train", folder / "line.py", *SIZES, "--out", folder / "run")
    return folder / "run", printed


def stop_after(run: Path, target: Path, epochs: int) -> Path:
    """Copy a run of four epochs as it was some epochs earlier."""
    shutil.copytree(run, target)
    for checkpoint in (target / "checkpoints").iterdir():
        if int(checkpoint.name) > epochs:
            shutil.rmtree(checkpoint)
    (target / "curves.png").unlink()
    return target


def results(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


# ------------------------------------------------------------------------------- the folder


def test_task_is_trained_as_fit_trains_it(trained):
    run, _ = trained
    found = runs.read(run)
    state, history = jm.fit(
        found.task, found.data(jm.data.load_arrays), epochs=4, batch_size=16, eval_batch_size=8
    )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for name, values in history.items():
        assert [line[name] for line in lines] == values.tolist()
    arrays = load_file(run / "model.safetensors")
    np.testing.assert_array_equal(arrays[r"params.w\.a"], state.params["w.a"])
    assert arrays["state.steps"] == 4 * 4 == state.model_state["steps"]
    assert history["eval_steps"].tolist() == [4, 8, 12, 16]


def test_task_prints_its_metrics_by_name(trained):
    run, printed = trained
    first, *_ = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    names = ("train_loss", "train_mae", "train_steps", "eval_loss", "eval_mae", "eval_steps")
    shown = ", ".join(f"{name}: {first[name]:.6f}" for name in names)
    assert printed.splitlines()[0] == f"epoch: 0, {shown}"
    assert re.search(r"(?m)^final: eval_loss [\d.]+ \(best [\d.]+, epoch \d\), train_loss", printed)


def test_folder_records_the_file_and_its_options(trained):
    run, _ = trained
    files = {"config.json", "curves.png", "metrics.jsonl", "model.safetensors", "task.py"}
    assert {path.name for path in run.iterdir()} == {*files, "checkpoints"}
    assert (run / "task.py").read_text() == LINE
    about = json.loads((run / "config.json").read_text())
    assert about["config"] == {"epochs": 4, "batch_size": 16, "eval_batch_size": 8, "seed": 0}
    assert about["task"]["options"] == {"learning_rate": 0.1, "sizes": [2, 1]}
    assert about["task"]["sha256"] == runs.read(run).task_file.sha256  # pyright: ignore
    assert runs.read(run).task_file.options == {"learning_rate": 0.1, "sizes": (2, 1)}  # pyright: ignore


def test_a_damaged_record_is_refused(trained, tmp_path, refused):
    run = shutil.copytree(trained[0], tmp_path / "run")
    (run / "task.py").write_text(LINE + "#")
    refused(["evaluate", run], "SHA-256", "is recorded")
    (run / "task.py").unlink()
    refused(["evaluate", run], "cannot read task.py")


# ------------------------------------------------------------------------------- options


def test_help_shows_the_files_options_with_types_and_defaults(line, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        jm_main(["train", line, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Fit a line with noise" in shown
    for option in (
        r"--learning-rate FLOAT\s+Step size of Adam. \(default: 0.1\)",
        r"--sizes \[INT \[INT ...\]\]\s+Of nothing. \(default: 2 1\)",
        r"--epochs INT\s+\(default: 4\)",
        r"--batch-size INT\s+Samples in a training batch",
    ):
        assert re.search(option, shown)
    assert "--hidden" not in shown
    assert "--dataset" not in shown


def jm_main(words: list) -> None:
    from jaxmnist import cli

    cli.main([str(word) for word in words])


@pytest.mark.slow
def test_task_is_given_the_options(line, tmp_path, run_command):
    words = [*SIZES, "--epochs", "1", "--learning-rate", "0.5", "--sizes", "7", "--seed", "3"]
    run_command("train", line, *words, "--out", tmp_path / "run")
    found = runs.read(tmp_path / "run")
    assert found.task.hyper == {"learning_rate": 0.5}
    assert found.task_file.options["sizes"] == (7,)  # pyright: ignore
    assert (found.config.epochs, found.config.seed) == (1, 3)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ("def task(config", [], ["line.py, line LAST", "was never closed"]),
        ("import nonsense_module", [], ["line.py, line LAST", "ModuleNotFoundError", "nonsense"]),
        ("1 / 0", [], ["line.py, line LAST", "ZeroDivisionError"]),
        ("del task", [], ["line.py has no function task(config)"]),
        ("del task\ndef tsk(config): ...", [], ["no function task", "did you mean 'tsk'?"]),
        ("def task(config): return 3", [], ["task returned a int", "jaxmnist.Task"]),
        (
            "def task(config): return config.lr",
            [],
            ["line LAST, in task", "AttributeError", "'lr'"],
        ),
        (
            "def data(config): return 3",
            [],
            ["what data returned", "data is a int", "(train, test)"],
        ),
        ("def data(config): return {}['x']", [], ["line LAST, in data", "KeyError"]),
        ("class Config: ...", [], ["Config must be a frozen dataclass"]),
        ("", ["--lr", "3"], ["no option --lr", "did you mean --learning-rate?"]),
        ("", ["--dataset", "mnist"], ["no option --dataset"]),
        ("", ["--learning-rate", "x"], ["--learning-rate cannot be 'x'"]),
        ("", ["--epochs", "0"], ["epochs is 0"]),
        ("", ["--batch-size", "51"], ["batch_size is 51", "50 samples"]),
    ],
    ids=lambda part: str(part)[:40],
)
def test_bad_file_or_option_is_refused(change, options, words, line, tmp_path, refused):
    line.write_text(LINE + change)
    last = LINE.count("\n") + 1
    words = [word.replace("LAST", str(last)) for word in words]
    refused(["train", line, *SIZES, *options, "--out", tmp_path / "run"], *words)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_a_matrix_is_refused(line, tmp_path, refused):
    line.write_text(LINE.replace('"loss": error**2', '"loss": jnp.outer(error, error)'))
    words = ("the metric loss has shape (16, 16)", "on a batch of 16")
    refused(["train", line, *SIZES, "--out", tmp_path / "run"], *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["nowhere.py", "nowhere", "lime.py"])
def test_a_file_that_is_not_there_is_refused(name, line, refused):
    hint = "did you mean 'line.py'?" if name == "lime.py" else name
    refused(["train", line.with_name(name)], hint)


def test_an_option_of_the_command_is_no_name_for_a_field(line, refused):
    line.write_text(LINE.replace("sizes: tuple", "resume: tuple"))
    refused(["train", line], "Config has a field resume", "rename it")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("hyper = {", "return jm.task(3, optimizer, abs)\n    hyper = {", ["the model is a int"]),
        ('hyper["learning_rate"]', 'hyper["lr"]', ["reads 'lr'", "has learning_rate"]),
        ('"mae": abs(error)', '"mae": error[:3]', ["the metric mae has shape (3,)"]),
        ("jm.Model({", "({", ["init returned a tuple"]),
    ],
)
def test_a_task_that_cannot_be_trained_is_refused(old, new, words, line, tmp_path, refused):
    line.write_text(LINE.replace(old, new, 1))
    for option in ([], ["--stream"]):
        refused(["train", line, *SIZES, *option, "--out", tmp_path / "run"], *words)
        assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------- streaming


def recorded(run: Path) -> dict[str, Any]:
    """A run's configuration."""
    return json.loads((run / "config.json").read_text())


def streamed(config: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of the same run if its first session read its data from disk: that alone."""
    config["machines"][0]["stream"] = True
    return config


@pytest.mark.slow
def test_own_data_are_streamed_to_the_same_model(trained, tmp_path, run_command, monkeypatch):
    """And resumed: a run may be streamed or not."""
    monkeypatch.setattr(streaming, "_PIECE", 16)
    out = tmp_path / "run"
    words = "train", trained[0].parent / "line.py", *SIZES, "--stream", "--out", out
    printed = run_command(*words)
    assert printed.splitlines()[:4] == trained[1].splitlines()[:4]
    files = "model.safetensors", "task.py"
    assert [results(out)[name] for name in files] == [results(trained[0])[name] for name in files]
    assert recorded(out) == streamed(recorded(trained[0]))
    stopped = stop_after(trained[0], tmp_path / "stopped", 3)
    run_command("train", "--resume", stopped, "--stream")
    assert [results(stopped)[name] for name in files] == [results(out)[name] for name in files]
    assert [{**there, "epoch": 0} for there in recorded(stopped)["machines"]] == [
        *recorded(trained[0])["machines"],
        *recorded(out)["machines"],
    ]


@pytest.mark.slow
def test_colours_are_streamed_to_the_same_model(prepared_colours, tmp_path, run_command):
    """Images of another size than the tutorial's, through the command."""
    file = tmp_path / "colours.py"
    file.write_text(
        "import jax, optax\nimport jaxmnist as jm\n"
        "def task(config):\n"
        "    model = lambda key: jax.numpy.zeros((360, 10)), lambda w, x: x @ w\n"
        "    def transform(batch, key, training):\n"
        "        return jm.normalize(batch[0]).reshape(len(batch[0]), -1), batch[1]\n"
        "    loss = optax.softmax_cross_entropy_with_integer_labels\n"
        "    return jm.task(model, optax.sgd(0.01), loss, transform=transform)\n"
    )
    words = ["train", file, "--dataset", "tfds:colours", "--data-dir", prepared_colours, *SIZES]
    for option in ([], ["--stream"]):
        run_command(*words, "--epochs", "2", *option, "--out", tmp_path / f"run{len(option)}")
    one, other = (results(tmp_path / f"run{index}") for index in (0, 1))
    assert one.keys() == other.keys()
    assert one["model.safetensors"] == other["model.safetensors"]
    assert recorded(tmp_path / "run1") == streamed(recorded(tmp_path / "run0"))


# ------------------------------------------------------------------------------- resuming


@pytest.mark.slow
def test_killed_run_is_resumed_to_the_same_bytes(line, trained, tmp_path, run_command):
    out = tmp_path / "run"
    line.write_text(LINE.replace("epochs: int = 4", "epochs: int = 4  # as before"))
    whole = tmp_path / "whole"
    words = ["train", str(line), *SIZES, "--epochs", "60"]
    run_command(*words, "--out", whole)
    process = subprocess.Popen([sys.executable, "-m", "jaxmnist", *words, "--out", str(out)])
    checkpoints = out / "checkpoints"
    while not (checkpoints.exists() and any(each.name.isdigit() for each in checkpoints.iterdir())):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "curves.png").exists()
    run_command("train", "--resume", out)
    assert results(out) == results(whole)


@pytest.mark.slow
def test_changed_file_is_refused_unless_accepted(line, trained, tmp_path, refused, run_command):
    run = stop_after(trained[0], tmp_path / "run", 3)
    line.write_text(LINE.replace("0.1 * jax", "0.2 * jax"))
    before = results(run)
    refused(["train", line, "--resume", run], "line.py has changed", "--accept-changed-task")
    assert results(run) == before

    recorded = Path(shutil.copytree(run, tmp_path / "recorded"))
    run_command("train", recorded / "task.py", "--resume", recorded)
    assert results(recorded) == results(trained[0])

    run_command("train", line, "--resume", run, "--accept-changed-task")
    found = runs.read(run)
    assert found.task_file is not None
    assert (run / "task.py").read_text() == line.read_text()
    old = json.loads((trained[0] / "config.json").read_text())["task"]["sha256"]
    assert found.task_file.earlier == ((old, 3),)
    whole, changed = ((each / "metrics.jsonl").read_text() for each in (trained[0], run))
    assert whole.splitlines()[:3] == changed.splitlines()[:3]
    assert whole.splitlines()[3:] != changed.splitlines()[3:]


@pytest.mark.slow
def test_run_whose_file_is_gone_is_resumed_with_the_recorded_text(trained, tmp_path, run_command):
    run = stop_after(trained[0], tmp_path / "run", 3)
    about = json.loads((run / "config.json").read_text())
    about["task"]["file"] = str(tmp_path / "gone" / "line.py")
    (run / "config.json").write_text(json.dumps(about))
    run_command("train", "--resume", run)
    metrics = "metrics.jsonl", "model.safetensors", "curves.png"
    assert [results(run)[name] for name in metrics] == [
        results(trained[0])[name] for name in metrics
    ]


def test_resumed_run_keeps_its_options(trained, tmp_path, refused):
    run = stop_after(trained[0], tmp_path / "run", 3)
    words = "learning_rate is 0.3; the run in", "has 0.1"
    refused(["train", "--resume", run, "--learning-rate", "0.3"], *words)
    refused(["train", "--resume", run, "--lr", "0.3"], "did you mean --learning-rate?")


@pytest.mark.slow
def test_file_of_another_run_is_refused(line, run, refused):
    refused(["train", line, "--resume", run], "is of the tutorial's task", "omit line.py")
