"""Graphs of many functions: every node's value and gradient, evaluated anew and by `jax.grad`."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core

import jaxmnist as jm
from jaxmnist import losses
from jaxmnist.calculus import Graph, chain_rule, to_dot, trace_graph

RNG = np.random.default_rng(0)
CUSTOM = ("custom_jvp", "custom_vjp")


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


class Case(NamedTuple):
    f: Callable[..., Any]
    args: tuple[Any, ...]
    folded: tuple[str, ...] = CUSTOM


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


@jax.custom_jvp
def doubled_slope(x):
    return jnp.sin(x)


@doubled_slope.defjvp
def _(primals, tangents):
    return doubled_slope(*primals), 2 * jnp.cos(primals[0]) * tangents[0]


@jax.custom_vjp
def clipped(x, y):
    return x * y


clipped.defvjp(
    lambda x, y: (x * y, (x, y)),
    lambda saved, g: (jnp.clip(g, -0.1, 0.1) * saved[1], jnp.clip(g, -0.1, 0.1) * saved[0]),
)

CONSTANT = normal(3)
MLP = jm.MLP(hidden=(5,), num_classes=3)
PARAMS = {
    "dense_0": {"weight": normal(5, 4), "bias": normal(5)},
    "dense_1": {"weight": normal(3, 5), "bias": normal(3)},
}
LABELS = np.array([0, 2, 1, 0, 2, 1])


def mlp(params, x, labels):
    params, x, labels = jax.tree.map(jnp.asarray, (params, x, labels))
    logits = MLP.apply({"params": params}, x)
    return losses.cross_entropy_with_integer_labels(jnp.asarray(logits), labels)


def recurrence(w, xs):
    state, outputs = lax.scan(lambda h, x: (jnp.tanh(w @ h + x), h[0]), jnp.zeros(3), xs)
    return jnp.sum(state**2) + jnp.sum(outputs)


def reused(x, y):
    a = x * y
    return a * a + a / x + jnp.sin(a) + x


def dropout(x, key):
    return jnp.sum(jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x**2, 0.0))


CASES: Mapping[str, Case] = {
    "mlp": Case(mlp, (PARAMS, normal(6, 4), LABELS)),
    "mlp, all opened": Case(mlp, (PARAMS, normal(6, 4), LABELS), ()),
    "mlp, calls folded": Case(mlp, (PARAMS, normal(6, 4), LABELS), ("jit", *CUSTOM)),
    "logsumexp": Case(jax.nn.logsumexp, (normal(5),)),
    "softplus": Case(jax.nn.softplus, (0.7,)),
    "softplus, opened": Case(jax.nn.softplus, (0.7,), ()),
    "softplus, folded": Case(jax.nn.softplus, (-0.7,), ("softplus",)),
    "sigmoid": Case(jax.nn.sigmoid, (0.3,)),
    "quadratic form": Case(
        lambda x, a, b: x @ a @ x / 2 + b @ x, (normal(3), normal(3, 3), normal(3))
    ),
    "cond, true": Case(lambda x, y: lax.cond(x > y, lambda: x * y, lambda: x - y), (2.0, 1.5)),
    "cond, false": Case(lambda x, y: lax.cond(x > y, lambda: x * y, lambda: x - y), (1.0, 1.5)),
    "cond, folded": Case(
        lambda x, y: lax.cond(x > y, lambda: x * y, lambda: x - y), (2.0, 1.5), ("cond",)
    ),
    "switch": Case(
        lambda x, i: lax.switch(i, [jnp.sin, jnp.cos, jnp.tanh], x * x), (0.4, np.array(1))
    ),
    "reused variable": Case(reused, (1.3, -0.4)),
    "max, where, abs": Case(
        lambda x, y: jnp.sum(jnp.where(x > 0, jnp.maximum(x, y), jnp.abs(y) * x)),
        (normal(7), normal(7)),
    ),
    "division and power": Case(lambda x, y: x**3 / y**2.5 + x**y - 2 / x, (1.7, 2.2)),
    "nested jit": Case(lambda x: jax.jit(lambda a: jax.jit(jnp.sin)(a) * a + a)(x * x), (0.8,)),
    "nested jit, folded": Case(
        lambda x: jax.jit(lambda a: jax.jit(jnp.sin)(a) * a + a)(x * x), (0.8,), ("jit",)
    ),
    "jitted": Case(jax.jit(reused), (1.3, -0.4)),
    "custom_jvp": Case(lambda x: doubled_slope(x * x) * x, (0.6,)),
    "custom_vjp": Case(lambda x, y: clipped(x + y, y) * 3, (0.6, 1.1)),
    "checkpoint": Case(lambda x: jax.checkpoint(lambda a: jnp.sin(jnp.sin(a)) * a)(x) ** 2, (0.9,)),
    "checkpoint, folded": Case(
        lambda x: jax.checkpoint(lambda a: jnp.sin(jnp.sin(a)) * a)(x) ** 2, (0.9,), ("checkpoint",)
    ),
    "scan": Case(recurrence, (normal(3, 3), normal(4, 3))),
    "fori_loop": Case(lambda x: lax.fori_loop(0, 5, lambda i, a: jnp.sin(a) + x, x), (0.5,)),
    "sin of exp": Case(lambda x: jnp.sin(jnp.exp(x)), (0.3,)),
    "dict of arrays": Case(
        lambda p: jnp.sum(p["w"] * p["x"][0]) + p["x"][1],
        ({"w": normal(3), "x": [normal(3), 2.0]},),
    ),
    "closed-over constants": Case(
        lambda x: jnp.sum(x * jnp.asarray(CONSTANT)) * jnp.sum(jnp.asarray(CONSTANT)), (normal(3),)
    ),
    "split": Case(lambda x: jnp.dot(*jnp.split(x, 2)), (normal(6),)),
    "index": Case(lambda x: x[jnp.argmax(x)] * jnp.max(x), (normal(5),)),
    "complex inside": Case(
        lambda x: jnp.sum(jnp.abs(lax.complex(x, 2 * x) * 1j) ** 2), (normal(3),)
    ),
    "random": Case(dropout, (normal(6), jax.random.key(3))),
    "stop_gradient": Case(lambda x: lax.stop_gradient(jnp.sqrt(x) * x) + x * x, (0.5,)),
    "stop_gradient of infinity": Case(lambda x: lax.stop_gradient(jnp.sqrt(x)) + x * x, (0.0,)),
    "gradient within": Case(lambda x, y: jax.grad(lambda a: jnp.sin(a) * y)(x) ** 2, (0.4, 1.1)),
    "unused input": Case(lambda x, y: x * x, (0.4, 1.1)),
    "identity": Case(lambda x: x, (0.4,)),
    "constant": Case(lambda x: 3.0, (0.4,)),
    "same node twice": Case(
        lambda x: checkpoint_name(x * x, "a") * jax.jit(lambda a: a)(x), (0.4,)
    ),
    "while of constants": Case(
        lambda x: x * lax.while_loop(lambda a: a < 5.0, lambda a: a * 2, jnp.asarray(1.0)), (0.4,)
    ),
}


@cache
def traced(name: str) -> Graph:
    f, args, folded = CASES[name]
    return trace_graph(f, *args, folded=folded)


BODIES = {
    "jit": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
}
KINDS = {"remat2": "checkpoint", "custom_jvp_call": "custom_jvp", "custom_vjp_call": "custom_vjp"}


class Replay:
    """The same function evaluated anew, where every value has a number and a zero added to it."""

    def __init__(self, closed, leaves, folded, zeros, branches=None):
        self.folded, self.zeros = folded, zeros
        self.values: list[Any] = []
        self.parents: list[list[int]] = []
        self.known, self.branches = iter(branches or ()), branches or []
        inputs = [self.record(leaf, []) for leaf in leaves]
        (output,) = self.run(closed.jaxpr, closed.consts, inputs)
        self.output = output if isinstance(output, int) else self.record(output.val, [])

    def record(self, value, parents) -> int:
        value, number = jnp.asarray(value), len(self.values)
        self.values.append(value + self.zeros[number] if number in self.zeros else value)
        self.parents.append(parents)
        return number

    def run(self, jaxpr, consts, arguments):
        consts = [self.record(const, []) for const in consts]
        at = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))
        for eqn in jaxpr.eqns:
            given = [a if isinstance(a, core.Literal) else at[a] for a in eqn.invars]
            numbers = [g for g in given if isinstance(g, int)]
            values = [self.values[g] if isinstance(g, int) else g.val for g in given]
            primitive = eqn.primitive.name
            body = eqn.params.get(BODIES.get(primitive, ""))
            if primitive == "cond":
                branch = next(self.known, None)
                if branch is None:
                    self.branches.append(branch := int(values[0]))
                body = eqn.params["branches"][branch]
                given = given if "cond" in self.folded else given[1:]
            open_body = getattr(body, "jaxpr", body)
            name = open_body.debug_info.func_name if body is not None else ""
            kind = KINDS.get(primitive, primitive)
            if primitive == "name":
                results = given
            elif body is not None and not {kind, name} & set(self.folded):
                results = self.run(open_body, getattr(body, "consts", ()), given)
            else:
                results = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
                results = results if eqn.primitive.multiple_results else [results]
                results = [self.record(result, numbers) for result in results]
            at.update(zip(eqn.outvars, results, strict=True))
        return [a if isinstance(a, core.Literal) else at[a] for a in jaxpr.outvars]

    def needed(self, inputs: int) -> list[int]:
        """The inputs, and what the output depends on."""
        found, todo = set(range(inputs)), [self.output]
        while todo:
            found.add(number := todo.pop())
            todo += [parent for parent in self.parents[number] if parent not in found]
        return sorted(found)


@pytest.mark.slow_except(
    "identity", "cond, false", "constant", "stop_gradient of infinity", "jitted", "unused input"
)
@pytest.mark.parametrize("name", CASES)
def test_every_gradient_is_jax_grad_of_the_output_by_the_nodes_value(name):
    f, args, folded = CASES[name]
    graph = traced(name)
    leaves = jax.tree.leaves(args)
    closed = jax.make_jaxpr(f)(*args)
    once = Replay(closed, leaves, folded, {})
    zeros = {
        number: jnp.zeros_like(value)
        for number, value in enumerate(once.values)
        if jnp.issubdtype(value.dtype, jnp.inexact)
    }

    def output(zeros):
        replay = Replay(closed, leaves, folded, zeros, once.branches)
        return replay.values[replay.output]

    if name == "while of constants":  # JAX cannot differentiate by what goes into the loop.
        loop = max(once.parents, key=len)[-1]
        zeros = {number: zero for number, zero in zeros.items() if number in (0, loop, once.output)}
    expected = jax.jit(jax.grad(output))(zeros)
    needed = once.needed(len(leaves))
    assert len(needed) == len(graph.nodes)
    assert list(graph.nodes).index(graph.output) == needed.index(once.output)
    for number, (label, node) in zip(needed, graph.nodes.items(), strict=True):
        value = once.values[number]
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        np.testing.assert_array_equal(node.value, value, err_msg=label)
        if not jnp.issubdtype(value.dtype, jnp.inexact):
            assert node.gradient is None, label
        elif number in expected:
            assert node.gradient is not None, label
            np.testing.assert_allclose(
                node.gradient, expected[number], rtol=1e-12, atol=1e-15, err_msg=label
            )


@pytest.mark.slow_except(
    "cond, false", "checkpoint, folded", "constant", "identity", "custom_jvp", "checkpoint"
)
@pytest.mark.parametrize("name", CASES)
def test_inputs_gradients_are_jax_grads(name):
    f, args, _ = CASES[name]
    graph = traced(name)
    both = jax.jit(jax.value_and_grad(f, tuple(range(len(args))), allow_int=True))
    output, gradients = both(*args)
    np.testing.assert_allclose(graph.nodes[graph.output].value, output, rtol=1e-13)
    expected = jax.tree.leaves(gradients)
    assert len(expected) == sum(node.kind == "input" for node in graph.nodes.values())
    for (label, node), grad in zip(graph.nodes.items(), expected, strict=False):
        if node.gradient is None:
            assert grad.dtype == jax.dtypes.float0
        else:
            np.testing.assert_allclose(node.gradient, grad, rtol=1e-12, atol=1e-15, err_msg=label)


@pytest.mark.slow_except("cond, false", "jitted", "custom_jvp", "unused input")
@pytest.mark.parametrize("name", CASES)
def test_a_gradient_is_the_sum_of_what_comes_along_the_edges(name):
    graph = traced(name)
    assert len({(edge.source, edge.target) for edge in graph.edges}) == len(graph.edges)
    order = list(graph.nodes)
    for edge in graph.edges:
        assert order.index(edge.source) < order.index(edge.target)
    for label, node in graph.nodes.items():
        leaving = [edge for edge in graph.edges if edge.source == label]
        if node.gradient is None:
            assert all(edge.contribution is None for edge in leaving)
            continue
        parts = [edge.contribution for edge in leaving if edge.contribution is not None]
        total = sum(parts, np.ones(()) if label == graph.output else np.zeros(node.value.shape))
        np.testing.assert_allclose(node.gradient, total, rtol=1e-13, atol=1e-15, err_msg=label)
        for edge in leaving:
            target = graph.nodes[edge.target]
            are_numbers = node.value.shape == target.value.shape == ()
            is_linear = target.symbol != "clipped"
            if are_numbers and edge.contribution is not None and is_linear:
                assert edge.derivative is not None
                product = edge.derivative * target.gradient if np.any(target.gradient) else 0
                np.testing.assert_allclose(edge.contribution, product, rtol=1e-14)
            else:
                assert edge.derivative is None


# ------------------------------------------------------------------------------- text


@pytest.mark.slow_except(
    "cond, false", "custom_jvp", "checkpoint", "checkpoint, folded", "unused input", "identity"
)
@pytest.mark.parametrize("name", CASES)
def test_chain_rule_has_a_line_for_every_value_and_every_gradient(name):
    graph = traced(name)
    forward, backward = chain_rule(graph).split("\n\n")
    assert len(forward.splitlines()) == len(graph.nodes)
    gradients = [node for node in graph.nodes.values() if node.gradient is not None]
    assert len(backward.splitlines()) == len(gradients)


@pytest.mark.slow
def test_dot_dashes_an_edge_without_a_gradient():
    dashed = to_dot(trace_graph(mlp, PARAMS, normal(6, 4), LABELS))
    assert '"labels" -> "broadcast(labels)" [style=dashed];' in dashed


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_the_dot():
    for name in ("mlp, all opened", "max, where, abs", "cond, true", "constant"):
        graph = traced(name)
        svg = subprocess.check_output(["dot", "-Tsvg"], input=to_dot(graph), text=True)
        assert svg.count('class="node"') == len(graph.nodes)
        assert svg.count('class="edge"') == len(graph.edges)
    quoted = trace_graph(lambda p: p['a"b<\\']["c&"] * 2, {'a"b<\\': {"c&": 1.0}})
    subprocess.run(
        ["dot", "-Tsvg"], input=to_dot(quoted), text=True, check=True, capture_output=True
    )
