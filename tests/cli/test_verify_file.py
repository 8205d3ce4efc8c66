"""`jaxmnist verify FILE`: pairs of a person's own, and what is wrong with their file."""

import json

import pytest

from jaxmnist.cli import main

PAIRS = """
import numpy as np
import torch
from jaxmnist import optim, verify

linear = torch.nn.Linear(5, 3)
params = {name: p.detach().numpy() for name, p in linear.named_parameters()}
x = np.random.default_rng(0).normal(size=(4, 5))

def pairs():
    yield "linear", (apply, params, linear, x)
    yield "sgd", lambda: verify.optimizer(optim.sgd(), REFERENCE, steps=3)

def apply(p, x):
    return x @ p["weight"].T + p["bias"][None]
"""


def written(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return str(path)


def ran(words):
    with pytest.raises(SystemExit) as stopped:
        main(["verify", *words])
    return stopped.value.code


def test_pairs_that_agree_are_tabulated(tmp_path, capsys) -> None:
    text = PAIRS.replace("REFERENCE", 'verify.numpy_reference("sgd")')
    main(["verify", written(tmp_path, text)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "linear: the model in JAX and in PyTorch, float64: passed"
    assert lines[-1] == "2 of 2 pairs passed"


def test_a_difference_is_status_1_and_json_says_which(tmp_path, capsys) -> None:
    text = PAIRS.replace("REFERENCE", 'verify.numpy_reference("adam")')
    assert ran([written(tmp_path, text), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is False
    assert {name: r["passed"] for name, r in found["results"].items()} == {
        "linear": True,
        "sgd": False,
    }
    assert found["results"]["sgd"]["comparisons"][0]["first_divergence"]["leaf"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def pairs(): return 3", "pairs returned a int; it must return names with what"),
        ("def pair(): return {}", "has no function pairs(), which must return names"),
        ("def pairs(): return {}", "pairs returned nothing to compare"),
        ("def pairs(): yield 1", "pairs gave 1; it must give names"),
        ("def pairs(): raise KeyError('x')", "line 1, in pairs: KeyError: 'x'"),
        ("def pairs(): return {'a': 3}", "in pairs, a: there is nothing to compare a int by"),
        ("def pairs(): return {'a': lambda: 3}", "a function returned a int; it must return"),
        ("pairs =", "line 1: invalid syntax"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, capsys, text, message) -> None:
    path = written(tmp_path, text)
    assert ran([path]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"jaxmnist: {path}")
    assert message in complaint
    assert complaint.count("\n") == 1


def test_a_missing_file_is_named(tmp_path, capsys) -> None:
    assert ran([str(tmp_path / "none.py")]) == 2
    assert "none.py: No such file" in capsys.readouterr().err
