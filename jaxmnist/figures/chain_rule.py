"""The chain rule on f = (x + y) z, drawn node by node (D12)."""

from collections.abc import Mapping
from typing import Any, Final

from jax.ad_checkpoint import checkpoint_name
from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.calculus import trace_graph
from jaxmnist.figures.graph_data import FORM, as_data, as_graph, chain_rule_table
from jaxmnist.figures.picture import Data, OnProgress, Picture


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress

    def f(x: Any, y: Any, z: Any) -> Any:
        q = checkpoint_name(x + y, "q")
        return q * z

    return as_data(trace_graph(f, -2.0, 5.0, -4.0))


def _draw(data: Data) -> Figure:
    graph = as_graph(data)
    gradient = graph.nodes["x"].gradient
    return plots.graph(
        graph,
        "f = (x + y) z: above in green the value, below in red the gradient, "
        f"df/dx = {gradient:g};\non an edge the local derivative that multiplies it (no number: 1)",
    )


PICTURE: Final = Picture("chain_rule", "D12", _compute, _draw, table=chain_rule_table, form=FORM)
