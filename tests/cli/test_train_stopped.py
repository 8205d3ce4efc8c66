"""`jaxmnist train` that diverges or is interrupted keeps every whole epoch."""

import signal
import subprocess
import sys

import pytest

import jaxmnist as jm
from jaxmnist import cli, interop


def words(line: str) -> list[str]:
    return line.split()


# Softmax regression, whose weights grow by about this rate with each step.
DIVERGING = words(
    "--hidden --learning-rate 2e34 --batch-size 150 --eval-batch-size 48 --checkpoint-every 0"
)


def stopped_after(done: int, epochs: int) -> str:
    """What a run without checkpoints says when Ctrl-C has stopped it."""
    reason = "it was started with --checkpoint-every 0 and cannot be resumed"
    return f"stopped by Ctrl-C after epoch {done} of {epochs}; {reason}"


@pytest.mark.slow
def test_train_diverging_says_the_step_and_keeps_whole_epochs(
    npz, dataset, tmp_path, refused, epoch_lines, assert_reached, files
):
    config = jm.Config(hidden=(), learning_rate=2e34, batch_size=150, eval_batch_size=48, epochs=20)
    with pytest.raises(jm.DivergedError) as expected:
        jm.fit(config, dataset)
    epoch, step = expected.value.epoch, expected.value.step
    assert epoch >= 1

    arguments = ["train", "--dataset", npz, "--out", tmp_path / "run", *DIVERGING]
    words = (
        f"the loss became inf at step {step} of epoch {epoch}",
        f"the {epoch} whole epochs before it are kept",
        "learning rate below 2e+34",
    )
    printed = refused(arguments, *words, status=1)
    lines = printed.splitlines()
    assert lines[:epoch] == epoch_lines(expected.value.history)
    assert lines[epoch].startswith("final: ")
    assert lines[epoch + 2 :] == [f"wrote: {tmp_path / 'run'}"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == files
    assert_reached(tmp_path / "run", dataset, epoch)


@pytest.mark.slow
def test_train_diverging_at_once_keeps_no_epoch(npz, tmp_path, refused):
    arguments = ["train", "--dataset", npz, "--out", tmp_path / "run", *DIVERGING]
    words = ("the loss became nan at step 1 of epoch 0", "0 whole epochs")
    printed = refused([*arguments, "--learning-rate", "1e37"], *words, status=1)
    assert "epoch: 0" not in printed
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


@pytest.mark.slow
def test_train_interrupted_keeps_whole_epochs(npz, dataset, tmp_path, assert_reached):
    command = [sys.executable, "-m", "jaxmnist", "train", "--dataset", npz, "--epochs", "100000"]
    options = ["--out", tmp_path / "run", "--hidden", "4", "--eval-batch-size", "48"]
    options += ["--checkpoint-every", "0"]
    # A test run in the background may ignore SIGINT, and its children would too.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*map(str, command), *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, handler)
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(5)]
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    done = (tmp_path / "run" / "metrics.jsonl").read_text().count("\n")
    assert errors == f"jaxmnist: {stopped_after(done, 100_000)}\n"
    assert [line.split(",")[0] for line in seen] == [f"epoch: {epoch}" for epoch in range(5)]
    assert rest.count("\n") < 10_000
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["config.json", "metrics.jsonl", "model.safetensors"]
    epochs = (tmp_path / "run" / "metrics.jsonl").read_text().count("\n")
    assert_reached(tmp_path / "run", dataset, epochs)


@pytest.mark.slow
def test_train_interrupted_between_two_files_writes_both(
    npz, dataset, tmp_path, monkeypatch, capsys, assert_reached, options
):
    save = interop.save_safetensors

    def interrupted_save(params, path) -> None:
        signal.raise_signal(signal.SIGINT)
        save(params, path)

    monkeypatch.setattr(interop, "save_safetensors", interrupted_save)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as stopped:
            cli.main(["train", "--dataset", str(npz), "--out", str(tmp_path / "run"), *options])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
    assert stopped.value.code == 130
    assert capsys.readouterr().err == f"jaxmnist: {stopped_after(1, 2)}\n"
    assert_reached(tmp_path / "run", dataset, 1)
