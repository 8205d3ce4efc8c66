"""Causes that are an elementwise function: another activation, another form or slope of one."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from jaxmnist.verify.locate.align import ordered
from jaxmnist.verify.locate.forward import Alignment
from jaxmnist.verify.locate.torch_trace import Operation
from jaxmnist.verify.locate.trial import Hypothesis, counterparts


def activations(torch: Any) -> dict[str, Callable[[Any], Any]]:
    """List elementwise functions by the words that name them as a cause."""
    functional = torch.nn.functional
    return {
        "GELU's form: tanh approximation": lambda x: functional.gelu(x, approximate="tanh"),
        "GELU's form: erf": functional.gelu,
        "GELU's form: x·sigmoid(1.702 x)": lambda x: x * torch.sigmoid(1.702 * x),
        "activation: ReLU": functional.relu,
        "activation: ReLU6": functional.relu6,
        "activation: SiLU": functional.silu,
        "activation: tanh": torch.tanh,
        "activation: sigmoid": torch.sigmoid,
        "activation: ELU": functional.elu,
        "activation: SELU": functional.selu,
        "activation: CELU": functional.celu,
        "activation: softplus": functional.softplus,
        "activation: mish": functional.mish,
        "activation: hard swish": functional.hardswish,
        "activation: hard sigmoid": functional.hardsigmoid,
        "activation: hard tanh": functional.hardtanh,
        "activation: magnitude": torch.abs,
        "activation: square": torch.square,
        "activation: squared ReLU": lambda x: functional.relu(x) ** 2,
        "activation: softsign": functional.softsign,
        "activation: log sigmoid": functional.logsigmoid,
        **{
            f"activation: leaky ReLU of slope {slope}": lambda x, slope=slope: (
                functional.leaky_relu(x, slope)
            )
            for slope in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.3)
        },
    }


ACTIVATIONS: Final = frozenset(
    name + end
    for name in (
        *("relu", "relu6", "gelu", "silu", "tanh", "sigmoid", "elu", "selu", "celu", "softplus"),
        *("mish", "hardswish", "hardsigmoid", "hardtanh", "leaky_relu", "_prelu_kernel"),
        *("softsign", "abs", "log_sigmoid_forward", "clamp", "clamp_min", "pow", "exp", "erf"),
    )
    for end in ("", "_")
)


def activation(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    """Yield other elementwise functions in the place of an operation.

    Args:
        alignment: Of the two programs.
        index: The position of the operation.
        operation: The operation.

    Yields:
        Changes to it.
    """
    import torch

    own = operation.name.rstrip("_")
    form = operation.keywords.get("approximate", "none")
    forms = {"none": "erf", "tanh": "tanh approximation"}
    name = own.upper() if own == "gelu" else own
    given = alignment.theirs.values[operation.inputs[0]].tensor
    for words, function in activations(torch).items():
        # What leaves its input as it is is no activation.
        if torch.equal(function(given), given):
            continue
        changed = operation._replace(
            function=lambda x, *_, function=function, **__: function(x), keywords={}
        )
        is_form = own == "gelu" and words.startswith("GELU")
        theirs = forms[form] if is_form else name
        yield Hypothesis(f"{words} in JAX, {theirs} in PyTorch", {index: changed})
    x = ordered(alignment.theirs.values[operation.inputs[0]].array())
    if x[0] >= 0:
        return
    functional = torch.nn.functional
    # Both grow with x, so that the least of x is where the least of the result is.
    for number in counterparts(alignment, index, 4):
        least = float(ordered(alignment.ours.values[number].array)[0])
        slope, alpha = least / x[0], least / np.expm1(x[0])
        solved = {
            f"leaky ReLU of slope {slope:.6g}": lambda x, c=slope: functional.leaky_relu(x, c),
            f"ELU of alpha {alpha:.6g}": lambda x, c=alpha: functional.elu(x, c),
        }
        for words, function in solved.items():
            changed = operation._replace(
                function=lambda x, *_, function=function, **__: function(x), keywords={}
            )
            yield Hypothesis(f"activation: {words} in JAX, {name} in PyTorch", {index: changed})
