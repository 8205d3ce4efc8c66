"""A run's folder: what may be written where, and which damage is noticed on reading."""

import json
import os
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import safetensors.numpy

import jaxmnist as jm
from jaxmnist import interop, runs
from jaxmnist.training import History

CONFIG = jm.Config(hidden=(4,), learning_rate=0.5, epochs=2, seed=3)
FIGURES = History(*(jnp.float32(x) / 7 for x in range(8)))
RESULTS = (
    "metrics.jsonl",
    "model.safetensors",
    "predictions.csv",
    "predictions.png",
    "curves.png",
    "train_loss.png",
    "train_accuracy.png",
    "eval_loss.png",
    "eval_accuracy.png",
)


def params_of(run: runs.Run, seed: int = 0):
    return run.model.init(jax.random.key(seed), jnp.zeros((1, 28, 28)))


@pytest.fixture
def run(tmp_path) -> runs.Run:
    """A run with one epoch behind it."""
    run = runs.Run(tmp_path / "run", CONFIG, num_classes=10, dataset="mnist", data_dir=None)
    runs.create(run)
    runs.append_epoch(run, 0, params_of(run), FIGURES)
    return run


def raises(*words: object):
    """Expect an InputError of one line that has every word."""
    pattern = "".join(f"(?=.*{re.escape(str(word))})" for word in words)
    return pytest.raises(jm.InputError, match=rf"\A{pattern}[^\n]*\Z")


# ------------------------------------------------------------------------------- check_free


def test_check_free_accepts_new_and_unrelated_folders_and_writes_nothing(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "new", tmp_path / "deep" / "down" / "new"):
        runs.check_free(path, overwrite=False)
        runs.check_free(path, overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["notes.txt"]


@pytest.mark.parametrize("name", ["config.json", *RESULTS])
def test_check_free_refuses_what_a_new_run_would_replace(name, tmp_path):
    """A person's own curves.png is not to be deleted unasked, be there a config.json or not."""
    (tmp_path / name).write_text("mine")
    with raises(tmp_path, "holds a run already", name, "--overwrite"):
        runs.check_free(tmp_path, overwrite=False)
    runs.check_free(tmp_path, overwrite=True)
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_check_free_refuses_files_and_what_lies_under_them(overwrite, tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "deep" / "run"):
        with raises(f"cannot write the run to {path}", f"{tmp_path / 'file'} is not a folder"):
            runs.check_free(path, overwrite)


@pytest.mark.parametrize("place", [".", "new", "deep/down/new"])
def test_check_free_refuses_a_folder_without_permission(place, tmp_path, monkeypatch):
    asked = []

    def refuse(path: Path, mode: int) -> bool:
        asked.append((Path(path), mode))
        return False

    monkeypatch.setattr(os, "access", refuse)
    with raises("cannot write the run", tmp_path, "may not be written to"):
        runs.check_free(tmp_path / place, overwrite=True)
    assert asked == [(tmp_path, os.W_OK | os.X_OK)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root is refused nothing")
def test_check_free_refuses_a_real_folder_without_permission(tmp_path):
    for mode in (0o555, 0o000):
        (tmp_path / "shut").mkdir(exist_ok=True)
        (tmp_path / "shut").chmod(mode)
        try:
            with raises("cannot write the run", tmp_path / "shut"):
                runs.check_free(tmp_path / "shut" / "run", overwrite=False)
        finally:
            (tmp_path / "shut").chmod(0o755)


def test_check_free_says_what_the_system_says(tmp_path, monkeypatch):
    with raises("cannot write the run", "too long"):
        runs.check_free(tmp_path / ("x" * 300), overwrite=False)

    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with raises("cannot write the run", "Permission denied"):
        runs.check_free(tmp_path / "run", overwrite=False)


# ------------------------------------------------------------------------------- writing


def test_create_clears_an_old_run_and_nothing_else(run):
    for name in (*RESULTS, "notes.txt"):
        (run.path / name).write_text("old")
    runs.create(run)
    assert sorted(path.name for path in run.path.iterdir()) == ["config.json", "notes.txt"]


def test_create_refuses_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    for place in ("file", "file/run"):
        with raises("cannot write the run", tmp_path / place):
            runs.create(runs.Run(tmp_path / place, CONFIG, 10))


def test_append_epoch_adds_a_line_and_replaces_the_model(run):
    first = (run.path / "metrics.jsonl").read_text()
    params = params_of(run, seed=1)
    runs.append_epoch(run, 1, params, FIGURES)
    text = (run.path / "metrics.jsonl").read_text()
    assert text.startswith(first)
    assert text.count("\n") == 2
    expected = {
        name: float(np.float32(x) / np.float32(7)) for x, name in enumerate(FIGURES._fields)
    }
    assert json.loads(text.splitlines()[1]) == {"epoch": 1, **expected}
    _, loaded = runs.load(run.path)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, loaded))


def test_append_epoch_refuses_a_folder_that_is_gone(run):
    shutil.rmtree(run.path)
    with raises(f"cannot write {run.path}", "No such file"):
        runs.append_epoch(run, 1, params_of(run), FIGURES)


# ------------------------------------------------------------------------------- load


def test_load_gives_back_what_was_written(run):
    loaded, params = runs.load(run.path)
    assert loaded == run
    original = params_of(run)
    assert jax.tree.structure(params) == jax.tree.structure(original)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, original))


def test_load_gives_back_an_unusual_run(tmp_path):
    config = jm.Config(hidden=(), optimizer="adadelta", convention="optax")
    run = runs.Run(tmp_path, config, 47, "emnist/balanced", "/some/where")
    runs.create(run)
    runs.append_epoch(run, 0, params_of(run), FIGURES)
    assert runs.load(tmp_path)[0] == run


REMOVED = object()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, REMOVED) for field in ("config", "dataset", "data_dir", "num_classes")),
        *(("num_classes", value) for value in ("10", 10.0, None, -1)),
        *(("dataset", value) for value in (5, None, ["mnist"])),
        ("data_dir", 5),
        *(("config", value) for value in (None, [], "sgd")),
        *(("config.hidden", value) for value in (REMOVED, 4, "4", [4.0], [4.5], [-1], [[4]])),
        *(("config.epochs", value) for value in ("2", 2.5, 0, None)),
        *(("config.eval_batch_size", value) for value in (1.5, "128", -1)),
        *(("config.optimizer", value) for value in ("foo", None, [])),
        *(("config.convention", value) for value in ("foo", 3)),
        *(("config.learning_rate", value) for value in ("0.1", -1, [0.1])),
        *(("config.seed", value) for value in (None, -1, 1.5)),
        ("config.nonsense", 1),
    ],
)
def test_load_refuses_a_damaged_configuration(field, value, run, monkeypatch):
    about = json.loads((run.path / "config.json").read_text())
    *outer, name = field.split(".")
    place = about[outer[0]] if outer else about
    if value is REMOVED:
        del place[name]
    else:
        place[name] = value
    (run.path / "config.json").write_text(json.dumps(about))
    # Without the tests' own type checker, which would find half of it.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with raises(run.path / "config.json", "is no run's configuration"):
        runs.load(run.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"run"', "{}", "\xff"])
def test_load_refuses_what_is_no_configuration(text, run):
    (run.path / "config.json").write_text(text, encoding="latin-1")
    with raises(run.path / "config.json", "is no run's configuration"):
        runs.load(run.path)


def test_load_refuses_a_folder_without_a_run(run, tmp_path):
    for place in (tmp_path, tmp_path / "nowhere", run.path / "config.json"):
        with raises(f"{place} holds no run", "config.json", "jaxmnist train"):
            runs.load(place)
    (run.path / "model.safetensors").unlink()
    with raises(run.path / "model.safetensors", "No such file"):
        runs.load(run.path)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_load_refuses_a_truncated_model(kept, run):
    path = run.path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with raises(path, "not a whole safetensors file"):
        runs.load(run.path)


@pytest.mark.slow_except("hidden3-10-words3")
@pytest.mark.parametrize(
    ("hidden", "num_classes", "words"),
    [
        ((5,), 10, ["0.bias", "(5,)", "(4,)"]),
        ((4,), 11, ["2.bias", "(11,)", "(10,)"]),
        ((4, 4), 10, ["2.bias", "(4,)", "(10,)"]),
        ((), 10, ["0.bias", "(10,)", "(4,)"]),
    ],
)
def test_load_refuses_a_model_of_another_shape(hidden, num_classes, words, run):
    params = jm.MLP(hidden, num_classes).init(jax.random.key(0), jnp.zeros((1, 784)))
    interop.save_safetensors(params, run.path / "model.safetensors")
    with raises(run.path / "model.safetensors", *words):
        runs.load(run.path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.astype(np.float16), ["0.bias is float16 of shape (4,)", "it is float32"]),
        (lambda x: np.full_like(x, np.nan), ["0.bias has a number that is not finite"]),
        (lambda x: np.where(x == x[0], np.float32(np.inf), x), ["0.bias has a number that"]),
    ],
    ids=["float16", "NaN", "infinity"],
)
def test_load_refuses_numbers_that_no_run_has(change, words, run):
    """Such as a file that a person put there, in a run that recorded no digest."""
    path = run.path / "model.safetensors"
    arrays = interop.params_to_state_dict(jm.MLP((4,)).init(jax.random.key(0), jnp.zeros((1, 784))))
    safetensors.numpy.save_file({**arrays, "0.bias": change(arrays["0.bias"])}, path)
    with raises(path, *words):
        runs.load(run.path)


def test_load_refuses_a_model_of_other_inputs_or_names(run):
    path = run.path / "model.safetensors"
    params = jm.MLP((4,)).init(jax.random.key(0), jnp.zeros((1, 100)))
    interop.save_safetensors(params, path)
    with raises(path, "0.weight", "(4, 100)", "(4, 784)"):
        runs.load(run.path)
    safetensors.numpy.save_file({"layer.weight": np.zeros((3, 3), np.float32)}, path)
    with raises(path, "0.weight", "layer.weight"):
        runs.load(run.path)
