"""Computation graphs to JSON and back, and their table, for the pictures that draw one."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from jaxmnist.calculus import Edge, Graph, Node, chain_rule
from jaxmnist.figures.picture import Data
from jaxmnist.forms import Each

FORM: Final = {
    "nodes": Each({**dict.fromkeys(("kind", "symbol", "expression"), str), "named": bool}),
    "edges": [{"source": str, "target": str}],
    "output": str,
    "chain_rule": str,
}
"""What `as_data` returns, as JSON has it; values, of any shape, are checked by `as_graph`."""


def as_data(graph: Graph) -> Mapping[str, Any]:
    """Return a graph's nodes and edges, and its chain rule as text."""
    return {
        "nodes": {name: node._asdict() for name, node in graph.nodes.items()},
        "edges": [edge._asdict() for edge in graph.edges],
        "output": graph.output,
        "chain_rule": chain_rule(graph),
    }


def as_graph(data: Data) -> Graph:
    """Return the graph that `as_data` was given."""

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


def chain_rule_table(data: Data) -> str:
    """Return the chain rule of what `as_data` returned, as Markdown."""
    return f"```text\n{data['chain_rule']}\n```\n"
