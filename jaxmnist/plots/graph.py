"""A graph of backpropagation: values above its nodes, gradients below (rows D12 and D13)."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from jaxmnist.calculus.graph import Edge, Graph, Node
from jaxmnist.calculus.graph_text import describe
from jaxmnist.plots import style

_ROW = 0.19
"""Between two lines of text, in inches."""
_CHARACTER = 0.088
"""The width of a digit, in inches."""


class Layout(NamedTuple):
    """Where everything is, in inches from the lower left corner."""

    size: tuple[float, float]
    """Width and height."""
    nodes: Mapping[str, tuple[float, float]]
    """The middle of each node, by name."""
    edges: tuple[np.ndarray, ...]
    """Of each edge, in the graph's order, the points [3 n + 1, 2] of cubic Bézier curves from
    middle to middle; or two points, for a straight line."""


def graph(graph: Graph, layout: Layout | None = None, title: str = "") -> Figure:
    """Draw a graph from left to right: values in green above its nodes, gradients in red below.

    An input is a box with its name, an operation a round one with its sign. Of an array the
    shape is shown, and for the value and for the gradient the norm. Beside an edge between
    scalars is the local derivative, by which the gradient is multiplied on its way back; where it
    is 1, the gradient is handed on as it is. No gradient comes back along a dotted edge.

    Args:
        graph: What `jaxmnist.calculus.trace_graph` returns.
        layout: Where to draw it; None for `layered`.
        title: Above it all.

    Returns:
        A picture as wide as the layout.

    Source: document rows D12 and D13.

    >>> from jaxmnist.calculus import trace_graph
    >>> figure = graph(trace_graph(lambda x: x * x, 3.0), title="a square")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['·6', 'x', '3', '6', '×', 'f = 9', '1']
    """
    layout = layered(graph) if layout is None else layout
    width, height = layout.size
    figure = Figure(figsize=(max(width, 5), height + 0.45), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    for edge, points in zip(graph.edges, layout.edges, strict=True):
        _draw_edge(axes, edge, points)
    for name, node in graph.nodes.items():
        _draw_node(axes, *layout.nodes[name], name, node)
    figure.suptitle(title)
    return figure


def layered(graph: Graph) -> Layout:
    """Lay a graph out in columns by networkx, each node just before its first use.

    Args:
        graph: What `jaxmnist.calculus.trace_graph` returns.

    Returns:
        The layout, with straight edges. Between columns that are far apart an edge can pass
        through a node.
    """
    network = nx.DiGraph()
    network.add_nodes_from(graph.nodes)
    network.add_edges_from((edge.source, edge.target) for edge in graph.edges)
    back = network.reverse()
    # Columns in the order in which a walk back from the output meets them cross little.
    order = {name: rank for rank, name in enumerate(nx.dfs_preorder_nodes(back, graph.output))}
    columns = {
        -depth: sorted(names, key=lambda name: order.get(name, len(order)))
        for depth, names in enumerate(nx.topological_generations(back))
    }
    places = nx.multipartite_layout(network, subset_key=columns)
    sizes = np.array([node_size(name, graph.nodes[name]) for name in graph.nodes])
    points = np.array([places[name] for name in graph.nodes])
    step = sizes.max(axis=0) + (0.5, 0.05)
    for axis in range(2):
        gaps = np.diff(np.unique(points[:, axis].round(6)))
        points[:, axis] *= step[axis] / gaps.min() if len(gaps) else 1
    points += sizes.max(axis=0) / 2 - points.min(axis=0)
    nodes = {name: (float(x), float(y)) for name, (x, y) in zip(graph.nodes, points, strict=True)}
    width, height = points.max(axis=0) + sizes.max(axis=0) / 2
    edges = tuple(np.array([nodes[edge.source], nodes[edge.target]]) for edge in graph.edges)
    return Layout((float(width), float(height)), nodes, edges)


def node_size(name: str, node: Node) -> tuple[float, float]:
    """The width and height, in inches, of a node with what is written above and below it."""
    above, middle, below = _lines(name, node)
    width = max(len(line) for line in (*above, f"  {middle} ", *below)) * _CHARACTER
    return max(width, 0.4), 2 * _ROW * (len(above) + 0.5) + 0.2


def _lines(name: str, node: Node) -> tuple[list[str], str, list[str]]:
    """What is written above a node, from the bottom up, in it, and below it."""
    value = _short(node.value)
    above = [f"{name} = {value}" if node.named and node.symbol and not node.value.ndim else value]
    if node.value.ndim:
        shape = "×".join(str(size) for size in node.value.shape)
        above.append(f"{name}: {shape}" if node.named and node.symbol else shape)
    below = [] if node.gradient is None else [_short(node.gradient)]
    return above, node.symbol or name, below


def _short(array: np.ndarray) -> str:
    """A number, or the norm of an array."""
    if np.issubdtype(array.dtype, np.inexact):
        return describe(array) if array.ndim == 0 else f"{np.linalg.norm(array):.3g}"
    return str(array) if array.ndim == 0 else str(array.dtype)


def _draw_edge(axes: Axes, edge: Edge, points: np.ndarray) -> None:
    line = {"edgecolor": style.muted(), "linewidth": 1.2, "zorder": 1}
    codes = [Path.MOVETO, *[Path.LINETO if len(points) == 2 else Path.CURVE4] * (len(points) - 1)]
    dash = ":" if edge.contribution is None else "-"
    axes.add_patch(PathPatch(Path(points, codes), facecolor="none", linestyle=dash, **line))
    if edge.derivative is not None and edge.derivative != 1:
        x, y = _middle(points)
        _write(axes, x, y, f"·{_short(edge.derivative)}", style.ink(), zorder=2)


def _draw_node(axes: Axes, x: float, y: float, name: str, node: Node) -> None:
    above, middle, below = _lines(name, node)
    box = {"facecolor": style.background(), "edgecolor": style.ink(), "linewidth": 1.2}
    if node.kind == "operation":
        shape = "circle,pad=0.25" if len(middle) <= 2 else "round,pad=0.35,rounding_size=0.9"
    else:
        shape = "square,pad=0.3"
    axes.text(x, y, middle, bbox={"boxstyle": shape, **box}, zorder=3, **_CENTRED)
    first = _ROW + 0.12
    for row, line in enumerate(above):
        color = style.GOOD if row == 0 else style.muted()
        _write(axes, x, y + first + row * _ROW, line, color)
    for line in below:
        _write(axes, x, y - first, line, style.BAD)


_CENTRED: Final[Mapping[str, Any]] = {"ha": "center", "va": "center"}


def _write(axes: Axes, x: float, y: float, text: str, color: str, zorder: int = 4) -> None:
    blank = {"boxstyle": "square,pad=0.05", "facecolor": style.background(), "edgecolor": "none"}
    axes.text(x, y, text, color=color, bbox=blank, zorder=zorder, **_CENTRED)


def _middle(points: np.ndarray) -> np.ndarray:
    """The point halfway along the middle one of an edge's curves."""
    if len(points) == 2:
        return points.mean(axis=0)
    first = 3 * ((len(points) - 1) // 3 // 2)
    return np.array([1, 3, 3, 1]) @ points[first : first + 4] / 8
