"""`jaxmnist evaluate`: its means, and how it refuses."""

import dataclasses
import json
import re

import numpy as np
import pytest

import jaxmnist as jm


@pytest.mark.slow
def test_evaluate_equals_the_runs_last_line(run, npz, run_command):
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert run_command("evaluate", run).splitlines() == [
        f"{npz}: 100 test images in batches of 48",
        f"mean over batches: Eval Loss: {last['eval_loss']:.6f}, "
        f"Eval Acc: {last['eval_accuracy']:.6f}",
        f"mean over samples: Eval Loss: {last['eval_loss_per_sample']:.6f}, "
        f"Eval Acc: {last['eval_accuracy_per_sample']:.6f}",
    ]
    assert last["eval_loss"] != last["eval_loss_per_sample"]


@pytest.mark.slow
def test_evaluate_on_another_set_with_fewer_classes_and_images(
    run, fitted, tmp_path, run_command, logits_of, write_npz
):
    other = write_npz(tmp_path / "other.npz", classes=5, count=30)
    printed = run_command("evaluate", run, "--dataset", other)
    images = jm.load_dataset(other)
    logits = logits_of(fitted[0].params, images.test_images)
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(odds[np.arange(30), images.test_labels]).mean()
    share = np.mean(logits.argmax(axis=1) == images.test_labels)
    first, *means = printed.splitlines()
    assert first == f"{other}: 30 test images in batches of 30"
    for kind, line in zip(("batches", "samples"), means, strict=True):
        found = re.fullmatch(rf"mean over {kind}: Eval Loss: (\S+), Eval Acc: (\S+)", line)
        assert found is not None
        # Six digits are printed, of a float32 mean.
        assert abs(float(found[1]) - loss) < 5e-7 + 2**-22 * loss
        assert found[2] == f"{share:.6f}"


@pytest.mark.slow
def test_evaluate_takes_a_set_that_declares_more_classes_than_occur(
    npz, dataset, tmp_path, run_command, untrained_run, monkeypatch
):
    """EMNIST's letters declare 37 classes, and no label exceeds 26."""
    folder = untrained_run(tmp_path / "run", npz, num_classes=10)
    expected = run_command("evaluate", folder)
    wide = dataclasses.replace(dataset, num_classes=37)
    monkeypatch.setattr("jaxmnist.data.load_dataset", lambda *_: wide)
    assert run_command("evaluate", folder) == expected


@pytest.mark.slow
def test_evaluate_refuses_labels_that_the_model_lacks(npz, tmp_path, refused, untrained_run):
    untrained_run(tmp_path / "run", npz, num_classes=4)
    words = (str(npz), "class 9", str(tmp_path / "run"), "0 to 3")
    refused(["evaluate", tmp_path / "run", "--dataset", npz], *words)
    refused(["evaluate", tmp_path / "run", "--dataset", "nope"], "'nope'")
