"""Graphs: which calls are opened, what nodes are named, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from jaxmnist.calculus import Graph, trace_graph
from jaxmnist.errors import InputError

LABELS = np.array([0, 2, 1, 0, 2, 1])


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


# ------------------------------------------------------------------------------- calls


@jax.custom_jvp
def doubled_slope(x):
    return jnp.sin(x)


@doubled_slope.defjvp
def _(primals, tangents):
    return doubled_slope(*primals), 2 * jnp.cos(primals[0]) * tangents[0]


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


def reused(x, y):
    a = x * y
    return a * a + a / x + jnp.sin(a) + x


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
