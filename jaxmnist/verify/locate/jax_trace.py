"""Every intermediate value of a JAX function, with what it was computed from.

The function's jaxpr is evaluated equation by equation, inside one compiled program that returns
all of its values. The calls in it (``jit``, ``custom_jvp``, ``remat``) are opened, and so are loops
(``scan``), each of whose steps has its own values.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from jaxmnist.verify.jaxprs import bind, called, evaluate
from jaxmnist.verify.programs import compiled


@dataclass
class JaxValue:
    """An intermediate value.

    Attributes:
        primitive: What computed it, such as "dot_general"; "" for an argument or a constant.
        params: The primitive's parameters.
        parents: The numbers of what it was computed from.
        name: Of a parameter or an input, else "".
        data: Whether it depends on an input.
        scope: The named scopes that it was computed in, joined by "/".
        dtype: Its dtype.
        steps: The loop's length where it is the stack of a value of each step, else 0.
        literals: The numbers that the equation has in the place of arguments.
        array: Its numbers, once the function has run.
    """

    primitive: str
    params: dict[str, Any]
    parents: tuple[int, ...]
    name: str = ""
    data: bool = False
    scope: str = ""
    dtype: Any = None
    steps: int = 0
    literals: tuple[Any, ...] = ()
    array: Any = None


@dataclass
class JaxTrace:
    """All values by number, in the order in which they are computed."""

    values: list[JaxValue] = field(default_factory=list)
    outputs: dict[str, int] = field(default_factory=dict)
    masks: list[int] = field(default_factory=list)
    """The results of ``jax.random.bernoulli``."""

    def ancestors(self, number: int) -> set[int]:
        """List what a value was computed from, near and far, itself included."""
        found, todo = set(), [number]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo.extend(self.values[one].parents)
        return found


def record(
    function: Callable[..., Any], params: Any, inputs: Any, names: tuple[list[str], list[str]]
) -> JaxTrace:
    """Run a function and record its values.

    Args:
        function: ``function(params, inputs)`` to a dict of arrays.
        params: A tree of arrays.
        inputs: Another.
        names: Of the leaves of both.

    Returns:
        The trace.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(params, inputs)
    flat = jax.tree.leaves((params, inputs))
    trace = JaxTrace()

    def run(flat: list[Any]) -> list[Any]:
        # Tracing it twice would list the values twice.
        trace.values.clear()
        trace.masks.clear()
        evaluator = _Evaluator(trace)
        numbers = []
        kinds = [False] * len(names[0]) + [True] * len(names[1])
        for x, name, data in zip(flat, [*names[0], *names[1]], kinds, strict=True):
            numbers.append(evaluator.new(x, JaxValue("", {}, (), name, data)))
        outputs = evaluator.run(closed.jaxpr, closed.consts, numbers, "")
        found = jax.tree.structure(shape).unflatten(outputs)
        trace.outputs = {
            name: evaluator.new(number.val, JaxValue("", {}, ()))
            if isinstance(number, jex.Literal)
            else number
            for name, number in found.items()
        }
        return [_numbers(x) for x in evaluator.computed]

    arrays = jax.device_get(compiled(run)([jnp.asarray(x) for x in flat]))
    for value, array in zip(trace.values, arrays, strict=True):
        value.array = np.asarray(array)
        # NumPy's own floats alone are known as such.
        if jnp.issubdtype(value.array.dtype, jnp.floating) and value.array.dtype.kind != "f":
            value.array = value.array.astype(np.float32)
    return trace


def size_of(equation: Any) -> tuple[int, list[int | None]]:
    """Count the values that an equation's own jaxprs add to a trace, besides its results.

    Args:
        equation: Of a jaxpr.

    Returns:
        Their number; and for a call, which of them are its results, None for one that is an
        argument or a literal.
    """
    if equation.primitive.name == "scan":
        jaxpr = equation.params["jaxpr"].jaxpr
    elif (inner := called(equation)) is not None:
        jaxpr, _ = inner
    else:
        return 0, []
    known: dict[Any, int | None] = dict.fromkeys(jaxpr.invars)
    count = 0
    for variable in jaxpr.constvars:
        known[variable], count = count, count + 1
    for one in jaxpr.eqns:
        inside, last = size_of(one)
        if called(one) is not None:
            numbers = [None if x is None else count + x for x in last]
            count += inside
        else:
            count += inside
            numbers = [count + i for i in range(len(one.outvars))]
            count += len(one.outvars)
        known.update(zip(one.outvars, numbers, strict=True))
    return count, [None if isinstance(x, jex.Literal) else known.get(x) for x in jaxpr.outvars]


class _Evaluator:
    """Evaluates a jaxpr, and keeps what each equation computes; works on numbers of values."""

    def __init__(self, trace: JaxTrace) -> None:
        self._trace = trace
        self.computed: list[Any] = []

    def new(self, array: Any, value: JaxValue) -> int:
        value.dtype = jnp.result_type(array)
        self._trace.values.append(value)
        self.computed.append(array if hasattr(array, "dtype") else jnp.asarray(array))
        return len(self.computed) - 1

    def run(self, jaxpr: Any, constants: Any, arguments: list[Any], scope: str) -> list[Any]:
        """Evaluate; arguments and results are numbers of values, or literals."""
        known: dict[Any, Any] = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, constant in zip(jaxpr.constvars, constants, strict=True):
            known[variable] = self.new(constant, JaxValue("", {}, ()))

        def each(equation: Any, given: list[Any]) -> list[Any]:
            return self._equation(equation, given, scope)

        return evaluate(jaxpr, known, each, literal=lambda atom: atom)

    def _array(self, atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else self.computed[atom]

    def _equation(self, equation: Any, arguments: list[Any], scope: str) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        stack = str(equation.source_info.name_stack)
        scope = "/".join(part for part in (scope, stack) if part)
        if (inner := called(equation)) is not None:
            results = self.run(*inner, arguments, scope)
            if params.get("name") == "_bernoulli":
                self._trace.masks.extend(x for x in results if isinstance(x, int))
            return results
        if name == "scan":
            return self._scan(params, arguments, scope)
        results = bind(equation, [self._array(x) for x in arguments])
        return [self._made(x, name, params, arguments, scope) for x in results]

    def _made(
        self, array: Any, name: str, params: Any, arguments: list[Any], scope: str, steps: int = 0
    ) -> int:
        parents = tuple(x for x in arguments if not isinstance(x, jex.Literal))
        literals = tuple(x.val for x in arguments if isinstance(x, jex.Literal))
        data = any(self._trace.values[x].data for x in parents)
        value = JaxValue(name, dict(params), parents, "", data, scope, None, steps, literals)
        return self.new(array, value)

    def _scan(self, params: Any, arguments: list[Any], scope: str) -> list[Any]:
        closed, split = params["jaxpr"], params["num_consts"]
        carried = split + params["num_carry"]
        arrays = [self._array(x) for x in arguments]
        inner: list[JaxValue] = []

        def body(carry: Any, xs: Any) -> tuple[Any, Any]:
            steps = _Evaluator(JaxTrace())
            given = [*arrays[:split], *carry, *xs]
            numbers = [steps.new(x, JaxValue("", {}, ())) for x in given]
            results = steps.run(closed.jaxpr, closed.consts, numbers, scope)
            inner[:] = steps._trace.values[len(given) :]
            found = [steps._array(x) for x in results]
            kept = steps.computed[len(given) :]
            return found[: carried - split], (found[carried - split :], kept)

        carry, (ys, kept) = jax.lax.scan(
            body,
            arrays[split:carried],
            arrays[carried:],
            length=params["length"],
            reverse=params["reverse"],
        )
        for array, value in zip(kept, inner, strict=True):
            self._made(array, value.primitive, value.params, arguments, value.scope, len(array))
        return [
            *(self._made(x, "scan", {}, arguments, scope) for x in carry),
            *(self._made(x, "scan", {}, arguments, scope, params["length"]) for x in ys),
        ]


def _numbers(array: Any) -> Any:
    """A random key as the numbers that it is."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.random.key_data(array)
    return array
