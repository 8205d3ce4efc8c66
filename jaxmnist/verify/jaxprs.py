"""A jaxpr evaluated equation by equation, for those who do something with every value of it."""

from collections.abc import Callable
from typing import Any, Final

import jax.extend.core as jex

CALLS: Final = frozenset(
    (
        *("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"),
        *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin"),
    )
)
"""The primitives that only call a jaxpr of theirs."""


def evaluate(
    jaxpr: Any,
    known: dict[Any, Any],
    each: Callable[[Any, list[Any]], list[Any]],
    literal: Callable[[jex.Literal], Any] = lambda atom: atom.val,
) -> list[Any]:
    """Evaluate a jaxpr.

    Args:
        jaxpr: The program, without its constants.
        known: What stands for its constants and arguments, by variable; the results are added.
        each: From an equation and what stands for its arguments to what stands for its results.
        literal: What stands for a literal.

    Returns:
        What stands for the program's results.
    """

    def read(atom: Any) -> Any:
        return literal(atom) if isinstance(atom, jex.Literal) else known[atom]

    for equation in jaxpr.eqns:
        results = each(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def called(equation: Any) -> tuple[Any, Any] | None:
    """Return the jaxpr that an equation only calls, and its constants.

    Args:
        equation: Of a jaxpr.

    Returns:
        None if it is no call.
    """
    if equation.primitive.name not in CALLS:
        return None
    for inner in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if inner in equation.params:
            closed = equation.params[inner]
            return getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())
    return None


def bind(equation: Any, arguments: list[Any]) -> list[Any]:
    """Compute an equation's results by its own primitive.

    Args:
        equation: Of a jaxpr.
        arguments: Arrays.

    Returns:
        Arrays.
    """
    found = equation.primitive.get_bind_params(equation.params)
    # Until JAX 0.9 the inner functions came apart from the parameters.
    functions, params = found if isinstance(found, tuple) else ((), found)
    with equation.ctx.manager:
        results = equation.primitive.bind(*functions, *arguments, **params)
    return list(results) if equation.primitive.multiple_results else [results]
