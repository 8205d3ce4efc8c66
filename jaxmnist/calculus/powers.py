"""Powers with whole exponents multiplied out, so that all their derivatives are exact.

JAX differentiates ``x**2.0`` as it does ``x**c``: the third derivative is 0 · x**-1, NaN at 0.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer, eval_jaxpr
from jax.extend import core


def evaluate_with_exact_powers(closed: core.ClosedJaxpr, *arguments: Any) -> list[Any]:
    """Evaluate a jaxpr, but each power whose exponent is a known whole number as a product.

    Exponents are known that do not depend on the arguments. Functions under `jax.jit` are opened;
    those with a derivative of their own, loops and branches are evaluated as they are.

    Args:
        closed: The jaxpr.
        arguments: Its arguments, which may be traced.

    Returns:
        Its results.

    >>> cube = jax.make_jaxpr(lambda x: x**3.0)(1.0)
    >>> print(jax.grad(lambda x: evaluate_with_exact_powers(cube, x)[0])(-2.0))
    12.0
    """
    jaxpr = closed.jaxpr
    variables = (*jaxpr.constvars, *jaxpr.invars)
    at: dict[Any, Any] = dict(zip(variables, (*closed.consts, *arguments), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else at[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        name = equation.primitive.name
        if not any(isinstance(operand, Tracer) for operand in operands):
            with jax.ensure_compile_time_eval():  # Else an exponent would be traced.
                results: Sequence[Any] = _evaluate(jaxpr, equation, operands)
        elif name in ("jit", "pjit"):
            results = evaluate_with_exact_powers(equation.params["jaxpr"], *operands)
        elif name == "pow" and not isinstance(operands[1], Tracer):
            results = [_power(operands[0], np.asarray(operands[1]))]
        elif name == "integer_pow":
            results = [_product(operands[0], equation.params["y"])]
        else:
            results = _evaluate(jaxpr, equation, operands)
        at.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _evaluate(jaxpr: Any, equation: Any, operands: Sequence[Any]) -> list[Any]:
    """One equation as it is."""
    arguments = {
        atom: operand
        for atom, operand in zip(equation.invars, operands, strict=True)
        if not isinstance(atom, core.Literal)
    }
    alone = jaxpr.replace(
        constvars=[], invars=list(arguments), outvars=equation.outvars, eqns=[equation]
    )
    return eval_jaxpr(alone, [], *arguments.values())


def _power(base: Any, exponents: np.ndarray) -> Any:
    """Element by element, a product where the exponent is whole."""
    shape = np.broadcast_shapes(jnp.shape(base), exponents.shape)
    base, exponents = jnp.broadcast_to(base, shape), np.broadcast_to(exponents, shape)
    whole = np.isfinite(exponents) & (exponents == np.round(exponents))
    result = base
    if not whole.all():
        # Of what is whole neither branch may be NaN.
        safe = base if not whole.any() else jnp.where(whole, jnp.ones_like(base), base)
        result = jax.lax.pow(safe, jnp.asarray(np.where(whole, 1, exponents), base.dtype))
    for exponent in np.unique(exponents[whole]):
        power = _product(base, int(exponent))
        here = exponents == exponent
        result = power if here.all() else jnp.where(here, power, result)
    return result


def _product(base: Any, exponent: int) -> Any:
    """base^exponent by repeated squaring."""
    if exponent < 0:
        return jnp.ones_like(base) / _product(base, -exponent)
    result, square = None, base
    while exponent:
        if exponent % 2:
            result = square if result is None else result * square
        exponent //= 2
        if exponent:
            square = square * square
    return jnp.ones_like(base) if result is None else result
