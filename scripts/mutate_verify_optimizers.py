"""Breaks the optimizers one line at a time and asks `verify.optimizer` to notice.

The mutations are those of `mutate_optimizers.py`: an epsilon moved across the root or ten times as
large, a bias correction dropped, a decay changed in its third digit, the learning rate moved into
or out of the velocity, another initial value, and more. Each is made in a temporary copy of the
package, and there every optimizer is held against NumPy, PyTorch and Optax. The table says which
check saw it first, and where. A mutation that no check sees has survived, and the exit status is 1.

    python scripts/mutate_verify_optimizers.py            # all of them
    python scripts/mutate_verify_optimizers.py adam       # one optimizer's
    python scripts/mutate_verify_optimizers.py --out figures/verify_optimizers_mutations.json

On two CPU cores shared with other work: 96 mutations, all caught, a quarter of an hour.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import optax
import torch
from mutate_optimizers import ROOT, Mutation, mutations, rounds

from jaxmnist import optim, verify
from jaxmnist.verify.references import RECURRENCES

STEPS = 60

# Far from every default, so that each has a part in the steps.
ARGUMENTS = {
    "sgd": {},
    "momentum": {"momentum": 0.37, "learning_rate_in_velocity": False},
    "adagrad": {"initial_accumulator_value": 3e-7, "eps": 2e-5, "eps_root": 7e-9},
    "rmsprop": {"decay": 0.43, "eps": 2e-5, "eps_root": 7e-9},
    "adadelta": {"rho": 0.43, "eps": 2e-5, "eps_root": 7e-9},
    "adam": {"b1": 0.43, "b2": 0.61, "eps": 2e-5, "eps_root": 7e-9},
}


def checks(name: str) -> Iterator[tuple[str, Any, Any]]:
    """What to call the check, the optimizer, and what to hold it against."""
    factory, recurrence, arguments = optim.ENTRIES[name].factory, RECURRENCES[name], ARGUMENTS[name]
    yield "its defaults, NumPy", factory(), recurrence()
    yield "document, NumPy", optim.create(name), recurrence()
    yield "pytorch, PyTorch", optim.create(name, None, "pytorch"), verify.torch_reference(name)
    yield "optax, Optax", optim.create(name, None, "optax"), verify.optax_reference(name)
    yield "other arguments, NumPy", factory(0.3, **arguments), recurrence(0.3, **arguments)
    yield "a schedule, NumPy", factory(harmonic), recurrence(harmonic)
    yield (
        "a schedule and other arguments, NumPy",
        factory(harmonic, **arguments),
        recurrence(harmonic, **arguments),
    )


def harmonic(count: Any) -> Any:
    """A learning rate that falls."""
    return 0.5 / (1.0 + count)


def failures(names: list[str]) -> dict[str, list[str]]:
    """Optimizer -> each check that it fails, with where."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        for what, tx, reference in checks(name):
            result = verify.optimizer(tx, reference, steps=STEPS)
            if first := result.first_divergence:
                found[name].append(f"{what}: step {first.step}, {first.leaf}")
    return found


def failures_with(group: list[Mutation], package: Path) -> dict[str, list[str]]:
    """The same in a copy of the package that has these mutations."""
    originals: dict[Path, str] = {}
    for mutation in group:
        source = package / mutation.file
        text = source.read_text(encoding="utf-8")
        originals.setdefault(source, text)
        mutated, count = mutation.old.subn(mutation.new, text)
        if count != 1 or mutated == text:
            raise SystemExit(f"{mutation.optimizer}: {mutation.what}: {count} places in the source")
        source.write_text(mutated, encoding="utf-8")
    # -B: a source rewritten within a second must not meet its old bytecode.
    command = [sys.executable, "-B", __file__, "--check", *sorted({m.optimizer for m in group})]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
    )
    for source, text in originals.items():
        source.write_text(text, encoding="utf-8")
    if done.returncode:  # a program that does not run shows nothing
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def table(outcomes: list[tuple[Mutation, list[str]]]) -> dict[str, Any]:
    """What was broken and what noticed, with where it was run."""
    return {
        "command": "python scripts/mutate_verify_optimizers.py",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "jax": jax.__version__,
            "optax": optax.__version__,
            "torch": torch.__version__,
        },
        "mutations": [
            {
                "what": mutation.what,
                "file": mutation.file,
                "optimizer": mutation.optimizer,
                "caught by": caught_by,
            }
            for mutation, caught_by in outcomes
        ],
    }


def main() -> int:
    """Prints a line per mutation, and says with its status whether all were caught."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("optimizers", nargs="*", default=optim.NAMES, metavar="OPTIMIZER")
    parser.add_argument("--out", type=Path, help="where to write the table as JSON")
    parser.add_argument("--check", action="store_true", help="only say what fails, as JSON")
    arguments = parser.parse_args()
    if arguments.check:
        print(json.dumps(failures(arguments.optimizers)))
        return 0

    if any(broken := failures(list(arguments.optimizers)).values()):
        raise SystemExit(f"Checks fail before anything is broken: {list(broken)}")
    chosen = [mutation for mutation in mutations() if mutation.optimizer in arguments.optimizers]
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "jaxmnist")
        ignore = shutil.ignore_patterns("__pycache__", "*.npz")
        shutil.copytree(ROOT / "jaxmnist", package, ignore=ignore)
        for group in rounds(chosen):
            found = failures_with(group, package)
            for mutation in group:
                caught_by = found[mutation.optimizer]
                outcomes.append((mutation, caught_by))
                verdict = caught_by[0] if caught_by else "SURVIVED"
                print(f"{mutation.optimizer:9} {mutation.what:48} {verdict}", flush=True)
    survivors = sum(not caught_by for _, caught_by in outcomes)
    print(f"{len(chosen)} mutations, {survivors} survived")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(table(outcomes), indent=1) + "\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
