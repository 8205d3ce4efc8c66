"""Part B of the document: backpropagation, drawn node by node (D12, D13)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxmnist import losses, plots
from jaxmnist.calculus import Edge, Graph, Node, chain_rule, trace_graph
from jaxmnist.data import load_dataset, normalize
from jaxmnist.figures.picture import Data, Picture, Report
from jaxmnist.model import MLP

_DIGITS: Final = 4
_HIDDEN: Final = 8


def _chain_rule(report: Report) -> Mapping[str, Any]:
    del report

    def f(x: Any, y: Any, z: Any) -> Any:
        q = checkpoint_name(x + y, "q")
        return q * z

    return _as_data(trace_graph(f, -2.0, 5.0, -4.0))


def _draw_chain_rule(data: Data) -> Figure:
    graph = _as_graph(data)
    gradient = graph.nodes["x"].gradient
    return plots.graph(
        graph,
        "f = (x + y) z: above in green the value, below in red the gradient, "
        f"df/dx = {gradient:g};\non an edge the local derivative that multiplies it (no number: 1)",
    )


def _neuron(report: Report) -> Mapping[str, Any]:
    del report

    def a(w0: Any, x0: Any, w1: Any, x1: Any, w2: Any) -> Any:
        z = checkpoint_name(w0 * x0 + w1 * x1 + w2, "z")
        return 1 / (1 + jnp.exp(-z))

    return _as_data(trace_graph(a, 2.0, -1.0, -3.0, -2.0, -3.0))


def _draw_neuron(data: Data) -> Figure:
    graph = _as_graph(data)
    a, slope = graph.nodes["a"].value, graph.nodes["z"].gradient
    return plots.graph(
        graph,
        f"A sigmoid neuron: forward a = {a:.6f} (green); back to z the gradient shrinks to "
        f"a (1 - a) = {slope:.6f} (red),\nand each weight's is that times its input",
    )


def _backpropagation(report: Report) -> Mapping[str, Any]:
    del report
    mnist = load_dataset("mnist")
    x = normalize(jnp.asarray(mnist.train_images[:_DIGITS])).reshape(_DIGITS, -1)
    y = jax.nn.one_hot(mnist.train_labels[:_DIGITS], mnist.num_classes)
    params = MLP((_HIDDEN,), mnist.num_classes).init(jax.random.key(0), x)["params"]
    first, second = params["dense_0"], params["dense_1"]
    weights = (first["weight"], first["bias"], second["weight"], second["bias"])
    graph = trace_graph(
        _loss, x, *weights, y, folded=("custom_jvp", "softmax", "cross_entropy", "mean")
    )
    return _as_data(graph)


def _loss(
    x: Float[Array, "batch inputs"],
    w1: Float[Array, "hidden inputs"],
    b1: Float[Array, " hidden"],
    w2: Float[Array, "classes hidden"],
    b2: Float[Array, " classes"],
    y: Float[Array, "batch classes"],
) -> Float[Array, ""]:
    """The network and its loss, written out so that each part has its letter."""
    h = jax.nn.relu(jnp.einsum("bi,hi->bh", x, w1) + b1[None, :])
    z = jnp.einsum("bh,ch->bc", checkpoint_name(h, "h"), w2) + b2[None, :]
    p = checkpoint_name(jax.jit(losses.softmax)(checkpoint_name(z, "z")), "p")
    loss = jax.jit(jnp.mean)(jax.jit(losses.cross_entropy)(y, p))
    return checkpoint_name(loss, "loss")


def _draw_backpropagation(data: Data) -> Figure:
    graph = _as_graph(data)
    w1, w2 = (np.linalg.norm(np.asarray(graph.nodes[name].gradient)) for name in ("w1", "w2"))
    return plots.graph(
        graph,
        f"One hidden layer and the cross-entropy of {_DIGITS} digits: shapes, norms of the values "
        f"(green) and of the gradients (red);\nthe loss pulls at w1 with {w1:.3g} and at w2 with "
        f"{w2:.3g}",
    )


def _as_data(graph: Graph) -> Mapping[str, Any]:
    return {
        "nodes": {name: node._asdict() for name, node in graph.nodes.items()},
        "edges": [edge._asdict() for edge in graph.edges],
        "output": graph.output,
        "chain_rule": chain_rule(graph),
    }


def _as_graph(data: Data) -> Graph:
    def array(value: Any) -> np.ndarray | None:
        return None if value is None else np.array(value)

    nodes = {
        name: Node(
            **{**node, "value": np.array(node["value"]), "gradient": array(node["gradient"])}
        )
        for name, node in data["nodes"].items()
    }
    edges = tuple(
        Edge(
            edge["source"],
            edge["target"],
            array(edge["derivative"]),
            array(edge["contribution"]),
        )
        for edge in data["edges"]
    )
    return Graph(nodes, edges, data["output"])


def _chain_rule_table(data: Data) -> str:
    return f"```text\n{data['chain_rule']}\n```\n"


PICTURES: Final = (
    Picture("chain_rule", "D12", _chain_rule, _draw_chain_rule, _chain_rule_table),
    Picture("neuron", "D13", _neuron, _draw_neuron, _chain_rule_table),
    Picture("backpropagation", "D12", _backpropagation, _draw_backpropagation, _chain_rule_table),
)
