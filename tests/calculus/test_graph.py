"""Graphs of the tutorial's two examples: every number of them, and as text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from jaxmnist.calculus import Graph, chain_rule, to_dot, trace_graph

EPSILON = 2.0**-52


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


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


def test_product_of_a_sum_is_the_tutorials():
    values, gradients, derivatives = numbers(trace_graph(product_of_a_sum, *PRODUCT.values()))
    assert values == PRODUCT | {"q": 3, "f": -12}
    assert gradients == {"x": -4, "y": -4, "z": 3, "q": -4, "f": 1}
    assert derivatives == {("x", "q"): 1, ("y", "q"): 1, ("q", "f"): -4, ("z", "f"): 3}


def test_neuron_prints_the_tutorials_numbers():
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
def test_tutorials_gradients_are_jax_grads_and_finite_differences(f, inputs):
    _, gradients, _ = numbers(trace_graph(f, *inputs.values()))
    at = list(inputs.values())
    by_jax = jax.grad(f, argnums=tuple(range(len(at))))(*at)
    h = 2.0**-17
    for index, (name, derivative) in enumerate(zip(inputs, by_jax, strict=True)):
        assert gradients[name] == pytest.approx(float(derivative), rel=4 * EPSILON)
        up, down = ([*at[:index], at[index] + d, *at[index + 1 :]] for d in (h, -h))
        # Off by h² f'''/6 and by eps f/h, which are alike at this h.
        assert gradients[name] == pytest.approx(float(f(*up) - f(*down)) / (2 * h), abs=16 * h**2)


# ------------------------------------------------------------------------------- text


def test_chain_rule_of_the_tutorial():
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
        trace_graph(
            lambda x, i: jnp.where(i[0] < 1, jnp.sum(3 * x), 1.0), np.ones((2, 8)), np.arange(6)
        )
    )
    assert "x = ‖2×8‖ = 4\ni = int64[6]\n" in text
    assert "df/dx = df/d(3*x) · ∂(3*x)/∂x = ‖2×8‖ = 12" in text
    assert "df/di" not in text


def test_dot_names_every_node_and_edge():
    graph = trace_graph(product_of_a_sum, *PRODUCT.values())
    lines = to_dot(graph).splitlines()
    assert '  "q" -> "f" [label="-4"];' in lines
    (q,) = [line for line in lines if line.startswith('  "q" [')]
    assert q.index('<font color="#009E73">q = 3<') < q.index(">+<") < q.index("#D55E00")
