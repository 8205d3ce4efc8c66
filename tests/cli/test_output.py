"""A limit on files, a closed or full standard output: one line, and nothing earlier lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxmnist import runs
from jaxmnist.data import preparation

FULL = Path("/dev/full")


# The program, after a change of what its process has.
AFTER = """
import os, resource, sys
{}
os.execv(sys.executable, [sys.executable, "-m", "jaxmnist", *sys.argv[1:]])
"""
CLOSED = "os.close(1)"
SMALL_FILES = "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))"


def run_program(
    *words: object, stdout: int = subprocess.PIPE, change: str = ""
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", AFTER.format(change), *map(str, words)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def assert_refused(ended: subprocess.CompletedProcess, message: str) -> None:
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith(f"jaxmnist: {message}")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is full")
@pytest.mark.parametrize(
    "words", [["--version"], ["train", "--help"], ["data", "list"]], ids=" ".join
)
def test_full_standard_output_is_told_in_a_line(words):
    with FULL.open("w") as full:
        ended = run_program(*words, stdout=full.fileno())
    assert_refused(ended, "cannot write to standard output: No space left on device")


def test_closed_standard_output_is_told_in_a_line():
    ended = run_program("data", "list", change=CLOSED)
    assert_refused(ended, "standard output is closed")


@pytest.mark.slow
def test_reader_that_leaves_stops_a_training_that_keeps_its_epoch(npz, options, tmp_path, contents):
    reader, writer = os.pipe()
    os.close(reader)
    out = tmp_path / "run"
    try:
        ended = run_program("train", "--dataset", npz, "--out", out, *options, stdout=writer)
    finally:
        os.close(writer)
    assert_refused(ended, "cannot write to standard output: Broken pipe")
    assert sorted(contents(out)) == ["config.json", "metrics.jsonl", "model.safetensors"]
    assert json.loads((out / "metrics.jsonl").read_text())["epoch"] == 0
    runs.load(out)


@pytest.mark.slow
def test_file_size_limit_keeps_what_is_written_without_a_librarys_log(npz, tmp_path):
    """The model is below the limit, and a checkpoint, with Adam's two accumulators, above it."""
    out = tmp_path / "run"
    words = ["train", "--dataset", npz, "--out", out, "--hidden", "100", "--optimizer", "adam"]
    words += ["--eval-batch-size", "48", "--checkpoint-every", "1", "--epochs", "40"]
    ended = run_program(*words, change=SMALL_FILES)
    # On a busy machine the storage library may spread the first ones over smaller files.
    step = (out / "metrics.jsonl").read_text().count("\n")
    assert_refused(ended, f"cannot write {out / 'checkpoints' / str(step)}: File too large\n")
    # Nor what takes up the space.
    assert [each.name for each in (out / "checkpoints").iterdir() if int(each.name) >= step] == []
    runs.load(out)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 5.4 GiB"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to\nallocate"),
        jax.errors.JaxRuntimeError("INTERNAL: Error dispatching computation: Out of memory"),
    ],
    ids=["Python", "XLA", "XLA's dispatch"],
)
def test_too_little_memory_is_told_in_a_line(error, monkeypatch, refused):
    def read(*_: object) -> None:
        raise error

    monkeypatch.setattr(runs, "read", read)
    refused(["evaluate", "run"], "this machine's memory is too small", status=1)


@pytest.mark.slow
def test_full_disk_is_told_by_a_preparation(tmp_path, monkeypatch, refused):
    def write(*_: object) -> None:  # What ArrayRecord's writer makes of it.
        raise RuntimeError("Failed to finalize writing:\nwrite() failed: File too large")

    monkeypatch.setattr(preparation, "_write", write)
    words = ["data", "prepare", "mnist", "--data-dir", tmp_path]
    told = f"{tmp_path}: mnist cannot be prepared there: Failed to finalize writing: write() failed"
    refused(words, told, "another folder with --data-dir")
