"""A seventh optimizer in a copy of the package: four insertions, and everything else follows.

Adamax (Kingma and Ba, 2015, section 7.1), because PyTorch and Optax have it too, with an argument
of a name that no other optimizer here has.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxmnist as jm
from jaxmnist import interop, optim, verify
from jaxmnist.verify import suite

PACKAGE = Path(jm.__file__).parent

FILE = """
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jaxmnist.conventions import check_arguments
from jaxmnist.optim import arithmetic
from jaxmnist.optim.entry import Entry, TorchCounterpart


class AdamaxState(NamedTuple):
    count: Any
    mu: Any
    largest: Any


def adamax(learning_rate=0.002, b1=0.9, largest_decay=0.999, eps=1e-8):
    hyper = {"b1": b1, "largest_decay": largest_decay, "eps": eps}
    check_arguments("adamax", learning_rate=learning_rate, **hyper)

    def init(params):
        mu, largest = arithmetic.accumulators_like(params), arithmetic.accumulators_like(params)
        return AdamaxState(arithmetic.start_count(), mu, largest)

    def update(updates, state, params=None):
        rate = arithmetic.learning_rate_at(learning_rate, state.count)
        count = arithmetic.increment(state.count)
        updates, mu, largest = _step(
            updates, state.mu, state.largest, rate=rate, count=count, **hyper
        )
        return updates, AdamaxState(count, mu, largest)

    return optax.GradientTransformation(init, update)


@arithmetic.leafwise
def _step(g, mu, largest, *, rate, count, b1, largest_decay, eps):
    mu = arithmetic.moving_average(mu, g, b1)
    largest = jnp.maximum(largest_decay * largest, jnp.abs(g) + eps)
    return -rate / arithmetic.one_minus_power(b1, count) * mu / largest, mu, largest


ENTRY = Entry(
    factory=adamax,
    recurrence="v ← b1·v + (1-b1)·g; u ← max(b2·u, |g|+ε); w ← w - ηv/(1-b1ᵗ)/u",
    meanings={"mu": "average gradient", "largest": "largest gradient"},
    torch=TorchCounterpart(
        "Adamax",
        {"learning_rate": "lr", "b1": "beta1", "largest_decay": "beta2", "eps": "eps"},
        {"mu": "exp_avg", "largest": "exp_inf"},
    ),
    optax=partial(optax.adamax, learning_rate=0.002),
)
"""

FORMULA = '''

def adamax(learning_rate=0.002, b1=0.9, largest_decay=0.999, eps=1e-8) -> Recurrence:
    """v ← b1·v + (1 - b1)·g, u ← max(b2·u, |g| + eps), w ← w - rate·v / (1 - b1ᵗ) / u."""

    def update(g, state):
        rate, t = _at(learning_rate, state), int(state["count"]) + 1
        v = b1 * state["mu"] + (1 - b1) * g
        u = np.maximum(largest_decay * state["largest"], np.abs(g) + eps)
        return -rate * v / (1 - b1**t) / u, _count(state, mu=v, largest=u)

    return Recurrence(_start(mu=0.0, largest=0.0), update)


RECURRENCES["adamax"] = adamax
'''

ROW = '{"learning_rate": 2e-3, "b1": 0.9, "largest_decay": 0.999, "eps": 1e-8}'
ROWS = "".join(f'"{convention}": {ROW}, ' for convention in optim.CONVENTIONS)
ARGUMENT = '"largest_decay": Argument("share of the largest gradient kept", below=1)'
INSERTIONS = {  # file: the line to insert after, and what
    "conventions.py": [
        (r"^TABLE: Final.*$", f'    "adamax": {{{ROWS}}},'),
        (r"^ARGUMENTS: Final.*$", f"    {ARGUMENT},"),
    ],
    "plots/style.py": [
        (r"^OPTIMIZERS: Final.*$", '    "adamax": Look("Adamax", BROWN, "-", "X"),')
    ],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a copy of the package that has the seventh."""
    home = tmp_path_factory.mktemp("home")
    copy = home / "jaxmnist"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    for bundled in PACKAGE.rglob("*.npz"):
        (copy / bundled.relative_to(PACKAGE)).symlink_to(bundled)
    (copy / "optim/adamax.py").write_text(FILE)
    with (copy / "verify/references.py").open("a") as file:
        file.write(FORMULA)
    for name, insertions in INSERTIONS.items():
        text = (copy / name).read_text()
        for after, row in insertions:
            text, count = re.subn(f"({after})", rf"\1\n{row}", text, flags=re.MULTILINE)
            assert count == 1, (name, after)
        (copy / name).write_text(text)
    return home


def run(home: Path, *words: object) -> str:
    """What Python prints with the copy on its path."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def evaluate(home: Path, code: str, expression: str):
    code = f"import json, jaxmnist as jm\n{code}\nprint(json.dumps({expression}))"
    return json.loads(run(home, "-c", code).splitlines()[-1])


@pytest.mark.slow
def test_the_seventh_is_found_by_name_and_moves_to_torch(home, torch):
    code = """
import jax, jax.numpy as jnp, torch
from jaxmnist import optim
tx = optim.create("adamax", 0.5, largest_decay=0.25)
g = jnp.array(4.0)
params = jm.MLP(hidden=()).init(jax.random.key(0), jnp.zeros((1, 784)))
_, state = tx.update(params, tx.init(params))
moved = jm.interop.opt_state_to_state_dict("adamax", state, params, 0.5, largest_decay=0.25)
module = jm.interop.params_to_module(params)
theirs = torch.optim.Adamax(module.parameters())
theirs.load_state_dict(moved)
back, hyper = jm.interop.opt_state_from_state_dict("adamax", theirs.state_dict(), params)
same = jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), back, state))
"""
    expression = """{
        "names": optim.NAMES, "public": optim.adamax is optim.ENTRIES["adamax"].factory,
        "update": float(tx.update(g, tx.init(g))[0]),
        "keys": sorted(moved["state"][0]), "hyper": hyper, "same": same}"""
    found = evaluate(home, code, expression)
    hyper = {"learning_rate": 0.5, "b1": 0.9, "largest_decay": 0.25, "eps": 1e-8}
    assert found == {
        "names": ["adamax", *optim.NAMES],
        "public": True,
        "update": pytest.approx(-0.5, rel=1e-6),  # the first step is the rate
        "keys": ["exp_avg", "exp_inf", "step"],
        "hyper": hyper,
        "same": True,
    }


@pytest.mark.slow
def test_commands_offer_the_seventh_and_sweep_its_argument(home, first_digits_npz):
    help_of = {name: run(home, "-m", "jaxmnist", name, "--help") for name in ("train", "sweep")}
    assert all("adamax, sgd, momentum" in text for text in help_of.values())
    assert re.search(r"--largest-decay VALUES\W+Share of the largest gradient", help_of["sweep"])
    data = first_digits_npz(128, 128)
    words = ("--optimizer", "adamax", "--largest-decay", "0.5", "0.9", "--hidden", "none")
    fixed = ("--epochs", 1, "--dataset", data, "--out", home / "swept")
    run(home, "-m", "jaxmnist", "sweep", *words, *fixed)
    rows = [json.loads(line) for line in (home / "swept/cells.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert len({json.dumps(row, sort_keys=True) for row in rows}) == 2


@pytest.mark.slow
def test_verify_compares_the_seventh_with_its_formula_and_notices_a_wrong_one(home, torch):
    code = """
import jax
from jaxmnist import optim, verify
from jaxmnist.verify import suite
found = {}
for check in suite.checks("optimizers"):
    if check.name.startswith("adamax"):
        found[f"{check.name}, {check.against}"] = check.run()
wrong = verify.numpy_reference("adamax", largest_decay=0.998)
wrong = verify.optimizer(optim.create("adamax"), wrong, steps=20)
"""
    expression = """{
        "passed": {name: result.passed for name, result in found.items()},
        "compared": [part.name for part in found["adamax (document), numpy"]],
        "wrong": wrong.passed}"""
    result = evaluate(home, code, expression)
    assert result["passed"] == {
        "adamax (document), numpy": True,
        "adamax (pytorch), torch": True,
        "adamax (optax), optax": True,
    }
    assert "random: largest gradient" in result["compared"]
    assert result["wrong"] is False


@pytest.mark.slow
def test_the_seventh_races(home):
    printed = run(home, "-m", "jaxmnist", "race", "valley", "--steps", 30, "--out", "race.png")
    assert re.search(r"│ Adamax +│ [\d.]+", printed)
    assert (home / "race.png").stat().st_size > 0


@pytest.mark.slow
def test_an_optimizer_that_neither_library_has_is_left_out_and_refused(monkeypatch):
    alone = {**optim.ENTRIES, "adam": optim.ENTRIES["adam"]._replace(torch=None, optax=None)}
    monkeypatch.setattr(optim, "ENTRIES", alone)
    planned = [(check.name, check.against) for check in suite.checks("optimizers")]
    assert ("adam (document)", "numpy") in planned
    assert ("sgd (pytorch)", "torch") in planned
    assert not {("adam (pytorch)", "torch"), ("adam (optax)", "optax")} & set(planned)
    for refused, message in (
        (lambda: verify.torch_reference("adam"), r"torch.optim has no adam; compare it with num"),
        (lambda: verify.optax_reference("adam"), r"optax has no adam; compare it with numpy_"),
        (
            lambda: interop.opt_state_from_state_dict("adam", {}, {}),
            "torch.optim has no adam; choose one of sgd, momentum, adagrad, rmsprop, adadelta$",
        ),
    ):
        with pytest.raises(jm.InputError, match=message):
            refused()
