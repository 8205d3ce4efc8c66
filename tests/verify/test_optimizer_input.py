"""`verify.optimizer` refuses bad input, and names it."""

import subprocess
import sys
from typing import Any

import numpy as np
import optax
import pytest
import torch

from jaxmnist import optim, verify
from jaxmnist.errors import InputError
from jaxmnist.verify import Recurrence
from jaxmnist.verify.adapters import make_adapter

REFERENCES = (verify.numpy_reference, verify.torch_reference, verify.optax_reference)
SGD = verify.numpy_reference("sgd")
PARAMS = {"w": np.zeros(2), "b": np.zeros(())}
GRADIENTS = {"w": np.ones(2), "b": np.ones(())}


def raises(error: Exception) -> Any:
    def anything(*args: Any, **kwargs: Any) -> Any:
        raise error

    return anything


def without_state(update: Any, init: Any = lambda _: ()) -> optax.GradientTransformation:
    return optax.GradientTransformation(init, update)


class BrokenStep(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        raise RuntimeError("no step today")


@pytest.mark.slow_except(
    "arguments2-need params",
    "arguments3-gradients is empty",
    "arguments5-steps is 0",
    "arguments6-tolerance is nan",
    "arguments11-parameters of their own",
    "arguments1-gradients is a float",
)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gradients": "randon"}, "gradients is 'randon'; it must be one of random, sparse"),
        ({"gradients": 3.0, "params": PARAMS}, "gradients is a float"),
        ({"gradients": [GRADIENTS]}, "need params"),
        ({"gradients": [], "params": PARAMS}, "gradients is empty"),
        ({"dtype": "float16"}, "dtype is 'float16'; it must be one of float64, float32"),
        ({"steps": 0}, "steps is 0"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"params": {}}, "params has no leaves"),
        ({"params": {"w": np.array([1.0, np.nan])}}, "w has an element that is not finite"),
        ({"params": {"w": np.array(["1"])}}, "w has dtype <U1; it must hold numbers"),
        (
            {"params": PARAMS, "gradients": "rosenbrock"},
            r"b has shape \(\); it must have at least two",
        ),
        ({"params": PARAMS, "gradients": "stream"}, "parameters of their own"),
        ({"params": PARAMS, "gradients": "network"}, "the parameters of the default MLP"),
        (
            {"params": PARAMS, "gradients": [GRADIENTS, GRADIENTS | {"w": np.array([1, np.nan])}]},
            "the gradient of w is nan at step 1",
        ),
        (
            {"params": PARAMS, "gradients": [GRADIENTS | {"w": np.ones(3)}]},
            r"step 0: w has shape \(3,\); it must have the parameter's, \(2,\)",
        ),
        (
            {"params": PARAMS, "gradients": [{"w": np.ones(2)}]},
            r"step 0: the leaves are \['w'\]; they must be those of the parameters, \['b', 'w'\]",
        ),
        (
            {"params": PARAMS, "gradients": raises(KeyError("u"))},
            "the gradients' function raised KeyError at step 0: 'u'",
        ),
        ({"tx": optim.sgd(1e200), "gradients": "quadratic"}, "must not diverge"),
        (
            {"reference": raises(ValueError("bad rate"))},
            "the reference raised ValueError .* bad rate",
        ),
        ({"reference": lambda params: params}, "the reference returned a list"),
        ({"reference": BrokenStep}, "the reference raised RuntimeError on step: no step today"),
        (
            {"reference": without_state(SGD.update, init=raises(KeyError("k")))},
            "the reference raised KeyError on init",
        ),
        (
            {"tx": without_state(raises(KeyError("k")))},
            "the optimizer raised KeyError on update",
        ),
        (
            {
                "tx": without_state(lambda g, s, p: ({"w": g["w"]}, s)),
                "params": PARAMS,
            },
            r"the optimizer: the updates: the leaves are \['w'\]",
        ),
        (
            {
                "tx": without_state(lambda g, s, p: ({"w": g["w"][:1], "b": g["b"]}, s)),
                "params": PARAMS,
            },
            r"the updates: w has shape \(1,\); it must have the parameter's, \(2,\)",
        ),
        (
            {"reference": Recurrence(SGD.init, lambda g, state: (g[:1], state)), "params": PARAMS},
            "the reference raised .* on the update of b",
        ),
        (
            {
                "reference": Recurrence(SGD.init, lambda g, state: (np.ones(3), state)),
                "params": PARAMS,
            },
            r"the update of b has shape \(3,\); it must have the parameter's, \(\)",
        ),
    ],
)
def test_bad_input_is_named(arguments: dict[str, Any], message: str) -> None:
    settings = {"tx": optim.sgd(), "reference": SGD, "steps": 5} | arguments
    with pytest.raises(InputError, match=message):
        verify.optimizer(**settings)


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"the reference is a float; it must be an optax\.Gradient"
    ):
        make_adapter(3.0, PARAMS, "the reference")


def test_unknown_names_of_references_are_refused() -> None:
    for reference in REFERENCES:
        with pytest.raises(InputError, match="no optimizer 'adamax'"):
            reference("adamax")


def test_without_torch_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'jaxmnist\[torch\]'"):
        verify.optimizer(optim.sgd(), verify.torch_reference("sgd"), steps=1)
    assert verify.optimizer(optim.sgd(), SGD, steps=1).passed


@pytest.mark.slow
def test_importing_verify_does_not_import_torch() -> None:
    program = "import sys, jaxmnist.verify; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
