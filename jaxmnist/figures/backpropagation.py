"""Part B of the document: backpropagation, drawn node by node (D12, D13)."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from matplotlib.figure import Figure

from jaxmnist import losses, plots
from jaxmnist.calculus import Edge, Graph, Node, trace_graph
from jaxmnist.data import load_dataset, normalize
from jaxmnist.figures.picture import Data, Picture, Report
from jaxmnist.model import MLP
from jaxmnist.plots.graph import Layout, layered, node_size


def lay_out(graph: Graph) -> Layout:
    """Lay a graph out by Graphviz's dot where that is installed, and by networkx elsewhere."""
    program = shutil.which("dot")
    if program is None:
        return layered(graph)
    number = {name: str(count) for count, name in enumerate(graph.nodes)}
    lines = ["digraph { rankdir=LR; ranksep=0.3; nodesep=0.12; node [shape=box, fixedsize=true];"]
    lines.append("edge [headclip=false, tailclip=false];")
    for name, node in graph.nodes.items():
        width, height = node_size(name, node)
        lines.append(f"{number[name]} [width={width}, height={height}];")
    lines += [f"{number[edge.source]} -> {number[edge.target]};" for edge in graph.edges]
    done = subprocess.run(
        [program, "-Tjson"], input="\n".join([*lines, "}"]), capture_output=True, text=True, check=True
    )
    drawn = json.loads(done.stdout)
    points_per_inch = 72

    def point(text: str) -> tuple[float, float]:
        x, y = (float(part) / points_per_inch for part in text.split(","))
        return x, y

    places = {node["name"]: point(node["pos"]) for node in drawn["objects"]}
    _, _, width, height = (float(part) / points_per_inch for part in drawn["bb"].split(","))
    routes = {
        (drawn["objects"][edge["tail"]]["name"], drawn["objects"][edge["head"]]["name"]): np.array(
            [point(text) for text in edge["pos"].removeprefix("e,").split()[1:]]
        )
        for edge in drawn["edges"]
    }
    edges = tuple(routes[number[edge.source], number[edge.target]] for edge in graph.edges)
    return Layout((width, height), {name: places[number[name]] for name in graph.nodes}, edges)
