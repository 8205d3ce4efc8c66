"""`verify.model` on inputs and outputs of any structure, and on models that raise."""

import dataclasses
from collections import OrderedDict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxmnist import verify
from jaxmnist.errors import InputError

X = np.random.default_rng(0).normal(size=(6, 5))
LINEAR = torch.nn.Linear(5, 3)
PARAMS = {name: p.detach().numpy() for name, p in LINEAR.named_parameters()}


@pytest.fixture(autouse=True)
def _other_peoples_functions():
    """They add a bias to a batch."""
    with jax.numpy_rank_promotion("allow"):
        yield


@dataclasses.dataclass
class Data:
    logits: Any
    hidden: Any = None


class Pair(NamedTuple):
    logits: Any
    hidden: Any


@dataclasses.dataclass
class ModelOutput(OrderedDict):
    """A mapping and a dataclass in one, as a well-known library has it."""

    logits: Any = None
    hidden: Any = None
    loss: Any = None

    def __post_init__(self):
        self.update({k: v for k, v in vars(self).items() if v is not None})


class Returning(torch.nn.Linear):
    """A linear layer that returns whatever a function makes of its output."""

    def __init__(self, function):
        super().__init__(5, 3)
        self.function = function

    def forward(self, input):
        return self.function(super().forward(input), input)


def linear(p, x):
    return x @ p["weight"].T + p["bias"]


def compared(ours, theirs, inputs=X):
    return verify.model(lambda p, x: ours(linear(p, x), x), PARAMS, Returning(theirs), inputs)


BOTH = {
    "a tuple": lambda y, x: (y, y * x[0, 0]),
    "a dict": lambda y, x: {"logits": y, "hidden": y * x[0, 0]},
    "a nested dict": lambda y, x: {"out": {"logits": y}, "all": [y * x[0, 0], y]},
    "a dataclass": lambda y, x: Data(y, y * x[0, 0]),
    "a named tuple": lambda y, x: Pair(y, y * x[0, 0]),
}


@pytest.mark.slow_except("a dataclass", "a named tuple")
@pytest.mark.parametrize("kind", BOTH)
def test_both_may_return(kind) -> None:
    result = compared(BOTH[kind], BOTH[kind])
    assert result.passed, result
    wrong = compared(
        lambda y, x: (
            jax.tree.map(lambda leaf: leaf * 1.0000001, BOTH[kind](y, x))
            if kind != "a dataclass"
            else Data(y, y)
        ),
        BOTH[kind],
    )
    assert not wrong["outputs"].passed


@pytest.mark.parametrize("kind", ["a dataclass", "a named tuple", "ModelOutput"])
def test_the_same_names_are_the_same_outputs_whatever_holds_them(kind) -> None:
    theirs = BOTH.get(kind, lambda y, x: ModelOutput(logits=y, hidden=y * x[0, 0]))
    result = compared(BOTH["a dict"], theirs)
    assert result.passed, result
    other = compared(lambda y, x: {"logits": y, "hidden": y}, theirs)["outputs"]
    assert other.first_divergence is not None
    assert other.first_divergence.leaf == "hidden"


def test_one_output_on_each_side_is_a_pair() -> None:
    result = compared(lambda y, x: y, lambda y, x: ModelOutput(logits=y))
    assert result.passed, result
    assert [part.name for part in result] == ["logits", "loss", "gradients"]


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(PARAMS["weight"]))

    def forward(self, ids, scale):
        table = torch.nn.functional.embedding(ids, self.weight)
        return table.sum(1) * scale


def two(p, ids, scale):
    return p["weight"][ids].sum(1) * scale


IDS, SCALE = np.array([[0, 1], [2, 2], [1, 0]]), np.full((3, 1), 0.3)


@pytest.mark.parametrize("inputs", [(IDS, SCALE), {"scale": SCALE, "ids": IDS}])
def test_several_inputs_are_arguments_or_keywords(inputs) -> None:
    params = {"weight": PARAMS["weight"]}
    assert verify.model(two, params, Two(), inputs).passed
    wrong = verify.model(
        lambda p, ids, scale: two(p, ids, jax.lax.stop_gradient(scale)), params, Two(), inputs
    )
    assert wrong.first_divergence is not None
    assert wrong.first_divergence.leaf.startswith("the inputs[")


def test_a_dict_as_one_argument_is_put_into_a_tuple() -> None:
    class Batch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            linear_layer = torch.nn.Linear(5, 3)
            self.weight, self.bias = linear_layer.weight, linear_layer.bias

        def forward(self, batch):
            return torch.nn.functional.linear(batch["x"], self.weight, self.bias)

    assert verify.model(lambda p, b: linear(p, b["x"]), PARAMS, Batch(), ({"x": X},)).passed


def test_a_module_without_parameters_is_tested_by_its_inputs_gradient() -> None:
    gelu = torch.nn.GELU()
    assert verify.model(lambda p, x: jax.nn.gelu(x, approximate=False), {}, gelu, X).passed
    assert not verify.model(lambda p, x: jax.nn.gelu(x), {}, gelu, X).passed


def test_dropout_draws_the_same_masks_in_all_runs_of_the_module() -> None:
    """So that they are no noise: a model without dropout must not agree with one that has it."""
    module = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Dropout(0.5)).train()
    params = {"0": PARAMS}
    state = torch.get_rng_state()
    assert not verify.model(lambda p, x: linear(p["0"], x), params, module, X).passed
    assert torch.equal(torch.get_rng_state(), state)
    assert verify.model(lambda p, x: linear(p["0"], x), params, module.eval(), X).passed


# --- What cannot be compared ---


def raising(*args):
    raise KeyError("attention_mask")


class Foreign:
    pass


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, *grad_outputs):
        raise RuntimeError("no way back\nand more lines")


BAD = {
    "apply_fn raises": (
        {"ours": raising},
        r"^apply_fn raised on float64 inputs of shape \(6, 5\): 'attention_mask' \(KeyError\)$",
    ),
    "apply_fn needs values": (
        {"ours": lambda y, x: np.asarray(y)},
        r"^apply_fn raised on float64 inputs of shape \(6, 5\): .* \(TracerArrayConversionError\)$",
    ),
    "apply_fn returns what is no array": (
        {"ours": lambda y, x: {"logits": y, "extra": Foreign()}},
        r"^apply_fn returned a Foreign at extra; it must return arrays, or a tuple, mapping",
    ),
    "the module raises": (
        {"theirs": raising},
        r"^the torch module raised on float64 inputs of shape .*: 'attention_mask' \(KeyError\)$",
    ),
    "the module's backward raises": (
        {"theirs": lambda y, x: Backward.apply(y)},
        r"^the torch module raised RuntimeError on backward: no way back$",
    ),
    "the module returns text": (
        {"theirs": lambda y, x: (y, "text")},
        r"^the torch module returned a str at 1; it must return arrays",
    ),
    "other names": (
        {"ours": BOTH["a dict"], "theirs": lambda y, x: {"logits": y, "states": y}},
        r"^apply_fn returns .*hidden \(6, 3\).*, and the torch module logits \(6, 3\), states "
        r"\(6, 3\); both must return arrays of the same names$",
    ),
    "one of two": (
        {"theirs": BOTH["a tuple"]},
        r"^apply_fn returns an array of \(6, 3\), and the torch module 0 \(6, 3\), 1 \(6, 3\);",
    ),
    "other shapes": (
        {"ours": BOTH["a dict"], "theirs": lambda y, x: {"logits": y, "hidden": y.T}},
        r"^output hidden has shape \(6, 3\) here and \(3, 6\) in the torch module; both must",
    ),
    "nothing": (
        {"theirs": lambda y, x: None},
        r"and the torch module none; both must return at least one array",
    ),
    "NaN on both sides": (
        {
            "ours": lambda y, x: jnp.sqrt(-x) + y[:, :1],
            "theirs": lambda y, x: (-x).sqrt() + y[:, :1],
        },
        r"^logits: logits\[0, \d\] is nan here and in the torch module; it must be a number",
    ),
    "an input that is text": ({"inputs": {"x": np.array(["a"])}}, r"^inputs\['x'\] has dtype <U1"),
    "inputs that are NaN": (
        {"inputs": {"x": X * np.nan}},
        r"^inputs\['x'\]\[0, 0\] is nan; every number must be finite$",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_compared_is_one_line(case) -> None:
    change, message = BAD[case]
    same = {"ours": lambda y, x: y, "theirs": lambda y, x: y, "inputs": X}
    with pytest.raises(InputError, match=message) as caught:
        compared(**{**same, **change})
    assert "\n" not in str(caught.value)
    if "raise" in case:
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("params", "module", "message"),
    [
        (PARAMS | {"bias": PARAMS["bias"] * np.nan}, LINEAR, r"^bias\[0\] is nan"),
        (
            PARAMS | {"bias": linear},
            LINEAR,
            r"^the params have no 'bias', which is \(3,\) in .*apply_fn raised",
        ),
        (PARAMS | {"bias": 1j * PARAMS["bias"]}, LINEAR, r"^bias is complex; .* must be real"),
        (PARAMS, "a module", r"^the torch module is a str; it must be a torch\.nn\.Module$"),
        (PARAMS, torch.nn.LazyLinear(3), r"^the torch module raised .* asked for its parameters"),
        ({"weight": PARAMS["weight"]}, LINEAR, r"^the params have no 'bias', which is \(3,\) in"),
    ],
    ids=["NaN", "a function", "complex", "no module", "lazy", "missing"],
)
def test_parameters_that_do_not_fit_are_named(params, module, message) -> None:
    with pytest.raises(InputError, match=message):
        verify.model(linear, params, module, X)
