"""Backpropagation as a graph: the values and gradients of any scalar JAX function."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core

from jaxmnist.calculus.tape import Pull, Record, Tape, backward, forward, is_inexact, reachable
from jaxmnist.errors import InputError


class Node(NamedTuple):
    """One input, constant or operation of the function."""

    kind: Literal["input", "constant", "operation"]
    symbol: str
    """What an operation is drawn as, such as "+", "exp" or "1/·"; empty for the others."""
    expression: str
    """The operation on its operands' names, such as "x + y"; empty for the others."""
    named: bool
    """Whether the function's code gives it its name: an input, the output, a `checkpoint_name`."""
    value: np.ndarray
    """What the forward pass computes."""
    gradient: np.ndarray | None
    """Of the output with respect to this node, in the value's shape; None for whole numbers."""


class Edge(NamedTuple):
    """One node's use by another."""

    source: str
    target: str
    derivative: np.ndarray | None
    """The local derivative of the target by the source where both are scalars, otherwise None."""
    contribution: np.ndarray | None
    """What the target's gradient adds to the source's along this edge: the local derivative
    (transposed, where it is a Jacobian) times that gradient. A node's gradient is the sum over
    the edges that leave it. None where either end is whole numbers."""


class Graph(NamedTuple):
    """A function at a point: the value and the gradient of each node, and their dependencies."""

    nodes: Mapping[str, Node]
    """By name, in the order of evaluation; inputs come first."""
    edges: tuple[Edge, ...]
    """By target in the order of evaluation, and by operand; one for each pair of nodes."""
    output: str
    """The name of the node that is the function's result."""


def trace_graph(
    f: Callable[..., Any],
    *args: Any,
    folded: Collection[str] = ("custom_jvp", "custom_vjp"),
) -> Graph:
    """Evaluate a scalar function and backpropagate through it, storing every node.

    With v̄ for the gradient df/dv of the output with respect to node v, which is 1 for the output
    itself, and the sum over all nodes u that use v:

        v̄ = Σ_u ū · ∂u/∂v

    A node's name is, where there is one, the name that the code gives it: an input's is the
    argument's with the path into it (``x``, ``params['dense_0']['weight']``), the output's is the
    function's own, and ``q = jax.ad_checkpoint.checkpoint_name(x + y, "q")`` names any other. The
    rest are named by their formula while it is short, and then by their operation: ``exp``,
    ``exp_1``. A number that is written in the code, such as the 1 in ``1 + x``, is no node.

    A nested call is opened, so that its operations are nodes like all others, or folded into one
    node with the call's name. A `jax.lax.cond` or `switch` opens into the branch taken. A `scan`,
    and a `fori_loop` of a fixed number of steps, is always folded.

    Args:
        f: A function of arrays to a real scalar.
        *args: Its arguments: pytrees of numbers and arrays. Arrays of whole numbers, such as
            labels, have no gradient; at least one leaf must be real.
        folded: Which calls stay one node: kinds ("jit", "checkpoint", "cond", "custom_jvp",
            "custom_vjp") and names of functions ("softplus"). The default folds those whose
            derivative is a rule of their own, which opening would replace by the derivative of
            their body; where the two differ, that is refused.

    Returns:
        The graph; its arrays are NumPy's, in the dtypes that f computes in. Operations that the
        output does not depend on are left out.

    Raises:
        InputError: An argument or the result is not of these kinds; f cannot be traced; an
            operation that the output depends on has no derivative in reverse, such as a
            `while_loop`; or a rule differs from the body opened in its place.

    Source: tutorial rows D12 and D13.

    >>> from jax.ad_checkpoint import checkpoint_name
    >>> def f(x, y, z):
    ...     q = checkpoint_name(x + y, "q")
    ...     return q * z
    >>> graph = trace_graph(f, -2.0, 5.0, -4.0)
    >>> for name, node in graph.nodes.items():
    ...     print(name, node.value, node.gradient)
    x -2.0 -4.0
    y 5.0 -4.0
    z -4.0 3.0
    q 3.0 -4.0
    f -12.0 1.0
    >>> [(edge.source, edge.target, float(edge.derivative)) for edge in graph.edges]
    [('x', 'q', 1.0), ('y', 'q', 1.0), ('q', 'f', -4.0), ('z', 'f', 3.0)]
    """
    names = _argument_names(f, args)
    leaves = [_checked(name, leaf) for name, leaf in zip(names, jax.tree.leaves(args), strict=True)]
    if not any(is_inexact(leaf) for leaf in leaves):
        raise InputError(
            f"no input of {', '.join(names) or 'the function'} is real, so there is no gradient; "
            "pass floats or arrays of floats"
        )
    tape = Tape([], [], set())
    inputs = [
        tape.add(Record(name, "input", leaf, named=True))
        for name, leaf in zip(names, leaves, strict=True)
    ]
    (output,) = forward(_jaxpr(f, args), inputs, tape, folded)
    if isinstance(output, core.Literal):
        output = tape.add(Record("constant", "constant", jnp.asarray(output.val)))
    if not tape.records[output].named:
        name = getattr(f, "__name__", "")
        tape.name(output, name if name.isidentifier() else "f")
    gradients, passed = backward(tape, inputs, output)
    graph = _as_graph(tape, inputs, output, gradients, passed)
    if tape.opened_rules:
        _check_rules(f, args, dict(zip(names, leaves, strict=True)), graph, tape.opened_rules)
    return graph


def _as_graph(
    tape: Tape,
    inputs: Sequence[int],
    output: int,
    gradients: Mapping[int, jax.Array],
    passed: Mapping[tuple[int, int], Pull],
) -> Graph:
    """Name everything that the output depends on."""
    needed = reachable(
        [output], ((step.results, step.operands) for step in reversed(tape.steps))
    ).union(inputs)
    nodes = {}
    for number in sorted(needed):
        record = tape.records[number]
        gradient = None
        if is_inexact(record.value):
            gradient = _to_numpy(gradients.get(number, jnp.zeros_like(record.value)))
        value, formula = _to_numpy(record.value), record.formula.text
        nodes[record.name] = Node(
            record.kind, record.symbol, formula, record.named, value, gradient
        )
    edges = []
    for operand, result in (
        (operand, result)
        for step in tape.steps
        for result in step.results
        for operand in step.operands
        if result in needed
    ):
        ends = (tape.records[operand].name, tape.records[result].name)
        pull = passed.get((operand, result))
        numbers = (None, None) if pull is None else (pull.derivative, pull.contribution)
        edges.append(Edge(*ends, *(n if n is None else _to_numpy(n) for n in numbers)))
    return Graph(nodes, tuple(edges), tape.records[output].name)


def _to_numpy(value: jax.Array) -> np.ndarray:
    is_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(value) if is_key else value)


# ------------------------------------------------------------------------------- input


def _argument_names(f: Callable[..., Any], args: tuple[Any, ...]) -> list[str]:
    """The name of every leaf: its argument's, with the path into it."""
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # As for some functions that are not written in Python.
        given: Mapping[str, Any] = {"args": args}
    else:
        try:
            given = signature.bind(*args).arguments
        except TypeError as error:
            raise InputError(f"the function cannot take these arguments: {error}") from error
    return [
        name + jax.tree_util.keystr(path)
        for name, value in given.items()
        for path, _ in jax.tree_util.tree_flatten_with_path(value)[0]
    ]


def _checked(name: str, leaf: Any) -> jax.Array:
    """An input as an array, if it can be one of a gradient's."""
    if isinstance(leaf, Tracer):
        raise InputError(f"{name} is traced; call trace_graph outside jit, grad and vmap")
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        raise InputError(
            f"{name} is the whole number {leaf}, which has no gradient; write {leaf}.0, or "
            f"jnp.asarray({leaf}) where a whole number is meant"
        )
    try:
        value = jnp.asarray(leaf)
    except TypeError as error:
        raise InputError(
            f"{name} is {leaf!r}, no number or array; bind it with functools.partial"
        ) from error
    if jnp.iscomplexobj(value):
        raise InputError(f"{name} is complex; pass its real and its imaginary part instead")
    return value


def _jaxpr(f: Callable[..., Any], args: tuple[Any, ...]) -> core.ClosedJaxpr:
    """The function's jaxpr, if its result is one real number."""
    try:
        jaxpr, result = jax.make_jaxpr(f, return_shape=True)(*args)
    except jax.errors.JAXTypeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the function asks for the value of an array that JAX traces ({reason}); use "
            "jnp.where or lax.cond for a Python `if`, lax.scan or lax.fori_loop for a loop whose "
            "length depends on values, and jax.numpy for numpy"
        ) from error
    if not isinstance(result, jax.ShapeDtypeStruct):
        raise InputError(
            f"the function returns {type(result).__name__} {result}; return one number, such as "
            "its first part, to see that part's graph"
        )
    if result.shape != ():
        raise InputError(
            f"the function returns an array of shape {result.shape}; return a number, such as its "
            "sum, its mean or one of its elements"
        )
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise InputError(
            f"the function returns {result.dtype}, which has no gradient; return a real number"
        )
    return jaxpr


def _check_rules(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    leaves: Mapping[str, jax.Array],
    graph: Graph,
    opened: set[str],
) -> None:
    """Compare the gradients through opened bodies with those by the functions' own rules."""

    def value(real: Mapping[str, jax.Array]) -> Any:
        current = [real.get(name, leaf) for name, leaf in leaves.items()]
        return f(*jax.tree.unflatten(jax.tree.structure(args), current))

    real = {name: leaf for name, leaf in leaves.items() if is_inexact(leaf)}
    for name, expected in jax.grad(value)(real).items():
        found = np.asarray(graph.nodes[name].gradient)
        tolerance = float(jnp.finfo(expected.dtype).eps) ** 0.5
        if not np.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise InputError(
                f"the gradient of {name} through the opened bodies of "
                f"{', '.join(sorted(opened))} is not the one that their own rules give; name them "
                "in `folded` to keep the rules"
            )
