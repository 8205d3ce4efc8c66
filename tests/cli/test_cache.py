"""Compiled programs are kept for the next command, and are never in its way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def evaluate(run, tmp_path):
    """A function that evaluates a run with the cache's folder under `tmp_path`."""

    def evaluate(*options: str, **variables: str) -> tuple[str, str]:
        command = [sys.executable, "-m", "jaxmnist", "evaluate", str(run), *options]
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), **variables}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return ended.stdout, ended.stderr

    return evaluate


def programs(folder: Path) -> dict[Path, bytes]:
    """What is kept, by path."""
    return {path: path.read_bytes() for path in folder.glob("jaxmnist/xla/*-cache")}


@pytest.mark.slow
def test_programs_are_kept_and_damaged_ones_compiled_again(evaluate, tmp_path):
    printed = evaluate()
    assert "Eval Acc" in printed[0]
    assert printed[1] == ""
    kept = programs(tmp_path)
    assert kept
    assert evaluate() == printed
    assert programs(tmp_path) == kept
    for path, content in kept.items():
        path.write_bytes(content[: len(content) // 2])
    assert evaluate() == printed


@pytest.mark.slow
def test_no_cache_leaves_nothing(evaluate, tmp_path):
    printed, complaint = evaluate("--no-cache")
    assert "Eval Acc" in printed
    assert (complaint, programs(tmp_path)) == ("", {})


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_done_without(evaluate, tmp_path):
    (tmp_path / "jaxmnist").write_text("a file")
    assert evaluate()[1] == ""


@pytest.mark.slow
def test_jaxs_own_setting_wins(evaluate, tmp_path):
    own = tmp_path / "own"
    evaluate(JAX_COMPILATION_CACHE_DIR=str(own), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
    assert any(own.iterdir())
    assert not programs(tmp_path)
