"""The attack on the readers sees what a reader must not do, and its damage is damage."""

import json
import random
import shutil
import sys
import warnings
from importlib import import_module
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxmnist as jm
from jaxmnist import InputError, runs
from jaxmnist.training import History

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
readers, damage = import_module("attack_readers"), import_module("attack_damage")
commands, flips = import_module("attack_commands"), import_module("attack_flips")


class LongError(InputError):
    """An error that does not shorten its message."""

    def __str__(self) -> str:
        return "x" * 20_000


def call(what):
    if isinstance(what, Exception):
        raise what
    return what()


@pytest.mark.parametrize(
    ("what", "outcome", "finding"),
    [
        (lambda: None, "read", None),
        (InputError("a\nb"), "refused", None),  # Made one line by the error itself.
        (InputError("x" * 20_000), "refused", None),  # Shortened by the error itself.
        (LongError("x"), "refused", "a message of 20000 characters"),
        (ValueError("x"), "raised", "ValueError at test_attack.py"),
        (MemoryError(), "raised", "MemoryError"),
        (lambda: warnings.warn("odd", stacklevel=1), "read", "warned: UserWarning: odd"),
        (lambda: sys.stderr.write("noise"), "read", "said on stderr: noise"),
    ],
)
def test_what_a_reader_must_not_do_is_found(what, outcome, finding):
    found, fault = readers._watched(lambda: call(what))
    assert found == outcome
    assert (fault is None) if finding is None else fault.startswith(finding)


@pytest.mark.parametrize("message", ["a\nb", "a\x1b[31mb", "a\udcffb"])
def test_message_that_cannot_be_printed_is_a_fault(message):
    assert readers._fault_of(message) is not None
    assert readers._fault_of(str(InputError(message))) is None


@settings(max_examples=100, deadline=None, database=None)
@given(data=st.data())
def test_damage_gives_other_bytes_of_many_kinds(data):
    sound = json.dumps({"a": [1, {"b": None}], "c": {"d": "e"}}).encode()
    for strategy in (damage.damaged_json, damage.damaged_bytes):
        assert isinstance(data.draw(strategy(sound)), bytes)


@pytest.mark.parametrize(
    ("ended", "fault"),
    [
        ((0, "epoch: 0\n", ""), None),
        ((2, "", "jaxmnist: it is full\n"), None),
        ((-9, "", ""), None),
        ((1, "", "jaxmnist: it is full\n"), "status 1"),
        ((2, "", "jaxmnist: one\njaxmnist: two\n"), "2 lines on stderr"),
        ((2, "", "odd\n"), "stderr has odd"),
        ((2, "", "Traceback (most recent call last):\nOSError\n"), "a traceback: OSError"),
        ((0, "Traceback", ""), "a traceback"),
    ],
)
def test_end_of_a_command_that_is_a_finding(ended, fault):
    found = commands.fault_of(commands.Ended(*ended), 0, 2, -9)
    assert (found is None) if fault is None else found.startswith(fault)


@pytest.fixture
def two_runs(tmp_path):
    """What two runs of another seed each leave, of the same form as a real one's."""
    for seed, name in enumerate(("whole", "other")):
        folder = tmp_path / name
        run = runs.Run(folder, jm.Config(hidden=(), epochs=2, seed=seed), 10)
        runs.create(run)
        params = run.model.init(jax.random.key(seed), jnp.zeros((1, 28, 28)))
        for epoch in range(2):
            runs.append_epoch(run, epoch, params, History(*(jnp.float32(seed + epoch),) * 8))
        (folder / "predictions.csv").write_text("index\n")
    return tmp_path / "whole", tmp_path / "other"


def test_what_a_disturbed_run_lost_is_found(two_runs, tmp_path):
    whole, other = two_runs
    run = shutil.copytree(whole, tmp_path / "run")
    assert commands.lost(tmp_path / "none", whole) is None
    assert "holds no run" in commands.lost(tmp_path / "none", whole, had_run=True)
    assert commands.lost(run, whole) is commands.differs(run, whole) is None
    assert commands.lost(run, other) is not None
    assert commands.lost(run, other, whole) is None
    metrics = run / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes().splitlines(keepends=True)[0])
    assert commands.lost(run, whole) is None
    assert commands.differs(run, whole) == (
        "metrics.jsonl has other bytes than that of an undisturbed run"
    )
    metrics.write_bytes(metrics.read_bytes().replace(b"0.0", b"0.5"))
    assert "not those of an undisturbed run" in commands.lost(run, whole)
    (run / "model.safetensors").write_bytes(b"")
    assert "cannot be read" in commands.lost(run, whole)


@pytest.mark.parametrize("stage", [".old", ".replacing"])
def test_run_killed_while_it_replaced_another_is_not_lost(stage, two_runs, tmp_path):
    whole, other = two_runs
    run = tmp_path / "run"
    run.mkdir()
    shutil.copytree(whole if stage == ".old" else other, run / stage)
    assert commands.lost(run, whole, other) is None  # No configuration: perhaps there was no run.
    assert not (run / "config.json").exists()
    assert commands.lost(run, whole, other, had_run=True) is None
    assert (run / "config.json").exists()  # It is resumed, not trained again.


@pytest.mark.parametrize("name", ["a.partial", ".new", "2.orbax-checkpoint-tmp-1"])
def test_what_a_command_left_is_found(name, two_runs):
    (two_runs[0] / "checkpoints").mkdir()
    assert commands.left(two_runs[0]) is None
    (two_runs[0] / "checkpoints" / name).touch()
    assert commands.differs(*two_runs[:1] * 2) == f"left checkpoints/{name}"


def test_flipped_file_is_another(tmp_path):
    drawn, path = random.Random(0), tmp_path / "file"
    seen = set()
    for _ in range(50):
        path.write_bytes(bytes(range(256)) * 4)
        seen.add(flips._damage(path, drawn).split()[0])
        assert not path.exists() or path.read_bytes() != bytes(range(256)) * 4
    assert seen == {"bits", "cut", "zeros", "removed"}
