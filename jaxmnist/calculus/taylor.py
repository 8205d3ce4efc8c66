"""Taylor expansions of any order, by automatic differentiation (tutorial row D17)."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.experimental.jet import jet
from jaxtyping import Array, Float

from jaxmnist.errors import InputError


def taylor(
    f: Callable[[Any], Any], x0: Any, order: int
) -> Callable[[Float[Array, "*points"]], Float[Array, "*points"]]:
    """Build the Taylor polynomial of a function.

    ``T(x) = sum_k c_k (x - x0)^k`` for ``k = 0 ... order``, with the c of `taylor_coefficients`.

    Args:
        f: From one real number to one real number, written in JAX.
        x0: Where the polynomial has the value and the first `order` derivatives of f.
        order: The highest power, at least 0.

    Returns:
        T, which takes points of any shape in the dtype of x0.

    Raises:
        InputError: As `taylor_coefficients`.

    Source: tutorial row D17.

    >>> print(taylor(jnp.exp, 0.0, order=1)(jnp.array([-1.0, 0.0, 2.0])))
    [0. 1. 3.]
    """
    center = _real_number(x0)
    coefficients = taylor_coefficients(f, center, order)

    def polynomial(x: Float[Array, "*points"]) -> Float[Array, "*points"]:
        value = jnp.zeros_like(x)
        for coefficient in coefficients[::-1]:
            value = value * (x - center) + coefficient
        return value

    return polynomial


def taylor_coefficients(f: Callable[[Any], Any], x0: Any, order: int) -> Float[Array, " powers"]:
    """Differentiate a function `order` times at a point, and divide by the factorials.

    ``c_k = f^(k)(x0) / k!`` for ``k = 0 ... order``.

    All orders come out of one pass that carries a truncated series through f (`jet`). Where an
    operation has no rule for that, or its rule gives NaN, forward-mode derivatives are nested;
    their program doubles with every order, so compiling order 10 takes seconds.

    Args:
        f: From one real number to one real number, written in JAX.
        x0: A real number, not an integer.
        order: The highest derivative, at least 0.

    Returns:
        The ``order + 1`` coefficients, the constant first, in f's dtype.

    Raises:
        InputError: x0 is not one real number, f does not return one, or the order is below 0.

    Source: tutorial row D17.

    >>> print(taylor_coefficients(lambda x: x**3, 2.0, order=4))
    [ 8. 12.  6.  1.  0.]
    """
    if order < 0:
        raise InputError(f"order is {order}; it must be at least 0")
    center = _real_number(x0)
    result = jax.eval_shape(f, center)
    if not (_is_array(result) and result.shape == () and _is_real(result.dtype)):
        raise InputError(
            f"f returns {_described(result)} at a number; it must return one real number: "
            "expand one output at a time"
        )
    coefficients = _by_series(f, center, order)
    # Inside a transformation the values are not known yet; then NaN stays.
    if coefficients is None or (
        not isinstance(coefficients, Tracer) and bool(jnp.isnan(coefficients).any())
    ):
        coefficients = _by_nesting(f, center, order)
    return coefficients


def _by_series(
    f: Callable[[Any], Any], x0: Float[Array, ""], order: int
) -> Float[Array, " powers"] | None:
    """One pass with a truncated series, or None where an operation has no rule for it."""

    def series(x: Float[Array, ""]) -> Float[Array, " powers"]:
        path = [jnp.ones_like(x), *[jnp.zeros_like(x)] * (order - 1)][:order]
        value, terms = jet(f, (x,), (path,), factorial_scaled=False)
        return jnp.stack([jnp.asarray(value), *terms])

    try:
        return jax.jit(series)(x0)
    except (KeyError, NotImplementedError, jax.errors.UnexpectedTracerError):
        # The first two say that a primitive has no rule, the last that f has a custom one.
        # If f itself raised, it does so again when its derivatives are nested.
        return None


def _by_nesting(
    f: Callable[[Any], Any], x0: Float[Array, ""], order: int
) -> Float[Array, " powers"]:
    def value_alone(x: Any) -> tuple[Any, ...]:
        return (f(x),)

    derivatives: Callable[[Any], tuple[Any, ...]] = value_alone
    for _ in range(order):
        derivatives = _with_one_more(derivatives)
    factorials = [math.factorial(k) for k in range(order + 1)]
    values = jax.jit(derivatives)(x0)
    return jnp.stack(
        [value / factorial for value, factorial in zip(values, factorials, strict=True)]
    )


def _with_one_more(
    derivatives: Callable[[Any], tuple[Any, ...]],
) -> Callable[[Any], tuple[Any, ...]]:
    """From f and its first derivatives to those and the next."""

    def extended(x: Float[Array, ""]) -> tuple[Any, ...]:
        values, slopes = jax.jvp(derivatives, (x,), (jnp.ones_like(x),))
        return (*values, slopes[-1])

    return extended


def _real_number(x0: Any) -> Float[Array, ""]:
    dtype, shape = jnp.result_type(x0), jnp.shape(x0)
    if shape != ():
        raise InputError(f"x0 has the shape {shape}; it must be one number: expand at one point")
    if not _is_real(dtype):
        raise InputError(f"x0 is {x0}, of dtype {dtype}; it must be a real number, such as 1.0")
    return jnp.asarray(x0, dtype)


def _is_real(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)


def _is_array(result: Any) -> bool:
    return hasattr(result, "shape") and hasattr(result, "dtype")


def _described(result: Any) -> str:
    return (
        f"{result.dtype}{list(result.shape)}" if _is_array(result) else f"a {type(result).__name__}"
    )
