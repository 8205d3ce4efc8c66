"""Reverse-mode differentiation: what every equation of a jaxpr computes, and what it passes back.

Forward, each equation is evaluated and recorded. Backward, from the last to the first, each
passes the gradient of its results on to its operands by its own vector-Jacobian product; the
contributions to a value from all its uses are summed. That is all of backpropagation.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.extend import core

from jaxmnist.calculus.expression import ATOM, SUM, Expression, operation_name, symbol, write
from jaxmnist.errors import InputError

LONGEST_FORMULA: Final = 24
"""Up to this many characters an operation is named by its formula, such as ``w0*x0 + w1*x1``."""


class Record(NamedTuple):
    """A value that was computed, and its name."""

    name: str
    kind: Literal["input", "constant", "operation"]
    value: jax.Array
    symbol: str = ""
    formula: Expression = Expression("")
    named: bool = False
    """Whether the code gives it its name."""


class Step(NamedTuple):
    """An equation that was evaluated; its values are given by their numbers on the tape."""

    operation: str
    run: Callable[..., list[jax.Array]]
    operands: list[int]
    results: list[int]


class Tape(NamedTuple):
    """What the forward pass records, in its order."""

    records: list[Record]
    steps: list[Step]
    opened_rules: set[str]
    """The functions with a derivative rule of their own whose bodies stand in for it."""

    def add(self, record: Record) -> int:
        """Record a value under a unique name, and return its number."""
        self.records.append(record._replace(name=self._unused(record.name)))
        return len(self.records) - 1

    def name(self, number: int, name: str) -> None:
        """Give an operation the name that it has in the code."""
        if self.records[number].kind != "input":
            name = self._unused(name)
            self.records[number] = self.records[number]._replace(name=name, named=True)

    def _unused(self, name: str) -> str:
        taken = {record.name for record in self.records}
        candidates = (name, *(f"{name}_{count}" for count in range(1, len(taken) + 1)))
        return next(candidate for candidate in candidates if candidate not in taken)


Operand = int | core.Literal
"""What a variable of a jaxpr stands for: a number on the tape, or a literal in the code."""


# ------------------------------------------------------------------------------- forward


def forward(
    closed: core.ClosedJaxpr, arguments: Sequence[Operand], tape: Tape, folded: Collection[str]
) -> list[Operand]:
    """Evaluate a jaxpr equation by equation, and those of the calls in it that are not folded.

    Args:
        closed: The jaxpr.
        arguments: What its variables stand for.
        tape: Where each value and each step is recorded.
        folded: Kinds of calls, and names of functions, that stay one step.

    Returns:
        What its results stand for.
    """
    jaxpr = closed.jaxpr
    constants = [tape.add(Record("constant", "constant", jnp.asarray(c))) for c in closed.consts]
    variables = (*jaxpr.constvars, *jaxpr.invars)
    at: dict[Any, Operand] = dict(zip(variables, (*constants, *arguments), strict=True))

    def read(atom: Any) -> Operand:
        return atom if isinstance(atom, core.Literal) else at[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        call = _nested_call(equation, operands, tape)
        if equation.primitive.name == "name":  # It computes nothing.
            results: Sequence[Operand] = operands
            if isinstance(operands[0], int):
                tape.name(operands[0], equation.params["name"])
        elif call is None or call.kind in folded or call.name in folded:
            name = operation_name(equation.primitive.name) if call is None else call.name
            results = _evaluate(jaxpr, equation, operands, tape, name)
        else:
            if call.kind.startswith("custom"):
                tape.opened_rules.add(call.name)
            results = forward(call.body, operands[call.skip :], tape, folded)
        at.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _evaluate(
    jaxpr: core.Jaxpr,
    equation: core.JaxprEqn,
    operands: Sequence[Operand],
    tape: Tape,
    name: str,
) -> list[int]:
    """Evaluate one equation, and record it as a step."""
    # A value that is used twice is one argument here, and has one derivative.
    arguments: dict[int, Any] = {}
    for operand, atom in zip(operands, equation.invars, strict=True):
        if isinstance(operand, int):
            arguments.setdefault(operand, atom)
    invars: list[Any] = [arguments[o] if isinstance(o, int) else o for o in operands]
    alone = jaxpr.replace(
        constvars=[],
        invars=list(arguments.values()),
        outvars=equation.outvars,
        eqns=[equation.replace(invars=invars)],
    )
    run = partial(eval_jaxpr, alone, [])
    values = run(*(tape.records[number].value for number in arguments))

    texts = [_text(operand, tape) for operand in operands]
    pairs = zip(operands, texts, strict=True)
    literals = [t if isinstance(o, core.Literal) else None for o, t in pairs]
    results = []
    for index, value in enumerate(values):
        part = name if len(values) == 1 else f"{name}[{index}]"
        formula = write(part, equation.params, texts)
        is_short = len(formula.text) <= LONGEST_FORMULA
        drawn = symbol(part, equation.params, literals)
        record = Record(formula.text if is_short else part, "operation", value, drawn, formula)
        results.append(tape.add(record))
    tape.steps.append(Step(name, run, list(arguments), results))
    return results


def _text(operand: Operand, tape: Tape) -> Expression:
    """An operand as it is written in the formula of what uses it."""
    if isinstance(operand, core.Literal):
        value = np.asarray(operand.val)
        text = f"{value:g}" if value.ndim == 0 else "constant"
        return Expression(text, SUM if text.startswith("-") else ATOM)
    record = tape.records[operand]
    is_named_by_formula = record.name == record.formula.text
    return record.formula if is_named_by_formula else Expression(record.name)


class _Call(NamedTuple):
    """A function's call within the function."""

    kind: str
    name: str
    body: core.ClosedJaxpr
    skip: int = 0
    """How many operands come before its arguments."""


_CALLS: Final = {
    "jit": ("jit", "jaxpr"),
    "pjit": ("jit", "jaxpr"),
    "checkpoint": ("checkpoint", "jaxpr"),
    "remat2": ("checkpoint", "jaxpr"),
    "custom_jvp_call": ("custom_jvp", "call_jaxpr"),
    "custom_vjp_call": ("custom_vjp", "call_jaxpr"),
}
"""By JAX's name of the operation: the kind of the call, and which parameter is its body."""


def _nested_call(equation: core.JaxprEqn, operands: Sequence[Operand], tape: Tape) -> _Call | None:
    """The call that an equation makes, if it can be opened."""
    primitive, params = equation.primitive.name, equation.params
    if primitive == "cond":
        index = operands[0]
        branch = tape.records[index].value if isinstance(index, int) else index.val
        return _Call("cond", "cond", params["branches"][int(branch)], skip=1)
    if primitive not in _CALLS:
        return None
    kind, parameter = _CALLS[primitive]
    body = params[parameter]
    closed = core.ClosedJaxpr(body, ()) if isinstance(body, core.Jaxpr) else body
    return _Call(kind, closed.jaxpr.debug_info.func_name, closed)


# ------------------------------------------------------------------------------- backward


class Pull(NamedTuple):
    """What a result passes back to one operand of its step."""

    derivative: jax.Array | None
    """Of the result by the operand, where both are real numbers."""
    contribution: jax.Array
    """To the operand's gradient."""


def backward(
    tape: Tape, inputs: Sequence[int], output: int
) -> tuple[dict[int, jax.Array], dict[tuple[int, int], Pull]]:
    """Pass the gradient back, step by step, from the output to the inputs.

    Args:
        tape: What was computed.
        inputs: The numbers of the inputs.
        output: The number of the output, a real scalar.

    Returns:
        The gradient by number, where one has come: elsewhere it is zero, or there is none. And
        what was passed back, by operand and result, for every step that the output depends on.

    Raises:
        InputError: A step through which an input's gradient must pass has no derivative.
    """
    values = [record.value for record in tape.records]
    varying = reachable(inputs, ((step.operands, step.results) for step in tape.steps))
    gradients = {output: jnp.ones_like(values[output])}
    passed: dict[tuple[int, int], Pull] = {}
    for step in reversed(tape.steps):
        try:
            totals, pulls = _pull_back(step, values, gradients)
        except (NotImplementedError, ValueError) as error:
            is_needed = not gradients.keys().isdisjoint(step.results)
            if is_needed and not varying.isdisjoint(step.operands):
                raise InputError(_no_derivative(step, error)) from error
            continue
        passed.update(pulls)
        for operand, total in totals.items():
            gradients[operand] = gradients.get(operand, 0) + total
    return gradients, passed


def _pull_back(
    step: Step, values: Sequence[jax.Array], gradients: Mapping[int, jax.Array]
) -> tuple[dict[int, jax.Array], dict[tuple[int, int], Pull]]:
    """The vector-Jacobian product of one step by operand, and its part by operand and result."""
    operands = [number for number in step.operands if is_inexact(values[number])]
    results = [number for number in step.results if is_inexact(values[number])]
    if step.operation == "stop_gradient" or not operands or not results:
        return {}, {}

    def run(current: Mapping[int, jax.Array]) -> dict[int, jax.Array]:
        at = [current.get(number, values[number]) for number in step.operands]
        computed = dict(zip(step.results, step.run(*at), strict=True))
        return {number: computed[number] for number in results}

    _, pullback = jax.vjp(run, {number: values[number] for number in operands})
    zeros = {number: jnp.zeros_like(values[number]) for number in results}
    incoming = {number: gradients[number] for number in results if number in gradients}
    (totals,) = pullback({**zeros, **incoming})
    if not incoming:  # Not even an infinite derivative makes zero more.
        totals = {number: jnp.zeros_like(total) for number, total in totals.items()}
    pulls = {}
    for result in results:
        gradient = incoming.get(result, zeros[result])
        parts = totals if len(results) == 1 else pullback({**zeros, result: gradient})[0]
        slopes = {}
        if _is_real_scalar(gradient):
            (slopes,) = pullback({**zeros, result: jnp.ones_like(gradient)})
        for operand, part in parts.items():
            slope = slopes.get(operand)
            if slope is not None and not (
                _is_real_scalar(slope)
                # A custom_vjp rule need not be linear: it may clip the gradient.
                and (not incoming or np.allclose(slope * gradient, part, equal_nan=True))
            ):
                slope = None
            pulls[operand, result] = Pull(slope, part)
    return ({} if not incoming else totals), pulls


def reachable(start: Iterable[int], links: Iterable[tuple[list[int], list[int]]]) -> set[int]:
    """Follow links in their order, from any one of their sources to all of their targets."""
    found = set(start)
    for sources, targets in links:
        if not found.isdisjoint(sources):
            found.update(targets)
    return found


def is_inexact(value: jax.Array) -> bool:
    """Whether a value has a gradient: it is real, or complex inside the function."""
    return jnp.issubdtype(value.dtype, jnp.inexact)


def _is_real_scalar(value: jax.Array) -> bool:
    return value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.floating)


def _no_derivative(step: Step, error: Exception) -> str:
    if step.operation == "while":
        return (
            "the function depends on a while loop, which cannot be differentiated in reverse; use "
            "lax.scan, or lax.fori_loop with Python numbers as its bounds"
        )
    return (
        f"the operation {step.operation} cannot be differentiated in reverse "
        f"({str(error).splitlines()[0]}); give it a rule by jax.custom_vjp, or keep gradients "
        "from it by jax.lax.stop_gradient"
    )
