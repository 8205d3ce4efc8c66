"""The tutorial's two worked examples of backpropagation, every node of them, in three ways.

`jax.grad` is compared with the chain rule by hand, with central finite differences, and with the
numbers that the tutorial prints (rows D12 and D13).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.verify.compare import Comparer, Comparison, Comparisons
from jaxmnist.verify.precision import check_dtype, precision
from jaxmnist.verify.rounding import allowed_by_arithmetic, epsilon

Numbers = Mapping[str, Any]


def calculus(*, dtype: str = "float64") -> Comparisons:
    """Compare `jax.grad` with the chain rule by hand, finite differences and the tutorial.

    What is allowed: 16 ``eps`` from the chain rule, for some ten operations; from the tutorial,
    half of its last printed digit, and 4 ``eps`` beyond (`jaxmnist.verify.rounding`). A central
    difference over ``2h`` is wrong by ``h² f'''/6``, and by ``eps f/h`` of rounding; ``h`` is the
    power of two at ``eps^(1/3)``, which makes both about ``h²``, and 16 of it are allowed.

    Args:
        dtype: float64 or float32, of JAX's arithmetic; by hand it is double precision.

    Returns:
        Three comparisons of each example. Their leaves are the nodes, such as "q", and the
        gradients, such as "df/dq".

    Raises:
        InputError: An unknown dtype.

    Source: tutorial rows D12 and D13.

    >>> result = calculus()
    >>> result.passed, [part.name for part in result][:2]
    (True, ['D12 by the chain rule', 'D12 by finite differences'])
    """
    check_dtype(dtype)
    with precision(dtype):
        parts = tuple(part for example in _EXAMPLES for part in _compare(example, dtype))
    return Comparisons(f"gradients by JAX and by hand, {dtype}", parts)


class _Example(NamedTuple):
    """An expression at a point.

    The expression takes a number for each input and one for each node, 0, which it adds to that
    node. The derivative by this number is the node's gradient, as the inputs' are theirs.
    """

    row: str
    """Of the tutorial."""
    output: str
    inputs: Mapping[str, float]
    nodes: Callable[[Numbers], dict[str, Any]]
    """From the numbers to the value of every node, in order."""
    by_hand: Callable[..., dict[str, float]]
    """From the inputs to the nodes and the gradients, worked out on paper."""
    printed: Mapping[str, float]
    """The tutorial's numbers."""


def _compare(example: _Example, dtype: str) -> list[Comparison]:
    h = 2.0 ** round(np.log2(epsilon(dtype)) / 3)
    output = example.output
    by_hand = example.by_hand(**example.inputs)
    at = {name.removeprefix(f"d{output}/d"): 0.0 for name in by_hand} | dict(example.inputs)
    at = {name: jnp.asarray(x, dtype) for name, x in at.items()}

    def value(at: Numbers) -> Any:
        return example.nodes(at)[output]

    def difference(name: str) -> Any:
        return (value({**at, name: at[name] + h}) - value({**at, name: at[name] - h})) / (2 * h)

    by_jax = _as_gradients(output, jax.grad(value)(at))
    by_differences = _as_gradients(output, {name: difference(name) for name in at})

    def compare(
        name: str, actual: Numbers, expected: Numbers, tolerance: float, slack: float = 0.0
    ) -> Comparison:
        comparer = Comparer(f"{example.row} {name}", tolerance)
        here, there = (
            {leaf: np.asarray(numbers[leaf]) for leaf in expected} for numbers in (actual, expected)
        )
        comparer.add(0, here, there, slack={leaf: np.asarray(slack) for leaf in expected})
        return comparer.result()

    every = example.nodes(at) | by_jax
    return [
        compare("by the chain rule", every, by_hand, allowed_by_arithmetic(16, dtype)),
        compare("by finite differences", by_jax, by_differences, 16 * h**2),
        compare(
            "as the tutorial prints it",
            every,
            example.printed,
            allowed_by_arithmetic(4, dtype),
            slack=0.5e-6,
        ),
    ]


def _as_gradients(output: str, numbers: Numbers) -> dict[str, Any]:
    return {f"d{output}/d{name}": number for name, number in numbers.items()}


def _product_of_a_sum(at: Numbers) -> dict[str, Any]:
    """The tutorial's (x + y) z, with q = x + y."""
    q = at["x"] + at["y"] + at["q"]
    f = q * at["z"] + at["f"]
    return {"q": q, "f": f}


def _product_of_a_sum_by_hand(x: float, y: float, z: float) -> dict[str, float]:
    q = x + y
    f = q * z
    df = 1.0
    dq, dz = z * df, q * df
    dx, dy = dq, dq
    return {"q": q, "f": f} | _as_gradients("f", {"f": df, "q": dq, "z": dz, "x": dx, "y": dy})


def _neuron(at: Numbers) -> dict[str, Any]:
    """The sigmoid of w0 x0 + w1 x1 + w2, one operation a node."""
    w0x0 = at["w0"] * at["x0"] + at["w0x0"]
    w1x1 = at["w1"] * at["x1"] + at["w1x1"]
    products = w0x0 + w1x1 + at["products"]
    z = products + at["w2"] + at["z"]
    minus = -z + at["minus"]
    power = jnp.exp(minus) + at["power"]
    below = 1 + power + at["below"]
    a = 1 / below + at["a"]
    return {
        "w0x0": w0x0,
        "w1x1": w1x1,
        "products": products,
        "z": z,
        "minus": minus,
        "power": power,
        "below": below,
        "a": a,
    }


def _neuron_by_hand(w0: float, w1: float, w2: float, x0: float, x1: float) -> dict[str, float]:
    w0x0, w1x1 = w0 * x0, w1 * x1
    products = w0x0 + w1x1
    z = products + w2
    minus = -z
    power = float(np.exp(minus))
    below = 1 + power
    a = 1 / below
    nodes = {
        "w0x0": w0x0,
        "w1x1": w1x1,
        "products": products,
        "z": z,
        "minus": minus,
        "power": power,
        "below": below,
        "a": a,
    }
    da = 1.0
    dbelow = -1 / below**2 * da
    dpower = dbelow
    dminus = power * dpower
    dz = -dminus
    dproducts = dw2 = dz
    dw0x0 = dw1x1 = dproducts
    gradients = {
        "a": da,
        "below": dbelow,
        "power": dpower,
        "minus": dminus,
        "z": dz,
        "products": dproducts,
        "w2": dw2,
        "w0x0": dw0x0,
        "w1x1": dw1x1,
        "w0": x0 * dw0x0,
        "x0": w0 * dw0x0,
        "w1": x1 * dw1x1,
        "x1": w1 * dw1x1,
    }
    return nodes | _as_gradients("a", gradients)


_EXAMPLES = (
    _Example(
        "D12",
        "f",
        {"x": -2.0, "y": 5.0, "z": -4.0},
        _product_of_a_sum,
        _product_of_a_sum_by_hand,
        {"q": 3, "f": -12, "df/dq": -4, "df/dz": 3, "df/dx": -4, "df/dy": -4},
    ),
    _Example(
        "D13",
        "a",
        {"w0": 2.0, "w1": -3.0, "w2": -3.0, "x0": -1.0, "x1": -2.0},
        _neuron,
        _neuron_by_hand,
        {
            "w0x0": -2,
            "w1x1": 6,
            "products": 4,
            "z": 1,
            "minus": -1,
            "power": 0.367879,
            "below": 1.367879,
            "a": 0.731059,
            "da/da": 1,
            "da/dbelow": -0.534447,
            "da/dpower": -0.534447,
            "da/dminus": -0.196612,
            "da/dz": 0.196612,
            "da/dw0": -0.196612,
            "da/dx0": 0.393224,
            "da/dw1": -0.393224,
            "da/dx1": -0.589836,
            "da/dw2": 0.196612,
        },
    ),
)
