"""Breaks the optimizers one line at a time and asks the trajectory tests to notice.

Each mutation is one replacement in the source text of a temporary copy of the package: an `eps`
moved across the root or made ten times larger, a decay changed in its third digit, a bias
correction dropped, the learning rate moved into or out of the velocity, another initial value.
Against each, `tests/optim/test_trajectories.py` runs, and the table says which of that optimizer's
tests failed. A mutation that none of them notices has survived, and the exit status is 1.

One run of the tests tries one mutation of every optimizer at once: they share no line, and each
test belongs to one optimizer. Mutations of shared arithmetic run alone.

    python scripts/mutate_optimizers.py            # all of them
    python scripts/mutate_optimizers.py adam       # one optimizer's

On two CPU cores shared with other work: 96 mutations, all caught, in 3 to 7 minutes.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from jaxmnist import conventions

ROOT = Path(__file__).resolve().parent.parent
TESTS = "tests/optim/test_trajectories.py"
WORKERS = 2


class Mutation(NamedTuple):
    """One replacement in one file of the package."""

    optimizer: str
    what: str
    file: str
    old: re.Pattern[str]  # must match exactly once
    new: str


FULL = ".real_accumulators_like(params"

# optimizer, what is broken, the source text (once in the optimizer's file), what replaces it
EQUATIONS = [
    ("sgd", "sign", "-rate * g", "rate * g"),
    (
        "momentum",
        "rate's placement swapped",
        "_step_rate_inside if learning_rate_in_velocity else _step_rate_outside",
        "_step_rate_outside if learning_rate_in_velocity else _step_rate_inside",
    ),
    ("momentum", "rate taken out of velocity", "* velocity + rate * g", "* velocity + g"),
    ("momentum", "rate dropped outside", "-rate * velocity", "-velocity"),
    ("momentum", "dampened", "* velocity + g\n    ", "* velocity + (1 - momentum) * g\n    "),
    ("momentum", "velocity starts at 1e-3", ".accumulators_like(params", f"{FULL}, 1e-3"),
    (
        "adagrad",
        "eps moved in",
        "root(sum_of_squares + eps_root) + eps",
        "root(sum_of_squares + eps_root + eps)",
    ),
    (
        "adagrad",
        "eps_root moved out",
        "root(sum_of_squares + eps_root)",
        "root(sum_of_squares) + eps_root",
    ),
    ("adagrad", "initial value ignored", "params, initial_accumulator_value)", "params)"),
    (
        "rmsprop",
        "eps moved in",
        "root(mean_square + eps_root) + eps",
        "root(mean_square + eps_root + eps)",
    ),
    (
        "rmsprop",
        "eps_root moved out",
        "root(mean_square + eps_root)",
        "root(mean_square) + eps_root",
    ),
    ("rmsprop", "average starts at 1e-3", FULL, f"{FULL}, 1e-3"),
    ("rmsprop", "average's weights swapped", "(g), decay)", "(g), 1 - decay)"),
    (
        "adadelta",
        "eps moved in, below",
        "root(mean_square + eps_root) + eps",
        "root(mean_square + eps_root + eps)",
    ),
    (
        "adadelta",
        "eps_root moved out, below",
        "root(mean_square + eps_root)",
        "root(mean_square) + eps_root",
    ),
    (
        "adadelta",
        "eps moved in, above",
        "root(mean_square_update + eps_root) + eps",
        "root(mean_square_update + eps_root + eps)",
    ),
    (
        "adadelta",
        "eps_root moved out, above",
        "root(mean_square_update + eps_root)",
        "root(mean_square_update) + eps_root",
    ),
    ("adadelta", "rate seen by the average", "magnitude(change)", "magnitude(rate * change)"),
    ("adadelta", "climbs", "return -rate * change", "return rate * change"),
    (
        "adadelta",
        "first average starts at 1e-3",
        f"mean_square=arithmetic{FULL}",
        f"mean_square=arithmetic{FULL}, 1e-3",
    ),
    (
        "adadelta",
        "second average starts at 1e-3",
        f"update=arithmetic{FULL}",
        f"update=arithmetic{FULL}, 1e-3",
    ),
    ("adam", "first correction dropped", "mu / arithmetic.one_minus_power(b1, count)", "mu"),
    ("adam", "second correction dropped", "nu / arithmetic.one_minus_power(b2, count)", "nu"),
    (
        "adam",
        "corrections swapped",
        "mu / arithmetic.one_minus_power(b1",
        "mu / arithmetic.one_minus_power(b2",
    ),
    ("adam", "corrected one step late", "count=count, **hyper", "count=count + 1, **hyper"),
    ("adam", "eps moved in", "root(n + eps_root) + eps", "root(n + eps_root + eps)"),
    ("adam", "eps_root moved out", "root(n + eps_root)", "root(n) + eps_root"),
    ("adam", "mu starts at 1e-3", ".accumulators_like(params", f"{FULL}, 1e-3"),
    ("adam", "nu starts at 1e-3", FULL, f"{FULL}, 1e-3"),
]

SHARED_FILE = "optim/arithmetic.py"

# What it holds, with an optimizer that uses it.
SHARED = [
    ("sgd", "schedule starts at 1", "learning_rate(count)", "learning_rate(count + 1)"),
    ("adagrad", "square not squared", "else jnp.square(x)", "else jnp.abs(x)"),
    ("rmsprop", "average's old share", "(old - weight * old)", "old"),
    ("adam", "correction's power by 1e-6", "math.log(decay)", "math.log(decay) * (1 + 1e-6)"),
]


def mutations() -> Iterator[Mutation]:
    """The equations, then each default of each convention."""
    for optimizer, what, old, new in EQUATIONS:
        yield Mutation(optimizer, what, f"optim/{optimizer}.py", re.compile(re.escape(old)), new)
    for optimizer, what, old, new in SHARED:
        yield Mutation(optimizer, what, SHARED_FILE, re.compile(re.escape(old)), new)
    for optimizer in conventions.NAMES:
        for convention in conventions.CONVENTIONS:
            for argument, value in conventions.defaults(optimizer, convention).items():
                yield _changed_default(optimizer, convention, argument, value)


def _changed_default(
    optimizer: str, convention: str, argument: str, value: float | bool | None
) -> Mutation:
    changed = _changed(argument, value)
    what = f"{convention}: {argument} {value} -> {changed}"
    if convention == "document":  # the factory's own default
        file, old = f"optim/{optimizer}.py", rf"(?<=\n    ){argument}(: [^=\n]+) = [^,\n]+(?=,?\n?)"
        if optimizer == "sgd":
            old = rf"{argument}(: LearningRate) = [^)]+"
        new = rf"{argument}\1 = {changed}"
    else:
        file, old = "conventions.py", (
            rf'(    "{optimizer}": {{\n(?:(?!^    }}).*\n)*?'
            rf' +"{convention}": {{[^}}]*?"{argument}": )[^,}}]+'
        )  # fmt: skip
        new = rf"\g<1>{changed}"
    return Mutation(optimizer, what, file, re.compile(old, re.MULTILINE), new)


def _changed(argument: str, value: float | bool | None) -> float | bool:
    if isinstance(value, bool):
        return not value
    if value is None:
        return 1.001
    if argument.startswith("eps"):
        return 10 * value or 1e-12
    if argument == "initial_accumulator_value":
        return value + 1e-3
    if argument == "learning_rate":
        return 1.001 * value
    return round(value + (0.001 if value < 0.99 else -0.001), 3)  # a decay's third digit


def rounds(chosen: list[Mutation]) -> Iterator[list[Mutation]]:
    """Groups that can be tried at once: no two of one optimizer, and shared arithmetic alone."""
    yield from ([mutation] for mutation in chosen if mutation.file == SHARED_FILE)
    own = [mutation for mutation in chosen if mutation.file != SHARED_FILE]
    by_optimizer = [[m for m in own if m.optimizer == name] for name in conventions.NAMES]
    for group in zip_longest(*by_optimizer):
        yield [mutation for mutation in group if mutation is not None]


def run_against(group: list[Mutation], package: Path) -> list[tuple[Mutation, list[str]]]:
    """Each mutation of `group` with the tests that it fails, in a copy of the package."""
    originals: dict[Path, str] = {}
    for mutation in group:
        source = package / mutation.file
        text = source.read_text(encoding="utf-8")
        originals.setdefault(source, text)
        mutated, count = mutation.old.subn(mutation.new, text)
        if count != 1 or mutated == text:
            raise SystemExit(f"{mutation.optimizer}: {mutation.what}: {count} places in the source")
        source.write_text(mutated, encoding="utf-8")
    failed = failing_tests(package.parent)
    for source, text in originals.items():
        source.write_text(text, encoding="utf-8")
    return [
        (mutation, sorted({test.split("[")[0] for test in failed if mutation.optimizer in test}))
        for mutation in group
    ]


def failing_tests(copy: Path) -> list[str]:
    """The trajectory tests whose assertions fail for the package in `copy`."""
    done = subprocess.run(
        # -B: a source rewritten within a second must not meet its old bytecode.
        [sys.executable, "-B", "-m", "pytest", "-q", "-rf", "--tb=no", "-o", "addopts=", TESTS],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
    )
    failed = re.findall(r"^FAILED \S+::test_(.+?) - (.*)$", done.stdout, re.MULTILINE)
    crashed = [reason for _, reason in failed if not reason.lower().startswith("assert")]
    if done.returncode not in (0, 1) or crashed:  # a program that does not run shows nothing
        raise SystemExit(f"{done.stdout}{done.stderr}")
    return [test for test, _ in failed]


def main() -> int:
    """Prints a line per mutation, and says with its status whether all were caught."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("optimizers", nargs="*", default=conventions.NAMES, metavar="OPTIMIZER")
    wanted = parser.parse_args().optimizers
    groups = list(rounds([mutation for mutation in mutations() if mutation.optimizer in wanted]))

    with tempfile.TemporaryDirectory() as folder:
        packages: SimpleQueue[Path] = SimpleQueue()
        for worker in range(WORKERS):
            copy = Path(folder, str(worker))
            without = shutil.ignore_patterns("__pycache__", "*.npz")
            for part in ("jaxmnist", "tests"):
                shutil.copytree(ROOT / part, copy / part, ignore=without)
            shutil.copy(ROOT / "pyproject.toml", copy)
            packages.put(copy / "jaxmnist")

        if failing := failing_tests(Path(folder, "0")):
            raise SystemExit(f"Tests fail before anything is broken: {', '.join(failing)}")

        def attempt(group: list[Mutation]) -> list[tuple[Mutation, list[str]]]:
            package = packages.get()
            try:
                return run_against(group, package)
            finally:
                packages.put(package)

        with ThreadPoolExecutor(WORKERS) as pool:
            outcomes = [outcome for some in pool.map(attempt, groups) for outcome in some]

    for mutation, caught_by in sorted(outcomes, key=lambda outcome: outcome[0].optimizer):
        verdict = ", ".join(caught_by) or "SURVIVED"
        print(f"{mutation.optimizer:9} {mutation.what:48} {verdict}")
    survivors = sum(not caught_by for _, caught_by in outcomes)
    print(f"{len(outcomes)} mutations, {survivors} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
