"""Commands on a run of a task of one's own: pictures, predict, evaluate, export, devices."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import runs

CNN = """
import jax.numpy as jnp
import optax
from flax import linen as nn
import jaxmnist as jm


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = x.reshape(x.shape[0], -1).astype(jnp.float32) / 255
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x))
        return nn.Dense(10)(nn.Dropout(0.1, deterministic=not train)(nn.relu(x)))


def task(config):
    def right(outputs, targets):
        return (outputs.argmax(axis=1) == targets).astype(jnp.float32)

    loss = optax.softmax_cross_entropy_with_integer_labels
    return jm.task(Net(), optax.sgd(0.1, momentum=0.9), loss, {"accuracy": right})
"""
REGRESSION = """
import dataclasses
import jax.numpy as jnp
import optax
import jaxmnist as jm


@dataclasses.dataclass(frozen=True)
class Config:
    dtype: str = "float64"
    rate: float = 0.1


def task(config):
    def init(key, hyper, x):
        return jm.Model(jnp.zeros(x.shape[1], config.dtype), {})

    def measure(model, batch, key, training):
        x, y = batch
        return {"loss": (x @ model.params - y) ** 2}, model.state

    return jm.Task(init, measure, lambda hyper: optax.sgd(config.rate), {})
"""
SIZES = ("--epochs", "2", "--batch-size", "64", "--eval-batch-size", "48")


@pytest.fixture(scope="module", autouse=True)
def promotion():
    """Flax's and Optax's arithmetic mixes ranks and dtypes."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def cnn(promotion, npz, tmp_path_factory, run_command) -> Path:
    """A run of a Linen network with batch statistics and dropout on the tutorial's digits."""
    folder = tmp_path_factory.mktemp("cnn")
    (folder / "net.py").write_text(CNN)
    run_command("train", folder / "net.py", "--dataset", npz, *SIZES, "--out", folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def line(promotion, tmp_path_factory, run_command) -> Path:
    """A run in float64 on arrays of another shape; its task has no predict."""
    folder = tmp_path_factory.mktemp("line")
    (folder / "line.py").write_text(REGRESSION)
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(folder / "xy.npz", x_train=x, y_train=x[:, 0], x_test=x[:9], y_test=x[:9, 0])
    sizes = ("--batch-size", "8", "--eval-batch-size", "4", "--epochs", "3")
    words = ("--dataset", folder / "xy.npz", *sizes, "--out", folder / "run")
    run_command("train", folder / "line.py", *words)
    return folder / "run"


def last_line(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.slow
def test_classifier_of_digits_has_predictions_and_others_have_none(cnn, line, dataset):
    rows = list(csv.reader((cnn / "predictions.csv").read_text().splitlines()))[1:]
    assert [int(row[1]) for row in rows] == dataset.test_labels[:48].tolist()
    assert (cnn / "predictions.png").exists()
    assert {"predictions.csv", "predictions.png"}.isdisjoint(path.name for path in line.iterdir())


@pytest.mark.slow
def test_evaluate_gives_the_last_epochs_metrics(cnn, line, run_command):
    for run, metric in ((cnn, "accuracy"), (line, "loss")):
        lines, last = run_command("evaluate", run).splitlines(), last_line(run)
        assert f"eval_{metric}: {last[f'eval_{metric}']:.6f}" in lines[1]
        assert f"eval_{metric}: {last[f'eval_{metric}_per_sample']:.6f}" in lines[2]


@pytest.mark.slow
def test_predict_shows_the_outputs_of_test_samples_and_pictures(
    cnn, digit, dataset, run_command, rows_of
):
    rows = rows_of(run_command("predict", cnn, "--indices", "0", "3", "--images", digit))
    assert [row[1] for row in rows] == [*map(str, dataset.test_labels[[0, 3]]), ""]
    assert rows[0][2:] == rows[2][2:]  # The picture is the first test image.
    found = runs.read(cnn)
    data = found.data(jm.data.load_arrays)
    predict = found.task.predict
    assert predict is not None
    outputs = predict(runs.load_model(found, data), jax.tree.map(lambda leaf: leaf[:4], data[1]))
    assert rows[1][2:4] == [str(outputs[3].argmax()), f"{outputs[3].max():.4f}"]


@pytest.mark.slow
def test_exported_task_gives_its_predictions(cnn, dataset, run_command):
    run_command("export", cnn, "--format", "stablehlo")
    call = jax.export.deserialize(bytearray((cnn / "model.stablehlo").read_bytes())).call
    found = runs.read(cnn)
    data = found.data(jm.data.load_arrays)
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf[:5]), data[1])
    predict = found.task.predict
    assert predict is not None
    expected = jax.jit(predict)(runs.load_model(found, data), batch)
    np.testing.assert_allclose(call(batch[0]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_what_a_task_cannot_do_is_refused(cnn, line, digit, refused):
    refused(["predict", line, "--indices", "0"], "has no predict")
    refused(["predict", cnn, "--indices", "100"], "no test sample 100; indices go from 0 to 99")
    refused(["export", line, "--format", "stablehlo"], "has no predict", "safetensors is possible")
    refused(["export", cnn, "--format", "onnx"], "onnx is for the tutorial's network")
    (cnn.parent / "nowhere.npz").unlink(missing_ok=True)
    words = ("--dataset", cnn.parent / "nowhere.npz")
    refused(["evaluate", cnn, *words], "nowhere.npz")


@pytest.mark.slow
def test_field_dtype_turns_64_bit_numbers_on(line):
    found = runs.read(line)
    with jax.enable_x64(True):
        model = runs.load_model(found, found.data(jm.data.load_arrays))
    assert model.params.dtype == np.float64


@pytest.mark.slow
def test_pendulum_is_trained_in_float64(tmp_path, run_command):
    file = Path(__file__).parents[2] / "scripts" / "tasks" / "pendulum.py"
    sizes = ("--hidden", "4", "--samples", "20", "--batch-size", "10", "--eval-batch-size", "5")
    run_command("train", file, *sizes, "--epochs", "1", "--out", tmp_path / "run")
    found = runs.read(tmp_path / "run")
    with jax.enable_x64(True):
        model = runs.load_model(found, found.data(jm.data.load_arrays))
    assert {leaf.dtype for leaf in jax.tree.leaves(model.params)} == {np.dtype("float64")}


@pytest.mark.slow
def test_diverged_task_keeps_its_whole_epochs(line, tmp_path, refused):
    file, data = line.parent / "line.py", line.parent / "xy.npz"
    words = ("--batch-size", "8", "--eval-batch-size", "4", "--epochs", "90", "--rate", "1e9")
    out = tmp_path / "run"
    arguments = ["train", file, "--dataset", data, *words, "--out", out]
    refused(arguments, "the loss became", "whole epochs before it are kept", status=1)
    assert (out / "curves.png").exists()


@pytest.mark.slow
def test_devices_share_a_task(cnn, npz, tmp_path):
    flags = "--xla_force_host_platform_device_count=2"
    words = ["train", cnn.parent / "net.py", "--dataset", npz, *SIZES, "--devices", "2"]
    subprocess.run(
        [sys.executable, "-m", "jaxmnist", *map(str, words), "--out", str(tmp_path / "run")],
        env={**os.environ, "XLA_FLAGS": flags},
        check=True,
        capture_output=True,
    )
    one, two = last_line(cnn), last_line(tmp_path / "run")
    assert one == pytest.approx(two, rel=1e-2)
