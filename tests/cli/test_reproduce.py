"""`jaxmnist reproduce`: the same run gives the same numbers, and a change of any is named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import cli, runs
from jaxmnist.runs import digests, reproduction

TASK = '''
"""Fit a line."""
import dataclasses, jax.numpy as jnp, numpy as np, optax, jaxmnist as jm


@dataclasses.dataclass(frozen=True)
class Config:
    slope: float = 2.0


def task(config):
    return jm.task(
        (lambda key, x: jnp.zeros(x.shape[1]), lambda params, x: x @ params),
        lambda hyper: optax.sgd(hyper["learning_rate"]),
        lambda outputs, targets: (outputs - targets) ** 2,
        metrics={"mae": lambda outputs, targets: abs(outputs - targets)},
        hyper={"learning_rate": 0.1},
    )


def data(config):
    x = np.random.default_rng(0).normal(size=(20, 1)).astype(np.float32)
    return (x, x[:, 0] * config.slope), (x[:8], x[:8, 0] * config.slope)
'''


@pytest.fixture
def copy(run, tmp_path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture
def differs(capsys) -> Callable[..., str]:
    """A function that reproduces a run whose numbers are to differ, and returns what it printed."""

    def reproduce(folder: Path) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(["reproduce", str(folder)])
        out, err = capsys.readouterr()
        assert (ended.value.code, err) == (1, "")
        return out

    return reproduce


def edit(path: Path, change: Callable[[dict], None], line: int | None = None) -> None:
    """Change a JSON file, or a line of one of many."""
    lines = path.read_text().splitlines()
    index, text = (0, path.read_text()) if line is None else (line, lines[line])
    about = json.loads(text)
    change(about)
    if line is None:
        path.write_text(json.dumps(about))
    else:
        lines[index] = json.dumps(about)
        path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_same_numbers_end_with_zero_and_the_folder_is_only_read(
    run, run_command, contents, rows_of
):
    before = contents(run)
    printed = run_command("reproduce", run)
    *metrics, weights = rows_of(printed)
    names = [name.replace("_", " ") for name in jm.History._fields]
    assert [cells[:2] for cells in metrics] == [[name, "2 of 2 epochs"] for name in names]
    digest = digests.of_bytes((run / "model.safetensors").read_bytes())
    assert weights[:2] + weights[-1:] == ["weights", "1 of 1 digests", digest[:16]]
    assert printed.splitlines()[-1] == "the same: 8 metrics of 2 epochs, and the weights"
    assert contents(run) == before


@pytest.mark.slow
def test_other_metric_is_named_with_its_epoch_and_what_has_changed(copy, differs, rows_of):
    edit(copy / "metrics.jsonl", lambda row: row.update(eval_loss=1.25), line=1)

    def change(about: dict) -> None:
        about["machines"][0] |= {"jax": "0.1", "cores": 1000, "xla_flags": "--x [red]\x1b"}
        del about["machines"][0]["processor"]

    edit(copy / "config.json", change)
    printed = differs(copy)
    flags = os.environ.get("XLA_FLAGS") or "none"
    rows = {cells[0]: cells[1:] for cells in rows_of(printed)}
    assert rows["eval loss"][:3] == ["1 of 2 epochs", "epoch 1", "1.25"]
    assert rows["eval accuracy"][0] == "2 of 2 epochs"
    for words in (
        f"jax: 0.1 when it was trained, {jax.__version__} now",
        "cores: 1000 when it was trained",
        rf"xla flags: --x [red]\x1b when it was trained, {flags} now",
        "not recorded by the version that trained it: processor",
        "different: from epoch 1 on",
    ):
        assert words in printed


@pytest.mark.slow
def test_other_weights_alone_differ(copy, differs):
    model = bytearray((copy / "model.safetensors").read_bytes())
    model[-1] ^= 1
    (copy / "model.safetensors").write_bytes(model)
    digest = digests.of_bytes(bytes(model))
    edit(copy / "config.json", lambda about: about.update(model_sha256=[digest]))
    printed = differs(copy)
    assert "nothing that is recorded has changed" in printed
    assert "different: in the final weights" in printed
    assert digest[:20] in printed


def test_run_of_an_earlier_version_and_one_that_was_stopped_are_compared(copy, run_command):
    def forget(about: dict) -> None:
        for name in ("machines", "data_sha256", "model_sha256", "versions", "xla_flags", "git"):
            del about[name]
        about["config"]["epochs"] = 9

    edit(copy / "config.json", forget)
    (copy / "predictions.csv").unlink()
    assert "the same: 8 metrics of 2 epochs" in run_command("reproduce", copy)


def test_what_cannot_be_made_again_is_refused_in_a_line(copy, tmp_path, refused, npz):
    refused(["reproduce", tmp_path / "none"], "holds no run")
    with np.load(npz) as arrays:
        changed = {name: array.copy() for name, array in arrays.items()}
    changed["x_train"][0, 0, 0] ^= 1
    np.savez(tmp_path / "other.npz", **changed)
    for name, words in (("other", "the data have changed"), ("gone", "no such data set")):
        place = str(tmp_path / f"{name}.npz")
        edit(copy / "config.json", lambda about, place=place: about.update(dataset=place))
        expected = words if name == "other" else "cannot be opened"
        refused(["reproduce", copy], expected, place)
    (copy / "model.safetensors").unlink()
    refused(["reproduce", copy], "model.safetensors is not what was written")
    (copy / "metrics.jsonl").unlink()
    refused(["reproduce", copy], "no whole epoch")


@pytest.mark.slow
def test_task_is_made_again_from_the_recorded_text(tmp_path, run_command, refused):
    file, folder = tmp_path / "line.py", tmp_path / "run"
    file.write_text(TASK)
    sizes = ("--epochs", "3", "--batch-size", "8", "--eval-batch-size", "8", "--slope", "3")
    run_command("train", file, *sizes, "--out", folder)
    printed = run_command("reproduce", folder)
    assert "the same: 8 metrics of 3 epochs" in printed
    assert printed.count("line.py") == 0
    file.write_text(TASK.replace("0.1", "0.2"))
    printed = run_command("reproduce", folder)
    assert f"{file} has changed since" in printed
    assert "the same: 8 metrics" in printed
    file.unlink()
    assert f"{file} is gone" in run_command("reproduce", folder)
    edit(folder / "config.json", lambda about: about["task"].update(earlier=[["0" * 64, 2]]))
    refused(["reproduce", folder], "the first 2 epochs", "another text")
    (folder / "task.py").write_text(TASK + "#")
    refused(["reproduce", folder], "the task's text has the SHA-256")


def test_parts_are_trained_as_they_were(run, tmp_path, monkeypatch):
    """Streamed epochs are streamed again, and those of many devices need as many."""
    recorded = runs.read(run)
    machines = (
        {"epoch": 0, "stream": True},
        {"epoch": 1, "devices": 1, "stream": True, "jax": "0.1"},
        {"epoch": 2, "devices": 512},
        {"epoch": 3, "devices": "many"},
    )
    parts, changes = reproduction._plan(runs.Run(run, recorded.config, 10, machines=machines))
    assert parts == [reproduction._Part(0, 1, True), reproduction._Part(2, 1, False)]
    here = jax.device_count()
    assert changes == [
        f"it was trained on 512 devices, and {here} are here",
        f"it was trained on many devices, and {here} are here",
    ]


@pytest.mark.parametrize(
    ("recorded", "found", "first"),
    [
        ([1.0, 2.0], [1.0, 2.0], None),
        ([1.0, 2.0], [1.0, 2.5], 1),
        ([1.0, 2.0], [1.0], 1),
        ([float("nan")], [float("nan")], None),
        ([float("nan")], [1.0], 0),
    ],
)
def test_first_difference_is_found(recorded, found, first):
    assert reproduction.Compared("x", recorded, found).first_different == first


@pytest.mark.slow
def test_run_that_diverges_when_it_is_made_again_differs_from_there(tmp_path, differs):
    file, folder = tmp_path / "line.py", tmp_path / "run"
    file.write_text(TASK)
    sizes = ("--epochs", "2", "--batch-size", "8", "--eval-batch-size", "8")
    cli.main(["train", str(file), *sizes, "--out", str(folder)])
    diverging = TASK.replace('{"learning_rate": 0.1}', '{"learning_rate": 1e30}')
    (folder / "task.py").write_text(diverging)
    digest = digests.of_bytes(diverging.encode())
    edit(folder / "config.json", lambda about: about["task"].update(sha256=digest))
    printed = differs(folder)
    assert "none: it diverged" in printed
    assert "different: from epoch 0 on" in printed
