"""`jaxmnist sweep FILE`: the axes of a task of one's own, its results, its folder, its refusals."""

import csv
import hashlib
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import cli
from jaxmnist.runs import TaskFile

SIGNS = '''
"""Tell positive sums from negative ones."""
import dataclasses
import jax.numpy as jnp
import numpy as np
import optax
import jaxmnist as jm


@dataclasses.dataclass(frozen=True)
class Config:
    """Options.

    Attributes:
        learning_rate: Step size of SGD.
        width: Of the inputs.
    """

    learning_rate: float = 0.1
    width: int = 3
    epochs: int = 2


def task(config):
    def init(key, hyper, inputs):
        return jm.Model(jnp.zeros(inputs.shape[1]), {})

    def measure(model, batch, key, training):
        x, y = batch
        z = x @ model.params
        right = ((z > 0) == (y > 0)).astype(jnp.float32)
        return {"loss": jnp.logaddexp(0, -y * z), "accuracy": right}, model.state

    def optimizer(hyper):
        def rate(step):
            return hyper["learning_rate"] * jnp.minimum(1, (step + 1) / hyper["warmup"])

        decay = optax.add_decayed_weights(hyper["weight_decay"])
        return optax.chain(decay, optax.sgd(rate))

    hyper = {"learning_rate": config.learning_rate, "weight_decay": 0.0, "warmup": 4}
    return jm.Task(init, measure, optimizer, hyper)


def data(config):
    x = np.random.default_rng(0).normal(size=(50, config.width)).astype(np.float32)
    y = np.sign(x.sum(axis=1))
    return (x, y), (x[:20], y[:20])
'''
SIZES = ("--batch-size", "16", "--eval-batch-size", "8")
AXES = ("--weight-decay", "1e-4..1e-2:log3", "--learning-rate", "0.05", "0.1", "--seed", "0..1")


@pytest.fixture(scope="module", autouse=True)
def promotion():
    """Optax's schedules mix dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def signs(tmp_path) -> Path:
    path = tmp_path / "signs.py"
    path.write_text(SIGNS)
    return path


@pytest.fixture(scope="module")
def swept(promotion, tmp_path_factory, run_command) -> tuple[Path, str]:
    """A sweep of the file on two learning rates, three weight decays and two seeds."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "signs.py").write_text(SIGNS)
    words = ("sweep", folder / "signs.py", *AXES, *SIZES, "--out", folder / "out")
    return folder / "out", run_command(*words)


def results(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "results.csv").read_text().splitlines()))


# ------------------------------------------------------------------------------- results


def test_rows_are_what_fit_gives(swept):
    rows = results(swept[0])
    assert len(rows) == 3 * 2 * 2 * 2
    file = TaskFile("signs.py", SIGNS)
    task, data = file.task(jm.Config()), file.data(jm.Config())
    for row in rows[:2] + rows[-2:]:
        numbers = {name: float(row[name]) for name in ("learning_rate", "weight_decay")}
        _, history = jm.fit(
            task._replace(hyper={**numbers, "warmup": 4}),
            data,
            epochs=2,
            batch_size=16,
            eval_batch_size=8,
            seed=int(row["seed"]),
        )
        for name, values in history.items():
            # 8 steps of float32 whose arithmetic is grouped otherwise.
            single = float(values[int(row["epoch"])])
            assert float(row[name]) == pytest.approx(single, rel=2e-6, abs=1e-7)
    assert len({row["eval_loss"] for row in rows}) == len(rows)


def test_table_has_the_tasks_metrics_and_accuracies_are_drawn(swept, rows_of):
    out, printed = swept
    names = ["learning_rate", "weight_decay", "runs", "diverged"]
    metrics = ["eval_accuracy", "eval_loss", "train_accuracy", "train_loss"]
    heading = next(line for line in printed.splitlines() if "eval_loss" in line)
    assert re.findall(r"\w+", heading) == [*names, *metrics]
    summary = json.loads((out / "results.json").read_text())["summary"]
    for row, line in zip(summary, rows_of(printed), strict=True):
        assert line[:4] == [f"{row[name]:.6g}" for name in names]
        assert line[5].startswith(f"{row['eval_loss_median']:.4f} / {row['eval_loss_iqm']:.4f} [")
    assert "12 runs, 0 diverged; trained 12 in" in printed
    assert (out / "sweep.png").exists()
    assert (out / "sweep-dark.png").exists()


@pytest.mark.slow
def test_a_task_without_accuracy_has_no_picture(signs, tmp_path, run_command):
    signs.write_text(SIGNS.replace('"accuracy": right', '"share_right": right'))
    printed = run_command("sweep", signs, "--seed", "0..1", *SIZES, "--out", tmp_path / "out")
    assert "no picture: it shows accuracies, and the task has no metric named accuracy" in printed
    assert "eval_share_right" in printed
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.slow
def test_whole_numbers_and_batch_sizes_are_axes(signs, tmp_path, run_command):
    words = ("--warmup", "1..3", "--batch-size", "8", "16", "--eval-batch-size", "8")
    run_command("sweep", signs, *words, "--epochs", "1", "--out", tmp_path / "out")
    axes = json.loads((tmp_path / "out" / "sweep.json").read_text())["axes"]
    assert axes == {"warmup": [1, 2, 3], "batch_size": [8, 16]}
    assert all(type(value) is int for value in axes["warmup"])


# ------------------------------------------------------------------------------- the folder


def test_folder_records_the_file_and_its_options(swept):
    out, _ = swept
    about = json.loads((out / "sweep.json").read_text())
    assert about["config"] == {
        "epochs": 2,
        "batch_size": 16,
        "eval_batch_size": 8,
        "warmup": 4,
        "width": 3,
        "task_sha256": hashlib.sha256(SIGNS.encode()).hexdigest(),
    }
    assert list(about["axes"]) == ["learning_rate", "weight_decay", "seed"]
    assert about["command"].startswith("jaxmnist sweep ")
    assert " --weight-decay 1e-4..1e-2:log3 " in about["command"]
    assert (out / "task.py").read_text() == SIGNS


@pytest.mark.slow
def test_stopped_sweep_is_resumed_and_another_text_is_refused(
    swept, signs, tmp_path, run_command, refused
):
    whole, out = swept[0], tmp_path / "out"
    out.mkdir()
    lines = (whole / "cells.jsonl").read_text().splitlines(keepends=True)
    (out / "cells.jsonl").write_text("".join(lines[:5]) + lines[5][:20])
    (out / "sweep.json").write_bytes((whole / "sweep.json").read_bytes())
    words = ["sweep", signs, *AXES, *SIZES, "--out", out]

    signs.write_text(SIGNS + "# changed\n")
    refused(words, "has another sweep", "task_sha256", "choose another --out")
    assert not (out / "task.py").exists()
    signs.write_text(SIGNS)
    refused([*words, "--width", "4"], "has another sweep", "width is 3 there, and 4 here")

    printed = run_command(*words)
    assert "5 of 12 runs were finished before" in printed
    for name in ("cells.jsonl", "results.csv", "summary.md", "task.py"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


# ------------------------------------------------------------------------------- options


def test_help_shows_axes_and_options_with_defaults(signs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.main(["sweep", str(signs), "--help"])
    shown = capsys.readouterr().out
    for option in (
        "Tell positive sums",
        r"--learning-rate VALUES\s+Step size of SGD. \(default: 0.1\)",
        r"--weight-decay VALUES\s+\(default: 0.0\)",
        r"--warmup VALUES\s+\(default: 4\)",
        r"--width INT\s+Of the inputs. \(default: 3\)",
        r"--epochs INT\s+\(default: 2\)",
        r"--batch-size VALUES\s+Samples in a training batch",
        r"--out PATH\s+\(required\)",
    ):
        assert re.search(option, shown), option
    assert "--hidden" not in shown
    assert "--dataset" not in shown


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ("", ["--momentum", "0.9"], ["sweep has no option --momentum"]),
        ("", ["--weight-deca", "0.9"], ["did you mean --weight-decay?"]),
        ("", [], ["nothing to sweep: give at least one axis of seed, batch_size, learning_rate"]),
        ("", ["--warmup", "1.5"], ["warmup cannot be '1.5'; --warmup takes a whole number"]),
        ("", ["--width", "2..4"], ["--width cannot be '2..4'"]),
        ("", ["--seed", "0", "0"], ["the axis seed has 0 twice"]),
        ("", ["--seed", "0", "--epochs", "0"], ["epochs is 0"]),
        ("", ["--seed", "0", "--batch-size", "51"], ["batch_size is 51", "50 samples"]),
        ("(", ["--seed", "0"], ["signs.py, line LAST", "was never closed"]),
        ("1 / 0", ["--seed", "0"], ["signs.py, line LAST", "ZeroDivisionError"]),
        ("del task", ["--seed", "0"], ["has no function task(config)"]),
        ("def data(config): return 3", ["--seed", "0"], ["what data returned"]),
    ],
    ids=lambda part: str(part)[:40],
)
def test_mistake_is_refused_in_one_line(change, options, words, signs, tmp_path, refused):
    signs.write_text(SIGNS + change)
    words = [word.replace("LAST", str(SIGNS.count("\n") + 1)) for word in words]
    sizes = [] if "--batch-size" in options else SIZES
    refused(["sweep", signs, *sizes, *options, "--out", tmp_path / "out"], *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "options", "words"),
    [
        ('hyper["weight_decay"]', "0.1", [], ["the task ignores weight_decay"]),
        (
            "width: int = 3",
            "width: int = dataclasses.field(kw_only=True)",
            [],
            ["Config.width has no default", "give it one"],
        ),
        ("width: int", "out: int", [], ["Config has a field out", "jaxmnist sweep; rename it"]),
        ('"warmup": 4', '"warmup": 4, "dataset": 1.0', [], ["hyperparameter 'dataset' cannot be"]),
        ("width: int", "seed: int", ["--seed", "0..1"], ["seed has 2 values", "out of Config"]),
        ("jnp.logaddexp(0, -y * z)", "jnp.outer(y, z)", [], ["the metric loss has shape"]),
    ],
    ids=lambda part: str(part)[:20],
)
def test_file_that_cannot_be_swept_is_refused(old, new, options, words, signs, tmp_path, refused):
    signs.write_text(SIGNS.replace(old, new).replace("config.width", "3"))
    axes = options or ["--weight-decay", "0.1", "0.2"]
    refused(["sweep", signs, *axes, *SIZES, "--out", tmp_path / "out"], *words)
    assert not (tmp_path / "out").exists()


def test_only_a_python_file_is_a_task(refused):
    refused(["sweep", "signs"], "sweep takes no 'signs'", "jaxmnist sweep --help")


@pytest.mark.slow
def test_field_dtype_turns_64_bit_numbers_on(signs, tmp_path, run_command):
    signs.write_text(
        SIGNS.replace("width: int = 3", 'width: int = 3\n    dtype: str = "float64"')
        .replace("jnp.zeros(inputs.shape[1])", "jnp.zeros(inputs.shape[1], config.dtype)")
        .replace(".astype(np.float32)", "")
        .replace(
            "    hyper = {",
            "    assert jnp.zeros(1, config.dtype).dtype == 'float64'\n    hyper = {",
        )
    )
    run_command("sweep", signs, "--seed", "0", *SIZES, "--out", tmp_path / "out")
    (line,) = (tmp_path / "out" / "cells.jsonl").read_text().splitlines()
    assert json.loads(line)["dtype"] == "float64"
    assert np.isfinite(json.loads(line)["history"]["eval_loss"]).all()
