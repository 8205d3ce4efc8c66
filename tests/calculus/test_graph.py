"""Graphs of functions: each number of the document, and every node of many other functions."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache, partial
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
from jaxmnist.errors import InputError

RNG = np.random.default_rng(0)
EPSILON = 2.0**-52
CUSTOM = ("custom_jvp", "custom_vjp")


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


# ------------------------------------------------------------------------------- the document


def product_of_a_sum(x, y, z):
    q = checkpoint_name(x + y, "q")
    f = q * z
    return checkpoint_name(f, "f")


def neuron(w0, x0, w1, x1, w2):
    z = checkpoint_name(w0 * x0 + w1 * x1 + w2, "z")
    return checkpoint_name(1 / (1 + jnp.exp(-z)), "a")


PRODUCT = {"x": -2.0, "y": 5.0, "z": -4.0}
NEURON = {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0}


def numbers(graph: Graph) -> tuple[dict[str, float], dict[str, float], dict[tuple, float]]:
    values = {name: float(node.value) for name, node in graph.nodes.items()}
    gradients = {name: float(np.asarray(n.gradient)) for name, n in graph.nodes.items()}
    derivatives = {(e.source, e.target): float(np.asarray(e.derivative)) for e in graph.edges}
    return values, gradients, derivatives


def test_product_of_a_sum_is_the_documents():
    values, gradients, derivatives = numbers(trace_graph(product_of_a_sum, *PRODUCT.values()))
    assert values == PRODUCT | {"q": 3, "f": -12}
    assert gradients == {"x": -4, "y": -4, "z": 3, "q": -4, "f": 1}
    assert derivatives == {("x", "q"): 1, ("y", "q"): 1, ("q", "f"): -4, ("z", "f"): 3}


def test_neuron_prints_the_documents_numbers():
    values, gradients, _ = numbers(trace_graph(neuron, *NEURON.values()))
    six = {name: round(value, 6) for name, value in values.items()}
    assert six == NEURON | {
        "w0*x0": -2,
        "w1*x1": 6,
        "w0*x0 + w1*x1": 4,
        "z": 1,
        "-z": -1,
        "exp(-z)": 0.367879,
        "1 + exp(-z)": 1.367879,
        "a": 0.731059,
    }
    six = {name: round(gradient, 6) for name, gradient in gradients.items()}
    assert six == {
        "a": 1,
        "1 + exp(-z)": -0.534447,
        "exp(-z)": -0.534447,
        "-z": -0.196612,
        "z": 0.196612,
        "w0*x0 + w1*x1": 0.196612,
        "w0*x0": 0.196612,
        "w1*x1": 0.196612,
        "w0": -0.196612,
        "x0": 0.393224,
        "w1": -0.393224,
        "x1": -0.589836,
        "w2": 0.196612,
    }


def test_neuron_follows_the_chain_rule_by_hand():
    _, gradients, derivatives = numbers(trace_graph(neuron, *NEURON.values()))
    power = np.exp(-1.0)
    below = 1 + power
    by_hand = {
        ("1 + exp(-z)", "a"): -1 / below**2,
        ("exp(-z)", "1 + exp(-z)"): 1,
        ("-z", "exp(-z)"): power,
        ("z", "-z"): -1,
        ("w0*x0 + w1*x1", "z"): 1,
        ("w2", "z"): 1,
        ("w0*x0", "w0*x0 + w1*x1"): 1,
        ("w1*x1", "w0*x0 + w1*x1"): 1,
        ("w0", "w0*x0"): NEURON["x0"],
        ("x0", "w0*x0"): NEURON["w0"],
        ("w1", "w1*x1"): NEURON["x1"],
        ("x1", "w1*x1"): NEURON["w1"],
    }
    assert derivatives == pytest.approx(by_hand, rel=4 * EPSILON)
    a = 1 / below
    dz = a * (1 - a)
    expected = {
        "a": 1,
        "1 + exp(-z)": -(a**2),
        "exp(-z)": -(a**2),
        "-z": -dz,
        "z": dz,
        "w0*x0 + w1*x1": dz,
        "w0*x0": dz,
        "w1*x1": dz,
        "w2": dz,
        "w0": dz * NEURON["x0"],
        "x0": dz * NEURON["w0"],
        "w1": dz * NEURON["x1"],
        "x1": dz * NEURON["w1"],
    }
    assert gradients == pytest.approx(expected, rel=16 * EPSILON)


@pytest.mark.parametrize(("f", "inputs"), [(product_of_a_sum, PRODUCT), (neuron, NEURON)])
def test_documents_gradients_are_jax_grads_and_finite_differences(f, inputs):
    _, gradients, _ = numbers(trace_graph(f, *inputs.values()))
    at = list(inputs.values())
    by_jax = jax.grad(f, argnums=tuple(range(len(at))))(*at)
    h = 2.0**-17
    for index, (name, derivative) in enumerate(zip(inputs, by_jax, strict=True)):
        assert gradients[name] == pytest.approx(float(derivative), rel=4 * EPSILON)
        up, down = ([*at[:index], at[index] + d, *at[index + 1 :]] for d in (h, -h))
        # Off by h² f'''/6 and by eps f/h, which are alike at this h.
        assert gradients[name] == pytest.approx(float(f(*up) - f(*down)) / (2 * h), abs=16 * h**2)


# ------------------------------------------------------------------------------- any function


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
        inputs = [self.keep(leaf, []) for leaf in leaves]
        (output,) = self.run(closed.jaxpr, closed.consts, inputs)
        self.output = output if isinstance(output, int) else self.keep(output.val, [])

    def keep(self, value, parents) -> int:
        value, number = jnp.asarray(value), len(self.values)
        self.values.append(value + self.zeros[number] if number in self.zeros else value)
        self.parents.append(parents)
        return number

    def run(self, jaxpr, consts, arguments):
        consts = [self.keep(const, []) for const in consts]
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
                results = [self.keep(result, numbers) for result in results]
            at.update(zip(eqn.outvars, results, strict=True))
        return [a if isinstance(a, core.Literal) else at[a] for a in jaxpr.outvars]

    def kept(self, inputs: int) -> list[int]:
        """The inputs, and what the output depends on."""
        found, todo = set(range(inputs)), [self.output]
        while todo:
            found.add(number := todo.pop())
            todo += [parent for parent in self.parents[number] if parent not in found]
        return sorted(found)


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
    kept = once.kept(len(leaves))
    assert len(kept) == len(graph.nodes)
    assert list(graph.nodes).index(graph.output) == kept.index(once.output)
    for number, (label, node) in zip(kept, graph.nodes.items(), strict=True):
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


# ------------------------------------------------------------------------------- calls


def names(graph: Graph) -> list[str]:
    return [name for name, node in graph.nodes.items() if node.kind == "operation"]


def test_calls_are_opened_or_folded_by_kind_or_by_name():
    def f(x):
        return jax.nn.softplus(jax.nn.relu(x))

    assert names(trace_graph(f, 0.5)) == ["relu(x)", "f"]
    assert names(trace_graph(f, 0.5, folded=("softplus", "relu"))) == ["relu(x)", "f"]
    opened = names(trace_graph(f, 0.5, folded=("relu",)))
    assert opened[:3] == ["relu(x)", "max(relu(x), 0)", "relu(x) - 0"]
    assert names(trace_graph(f, 0.5, folded=()))[0] == "max(x, 0)"
    graph = trace_graph(f, 0.5, folded=("softplus", "relu"))
    assert [graph.nodes[name].symbol for name in names(graph)] == ["relu", "softplus"]


def test_cond_opens_into_the_branch_taken():
    def f(x):
        return lax.cond(x > 1, jnp.sin, jnp.cos, x * x)

    assert names(trace_graph(f, 2.0))[-1] == "f"
    assert trace_graph(f, 2.0).nodes["f"].expression == "sin(x*x)"
    assert trace_graph(f, 0.0).nodes["f"].expression == "cos(x*x)"
    folded = trace_graph(f, 0.0, folded=("cond",))
    assert folded.nodes["f"].symbol == "cond"
    dashed = [edge.source for edge in folded.edges if edge.contribution is None]
    assert set(dashed) >= {"x"}


def test_opened_rule_must_agree_with_its_body():
    def f(x):
        return doubled_slope(x) + jax.nn.softplus(x)

    assert trace_graph(f, 0.3).nodes["x"].gradient == pytest.approx(
        2 * np.cos(0.3) + 1 / (1 + np.exp(-0.3))
    )
    with pytest.raises(InputError, match=r"gradient of x .* doubled_slope, .*`folded`"):
        trace_graph(f, 0.3, folded=())
    # relu's rule gives 0 at 0; its body, the larger of two equal numbers, one half.
    with pytest.raises(InputError, match="relu"):
        trace_graph(jax.nn.relu, 0.0, folded=())
    assert trace_graph(jax.nn.relu, 0.0).nodes["x"].gradient == 0


@jax.custom_vjp
def turned(x):
    return jnp.sin(x), jnp.cos(x)


turned.defvjp(
    lambda x: (turned(x), x),
    # Of both gradients together: no sum of what each one alone would give.
    lambda x, g: (jnp.tanh(g[0] * jnp.cos(x) - g[1] * jnp.sin(x)),),
)


def test_rule_of_two_results_gets_both_gradients_at_once():
    def f(x):
        a, b = turned(x)
        return 2 * a * b + a

    graph = trace_graph(f, 0.3)
    assert names(graph)[:2] == ["turned[0](x)", "turned[1](x)"]
    np.testing.assert_allclose(np.asarray(graph.nodes["x"].gradient), jax.grad(f)(0.3), rtol=1e-14)


# ------------------------------------------------------------------------------- names


def test_inputs_are_named_by_argument_and_path():
    def loss(params, *xs):
        return jnp.sum(params["dense_0"]["weight"]) * xs[0] * xs[1][0]

    graph = trace_graph(loss, {"dense_0": {"weight": np.ones(2)}}, 2.0, (3.0,))
    inputs = [name for name, node in graph.nodes.items() if node.kind == "input"]
    assert inputs == ["params['dense_0']['weight']", "xs[0]", "xs[1][0]"]
    assert graph.output == "loss"
    assert trace_graph(partial(reused, 1.3), 0.5).output == "f"


def test_names_are_unique_and_given_ones_are_kept():
    def f(x):
        for _ in range(3):
            x = checkpoint_name(jnp.sin(x), "h")
        return jnp.exp(x) * jnp.exp(x)

    assert names(trace_graph(f, 0.5)) == ["h", "h_1", "h_2", "exp(h_2)", "exp(h_2)_1", "f"]


def test_an_input_named_again_keeps_its_name():
    graph = trace_graph(lambda x: checkpoint_name(x, "y") * 2, 0.5)
    assert list(graph.nodes) == ["x", "f"]


def test_long_formulas_give_way_to_the_operations_name():
    def f(first, second):
        return jnp.exp(jnp.sin(first * second + first) * 2)

    operations = names(trace_graph(f, 0.5, 0.25))
    assert operations == ["first*second", "first*second + first", "sin", "sin*2", "f"]


@pytest.mark.parametrize(
    ("f", "formula"),
    [
        (lambda x, y: (x + y) + x, "x + y + x"),
        (lambda x, y: x + (y + x), "x + (y + x)"),
        (lambda x, y: x - (y - x), "x - (y - x)"),
        (lambda x, y: (x - y) * (x / y), "(x - y)*(x/y)"),
        (lambda x, y: x / (y / x), "x/(y/x)"),
        (lambda x, y: -(x + y) * y, "(-(x + y))*y"),
        (lambda x, y: -(x * y), "-x*y"),
        (lambda x, y: (x * y) ** 3, "(x*y)**3"),
        (lambda x, y: (x**y) ** y, "(x**y)**y"),
        (lambda x, y: x ** (y**x), "x**(y**x)"),
        (lambda x, y: jnp.maximum(x, y) * 2, "max(x, y)*2"),
        (lambda x, y: x * y * -1.0, "x*y*(-1)"),
    ],
)
def test_formulas_have_the_parentheses_they_need(f, formula):
    graph = trace_graph(f, 1.5, 2.5)
    written = graph.nodes["f"].expression
    assert written == formula
    assert eval(written, {"x": 1.5, "y": 2.5, "max": max}) == pytest.approx(f(1.5, 2.5))


# ------------------------------------------------------------------------------- text


def test_chain_rule_of_the_document():
    def f(x, y, z):
        q = checkpoint_name(x + y, "q")
        return q * z

    assert chain_rule(trace_graph(f, -2.0, 5.0, -4.0)).splitlines() == [
        "x = -2",
        "y = 5",
        "z = -4",
        "q = x + y = 3",
        "f = q*z = -12",
        "",
        "df/df = 1",
        "df/dq = df/df · ∂f/∂q = 1 × -4 = -4",
        "df/dz = df/df · ∂f/∂z = 1 × 3 = 3",
        "df/dy = df/dq · ∂q/∂y = -4 × 1 = -4",
        "df/dx = df/dq · ∂q/∂x = -4 × 1 = -4",
    ]
    text = chain_rule(trace_graph(neuron, *NEURON.values()))
    assert "exp(-z) = 0.367879\n" in text
    assert "da/dz = da/d(-z) · ∂(-z)/∂z = -0.196612 × -1 = 0.196612\n" in text
    assert text.endswith("da/dw0 = da/d(w0*x0) · ∂(w0*x0)/∂w0 = 0.196612 × -1 = -0.196612")


def test_chain_rule_of_arrays_shows_shape_and_norm():
    text = chain_rule(
        trace_graph(lambda x, i: jnp.where(i[0] < 1, jnp.sum(3 * x), 1.0), np.ones((2, 8)), LABELS)
    )
    assert "x = ‖2×8‖ = 4\ni = int64[6]\n" in text
    assert "df/dx = df/d(3*x) · ∂(3*x)/∂x = ‖2×8‖ = 12" in text
    assert "df/di" not in text


@pytest.mark.parametrize("name", CASES)
def test_chain_rule_has_a_line_for_every_value_and_every_gradient(name):
    graph = traced(name)
    forward, backward = chain_rule(graph).split("\n\n")
    assert len(forward.splitlines()) == len(graph.nodes)
    gradients = [node for node in graph.nodes.values() if node.gradient is not None]
    assert len(backward.splitlines()) == len(gradients)


def test_dot_names_every_node_and_edge():
    graph = trace_graph(product_of_a_sum, *PRODUCT.values())
    lines = to_dot(graph).splitlines()
    assert '  "q" -> "f" [label="-4"];' in lines
    (q,) = [line for line in lines if line.startswith('  "q" [')]
    assert q.index('<font color="#009E73">q = 3<') < q.index(">+<") < q.index("#D55E00")
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


# ------------------------------------------------------------------------------- refusals


def python_if(x):
    return x if x > 0 else -x


@pytest.mark.parametrize(
    ("f", "args", "message"),
    [
        (lambda x: x * 2, (np.ones(3),), r"shape \(3,\); .* its sum, its mean"),
        (lambda x: (x, x), (1.0,), "returns tuple .*return one number"),
        (lambda x: {"a": x}, (1.0,), "returns dict .*return one number"),
        (lambda x: None, (1.0,), "returns NoneType .*return one number"),
        (lambda x: x.astype(int), (np.ones(()),), "returns int64, .* return a real number"),
        (lambda x: x > 0, (1.0,), "returns bool, .* return a real number"),
        (lambda x: lax.complex(x, x), (1.0,), "returns complex128, .* return a real number"),
        (lambda x: x * x, (2,), r"x is the whole number 2, .* write 2\.0, or jnp\.asarray"),
        (lambda x, y: x * x, (2.0, [3]), r"y\[0\] is the whole number 3"),
        (lambda x: 1.0 * x[0], (LABELS,), "no input of x is real.*floats"),
        (lambda: 1.0, (), "no input of the function is real"),
        (lambda x: abs(x), (1j,), "x is complex; pass its real and its imaginary part"),
        (lambda x, how: x, (1.0, "sum"), "how is 'sum', no number.*functools.partial"),
        (lambda x, y: x, (1.0,), "cannot take these arguments: .*'y'"),
        (python_if, (1.0,), r"jnp\.where or lax\.cond for a Python `if`"),
        (lambda x: float(x) * x, (1.0,), "asks for the value"),
        (lambda x: np.sin(x) * x, (1.0,), "asks for the value .*jax.numpy for numpy"),
        (
            lambda x: lax.while_loop(lambda a: a < 5, lambda a: a * 2, x),
            (1.0,),
            r"while loop.*lax\.scan, or lax\.fori_loop with Python numbers",
        ),
        (
            lambda x, n: lax.fori_loop(0, n, lambda i, a: a * x, x),
            (1.0, np.array(3)),
            r"while loop.*lax\.scan, or lax\.fori_loop with Python numbers",
        ),
        (
            lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct((), x.dtype), x),
            (np.ones(()),),
            r"pure_callback cannot be differentiated in reverse .*jax\.custom_vjp",
        ),
    ],
)
def test_refusal_names_the_way_out(f, args, message):
    with pytest.raises(InputError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        trace_graph(f, *args)


def test_refuses_to_be_traced():
    with pytest.raises(InputError, match=r"x is traced; .* outside jit"):
        jax.jit(lambda x: trace_graph(lambda x: x * x, x).nodes["x"].gradient)(1.0)


def test_errors_of_the_function_are_its_own():
    with pytest.raises(ZeroDivisionError):
        trace_graph(lambda x: x * (1 // 0), 1.0)


def test_float32_stays_float32():
    with jax.enable_x64(False):
        graph = trace_graph(lambda x: jnp.sum(x * x), np.ones(3, np.float32))
    assert all(node.value.dtype == np.float32 for node in graph.nodes.values())
    assert all(np.asarray(n.gradient).dtype == np.float32 for n in graph.nodes.values())
