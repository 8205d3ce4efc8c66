"""The sweep as a person runs it: killed and continued, its table and pictures, its refusals."""

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import cli
from jaxmnist.cli.sweep import with_one_device_per_core
from jaxmnist.training import History


@pytest.fixture(scope="module")
def digits(first_digits_npz) -> Path:
    """Some of MNIST's digits as a Keras-style file."""
    return first_digits_npz(300, 100)


def command(digits: Path, out: Path, *axes: object) -> list[str]:
    fixed = ("--epochs", 2, "--eval-batch-size", 48, "--dataset", digits, "--out", out)
    return ["sweep", *map(str, (*axes, *fixed))]


def run_command(*words: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        cli.main(words)
    return printed.getvalue()


def process(words: list[str]) -> subprocess.Popen:
    """The command on two virtual devices, which is what it makes of two cores."""
    flags = "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false"
    return subprocess.Popen(
        [sys.executable, "-m", "jaxmnist", *words],
        env={**os.environ, "XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_killed_sweep_goes_on_and_gives_what_the_undisturbed_one_gives(digits, tmp_path):
    axes = ("--hidden", "none", "--optimizer", "sgd", "adam", "--seed", "0..4")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = process(command(digits, whole, *axes))
    stopped = process(command(digits, killed, *axes))
    kept = killed / "cells.jsonl"
    deadline = time.monotonic() + 120
    while not (kept.exists() and kept.read_bytes().count(b"\n")):
        assert time.monotonic() < deadline
        assert stopped.poll() is None, stopped.communicate()
        time.sleep(0.002)
    stopped.send_signal(signal.SIGKILL)
    assert stopped.wait() == -signal.SIGKILL
    stopped.communicate()
    before = kept.read_bytes().count(b"\n")
    # The second optimizer's program takes a second to compile, and the kill came before.
    assert 1 <= before <= 5
    assert not (killed / "results.csv").exists()

    again = process(command(digits, killed, *axes))
    printed, complaints = again.communicate()
    assert again.returncode == 0, complaints
    assert f"{before} of 10 runs were finished before" in printed
    assert f"10 runs, 0 diverged; trained {10 - before} in" in printed
    assert undisturbed.communicate()[0].count("were finished before") == 0
    for name in ("results.csv", "summary.md"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    tables = [json.loads((out / "results.json").read_text()) for out in (whole, killed)]
    assert tables[0]["rows"] == tables[1]["rows"]
    assert "2 cores" in tables[0]["machine"] or os.cpu_count() != 2

    # On two devices as on one: the numbers of the single run.
    config = jm.Config(hidden=(), epochs=2, eval_batch_size=48, optimizer="adam")
    for seed in (0, 4):
        _, history = jm.fit(dataclasses.replace(config, seed=seed), jm.load_dataset(digits))
        rows = tables[0]["rows"][2 * (5 + seed) : 2 * (5 + seed) + 2]
        for epoch, row in enumerate(rows):
            assert (row["optimizer"], row["seed"], row["epoch"]) == ("adam", seed, epoch)
            for name in History._fields:
                single = float(getattr(history, name)[epoch])
                # 10 steps of float32 whose arithmetic is grouped otherwise.
                assert row[name] == pytest.approx(single, rel=2e-6, abs=1e-7)


@pytest.mark.slow
def test_sweep_prints_its_table_and_leaves_its_pictures(digits, tmp_path):
    out = tmp_path / "sweep"
    axes = ("--hidden", 8, "--learning-rate", "0.01..1:log3", "1e30", "--seed", "0..1")
    words = command(digits, out, *axes)
    printed = run_command(*words)
    lines = [line.strip("│ \n").split("│") for line in printed.splitlines() if "│" in line]
    assert [line[1].strip() for line in lines] == ["0.01", "0.1", "1", "1e+30"]
    summary = json.loads((out / "results.json").read_text())["summary"]
    for line, row in zip(lines, summary, strict=True):
        cells = [cell.strip() for cell in line]
        assert cells[:4] == [
            "8",
            f"{row['learning_rate']:.6g}",
            str(row["runs"]),
            str(row["diverged"]),
        ]
        ends = f"[{row['eval_accuracy_iqm_low']:.4f}, {row['eval_accuracy_iqm_high']:.4f}]"
        median, mean = row["eval_accuracy_median"], row["eval_accuracy_iqm"]
        assert cells[4] == f"{median:.4f} / {mean:.4f} {ends}"
        assert (cells[5] == "inf / inf [inf, inf]") == (row["diverged"] > 0)
    assert "8 runs, 2 diverged; trained 8 in" in printed
    assert printed.endswith(f"wrote: {out}\n")
    assert sorted(path.name for path in out.iterdir()) == [
        "cells.jsonl",
        "results.csv",
        "results.json",
        "summary.md",
        "sweep-dark.png",
        "sweep.json",
        "sweep.png",
    ]
    about = json.loads((out / "sweep.json").read_text())
    assert about["axes"] == {
        "hidden": [[8]],
        "seed": [0, 1],
        "learning_rate": [0.01, 0.1, 1.0, 1e30],
    }
    # What is written down is a command that finds everything finished.
    kept = about["command"].split()
    assert kept[:2] == ["jaxmnist", "sweep"]
    assert "8 of 8 runs were finished before" in run_command(*kept[1:])


@pytest.mark.slow
def test_more_axes_than_a_picture_has_are_a_table_alone(digits, tmp_path):
    axes = ("--hidden", "none", "--learning-rate", 0.1, "--batch-size", 64, "--init-scale", 0.5)
    printed = run_command(*command(digits, tmp_path / "sweep", *axes))
    assert "no picture: it has room for two axes besides the seed" in printed
    assert not (tmp_path / "sweep" / "sweep.png").exists()


@pytest.mark.slow
def test_sweep_runs_in_the_precision_asked_for(digits, tmp_path):
    out = tmp_path / "sweep"
    words = ("--hidden", "none", "--seed", "0..1", "--dtype", "float64")
    run_command(*command(digits, out, *words))
    lines = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    assert [line["dtype"] for line in lines] == ["float64", "float64"]
    config = jm.Config(hidden=(), epochs=2, eval_batch_size=48, seed=1, dtype="float64")
    with jax.enable_x64(True):
        _, history = jm.fit(config, jm.load_dataset(digits))
    # 10 steps of float64 whose arithmetic is grouped otherwise.
    np.testing.assert_allclose(
        lines[1]["history"]["eval_loss"], history.eval_loss, rtol=1e-14, atol=0
    )
    about = json.loads((out / "sweep.json").read_text())
    assert "--dtype float64" in about["command"]


def test_cores_become_devices_only_before_jax_starts(monkeypatch):
    jax.devices()  # Started here, as it may be this process's first test: it reads the flags then.
    flags_seen: list[str] = []
    command = with_one_device_per_core(lambda: flags_seen.append(os.environ["XLA_FLAGS"]))
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    command()
    monkeypatch.delitem(sys.modules, "jax")
    command()
    command()
    assert flags_seen[0] == "--xla_dump_to=x"
    assert flags_seen[1] == flags_seen[2]
    flags = flags_seen[1].split()
    assert flags[0] == "--xla_dump_to=x"
    name, cores = flags[1].split("=")
    assert name == "--xla_force_host_platform_device_count"
    assert 1 <= int(cores) <= (os.cpu_count() or 1)
    assert flags[2:] == ["--xla_cpu_multi_thread_eigen=false"]
    assert jax.device_count() == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "nothing to sweep: give at least one axis of optimizer"),
        (["--seed", "0:4"], "seed cannot be '0:4'; --seed takes a whole number, or a range: 0..3"),
        (
            ["--learning-rate", "1..2:log"],
            "learning_rate cannot be '1..2:log'; --learning-rate takes",
        ),
        (["--learning-rate", "-1"], "learning_rate is -1.0"),
        (["--b1", "0.9"], "sgd has no argument 'b1'; it has learning_rate"),
        (["--optimizer", "sgdd"], "no optimizer 'sgdd'"),
        (["--seed", "0", "--epochs", "0"], "epochs is 0"),
        (["--seed", "0", "--convention", "x"], "no convention 'x'"),
        (["--seed", "0", "--dtype", "float16"], "dtype is 'float16'; choose one of float32"),
        (["--seeds", "0"], "--seeds"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_mistake_is_refused_in_one_line(words, complaint, digits, tmp_path, capsys):
    out = tmp_path / "sweep"
    with pytest.raises(SystemExit) as stopped:
        cli.main(["sweep", "--dataset", str(digits), "--out", str(out), *words])
    printed, error = capsys.readouterr()
    assert stopped.value.code == 2
    assert printed == ""
    assert error.startswith("jaxmnist: ")
    assert error.count("\n") == 1
    assert complaint in error
    assert not out.exists()
