"""A graph of backpropagation: values above its nodes, gradients below (rows D12 and D13)."""

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from jaxmnist.plots import style

if TYPE_CHECKING:
    from jaxmnist.calculus import Edge, Graph, Node
else:  # Their types are no reason to load JAX.
    Edge = Graph = Node = Any

_ROW = 0.19
"""Between two lines of text, in inches."""
_CHARACTER = 0.088
"""The width of a digit, in inches."""
_GAPS = (0.1, 0.5)
"""The least and the most between two columns, in inches."""
_WIDTH = 10.0
"""That a picture has if its columns allow it, in inches."""


def graph(graph: Graph, title: str = "") -> Figure:
    """Draw a graph from left to right: values in green above its nodes, gradients in red below.

    An input is a box with its name, an operation a round one with its sign. Of an array the
    shape is shown, and for the value and for the gradient the norm. Beside an edge between
    scalars is the local derivative, by which the gradient is multiplied on its way back; where it
    is 1, the gradient is handed on as it is. No gradient comes back along a dotted edge.

    Args:
        graph: What `jaxmnist.calculus.trace_graph` returns.
        title: Above it all.

    Returns:
        A picture 10 inches wide or less, if the graph is not too deep for that.

    Source: tutorial rows D12 and D13.

    >>> from jaxmnist.calculus import trace_graph
    >>> figure = graph(trace_graph(lambda x: x * x, 3.0), title="a square")
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['6', 'x', '3', '6', '×', 'f = 9', '1']
    """
    places, routes, (width, height) = _lay_out(graph)
    above = 0.3 + _ROW * (1 + title.count("\n"))
    figure = Figure(figsize=(max(width, 6), height + above), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    for edge, stops in zip(graph.edges, routes, strict=True):
        _draw_edge(axes, edge, np.array([places[stop] for stop in stops]))
    for name, node in graph.nodes.items():
        x, y = places[name]
        _draw_node(axes, x, y, name, node)
    figure.suptitle(title)
    return figure


_Stop = Any
"""A node's name, or a name and a depth: where its edge passes a column on its way."""


def _lay_out(
    graph: Graph,
) -> tuple[dict[_Stop, np.ndarray], list[list[_Stop]], tuple[float, float]]:
    """Places in inches, in columns by networkx; the way of each edge; and the size of it all."""
    import networkx as nx  # Here alone: every run's pictures would wait for it.

    back = nx.DiGraph()
    back.add_nodes_from(graph.nodes)
    back.add_edges_from((edge.target, edge.source) for edge in graph.edges)
    # Each node is in the column before its first use, and holds a place in the columns up to
    # its last, so that no edge runs through a node.
    generations = enumerate(nx.topological_generations(back))
    depth = {name: depth for depth, names in generations for name in names}
    routes = []
    for source, target, *_ in graph.edges:
        between = range(depth[source] - 1, depth[target], -1)
        routes.append([source, *((source, at) for at in between), target])
    spread = nx.DiGraph()
    spread.add_nodes_from(graph.nodes)
    for route in routes:
        nx.add_path(spread, route[::-1])
    # Within a column, top to bottom as a walk back from the output meets them: few edges cross.
    order = {stop: rank for rank, stop in enumerate(nx.dfs_preorder_nodes(spread, graph.output))}
    columns = {
        -depth: sorted(stops, key=lambda stop: -order.get(stop, len(order)))
        for depth, stops in enumerate(nx.topological_generations(spread))
    }
    layout = nx.multipartite_layout(spread, subset_key=columns)
    points = np.array(list(layout.values()))
    nodes = graph.nodes
    sizes = np.array([_size(s, nodes[s]) if s in nodes else (0, 0) for s in layout])

    # networkx scales to a square; here a column is as wide as its widest node.
    column = np.unique(points[:, 0], return_inverse=True)[1]
    members = [column == index for index in range(len(columns))]
    widths = np.array([sizes[member, 0].max() for member in members])
    widths += np.clip((_WIDTH - widths.sum()) / len(widths), *_GAPS)
    points[:, 0] = (np.cumsum(widths) - widths / 2)[column]
    row = sizes[:, 1].max()
    gaps = [gap for member in members for gap in np.diff(np.sort(points[member, 1]))]
    points[:, 1] *= row / min(gaps, default=1)
    points[:, 1] += row / 2 - points[:, 1].min()
    size = (float(widths.sum()), float(points[:, 1].max() + row / 2))
    return dict(zip(layout, points, strict=True)), routes, size


def _size(name: str, node: Node) -> tuple[float, float]:
    """The width and height, in inches, of a node with what is written above and below it."""
    above, middle, below = _lines(name, node)
    width = max(len(line) for line in (*above, f"{middle} ", *below)) * _CHARACTER
    return max(width, 0.4), 2 * _ROW * (len(above) + 0.5) + 0.3


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
        return f"{array:.6g}" if array.ndim == 0 else f"{np.linalg.norm(array):.3g}"
    return str(array) if array.ndim == 0 else str(array.dtype)


def _draw_edge(axes: Axes, edge: Edge, stops: np.ndarray) -> None:
    """Draw curves that leave and arrive level, clear of what is above and below a node."""
    points = [stops[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(stops):
        halfway = (x0 + x1) / 2
        points += [(halfway, y0), (halfway, y1), (x1, y1)]
    path = Path(points, [Path.MOVETO, *[Path.CURVE4] * (len(points) - 1)])
    dash = ":" if edge.contribution is None else "-"
    color = style.muted()
    axes.add_patch(
        PathPatch(path, facecolor="none", edgecolor=color, linestyle=dash, linewidth=1.2, zorder=1)
    )
    if edge.derivative is not None and edge.derivative != 1:
        x, y = stops[-2:].mean(axis=0)
        _write(axes, x, y, f"{edge.derivative:.3g}", style.ink(), zorder=2)


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
