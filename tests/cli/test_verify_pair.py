"""`jaxmnist verify --ours --reference`: two names, what they are compared as, and wrong use."""

import json

import pytest

from jaxmnist.cli import main

MINE = """
import optax
import torch

tx = optax.sgd(0.1)

def make_torch(params, lr=0.1):
    return torch.optim.SGD(params, lr=lr)

linear = torch.nn.Linear(5, 5)

def half(count):
    return 0.1 * 0.5 ** (count // 3)

def pairs_of(x, y):
    return x * y
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module in the current folder."""
    (tmp_path / "mine_of_test.py").write_text(MINE)
    (tmp_path / "raises_of_test.py").write_text("x = 1\n1 / 0\n")
    (tmp_path / "leaves_of_test.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    return "mine_of_test"


def ran(line: str) -> int | str | None:
    """The exit status of `verify` with some words."""
    try:
        main(["verify", *line.split()])
    except SystemExit as stopped:
        return stopped.code
    return 0


ADAMW = "--ours optax:adamw --reference torch.optim:AdamW --steps 5"
HALVED = "--reference torch.optim.lr_scheduler:StepLR --steps 6"


@pytest.mark.slow_except(
    "line4-0-0.2 ", "line7-0-", "line3-0-", "line2-0-passed", "line10-1-cause: "
)
@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        (
            f"{ADAMW} --ours-kwargs learning_rate=1e-3 weight_decay=0.1 --kwargs lr=1e-3 "
            "weight_decay=0.1",
            0,
            "optax:adamw and torch.optim:AdamW: random gradients: passed",
        ),
        (
            f"{ADAMW} --ours-kwargs learning_rate=1e-3 --kwargs lr=1e-3",
            1,
            "They differ by weight decay's size: 0.0001 here, 0.01 in the reference.",
        ),
        (
            "--ours jaxmnist.parity:sgd --reference torch.optim:SGD --steps 5 --shape 2 3 "
            "--kwargs lr=0.1 momentum=0.9",
            0,
            "passed",
        ),
        (f"--ours mine_of_test:half {HALVED} --ours-kwargs --kwargs step_size=3 gamma=0.5", 0, ""),
        (
            f"--ours jaxmnist.parity:step_lr {HALVED} --kwargs lr=0.2 step_size=3 gamma=0.5",
            0,
            "0.2 ",
        ),
        (
            f"--ours mine_of_test:half {HALVED} --ours-kwargs --kwargs lr=0.2 step_size=3 gamma=.5",
            1,
            "a factor: the rate here is 0.5 times PyTorch's",
        ),
        (
            "--ours jax.nn:gelu --ours-kwargs approximate=False --reference "
            "torch.nn.functional:gelu",
            0,
            "",
        ),
        (
            "--ours optax:squared_error --reference torch.nn:MSELoss --ours-kwargs --kwargs "
            "reduction='none' --shape 3",
            0,
            "",
        ),
        ("--ours mine_of_test:pairs_of --reference torch:mul --dtype float32", 0, "float32"),
        ("--ours jax.nn.initializers:ones --reference torch.nn.init:ones_ --shape 3 2", 0, ""),
        (
            "--ours jax.nn.initializers:constant --reference torch.nn.init:ones_ --shape 3 2 "
            "--ours-kwargs value=2.0",
            1,
            "cause: ",
        ),
        ("--ours mine_of_test:tx --reference mine_of_test:make_torch --steps 3", 0, ""),
        ("--ours optax:sgd --reference optax:sgd --kwargs learning_rate=1 --steps 3", 0, ""),
    ],
)
def test_kind_of_the_reference_decides_what_is_compared(module, capsys, line, status, words):
    assert ran(line) == status
    assert words in capsys.readouterr().out


@pytest.mark.slow
def test_json_has_the_result_and_the_explanation(module, capsys):
    line = "--ours mine_of_test:tx --reference mine_of_test:make_torch --steps 3 --json"
    assert ran(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is True
    (result,) = found["results"].values()
    assert result["comparisons"][0]["name"] == "displacement"
    assert ran(f"{line} --kwargs lr=0.2") == 1
    found = json.loads(capsys.readouterr().out)
    (name, result), passed = *found["results"].items(), found["passed"]
    assert (name, passed) == ("mine_of_test:tx and mine_of_test:make_torch", False)
    assert "the learning rate" in result["explanation"]
    line = f"--ours mine_of_test:half {HALVED} --ours-kwargs --kwargs lr=0.2 step_size=3 gamma=0.5"
    assert ran(f"{line} --json") == 1
    (result,) = json.loads(capsys.readouterr().out)["results"].values()
    assert result["cause"].startswith("a factor")


SGD = "--ours optax:sgd --reference torch.optim:SGD"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--ours optax:sgd", "verify needs --reference MODULE:NAME; give both, such as"),
        ("--kwargs lr=1", "verify needs --ours MODULE:NAME"),
        (f"mine.py {SGD}", "mine.py and --ours are both given; give a file of pairs or what"),
        (f"{SGD} --kwargs lr=1 mine.py", "mine.py and --ours are both given"),
        (f"optimizers {SGD}", "optimizers and --ours are both given"),
        (f"{SGD} --kwargs lr=1 --kwargs momentum=1", "--kwargs is given twice; give it once"),
        (f"{SGD} --nosuch", "verify has no option --nosuch"),
        ("--ours sgd --reference torch.optim:SGD", "--ours is 'sgd'; it must be MODULE:NAME"),
        (
            "--ours mine.py:tx --reference torch.optim:SGD",
            "--ours is 'mine.py:tx'; it must be MODULE:NAME, such as torch.optim:AdamW; of the "
            "file mine.py that is mine:NAME",
        ),
        (
            "--ours optaxx:sgd --reference torch.optim:SGD",
            "--ours: cannot import optaxx: there is no module optaxx; it must be installed",
        ),
        (
            "--ours raises_of_test:x --reference torch.optim:SGD",
            "raises_of_test.py, line 2: ZeroDivisionError: division by zero; it must be",
        ),
        ("--ours leaves_of_test:x --reference torch.optim:SGD", "line 1: SystemExit: 3"),
        (
            "--ours optax:sgdd --reference torch.optim:SGD",
            "--ours is optax:sgdd, and optax has no sgdd; did you mean 'sgd'?",
        ),
        (
            "--ours optax:__doc__ --reference torch.optim:SGD",
            "optax:__doc__ is a str; it must be callable, such as optax:adamw",
        ),
        (
            f"{SGD} --kwargs lr=1",
            "optax:sgd does not take lr; it takes learning_rate, momentum, nesterov, "
            "accumulator_dtype; did you mean 'learning_rate'?; give its own, or none, after",
        ),
        (
            f"{SGD} --ours-kwargs learning_rate=1 --kwargs momentun=0.9",
            "torch.optim:SGD does not take momentun; it takes lr, momentum,",
        ),
        (f"{SGD} --ours-kwargs", "optax:sgd needs learning_rate, which is not given; correct"),
        (f"{SGD} --ours-kwargs learning_rate=f()", "learning_rate is 'f()'; it must be a Python"),
        (f"{SGD} --kwargs lr=fast", "for text, write lr=\"'fast'\""),
        (f"{SGD} --kwargs lr", "--kwargs has 'lr'; each must be NAME=VALUE, such as lr=1e-3"),
        (f"{SGD} --kwargs lr=1 lr=2", "--kwargs has lr twice; give it once"),
        (
            f"{SGD} --ours-kwargs learning_rate=1 --kwargs lr=-1",
            "the reference raised ValueError when it was given the parameters: Invalid learning",
        ),
        (f"{SGD} --ours-kwargs learning_rate=1 --steps 0", "steps is 0; it must be a whole"),
        (f"{SGD} --ours-kwargs learning_rate=1 --shape 0", "shape is (0,); it must be sizes of"),
        (
            "--ours jax.nn:relu --reference torch.nn.functional:relu --steps 3",
            "steps is 3, and torch.nn.functional:relu is taken for a function, which has none",
        ),
        (
            "--ours jax.nn:relu --reference torch.nn:Linear --ours-kwargs --kwargs in_features=3 "
            "out_features=4",
            "torch.nn:Linear has parameters; compare a model in a file of pairs",
        ),
        (
            "--ours jax.nn:relu --reference mine_of_test:linear",
            "mine_of_test:linear has parameters; compare a model in a file of pairs",
        ),
        (
            "--ours mine_of_test:tx --ours-kwargs lr=1 --reference torch.optim:SGD",
            "mine_of_test:tx is not callable, and cannot take --ours-kwargs; omit them",
        ),
        (
            "--ours mine_of_test:tx --reference mine_of_test:tx --kwargs lr=1",
            "mine_of_test:tx is no function but an optimizer, and cannot take lr; omit them",
        ),
        (
            f"--ours math:floor {HALVED} --ours-kwargs",
            "torch.optim.lr_scheduler:StepLR needs step_size, which is not given; correct --kwargs",
        ),
        (
            "--ours builtins:dict --reference torch.optim:SGD",
            "builtins:dict returned a dict; it must return an optax.GradientTransformation",
        ),
    ],
)
def test_wrong_use_is_one_line(module, refused, line, words):
    refused(["verify", *line.split()], words)


def test_help_of_verify_tells_of_names_and_files(capsys):
    for words in ([], ["--ours", "mine:tx"]):
        with pytest.raises(SystemExit) as stopped:
            main(["verify", *words, "--help"])
        assert stopped.value.code == 0
        assert "--reference" in capsys.readouterr().out
