"""Break the package one place at a time and ask a check to notice; the mutation scripts share this.

A mutation is one replacement in the source text of a temporary copy of the package. A script lists
its mutations, and passes a check that tells what fails in a copy, optimizer by optimizer. `run`
tries them all, prints a line for each, and returns 1 if one survived: if no check noticed it. A
mutation whose text does not occur exactly once in its file ends the script before anything is run.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from jaxmnist import conventions, provenance

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 2


class Mutation(NamedTuple):
    """One replacement in one file of the package."""

    what: str
    file: str
    old: str | re.Pattern[str]  # must occur exactly once
    new: str
    optimizer: str = "sgd"  # whose checks must notice


Check = Callable[[Path, Sequence[str]], Mapping[str, list[str]]]
"""``check(copy, optimizers)`` returns what fails in a copy of the repository, by optimizer."""
Outcome = tuple[Mutation, list[str]]


def run(
    script: str,
    mutations: Iterable[Mutation],
    check: Check,
    grouped: Callable[[list[Mutation]], Iterable[list[Mutation]]] = lambda chosen: (
        [mutation] for mutation in chosen
    ),
    failures: Callable[[Sequence[str]], Mapping[str, list[str]]] | None = None,
    known: Sequence[str] = conventions.NAMES,
) -> int:
    """Parse the command line, try the mutations, print the table, and return the exit status.

    Args:
        script: The script's ``__file__``.
        mutations: All that the script knows.
        check: Tells what fails in a copy.
        grouped: Puts mutations together that can be tried at once, since they share no line and no
            check; by default each alone.
        failures: For a check that runs the script itself in the copy (see `run_script`): what
            fails here.
        known: What the mutations are of, in the order of the table.
    """
    name = Path(script).name
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("optimizers", nargs="*", default=known, metavar="OPTIMIZER")
    parser.add_argument("--out", type=Path, help="where to write the table as JSON")
    parser.add_argument("--check", action="store_true", help="only print what fails, as JSON")
    arguments = parser.parse_args()
    if arguments.check and failures is not None:
        print(json.dumps(failures(arguments.optimizers)))
        return 0
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
    chosen = [mutation for mutation in mutations if mutation.optimizer in arguments.optimizers]
    outcomes = try_all([*grouped(chosen)], check)
    outcomes.sort(key=lambda outcome: known.index(outcome[0].optimizer))
    widest = max(map(len, known))
    for mutation, caught_by in outcomes:
        verdict = "; ".join(caught_by) or "SURVIVED"
        print(f"{mutation.optimizer:{widest}} {mutation.what:48} {verdict}")
    survivors = sum(not caught_by for _, caught_by in outcomes)
    print(f"{len(outcomes)} mutations, {survivors} survived")
    if arguments.out is not None:
        words = ["python", f"scripts/{name}"]
        words += arguments.optimizers if len(chosen) < len([*mutations]) else []
        command = " ".join([*words, "--out", str(arguments.out)])
        about = provenance.record(command, "optax", "torch") | {"mutations": table(outcomes)}
        arguments.out.write_text(json.dumps(about, indent=1) + "\n")
    return 1 if survivors else 0


def try_all(groups: list[list[Mutation]], check: Check) -> list[Outcome]:
    """Return what noticed each mutation, in copies of the package that are worked on in turns."""
    for mutation in (mutation for group in groups for mutation in group):
        mutated(ROOT / "jaxmnist", mutation)
    names = sorted({mutation.optimizer for group in groups for mutation in group})
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for worker in range(WORKERS):
            copies.put(copy_to(Path(folder, str(worker))))

        def attempt(group: list[Mutation]) -> list[Outcome]:
            copy = copies.get()
            try:
                return try_group(group, copy, check)
            finally:
                copies.put(copy)

        broken = check(Path(folder, "0"), names)
        if any(broken.values()):
            raise SystemExit(f"checks fail before anything is broken: {dict(broken)}")
        with ThreadPoolExecutor(WORKERS) as pool:
            return [outcome for some in pool.map(attempt, groups) for outcome in some]


def try_group(group: list[Mutation], copy: Path, check: Check) -> list[Outcome]:
    """Return what noticed each mutation of a group, all of which are made at once in the copy."""
    package = copy / "jaxmnist"
    originals: dict[Path, str] = {}
    try:
        for mutation in group:
            source = package / mutation.file
            originals.setdefault(source, source.read_text(encoding="utf-8"))
            source.write_text(mutated(package, mutation), encoding="utf-8")
        failing = check(copy, sorted({mutation.optimizer for mutation in group}))
    finally:
        for source, text in originals.items():
            source.write_text(text, encoding="utf-8")
    return [(mutation, failing[mutation.optimizer]) for mutation in group]


def mutated(package: Path, mutation: Mutation) -> str:
    """Return the text of the mutated file."""
    text = (package / mutation.file).read_text(encoding="utf-8")
    if isinstance(mutation.old, str):
        count = text.count(mutation.old)
        changed = text.replace(mutation.old, mutation.new)
    else:
        changed, count = mutation.old.subn(mutation.new, text)
    if count != 1 or changed == text:
        raise SystemExit(
            f"{mutation.optimizer}: {mutation.what}: its text occurs {count} times in "
            f"{mutation.file}; it must occur once and change something"
        )
    return changed


def copy_to(copy: Path) -> Path:
    """Copy what a check runs."""
    for part in ("jaxmnist", "tests"):
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, copy / part, ignore=without)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def run_script(script: str, copy: Path, optimizers: Sequence[str]) -> dict[str, list[str]]:
    """Run a script's own check with the copy of the package."""
    done = run_python(copy, script, "--check", *optimizers)
    if done.returncode:  # a program that does not run shows nothing
        raise SystemExit(f"{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run_python(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the copy of the package in place of the real one."""
    return subprocess.run(
        # -B: a source rewritten within a second must not meet its old bytecode.
        [sys.executable, "-B", *arguments],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )


def table(outcomes: Iterable[Outcome]) -> list[dict[str, str | list[str]]]:
    """Return the outcomes as JSON holds them."""
    return [
        {
            "what": mutation.what,
            "file": mutation.file,
            "optimizer": mutation.optimizer,
            "caught by": caught_by,
        }
        for mutation, caught_by in outcomes
    ]
