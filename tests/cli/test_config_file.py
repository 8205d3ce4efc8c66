"""`train --config`: a run's file gives the defaults, and the command line wins over them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jaxmnist import cli
from jaxmnist.cli import train as train_module
from jaxmnist.cli import train_task
from jaxmnist.runs import TaskFile

TASK = '''
"""A task."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float = 0.1
    sizes: tuple[int, ...] = (2, 1)
    deep: bool = True
    epochs: int = 4


def task(config):
    raise RuntimeError("nothing is trained here")


def data(config):
    raise RuntimeError("nothing is trained here")
'''


@pytest.fixture
def started(monkeypatch) -> list[dict[str, Any]]:
    """What each run would be started with."""
    found: list[dict[str, Any]] = []

    def train_run(config: Any, joining: Any, task_file: Any, **settings: Any) -> None:
        found.append({"config": config, "task_file": task_file, **settings})

    for module in (train_module, train_task):
        monkeypatch.setattr(module, "train_run", train_run)
    return found


def write(path: Path, about: dict[str, Any]) -> Path:
    path.write_text(json.dumps(about))
    return path


def test_file_of_a_run_gives_its_options_and_the_command_line_wins(run, config, npz, started):
    cli.main(["train", "--config", str(run / "config.json")])
    cli.main(["train", f"--config={run}", "--seed", "9", "--hidden", "5", "--keep", "4"])
    one, other = started
    assert (one["config"], one["dataset"], one["checkpoint_every"]) == (config, str(npz), 0)
    changed = {name: getattr(other["config"], name) for name in ("seed", "hidden", "optimizer")}
    assert changed == {"seed": 9, "hidden": (5,), "optimizer": "momentum"}
    assert (other["keep"], other["dataset"]) == (4, str(npz))
    cli.main(["train"])
    assert started[2]["config"].optimizer == "sgd"  # Which the others have not changed.


def test_part_of_a_file_is_enough(tmp_path, started):
    file = write(tmp_path / "some.json", {"config": {"optimizer": "adam"}, "keep": 3})
    cli.main(["train", "--config", str(file), "--epochs", "2"])
    (one,) = started
    assert (one["config"].optimizer, one["config"].epochs, one["keep"]) == ("adam", 2, 3)
    assert one["dataset"] == "mnist"


@pytest.fixture
def task_run(tmp_path) -> Path:
    """The folder of a run of a task, and the task's file next to it."""
    file, folder = tmp_path / "own.py", tmp_path / "run"
    folder.mkdir()
    for path in (file, folder / "task.py"):
        path.write_text(TASK)
    options = {"rate": 3, "sizes": [7, 8, 9], "deep": False}
    task = {"file": str(file), "sha256": TaskFile("", TASK).sha256, "options": options}
    sizes = {"epochs": 6, "batch_size": 16, "eval_batch_size": 8, "seed": 5}
    about = {"dataset": None, "data_dir": None, "task": {**task, "earlier": []}, "config": sizes}
    write(folder / "config.json", {**about, "checkpoint_every": 2, "keep": 3})
    return folder


def test_options_of_a_task_come_from_the_file_too(task_run, tmp_path, started):
    cli.main(["train", "--config", str(task_run), "--batch-size", "4"])
    cli.main(["train", str(tmp_path / "own.py"), "--config", str(task_run), "--rate", "0.5"])
    (tmp_path / "own.py").unlink()
    cli.main(["train", "--config", str(task_run)])
    one, other, gone = started
    assert one["task_file"].options == {"rate": 3, "sizes": (7, 8, 9), "deep": False}
    assert (one["config"].epochs, one["config"].batch_size, one["config"].seed) == (6, 4, 5)
    assert (one["checkpoint_every"], one["keep"], one["dataset"]) == (2, 3, None)
    assert other["task_file"].options["rate"] == 0.5
    assert other["config"].batch_size == 16
    assert gone["task_file"].path == str(task_run / "task.py")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cofnig": {}}, ["it has 'cofnig'", "did you mean 'config'?"]),
        ({"config": {"epoch": 3}}, ["config has 'epoch'", "did you mean 'epochs'?"]),
        ({"config": {"epochs": 0}}, ["epochs is 0"]),
        ({"config": {"epochs": "many"}}, ["run.json"]),
        ({"config": {"hidden": 3}}, ["config has a value of another type"]),
        ({"config": {"optimizer": ["sgd"]}}, ["optimizer"]),
        ({"config": {"optimizer": "adm"}}, ["did you mean 'adam'?"]),
        ({"config": []}, ["config is no object"]),
        ({"dataset": 3}, ["dataset is 3", "a string or null"]),
        ({"keep": 1.5}, ["keep is 1.5", "a whole number"]),
        ({"task": {"file": "x.py", "sha": ""}}, ["task has 'sha'", "did you mean 'sha256'?"]),
        ({"task": {"file": 3}}, ["task must have a file"]),
        ({"task": {"file": "/gone/x.py"}, "config": {}}, ["cannot read /gone/x.py"]),
        ({"x\n\x1b[31m" * 90: 1}, [r"it has 'x\n\x1b[31m"]),
    ],
    ids=str,
)
def test_what_no_run_has_is_one_line(change, words, tmp_path, refused, started):
    file = write(tmp_path / "run.json", change)
    refused(["train", "--config", file], *words)
    assert started == []


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\x00", "{}" * 2, "[" * 5000, "{1: 2}"])
def test_file_that_is_no_json_object_is_one_line(text, tmp_path, refused):
    (tmp_path / "run.json").write_text(text)
    refused(["train", "--config", tmp_path / "run.json"], "run.json is no run's configuration")


def test_other_misuses_are_one_line(run, task_run, tmp_path, refused, started):
    refused(["train", "--config", tmp_path / "none.json"], "cannot read", "none.json")
    refused(["train", "--config", run, "--resume", run], "--resume", "omit --config")
    refused(["train", tmp_path / "own.py", "--config", run], "of the tutorial's task", "omit")
    about = json.loads((task_run / "config.json").read_text())
    for options, words in (
        ({"rate": "fast"}, "rate is 'fast'; the task's file has a float there, such as 0.1"),
        ({"sizes": 3}, "sizes is 3"),
        ({"size": 3}, "Config has no size"),
    ):
        about["task"]["options"] = options
        write(task_run / "config.json", about)
        refused(["train", "--config", task_run], words)
    shutil.rmtree(task_run)
    (tmp_path / "fifo").mkdir()
    refused(["train", "--config", tmp_path / "fifo"], "cannot read")
    assert started == []
