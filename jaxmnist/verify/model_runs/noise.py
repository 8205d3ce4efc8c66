"""The noise of a computation's rounding: every intermediate value perturbed by one unit.

A sum that is zero on paper, such as the gradient of a bias before a normalisation, is in practice
whatever its terms' roundings leave: no error can be measured against it. Perturbing every
intermediate value, and not only the inputs, shows how large these leftovers are, since each term
is perturbed by itself.
"""

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.verify.jaxprs import bind, called, evaluate
from jaxmnist.verify.rounding import epsilon

_SIGNS: Final = 8191
"""The length of the pattern of signs: prime, so that no axis of an array has its period."""

_ROUNDING: Final = frozenset(
    (
        *("add", "add_any", "sub", "mul", "div", "rem", "pow", "integer_pow", "square"),
        *("sqrt", "rsqrt", "cbrt", "exp", "exp2", "expm1", "log", "log1p", "logistic"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh"),
        *("asinh", "acosh", "atanh", "erf", "erfc", "erf_inv", "lgamma", "digamma"),
        *("dot_general", "ragged_dot_general", "conv_general_dilated", "scatter-add"),
        *("reduce_sum", "reduce_prod", "reduce_window_sum"),
        *("cumsum", "cumprod", "cumlogsumexp"),
    )
)
"""The primitives whose results are rounded; the others choose, move or compare."""


def signs(seed: int) -> np.ndarray:
    """Draw the pattern of signs that a perturbation repeats.

    Args:
        seed: Of the signs.

    Returns:
        A vector of 1 and -1.
    """
    return np.random.default_rng(seed).choice([-1.0, 1.0], _SIGNS)


def perturbed(array: np.ndarray, dtype: str, seed: int) -> np.ndarray:
    """Perturb each element by one unit in the last place, up or down; zeros stay.

    Args:
        array: Any; only floats of `dtype` change.
        dtype: float64 or float32.
        seed: Of the directions.

    Returns:
        The perturbed array.
    """
    if array.dtype != np.dtype(dtype):
        return array
    up = np.resize(signs(seed), array.shape)
    return np.asarray(array * (1 + epsilon(dtype) * up), dtype)


def with_perturbed_intermediates(function: Callable[..., Any], dtype: str) -> Callable[..., Any]:
    """Let a function round every intermediate value of a dtype one unit up or down.

    Values of a narrower dtype are not perturbed: where a float64 computation contains a float32
    one, its rounding is an error to find, and no noise to allow.

    Args:
        function: Of arrays, to a tree of arrays.
        dtype: float64 or float32.

    Returns:
        ``perturbed(pattern, *arguments)`` with a pattern from `signs`, which can be jitted.
    """

    def run(pattern: Any, *arguments: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        evaluator = _Evaluator(jnp.asarray(pattern, dtype) * epsilon(dtype), np.dtype(dtype))
        flat = [evaluator.moved(jnp.asarray(leaf)) for leaf in jax.tree.leaves(arguments)]
        results = evaluator.run(closed.jaxpr, closed.consts, flat)
        return jax.tree.structure(shape).unflatten(results)

    return run


class _Evaluator:
    """Evaluates a jaxpr equation by equation, and perturbs what each computes."""

    def __init__(self, pattern: Any, dtype: np.dtype) -> None:
        self._pattern, self._dtype, self._offset = pattern, dtype, 0

    # Arguments of inner calls have been perturbed where they were computed: once more, and a
    # comparison with the maximum of the same values would find it nowhere.
    def run(self, jaxpr: Any, constants: Any, arguments: Any) -> list[Any]:
        values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))
        return evaluate(jaxpr, values, self._equation)

    def _equation(self, equation: Any, arguments: list[Any]) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        if name == "scan":
            return self._scan(params, arguments)
        if (inner := called(equation)) is not None:
            return self.run(*inner, arguments)
        results = bind(equation, arguments)
        return [self.moved(x) for x in results] if name in _ROUNDING else results

    def _scan(self, params: Any, arguments: list[Any]) -> list[Any]:
        closed, split = params["jaxpr"], params["num_consts"]
        carried = split + params["num_carry"]
        constants = arguments[:split]

        def body(carry: Any, xs: Any) -> tuple[Any, Any]:
            results = self.run(closed.jaxpr, closed.consts, [*constants, *carry, *xs])
            return results[: carried - split], results[carried - split :]

        carry, ys = jax.lax.scan(
            body,
            arguments[split:carried],
            arguments[carried:],
            length=params["length"],
            reverse=params["reverse"],
        )
        return [*carry, *ys]

    def moved(self, x: Any) -> Any:
        if jnp.result_type(x) != self._dtype:
            return x
        self._offset = (self._offset + 997) % _SIGNS
        at = (jnp.arange(np.size(x)) + self._offset) % _SIGNS
        return x + x * self._pattern[at].reshape(np.shape(x))
