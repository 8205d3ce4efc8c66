"""Every mutation still finds its text, once; and the harness tells caught ones from survivors."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
mutation, mutate_optimizers, mutate_parity, mutate_training = map(
    import_module, ("mutation", "mutate_optimizers", "mutate_parity", "mutate_training")
)
Mutation = mutation.Mutation

ALL = [
    *mutate_optimizers.mutations(),
    *mutate_parity.mutations(),
    *mutate_training.mutations(),
]


@pytest.mark.parametrize("made", ALL, ids=lambda made: f"{made.optimizer}: {made.what}")
def test_mutation_finds_its_text_once(made):
    text = mutation.mutated(mutation.ROOT / "jaxmnist", made)
    assert compile(text, made.file, "exec")  # One that is no Python would end the script.


@pytest.mark.parametrize("old", ["no such text", "import"])
def test_text_that_does_not_occur_once_ends_the_script(old, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script"])
    made = Mutation("broken", "optim/sgd.py", old, "")
    with pytest.raises(SystemExit, match=r"sgd: broken: its text occurs \d+ times in optim/sgd.py"):
        mutation.run("script.py", [made], lambda *_: pytest.fail("nothing may run"))


@pytest.mark.parametrize("survives", [False, True])
def test_survivors_are_told_and_the_package_stays_as_it_is(survives, tmp_path, monkeypatch, capsys):
    """The check reads the copies, so that this runs in no time."""

    def check(copy, optimizers):
        text = (copy / "jaxmnist" / "optim" / "sgd.py").read_text()
        is_broken = "-rate * g" not in text and not survives
        return {name: ["steps uphill"] if is_broken else [] for name in optimizers}

    before = (mutation.ROOT / "jaxmnist" / "optim" / "sgd.py").read_bytes()
    out = tmp_path / "table.json"
    monkeypatch.setattr(sys, "argv", ["script", "sgd", "--out", str(out)])
    made = [Mutation("sign", "optim/sgd.py", "-rate * g", "rate * g")]
    other = [Mutation("other", "optim/adam.py", "anything", "", "adam")]
    assert mutation.run("script.py", made + other, check) == int(survives)
    assert f"1 mutations, {int(survives)} survived" in capsys.readouterr().out
    assert (mutation.ROOT / "jaxmnist" / "optim" / "sgd.py").read_bytes() == before
    about = json.loads(out.read_text())
    assert about["command"] == f"python scripts/script.py sgd --out {out}"
    assert about["versions"].keys() >= {"jaxmnist", "jax", "optax"}
    (row,) = about["mutations"]
    assert row["caught by"] == ([] if survives else ["steps uphill"])


def test_checks_that_fail_before_anything_is_broken_end_the_script(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script"])
    made = Mutation("sign", "optim/sgd.py", "-rate * g", "rate * g")
    with pytest.raises(SystemExit, match="checks fail before anything is broken"):
        mutation.run("script.py", [made], lambda _, names: {name: ["always"] for name in names})
