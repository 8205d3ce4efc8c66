"""`jaxmnist runs`: all runs below a folder are listed, damaged ones with what is wrong."""

import json
import os
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxmnist as jm
from jaxmnist import plots, runs
from jaxmnist.plots.comparison import MAX_RUNS
from jaxmnist.plots.save import write_picture
from jaxmnist.runs.listing import find_runs

HOSTILE = "<script>alert(1)</script> \"'$x^2$ [red]b[/red] \x1b[31m\nname".replace("/", "_")
TASK = """
import jaxmnist
def task(config): raise RuntimeError("a listing runs no file")
"""


def write_task_run(path: Path, metric: str) -> None:
    """A run of a task in a file, of which two of three epochs are trained."""
    file = runs.TaskFile("/somewhere/line.py", TASK, {"width": 3})
    config = jm.Config(epochs=3, batch_size=8, eval_batch_size=8)
    run = runs.Run(path, config, 10, None, None, 1, 1, file)
    runs.create(run)
    for epoch in range(2):
        metrics = {"train_loss": 2.0 - epoch, "eval_loss": 3.0 - epoch, metric: 0.5}
        runs.append_epoch(run, epoch, {"w": jnp.ones(2)}, metrics)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    """Runs whole, half-made and damaged, and what is none."""
    place = tmp_path_factory.mktemp("runs")
    for name in ("whole", "deep/er", HOSTILE, "of lines", "of metrics", "of no model", "of bytes"):
        shutil.copytree(run, place / name)
    about = json.loads((run / "config.json").read_text())
    about["config"]["seed"] = 7
    (place / "deep/er/config.json").write_text(json.dumps(about))
    (place / "of lines/config.json").write_text("{")
    with (place / "of metrics/metrics.jsonl").open("a") as file:
        file.write("{}\n")
    (place / "of no model/model.safetensors").unlink()
    model = bytearray((run / "model.safetensors").read_bytes())
    model[-1] ^= 1
    (place / "of bytes/model.safetensors").write_bytes(model)
    (place / "begun").mkdir()
    shutil.copy(run / "config.json", place / "begun")
    (place / "headless").mkdir()
    shutil.copy(run / "metrics.jsonl", place / "headless")
    write_task_run(place / "task", "eval_mae")
    (place / "notes").mkdir()
    (place / "notes/task.py").write_text("")
    (place / "link").symlink_to(place / "whole")
    return place


STATES = {
    "begun": "unfinished",
    "deep/er": "finished",
    "headless": "damaged",
    "of bytes": "damaged",
    "of lines": "damaged",
    "of metrics": "damaged",
    "of no model": "damaged",
    "task": "unfinished",
    "whole": "finished",
}


def test_every_run_is_listed_with_its_state(folder, run_command, rows_of, contents):
    before = contents(folder)
    printed = run_command("runs", folder)
    rows = {cells[0]: cells for cells in rows_of(printed)}
    hostile = next(name for name in rows if name.startswith("<script>"))
    assert {name: cells[-1] for name, cells in rows.items()} == {**STATES, hostile: "finished"}
    heads = [line for line in printed.splitlines() if line.startswith("┃")]
    tutorial, own, none = ([cell.strip() for cell in head.strip("┃").split("┃")] for head in heads)
    whole, other = (dict(zip(tutorial, rows[name], strict=True)) for name in ("whole", "deep/er"))
    assert (whole["seed"], other["seed"]) == ("3", "7")
    assert (whole["optimizer"], whole["epochs"], other["epochs"]) == (
        "momentum",
        "2 of 2",
        "2 of 2",
    )
    assert "convention" not in tutorial  # In which all of them are the same.
    task = dict(zip(own, rows["task"], strict=True))
    assert "The task of line.py" in printed
    assert (task["epochs"], task["eval loss"], task["eval mae"]) == ("2 of 3", "2.0000", "0.5000")
    assert none == ["run", "epochs", "state"]
    for name, words in {
        "of lines": "config.json is no run's configuration",
        "of metrics": "is damaged in line 3",
        "of no model": "model.safetensors is missing",
        "of bytes": "model.safetensors is not what was written",
        "headless": "cannot read config.json",
    }.items():
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{name}: ")]
        assert words in line
    assert contents(folder) == before


@pytest.mark.slow
def test_hostile_name_reaches_neither_terminal_nor_markup(folder, run_on_terminal, run_command):
    status, shown = run_on_terminal("runs", folder)
    assert status == 0
    assert "\x1b[31m" not in shown
    printed = run_command("runs", folder)
    assert "[red]b[_red]" in printed
    assert r"\x1b[31m" in printed


def test_json_has_every_epoch_and_is_json(folder, run, run_command):
    listed = {
        Path(each["path"]).name: each for each in json.loads(run_command("runs", folder, "--json"))
    }
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert listed["whole"]["metrics"]["eval_loss"] == [row["eval_loss"] for row in rows]
    assert (listed["whole"]["trained"], listed["whole"]["finished"]) == (2, True)
    assert listed["whole"]["config"]["seed"] == 3
    assert listed["task"]["metrics"]["eval_mae"] == [0.5, 0.5]
    assert listed["of metrics"]["wrong"]
    assert listed["whole"]["wrong"] is None


def test_number_that_is_not_finite_is_null_in_json(tmp_path, run_command):
    write_task_run(tmp_path / "run", "eval_mae")
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text(path.read_text().replace("0.5", "NaN"))
    (listed,) = json.loads(run_command("runs", tmp_path, "--json"))
    assert listed["metrics"]["eval_mae"] == [None, None]
    assert "nan" in run_command("runs", tmp_path)


def test_curves_of_several_are_in_one_picture(folder, tmp_path, run_command):
    out = tmp_path / "curves.png"
    assert f"wrote: {out}" in run_command("runs", folder, "--plot", out)
    with Image.open(out) as picture:
        assert len(np.unique(np.asarray(picture))) > 10
    found = {str(each.path): each.history for each in find_runs(folder) if each.epochs}
    figure = plots.run_comparison(found)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy", "mae"]
    lines = [line for line in figure.axes[0].lines if line.get_marker()]
    assert [np.asarray(line.get_ydata())[-1] for line in lines] == [
        pytest.approx(history["eval_loss"][-1]) for history in found.values()
    ]


@pytest.mark.parametrize("name", ["$x^$", "a" * 300, "a\nb", "$" * 301, "<script>"])
def test_picture_survives_a_hostile_name(name, tmp_path):
    histories = {name: {f"eval_{name}": np.array([1.0, 2.0])}}
    figure = plots.run_comparison(histories)
    write_picture(figure, tmp_path / "x.png")
    assert figure.axes[0].get_position().width > 0.5


def test_folder_without_runs_and_no_folder(tmp_path, run_command, refused):
    assert "there are no runs below" in run_command("runs", tmp_path)
    assert run_command("runs", tmp_path, "--json") == "[]\n"
    refused(["runs", tmp_path / "gone"], "gone is no folder")
    refused(["runs", tmp_path, "--plot", "x.png"], "0 runs below", f"1 to {MAX_RUNS}")


def test_folder_that_may_not_be_read_is_listed(tmp_path, run_command, monkeypatch):
    (tmp_path / "shut").mkdir()
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "cannot read" in run_command("runs", tmp_path)
