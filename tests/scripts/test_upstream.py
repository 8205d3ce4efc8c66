"""Faults of other libraries are still there; one that a version has mended is noticed here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

UPSTREAM = sorted((Path(__file__).parents[2] / "scripts/upstream").glob("*.py"))

RUN_ALL = """
import contextlib, io, json, runpy, sys
found = {}
for path in sys.argv[1:]:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(path)
        found[path] = [None, printed.getvalue()]
    except SystemExit as stopped:
        found[path] = [stopped.code, printed.getvalue()]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_faults_of_other_libraries_are_still_there(torch):
    """In one process, since most of the time is that of loading JAX and PyTorch."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN_ALL, *map(str, UPSTREAM)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(UPSTREAM) > 10
    for path, (code, printed) in found.items():
        name = Path(path).name
        assert code == 0, f"{name}: mended, or changed: {printed}; delete it and what works around"
        assert printed.count("\n") == 1
        assert "is " in printed
        assert "; should be " in printed


@pytest.mark.slow
def test_each_shows_one_fault_in_few_lines_with_one_library():
    for path in UPSTREAM:
        text = path.read_text()
        assert len(text.splitlines()) <= 15, path.name
        assert "jaxmnist" not in text, path.name
        others = {"optax", "flax", "nnx", "torch"} - {path.name.split("_")[0]}
        others -= {"flax"} if path.name.startswith("nnx") else set()
        assert not [name for name in others if f"import {name}" in text], path.name
