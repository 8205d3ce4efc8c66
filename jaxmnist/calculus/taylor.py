"""Taylor expansions of any order, by automatic differentiation (tutorial row D17)."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental.jet import jet
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array, Float

from jaxmnist.calculus.powers import evaluate_with_exact_powers
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

    All orders come out of one pass that carries a truncated series through f (`jet`). Where its
    rules give NaN, powers of f with whole exponents, such as ``x**2.0``, are multiplied out, which
    is exact at 0 and below. Where that gives NaN too, or an operation has no rule, forward-mode
    derivatives are nested; their program doubles with every order, so compiling order 10 takes
    seconds.

    A derivative that is infinite, such as that of ``sqrt`` at 0, gives infinite coefficients. At a
    kink the derivative is JAX's, 1 for ``abs`` and 1/2 for ``maximum(x, 0)`` at 0, and that of
    ``where`` is the selected branch's. Where f itself is NaN all coefficients are.

    Args:
        f: From one real number to one real number, written in JAX.
        x0: A real number, not an integer.
        order: The highest derivative, at least 0.

    Returns:
        The ``order + 1`` coefficients, the constant first, in f's dtype.

    Raises:
        InputError: x0 is not one real number, f does not return one, or the order is below 0; or
            f has a value at x0 and some derivative comes out as NaN. Inside a transformation
            the values are not known yet, and such a NaN stays.

    Source: tutorial row D17.

    >>> print(taylor_coefficients(lambda x: x**3, 2.0, order=4))
    [ 8. 12.  6.  1.  0.]
    """
    if order < 0:
        raise InputError(f"order is {order}; it must be at least 0")
    center = _real_number(x0)
    # Here f runs, and raises what it raises; from here on only its trace is evaluated.
    traced, result = jax.make_jaxpr(f, return_shape=True)(center)
    if not (_is_array(result) and result.shape == () and _is_real(result.dtype)):
        raise InputError(
            f"f returns {_described(result)} at a number; it must return one real number: "
            "expand one output at a time"
        )

    def as_it_is(x: Any) -> Any:
        return jaxpr_as_fun(traced)(x)[0]

    def exactly(x: Any) -> Any:
        return evaluate_with_exact_powers(traced, x)[0]

    if isinstance(center, Tracer) or any(isinstance(c, Tracer) for c in traced.consts):
        # What is NaN is not known yet.
        found = _by_series(exactly, center, order)
        return _by_nesting(exactly, center, order) if found is None else found
    found = _by_series(as_it_is, center, order)
    if found is not None and _is_known(found):
        return found
    if found is not None:
        found = _by_series(exactly, center, order)
    if found is None or not _is_known(found):
        nested = _by_nesting(exactly, center, order)
        found = nested if found is None else jnp.where(jnp.isnan(nested), found, nested)
    _check_known(found, center)
    return found


def _is_known(coefficients: Float[Array, " powers"]) -> bool:
    return isinstance(coefficients, Tracer) or not bool(jnp.isnan(coefficients).any())


def _check_known(coefficients: Float[Array, " powers"], x0: Float[Array, ""]) -> None:
    """Refuse a NaN, unless f itself is NaN."""
    if _is_known(coefficients):
        return
    unknown = np.isnan(coefficients)
    if not unknown[0]:
        first = int(unknown.argmax())
        raise InputError(
            f"the derivative of order {first} at x0 = {x0} comes out as NaN, though f is "
            f"{coefficients[0]} there: either it does not exist, or its formula divides 0 by 0; "
            f"take another x0, an order of at most {first - 1}, or write f without the quotient, "
            "root, logarithm or power that is not smooth there"
        )


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
    except Exception:
        # What `jet` raises where a rule is missing, or f has a custom one, differs from version to
        # version. It is not f's own: f has been traced before. Rules of f's that raise do so
        # again when derivatives are nested.
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
