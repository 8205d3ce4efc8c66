"""A run's configuration and metrics are checked as they are parsed."""

import json
from pathlib import Path

import pytest

from jaxmnist import InputError, runs
from jaxmnist.config import Config
from jaxmnist.runs.records import read_about

TASK = {"file": "/a.py", "sha256": "0", "options": {"x": [1]}, "earlier": [["1", 2]]}


@pytest.fixture(scope="module")
def about() -> dict:
    return json.loads(json.dumps(runs.about(runs.Run(Path("run"), Config(), 10))))


def written(tmp_path: Path, about: object) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(about))
    return tmp_path


def test_what_a_run_describes_is_read(tmp_path, about):
    assert read_about(written(tmp_path, about) / "config.json") == about
    task = {**about, "task": TASK, "dataset": None}
    assert read_about(written(tmp_path, task) / "config.json") == task


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": 0},
        {"num_classes": 10**30},
        {"num_classes": 2**31 - 1},
        {"num_classes": True},
        {"num_classes": "10"},
        {"dataset": None},
        {"dataset": ["mnist"]},
        {"dataset": "a\0b"},
        {"data_dir": 3},
        {"keep": 2**40},
        {"checkpoint_every": 1.0},
        {"config": None},
        {"config": {}},
        {"config": {"hidden": 3}},
        {"config": {"hidden": [10**10]}},
        {"config": {"hidden": [3], "epochs": True}},
        {"config": {"hidden": [3], "nonsense": 1}},
        {"config": {"hidden": [3], "optimizer": ["sgd"]}},
        {"config": {"hidden": [3], "learning_rate": "0.1"}},
        {"task": None},
        {"task": {**TASK, "options": []}},
        {"task": {**TASK, "earlier": ["ab"]}},
        {"task": {**TASK, "earlier": [["ab", "c"]]}},
        {"task": {**TASK, "file": 1}},
        {"task": TASK},  # Its text has another SHA-256.
    ],
    ids=str,
)
def test_configuration_that_no_run_has_is_refused(tmp_path, about, change):
    folder = written(tmp_path, {**about, **change})
    (folder / "task.py").write_text("def task(config): ...")
    with pytest.raises(InputError, match="is no run's configuration"):
        runs.read(folder)
