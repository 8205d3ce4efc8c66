"""`figures/api.md` lists the public names as they are now."""

import subprocess
import sys
from pathlib import Path

import jaxmnist as jm

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "figures/api.md"
# A process of its own, so that no other test's import decides what is seen.
CODE = "import sys; sys.path.insert(0, 'scripts'); import api_index; print(api_index.page())"


def test_the_index_is_current():
    made = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert PAGE.read_text() + "\n" == made, (
        "figures/api.md is old: run `python scripts/api_index.py`"
    )


def test_the_index_has_every_name_of_the_package_and_a_line_for_it():
    lines = PAGE.read_text().splitlines()
    # A type's alias has no docstring of its own.
    names = set(vars(jm)["_HOMES"]) - {"Hyper"}
    for name in (*names, "optim.create", "verify.optimizer", "losses.softmax"):
        (line,) = (line for line in lines if line.startswith(f"- `jm.{name}`"))
        assert len(line) > len(f"- `jm.{name}`: "), line
