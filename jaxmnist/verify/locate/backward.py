"""The first submodule, from the outputs back, whose gradient a JAX function does not have.

Where the values agree and a gradient does not, each submodule is asked, from the last to the first:
does the gradient of the outputs agree in what it returned, and no longer in what it was given or
in its own parameters? The JAX function's gradient in an intermediate value is that in a zero that
is added to it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.verify.jaxprs import bind, called, evaluate
from jaxmnist.verify.locate.align import magnitude, ordered
from jaxmnist.verify.locate.forward import Alignment
from jaxmnist.verify.locate.jax_trace import size_of
from jaxmnist.verify.locate.torch_trace import Call
from jaxmnist.verify.programs import compiled


class Backward(NamedTuple):
    """Where gradients diverge."""

    module: str
    cause: str | None


def gradients_in(
    function: Callable[..., Any], params: Any, inputs: Any, numbers: Sequence[int]
) -> Callable[[Mapping[str, Any]], dict[int, np.ndarray]]:
    """Differentiate a function's outputs in its intermediate values.

    Args:
        function: ``function(params, inputs)`` to a dict of arrays.
        params: A tree of arrays.
        inputs: Another.
        numbers: The values, as `jax_trace.record` numbers them.

    Returns:
        From the cotangents of the outputs to the gradients by number.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(params, inputs)
    flat = [jnp.asarray(x) for x in jax.tree.leaves((params, inputs))]

    def outputs(added: dict[int, Any]) -> tuple[Any, dict[int, Any]]:
        evaluator = _Adding(added)
        arguments = [evaluator.new(x) for x in flat]
        results = evaluator.run(closed.jaxpr, closed.consts, arguments)
        return jax.tree.structure(shape).unflatten(results), evaluator.shapes

    wanted = set(numbers)
    _, shapes = jax.eval_shape(lambda: outputs({}))
    zeros = {
        n: jnp.zeros(s.shape, s.dtype)
        for n, s in shapes.items()
        if n in wanted and jnp.issubdtype(s.dtype, jnp.floating)
    }

    def gradients(cotangents: Mapping[str, Any]) -> dict[int, np.ndarray]:
        def total(added: dict[int, Any]) -> Any:
            found, _ = outputs(added)
            terms = [jnp.sum(jnp.real(found[name]) * c) for name, c in cotangents.items()]
            return sum(terms, jnp.zeros(()))

        found = jax.device_get(compiled(jax.grad(total))(zeros))
        return {number: np.asarray(x) for number, x in found.items()}

    return gradients


class _Adding:
    """Evaluates a jaxpr, numbers its values as a trace does, and adds to some of them."""

    def __init__(self, added: Mapping[int, Any]) -> None:
        self._added, self._count = added, 0
        self.shapes: dict[int, Any] = {}

    def new(self, array: Any) -> Any:
        number, self._count = self._count, self._count + 1
        self.shapes[number] = array
        return array + self._added[number] if number in self._added else array

    def run(self, jaxpr: Any, constants: Any, arguments: list[Any]) -> list[Any]:
        known: dict[Any, Any] = dict(zip(jaxpr.invars, arguments, strict=True))
        known |= {v: self.new(c) for v, c in zip(jaxpr.constvars, constants, strict=True)}
        return evaluate(jaxpr, known, self._equation)

    def _equation(self, equation: Any, arguments: list[Any]) -> list[Any]:
        # A custom derivative is part of what is compared: such a call stays closed.
        custom = equation.primitive.name.startswith("custom")
        if not custom and (inner := called(equation)) is not None:
            return self.run(*inner, arguments)
        results = bind(equation, arguments)
        inside, last = size_of(equation)
        if not custom:
            self._count += inside
            return [self.new(x) for x in results]
        # In the trace, the call's result is the last value inside it.
        start = self._count
        self._count += inside
        for i, offset in enumerate(last):
            number = None if offset is None else start + offset
            if number is not None:
                self.shapes[number] = results[i]
                if number in self._added:
                    results[i] = results[i] + self._added[number]
        return results


def first_divergence(
    alignment: Alignment,
    ours: Mapping[int, np.ndarray],
    noise: Mapping[int, float],
    wrong_parameters: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> Backward | None:
    """Find the first submodule in backward order whose gradient differs.

    Args:
        alignment: Of the two programs.
        ours: The gradients in the JAX function's values, by number.
        noise: The absolute error of their gradients that is rounding, by number.
        wrong_parameters: The parameters whose gradients differ, by name: ours and theirs.

    Returns:
        The place, and the cause if it is known; None if no gradient differs.
    """
    theirs = alignment.theirs.gradients

    def right(number: int) -> bool | None:
        match = alignment.nearest.get(number)
        if number not in theirs or match is None or match.number not in ours:
            return None
        a, b = theirs[number], ours[match.number]
        if a.size != b.size:
            return None
        error = np.abs(ordered(a) - ordered(b)).max(initial=0.0)
        return bool(error <= noise.get(number, 0.0))

    suspects: list[tuple[Call, Backward, bool]] = []
    consumers = alignment.theirs.consumers()
    for call in sorted(alignment.theirs.calls, key=lambda c: (-c.stop, c.start)):
        after = [right(n) for n in call.outputs]
        if not after or False in after or True not in after:
            continue
        known = [n for n in wrong_parameters if n.rpartition(".")[0] == call.module]
        before = [n for n in call.inputs if right(n) is False]
        # What others read as well has its gradient from all of them.
        alone = any(all(call.start <= i < call.stop for i in consumers[n]) for n in before)
        if known:
            why = cause(*wrong_parameters[known[0]])
            suspects.append((call, Backward(call.module, why), True))
        elif before:
            match = alignment.nearest[before[0]]
            assert match is not None
            why = cause(ours[match.number], theirs[before[0]])
            suspects.append((call, Backward(call.module, why), alone))
    certain = [one for one in suspects if one[2]]
    if not certain:
        for call in sorted(alignment.theirs.calls, key=lambda c: (-c.stop, -c.start)):
            wrong = [n for n in call.outputs if right(n) is False]
            if wrong:
                # It goes wrong between what this submodule returned and what reads it.
                match = alignment.nearest[wrong[0]]
                assert match is not None
                return Backward(call.module, cause(ours[match.number], theirs[wrong[0]]))
    certain = certain or suspects
    while certain:
        call, found, _ = certain[0]
        # The innermost: without a suspect inside.
        certain = [one for one in certain if _within(one[0], call)]
        if not certain:
            return (
                found._replace(cause="gradient stopped in JAX")
                if _stops(alignment, call)
                else found
            )
    for name, (mine, other) in reversed([*wrong_parameters.items()]):
        return Backward(name.rpartition(".")[0], cause(mine, other))
    return None


def _within(call: Call, other: Call) -> bool:
    return call is not other and other.start <= call.start and call.stop <= other.stop


def _stops(alignment: Alignment, call: Call) -> bool:
    """Whether a gradient is stopped between what a submodule is given and what it returns."""

    def ancestors(numbers: tuple[int, ...]) -> set[int]:
        matches = [alignment.nearest.get(n) for n in numbers if n in alignment.found]
        return {x for m in matches if m for x in alignment.ours.ancestors(m.number)}

    between = ancestors(call.outputs) - ancestors(call.inputs)
    values = [alignment.ours.values[n] for n in between]
    return any(value.primitive == "stop_gradient" and value.data for value in values)


def cause(ours: np.ndarray, theirs: np.ndarray) -> str | None:
    """Name what a gradient's difference comes from, as far as the numbers tell.

    Args:
        ours: The gradient in JAX.
        theirs: In PyTorch, of the same size.

    Returns:
        In short words, or None.

    >>> cause(np.zeros(3), np.ones(3))
    'gradient stopped in JAX'
    >>> cause(np.array([2.0, -6.0]), np.array([1.0, -3.0]))
    "gradient scaled: 2 times PyTorch's in JAX"
    """
    if not np.any(ours):
        return "gradient stopped in JAX"
    if not np.any(theirs):
        return "gradient stopped in PyTorch"
    if ours.shape == theirs.shape and ours.ndim > 1:
        rows = np.any(theirs.reshape(len(theirs), -1), 1)
        same = np.abs(ours - theirs).max(axis=tuple(range(1, ours.ndim))) < 1e-6 * magnitude(theirs)
        if (same | ~rows).all() and (~same).sum() == 1:
            return f"padding_idx: row {int(np.argmin(same))} has no gradient in PyTorch"
    a, b = ordered(ours), ordered(theirs)
    factor = float(np.dot(a, b) / np.dot(b, b))
    if abs(factor - 1) > 1e-6 and np.abs(a - factor * b).max() < 1e-6 * magnitude(a):
        return f"gradient scaled: {factor:.6g} times PyTorch's in JAX"
    return "gradient: JAX has a derivative of its own"
