"""`jaxmnist train`: what it prints, and what it writes."""

import csv
import json
import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxmnist as jm

HIDDEN, EPOCHS, BATCH, EVAL_BATCH, SEED = (8, 6), 2, 64, 48, 3

SUMMARY = (
    r"final: eval accuracy 0\.\d{4} \(best 0\.\d{4}, epoch \d\), "
    r"eval loss \d\.\d{4}, train loss \d\.\d{4}"
)
TIMES = r"time: import \d+\.\d s, load \d+\.\d s, compile \d+\.\d s, train \d+\.\d s"
PICTURES = [
    "curves.png",
    "eval_accuracy.png",
    "eval_loss.png",
    "predictions.png",
    "train_accuracy.png",
    "train_loss.png",
]


def test_train_prints_the_tutorials_lines_and_a_summary(piped, fitted, epoch_lines):
    out, process = piped
    assert (process.returncode, process.stderr) == (0, b"")
    lines = process.stdout.decode().splitlines()
    history = fitted[1]
    assert lines[:EPOCHS] == epoch_lines(history)
    final, times, wrote = lines[EPOCHS:]
    assert re.fullmatch(SUMMARY, final)
    best = int(np.argmax(history.eval_accuracy))
    assert final == (
        f"final: eval accuracy {history.eval_accuracy[-1]:.4f} "
        f"(best {history.eval_accuracy[best]:.4f}, epoch {best}), "
        f"eval loss {history.eval_loss[-1]:.4f}, train loss {history.train_loss[-1]:.4f}"
    )
    assert re.fullmatch(TIMES, times)
    assert wrote == f"wrote: {out}"


def test_train_piped_has_no_control_codes(piped):
    printed = piped[1].stdout
    assert not [byte for byte in printed if byte < 32 and byte != ord("\n")]
    assert b"\x1b" not in printed
    assert b"\x7f" not in printed


def test_train_writes_the_whole_folder_and_nothing_else(run, files):
    assert sorted(path.name for path in run.iterdir()) == files
    for name in PICTURES:
        with Image.open(run / name) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert len(np.unique(np.asarray(picture))) > 10


def test_train_writes_its_configuration(run, npz):
    about = json.loads((run / "config.json").read_text())
    assert about["config"] == {
        "hidden": list(HIDDEN),
        "optimizer": "momentum",
        "learning_rate": 0.05,
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "eval_batch_size": EVAL_BATCH,
        "seed": SEED,
        "convention": "document",
        "dtype": "float32",
    }
    assert (about["dataset"], about["data_dir"], about["num_classes"]) == (str(npz), None, 10)
    assert about["versions"]["jaxmnist"] == jm.__version__


def test_train_writes_metrics_equal_to_the_history(run, fitted):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line.pop("epoch") for line in lines] == list(range(EPOCHS))
    history = fitted[1]
    for epoch, line in enumerate(lines):
        assert line == {name: float(x[epoch]) for name, x in history._asdict().items()}


def test_train_writes_a_model_that_torch_loads_with_the_same_logits(
    run, fitted, dataset, logits_of, torch
):
    from safetensors.torch import load_file

    module = torch.nn.Sequential(
        torch.nn.Linear(784, 8),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 6),
        torch.nn.ReLU(),
        torch.nn.Linear(6, 10),
    )
    module.load_state_dict(load_file(run / "model.safetensors"), strict=True)
    x = np.array(jm.normalize(jnp.asarray(dataset.test_images)))
    with torch.no_grad():
        theirs = module(torch.from_numpy(x).flatten(1)).numpy()
    ours = logits_of(fitted[0].params, dataset.test_images)
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)
    assert np.ptp(theirs) > 1e3 * 1e-5  # Else the tolerance would hide a difference.


def test_train_writes_the_first_test_batchs_predictions(run, fitted, dataset, logits_of):
    with (run / "predictions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["index", "label", "prediction"]
    predictions = logits_of(fitted[0].params, dataset.test_images[:EVAL_BATCH]).argmax(axis=1)
    labels = dataset.test_labels[:EVAL_BATCH]
    np.testing.assert_array_equal(
        np.array(rows, int), np.stack([np.arange(EVAL_BATCH), labels, predictions], axis=1)
    )
    assert (predictions != labels).any()


@pytest.mark.slow
def test_train_shows_a_bar_with_rate_and_time_left_on_a_terminal(npz, tmp_path, run_on_terminal):
    options = ["--hidden", "4", "--epochs", "100", "--batch-size", "2", "--eval-batch-size", "48"]
    options += ["--checkpoint-every", "0"]
    out = tmp_path / ("wide " * 20 + "run")  # Wider than the screen.
    status, shown = run_on_terminal("train", "--dataset", npz, "--out", out, *options)
    assert status == 0
    assert "\x1b[" in shown
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "compiling" in text
    assert re.search(r"training .*\d+/100 [\d,]+ images/s \d:\d\d:\d\d", text)
    lines = [line for line in re.split(r"[\r\n]+", text) if line.startswith("epoch: ")]
    assert len(lines) == 100
    assert f"wrote: {out}" in text


@pytest.mark.slow
def test_train_takes_a_learning_rate_of_zero(npz, tmp_path, run_command, options):
    run_command("train", "--dataset", npz, "--out", tmp_path / "run", *options, "--learning-rate=0")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    first, second = (json.loads(line) for line in lines)
    assert first["eval_loss"] == second["eval_loss"]


def test_train_makes_a_new_folder_under_runs_by_default(
    npz, tmp_path, monkeypatch, run_command, options, files
):
    monkeypatch.chdir(tmp_path)
    printed = run_command("train", "--dataset", npz, *options)
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"few-momentum-\d{8}-\d{6}", folder.name)
    assert printed.endswith(f"wrote: runs/{folder.name}\n")
    assert sorted(path.name for path in folder.iterdir()) == files


@pytest.mark.slow
def test_train_prints_a_folders_name_as_it_is(npz, tmp_path, run_command, options):
    out = tmp_path / "[red] :smile: [" / ("long " * 30)
    printed = run_command("train", "--dataset", npz, "--out", out, *options, "--epochs", 1)
    assert printed.endswith(f"wrote: {out}\n")


@pytest.mark.slow
def test_train_overwrites_a_run_and_leaves_what_is_not_its_own(
    run, npz, tmp_path, run_command, contents, options
):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "sub").mkdir()
    (folder / "sub" / "model.safetensors").write_text("mine too")
    before = contents(folder)
    run_command("train", "--dataset", npz, "--out", folder, *options, "--epochs", 1, "--overwrite")
    after = contents(folder)
    assert after.keys() == before.keys()
    same = {name for name in before if before[name] == after[name]}
    assert same == {"notes.txt", "sub/model.safetensors"}
    assert after["metrics.jsonl"].count(b"\n") == 1
