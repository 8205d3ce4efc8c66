"""A sigmoid neuron, forward and back, drawn node by node (D13)."""

from collections.abc import Mapping
from typing import Any, Final

import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.calculus import trace_graph
from jaxmnist.figures.graph_data import FORM, as_data, as_graph, chain_rule_table
from jaxmnist.figures.picture import Data, OnProgress, Picture


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress

    def a(w0: Any, x0: Any, w1: Any, x1: Any, w2: Any) -> Any:
        z = checkpoint_name(w0 * x0 + w1 * x1 + w2, "z")
        return 1 / (1 + jnp.exp(-z))

    return as_data(trace_graph(a, 2.0, -1.0, -3.0, -2.0, -3.0))


def _draw(data: Data) -> Figure:
    graph = as_graph(data)
    a, slope = graph.nodes["a"].value, graph.nodes["z"].gradient
    return plots.graph(
        graph,
        f"A sigmoid neuron: forward a = {a:.6f} (green); back to z the gradient shrinks to "
        f"a (1 - a) = {slope:.6f} (red),\nand each weight's is that times its input",
    )


PICTURE: Final = Picture("neuron", "D13", _compute, _draw, table=chain_rule_table, form=FORM)
