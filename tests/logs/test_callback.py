"""The callback of the logs: every epoch once, whatever is resumed, and each library's own calls.

The libraries of wandb, MLflow and Trackio are stood in for by modules that note their calls.
"""

import contextlib
import json
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jaxmnist import logs
from jaxmnist.logs import callback, installed
from jaxmnist.training import TrainState

STATE = TrainState({}, ())


class Calls(list):
    """The calls that a library was given."""

    def note(self, name: str, returns: Any = None) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.append((name, *arguments, named))
            return returns

        return call


@pytest.fixture
def calls(monkeypatch) -> Calls:
    """Stand-ins for the three libraries."""
    noted = Calls()
    run = SimpleNamespace(id="a1", log=noted.note("log"), finish=noted.note("finish"))
    settings = lambda **named: named  # noqa: E731
    modules: dict[str, Any] = {
        "wandb": {"init": noted.note("init", run), "Settings": settings},
        "trackio": {"init": noted.note("init", run), "finish": noted.note("finish")},
        "mlflow": {"MlflowClient": lambda: _mlflow_client(noted)},
        "mlflow.entities": {
            "Metric": lambda *it: it,
            "Param": lambda *it: it,
        },
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(installed, "find_spec", lambda name: name)
    return noted


def _mlflow_client(noted: Calls) -> SimpleNamespace:
    run = SimpleNamespace(info=SimpleNamespace(run_id="m1"))
    return SimpleNamespace(
        get_experiment_by_name=noted.note("find"),
        create_experiment=noted.note("experiment", "7"),
        create_run=noted.note("create", run),
        log_batch=noted.note("batch"),
        update_run=noted.note("update"),
        set_terminated=noted.note("end"),
    )


def train(folder: Path, kinds: list[str], epochs: range, **more: Any) -> None:
    folder.mkdir(exist_ok=True)
    with logs.opened(kinds, folder, {"seed": 3}, **more) as on_epoch:
        for epoch in epochs:
            on_epoch(epoch, STATE, {"eval_loss": 1.0 + epoch, "eval_[red]$": float("nan")})


def logged(calls: Calls, kind: str) -> list[tuple[int, float]]:
    """The epochs that were logged, with their losses."""
    if kind == "mlflow":
        rows = [row for call in calls if call[0] == "batch" for row in call[-1].get("metrics", ())]
        return [(row[3], row[1]) for row in rows if row[0] == "eval_loss"]
    return [(call[-1]["step"], call[1]["eval_loss"]) for call in calls if call[0] == "log"]


@pytest.mark.parametrize("kind", ["wandb", "mlflow", "trackio"])
def test_resumed_run_continues_its_log_and_no_epoch_is_there_twice(kind, calls, tmp_path):
    train(tmp_path / "run", [kind], range(4))
    begun = len(calls)
    # As after a checkpoint of two epochs: the third and fourth are trained again.
    past = {"eval_loss": [1.0, 2.0]}
    train(tmp_path / "run", [kind], range(2, 6), past=past, resumed=True)
    assert logged(calls, kind) == [(epoch, 1.0 + epoch) for epoch in range(6)]
    opened = calls[begun]
    if kind == "wandb":
        assert (opened[-1]["id"], opened[-1]["resume"]) == ("a1", "allow")
        assert calls[0][-1]["config"] == {"seed": 3}
    elif kind == "trackio":
        assert opened[-1]["name"] == calls[0][-1]["name"]
        assert (calls[0][-1]["resume"], opened[-1]["resume"]) == ("never", "allow")
    else:
        assert opened == ("update", "m1", {"status": "RUNNING"})
        names = {row[0] for call in calls for row in call[-1].get("metrics", ())}
        assert names == {"eval_loss", "eval__red__"}
    assert calls[-1][0] in ("finish", "end")


def test_log_that_begins_when_a_run_is_resumed_is_given_the_epochs_before(calls, tmp_path):
    past = {"eval_loss": [1.0, 2.0]}
    train(tmp_path / "run", ["wandb"], range(2, 3), past=past, resumed=True)
    assert logged(calls, "wandb") == [(0, 1.0), (1, 2.0), (2, 3.0)]


def test_new_run_in_the_place_of_another_has_a_log_of_its_own(calls, tmp_path):
    train(tmp_path / "run", ["wandb"], range(2))
    train(tmp_path / "run", ["wandb"], range(2))
    assert [call[-1]["id"] for call in calls if call[0] == "init"] == [None, None]
    assert [step for step, _ in logged(calls, "wandb")] == [0, 1, 0, 1]
    assert json.loads((tmp_path / "run" / "logs.json").read_text()) == {"wandb": ["a1", 2]}


def test_log_that_fails_stops_neither_the_training_nor_another_log(calls, tmp_path, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(sys.modules["wandb"], "init", lambda **_: SimpleNamespace(
        id="a1", log=fail, finish=fail
    ))  # fmt: skip
    said: list[str] = []
    train(tmp_path / "run", ["wandb", "trackio"], range(3), say=said.append)
    assert [step for step, _ in logged(calls, "trackio")] == [0, 1, 2]
    assert said == [
        "wandb is not written to any more: ConnectionError: no network",
        "wandb cannot be closed: ConnectionError: no network",
    ]


def test_log_that_cannot_be_opened_is_refused_in_a_line(calls, tmp_path, monkeypatch, refused):
    def fail(**_: Any) -> None:
        raise RuntimeError("api_key not configured\n(no-tty)")

    monkeypatch.setattr(sys.modules["wandb"], "init", fail)
    with refused("the log wandb cannot be opened", "api_key not configured (no-tty)"):
        train(tmp_path / "run", ["wandb"], range(1))


def test_missing_library_and_unknown_log_are_refused(monkeypatch, tmp_path, refused):
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    for kind, library in installed.LIBRARIES.items():
        with refused(f"needs {library}", f"pip install 'jaxmnist[{kind}]'"):
            logs.check_installed([kind])
    with refused("no log 'wandbb'", "did you mean 'wandb'?"):
        logs.check_installed(["wandbb"])


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"wandb": 1}', '{"wandb": ["a", -1]}', '{"x": ["a", 1]}', "\xff"]
)
def test_damaged_record_is_refused(text, tmp_path, refused):
    (tmp_path / "logs.json").write_text(text, encoding="latin-1")
    with refused("logs.json is no record of logs"):
        callback.read_record(tmp_path)


def test_every_kind_has_an_extra():
    import tomllib

    import jaxmnist as jm

    pyproject = Path(jm.__file__).parent.parent / "pyproject.toml"
    extras = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]
    assert set(logs.KINDS) <= set(extras)


# ------------------------------------------------------------------------------- TensorBoard


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    read = accumulator.EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    assert tag in read.Tags()["scalars"]
    return [(event.step, event.value) for event in read.Scalars(tag)]


@pytest.fixture
def tensorboard():
    pytest.importorskip("tensorboardX", reason="needs tensorboardX")


def test_tensorboards_own_reader_finds_every_epoch_once(tensorboard, tmp_path):
    folder = tmp_path / "run"
    train(folder, ["tensorboard"], range(4))
    past = {"eval_loss": [1.0, 2.0], "eval_[red]$": [float("nan")] * 2}
    train(folder, ["tensorboard"], range(2, 6), past=past, resumed=True)
    assert scalars(folder, "eval_loss") == [(epoch, 1.0 + epoch) for epoch in range(6)]
    train(folder, ["tensorboard"], range(2))  # Another run in its place.
    assert scalars(folder, "eval_loss") == [(0, 1.0), (1, 2.0)]


def test_epoch_that_a_killed_process_counted_and_did_not_write_is_there(tensorboard, tmp_path):
    folder = tmp_path / "run"
    train(folder, ["tensorboard"], range(2))
    (folder / "logs.json").write_text('{"tensorboard": ["tensorboard", 3]}')
    past = {"eval_loss": [1.0, 2.0, 3.0]}
    train(folder, ["tensorboard"], range(3, 4), past=past, resumed=True)
    assert scalars(folder, "eval_loss") == [(epoch, 1.0 + epoch) for epoch in range(4)]


# ------------------------------------------------------------------- the libraries themselves


def resume_once(folder: Path, kind: str) -> None:
    train(folder, [kind], range(3))
    past = {"eval_loss": [1.0, 2.0]}
    train(folder, [kind], range(2, 4), past=past, resumed=True)


def test_mlflow_has_every_epoch_once(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with contextlib.suppress(Exception):
        mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    resume_once(tmp_path / "run", "mlflow")
    key = json.loads((tmp_path / "run/logs.json").read_text())["mlflow"][0]
    client = mlflow.MlflowClient()
    history = client.get_metric_history(key, "eval_loss")
    assert sorted((each.step, each.value) for each in history) == [
        (epoch, 1.0 + epoch) for epoch in range(4)
    ]
    assert client.get_run(key).data.params == {"seed": "3"}
    assert client.get_run(key).info.status == "FINISHED"


def test_wandb_without_a_network_writes_its_files(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    resume_once(tmp_path / "run", "wandb")
    key, written = json.loads((tmp_path / "run/logs.json").read_text())["wandb"]
    assert written == 4
    assert len(list((tmp_path / "run/wandb").glob(f"offline-run-*-{key}/run-{key}.wandb"))) == 2


def test_trackio_has_every_epoch_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="needs trackio")
    from trackio.sqlite_storage import SQLiteStorage  # pyright: ignore[reportMissingImports]

    resume_once(tmp_path / "run", "trackio")
    name = json.loads((tmp_path / "run/logs.json").read_text())["trackio"][0]
    rows = SQLiteStorage.get_logs("jaxmnist", name)
    assert [(row["step"], row["eval_loss"]) for row in rows] == [
        (epoch, 1.0 + epoch) for epoch in range(4)
    ]
