"""What the page of a run holds, compared with what the run is."""

import base64
import json
import shutil
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import cli, report, runs
from jaxmnist.report import outputs, selection

TASK = """
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

import jaxmnist as jm


def task(config):
    def init(key, hyper, inputs):
        return jm.tasks.Model({"w": jax.random.normal(key, (784, 10))}, {})

    def outputs(model, batch):
        return jm.normalize(batch[0]).reshape(-1, 784) @ model.params["w"]

    def measure(model, batch, key, training):
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs(model, batch), batch[1])
        return {"loss": losses}, model.state

    return jm.tasks.Task(init, measure, lambda hyper: optax.sgd(0.01), {}, predict=outputs)
"""


@pytest.fixture(scope="module")
def described(run_page, data_of):
    (run,) = data_of(run_page.read_text())["runs"]
    return run


@pytest.fixture(scope="module")
def logits(run, npz):
    trained, params = runs.load(run)
    x = jm.normalize(jnp.asarray(jm.load_dataset(npz).test_images))
    return np.asarray(trained.model.apply(params, x), np.float64)


@pytest.mark.slow
def test_page_describes_the_run(described, run, npz):
    rows = dict(described["rows"])
    assert rows["Network"] == "784-16-8-10, 12,786 parameters"
    assert rows["Epochs"] == "3 of 3"
    assert rows["Data"] == str(npz)
    assert rows["Versions"].startswith("jaxmnist ")
    assert rows["Command"] == f"jaxmnist train --hidden 16 8 --epochs 3 --dataset {npz}"
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert described["metrics"] == [json.loads(line) for line in lines]


@pytest.mark.slow
def test_confusion_and_images_are_those_of_the_test_set(described, logits, npz):
    data, test = jm.load_dataset(npz), described["test"]
    labels, guesses = data.test_labels, logits.argmax(axis=1)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (labels, guesses), 1)
    last = test["snapshots"][-1]
    assert last["epochs"] == 3
    np.testing.assert_array_equal(last["counts"], expected)
    pixels = zlib.decompress(base64.b64decode(test["images"]["pixels"]))
    shown = test["images"]["index"]
    images = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28)
    np.testing.assert_array_equal(images, data.test_images[shown])
    for cell, positions in last["cells"].items():
        row, column = map(int, cell.split(","))
        samples = np.array(shown)[positions]
        assert set(labels[samples]) == {row}
        assert set(guesses[samples]) == {column}
        assert len(samples) == (expected[row, column] if row != column else min(12, len(samples)))


@pytest.mark.slow
def test_worst_and_most_confidently_wrong_are_so(described, logits, npz):
    labels = jm.load_dataset(npz).test_labels
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    test = described["test"]
    index = np.array(test["images"]["index"])
    own = odds[np.arange(len(labels)), labels]
    worst = index[test["groups"]["worst"]]
    np.testing.assert_allclose(np.sort(own)[:40], own[worst], rtol=1e-5)
    wrong = odds.argmax(axis=1) != labels
    sure = index[test["groups"]["confident"]]
    np.testing.assert_allclose(
        np.sort(-odds.max(axis=1)[wrong])[:40], -odds.max(axis=1)[sure], rtol=1e-5
    )
    assert wrong[sure].all()


@pytest.mark.slow
def test_every_kept_checkpoint_has_its_confusion(described, run, npz):
    assert [each["epochs"] for each in described["test"]["snapshots"]] == [2, 3]
    made = runs.read(run)
    model = made.task.init(jax.random.key(1), made.task.hyper, np.zeros((1, 28, 28)))
    data = jm.load_dataset(npz)
    x = jm.normalize(jnp.asarray(data.test_images))
    guesses = np.asarray(made.model.apply(model.params, x)).argmax(axis=1)
    right = int((guesses == data.test_labels).sum())
    assert described["test"]["snapshots"][0]["right"] == right


def test_weights_and_activations_are_described(described, run, npz):
    _, params = runs.load(run)
    first = described["layers"][0]
    weight = np.asarray(params["params"]["dense_0"]["weight"], np.float64)
    assert first["weights"]["mean"] == pytest.approx(weight.mean())
    assert sum(first["weights"]["counts"]) == weight.size
    x = jm.normalize(jnp.asarray(jm.load_dataset(npz).test_images)).reshape(245, 784)
    after = np.maximum(
        np.asarray(x) @ weight.T + np.asarray(params["params"]["dense_0"]["bias"]), 0
    )
    assert first["activations"]["mean"] == pytest.approx(after.mean(), rel=1e-4)
    assert first["activations"]["zeros"] == pytest.approx((after == 0).mean(), abs=1e-3)
    stored = np.frombuffer(base64.b64decode(described["network"]["layers"][0]["weight"]), "<f4")
    np.testing.assert_array_equal(stored.reshape(16, 784), weight.astype(np.float32))


def test_making_a_page_changes_nothing_in_the_run(run, contents):
    before = contents(run)
    report.run_page([run])
    assert contents(run) == before


# ------------------------------------------------------------------------------- other runs


def test_damaged_checkpoint_is_left_out_with_a_line(run, tmp_path, data_of):
    copy = shutil.copytree(run, tmp_path / "run")
    for path in (copy / "checkpoints" / "2").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:-500])
    said = []
    (found,) = data_of(report.run_page([copy], said.append))["runs"]
    assert [each["epochs"] for each in found["test"]["snapshots"]] == [3]
    assert said == [f"{copy / 'checkpoints' / '2'} is damaged and was left out"]


@pytest.mark.slow
def test_run_of_another_task_has_a_page_without_a_drawing(npz, tmp_path, data_of):
    task = tmp_path / "linear.py"
    task.write_text(TASK)
    made = runs.Run(
        tmp_path / "run",
        jm.Config(epochs=1),
        10,
        str(npz),
        task_file=runs.TaskFile(str(task), TASK),
    )
    runs.create(made)
    model = made.task.init(jax.random.key(0), made.task.hyper, None)
    runs.append_epoch(
        made, 0, model.params, {"train_loss": jnp.ones(()), "eval_loss": jnp.ones(())}
    )
    said = []
    (found,) = data_of(report.run_page([made.path], said.append))["runs"]
    assert found["network"] is None
    assert said == [
        f"{made.path}: the page has no drawing: its network is that of a task's file, which "
        "JavaScript cannot run"
    ]
    data = jm.load_dataset(npz)
    x = np.asarray(jm.normalize(jnp.asarray(data.test_images))).reshape(245, 784)
    guesses = (x @ np.asarray(model.params["w"])).argmax(axis=1)
    assert found["test"]["snapshots"][0]["right"] == int((guesses == data.test_labels).sum())


@pytest.mark.slow
def test_page_of_another_task_opens(npz, tmp_path, open_page):
    task = tmp_path / "linear.py"
    task.write_text(TASK.replace(", predict=outputs", ""))
    made = runs.Run(
        tmp_path / "run",
        jm.Config(epochs=1),
        10,
        str(npz),
        task_file=runs.TaskFile(str(task), task.read_text()),
    )
    runs.create(made)
    model = made.task.init(jax.random.key(0), made.task.hyper, None)
    runs.append_epoch(
        made, 0, model.params, {"train_loss": jnp.ones(()), "eval_loss": jnp.ones(())}
    )
    path = tmp_path / "page.html"
    path.write_text(report.run_page([made.path]))
    page = open_page(path, 390)
    assert page.locator("section:visible h2").all_inner_texts() == [
        "At a glance",
        "Curves",
        "Weights and activations",
        "How it was made",
    ]


def test_network_that_is_too_large_for_a_page_is_left_out(run, monkeypatch, data_of):
    monkeypatch.setattr(outputs, "MOST_WEIGHTS", 12_785)
    said = []
    (found,) = data_of(report.run_page([run], said.append))["runs"]
    assert found["network"] is None
    assert "more than 12,785 weights" in said[0]
    assert found["test"] is not None


def test_many_wrong_images_leave_room(monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 20_000)
    guess = selection.guesses(1, rng.normal(size=(20_000, 10)), labels)
    (chosen,) = selection.cells([guess], labels)
    assert len(chosen) == 100
    assert 500 < len({sample for row in chosen.values() for sample in row}) <= 1500


# ------------------------------------------------------------------------------- the command


@pytest.mark.slow
def test_command_writes_the_page_into_the_runs_folder(run, run_page, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "small")
    cli.main(["report", str(copy)])
    assert capsys.readouterr().out == f"wrote: {copy / 'report.html'}\n"
    assert (copy / "report.html").read_text() == run_page.read_text()


@pytest.mark.slow
def test_mistake_is_refused_in_one_line(run, tmp_path, capsys):
    broken = shutil.copytree(run, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    begun = shutil.copytree(run, tmp_path / "begun")
    (begun / "metrics.jsonl").unlink()
    for words, complaint in (
        ([], "needs the folder of a run"),
        ([tmp_path / "nowhere"], "holds no run"),
        ([tmp_path], "holds no run"),
        ([run, tmp_path / "nowhere"], "holds no run"),
        ([broken], "model.safetensors"),
        ([begun], "has no whole epoch yet"),
        ([run, "--out", tmp_path / "x.png"], "a page is written as .html"),
        ([run, "--out", tmp_path / "none" / "x.html"], "a file in a folder that exists"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["report", *map(str, words)])
        out, err = capsys.readouterr()
        assert (stopped.value.code, out) == (2, "")
        assert err.startswith("jaxmnist: ")
        assert err.count("\n") == 1
        assert complaint in err


@pytest.mark.slow
def test_race_command_writes_a_page(tmp_path, capsys, data_of):
    path = tmp_path / "race.html"
    cli.main(["race", "saddle", "--optimizers", "adam", "--steps", "8", "--out", str(path)])
    assert capsys.readouterr().out.endswith(f"wrote: {path}\n")
    first = data_of(path.read_text())["first"]
    assert first == {"surface": "saddle", "optimizers": ["adam"], "steps": 8, "rate": None}
