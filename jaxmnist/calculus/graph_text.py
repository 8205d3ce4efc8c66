"""A graph in words: the chain rule step by step, and the DOT language."""

from html import escape
from typing import Any, Final

import numpy as np

from jaxmnist.calculus.graph import Edge, Graph, Node

VALUE_COLOR: Final = "#009E73"
GRADIENT_COLOR: Final = "#D55E00"


def describe(array: np.ndarray) -> str:
    """Describe a scalar by its value and an array by its shape and its Euclidean norm.

    >>> describe(np.array(-0.5344466)), describe(np.array([[3.0, 4.0]])), describe(np.arange(3))
    ('-0.534447', '‖1×2‖ = 5', 'int64[3]')
    """
    if array.ndim == 0:
        return _number(array) if np.issubdtype(array.dtype, np.number) else str(array)
    shape = "×".join(str(size) for size in array.shape)
    if not np.issubdtype(array.dtype, np.inexact):
        return f"{array.dtype}[{shape}]"
    return f"‖{shape}‖ = {_number(np.linalg.norm(array))}"


def _number(value: Any) -> str:
    """Six decimals at most, as the tutorial prints, or six digits where these would say little."""
    if np.iscomplexobj(value):
        return f"{complex(value):.6g}"
    value = float(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.6g}"
    return f"{value:.6f}".rstrip("0").rstrip(".")


def chain_rule(graph: Graph) -> str:
    """Write out the forward pass, and the chain rule back from the output to the inputs.

    Where node u uses v, ``∂u/∂v`` is the local derivative and ``df/du`` the gradient that arrived
    at u; ``df/dv`` is the sum of their products over all such u.

    Args:
        graph: What `trace_graph` returns.

    Returns:
        A line for each operation, then a line for each gradient, last operation first.

    Source: tutorial rows D12 and D13.

    >>> from jaxmnist.calculus import trace_graph
    >>> def f(x, y):
    ...     return x * y + x
    >>> print(chain_rule(trace_graph(f, 3.0, -4.0)))
    x = 3
    y = -4
    x*y = -12
    f = x*y + x = -9
    <BLANKLINE>
    df/df = 1
    df/d(x*y) = df/df · ∂f/∂(x*y) = 1 × 1 = 1
    df/dy = df/d(x*y) · ∂(x*y)/∂y = 1 × 3 = 3
    df/dx = df/d(x*y) · ∂(x*y)/∂x + df/df · ∂f/∂x = 1 × -4 + 1 × 1 = -3
    """
    lines = []
    for name, node in graph.nodes.items():
        formula = f" = {node.expression}" if node.expression not in ("", name) else ""
        lines.append(f"{name}{formula} = {describe(node.value)}")
    lines.append("")
    for name, node in reversed(list(graph.nodes.items())):
        if node.gradient is not None:
            uses = [e for e in graph.edges if e.source == name and e.contribution is not None]
            terms = [
                _ratio("d", graph.output, name),
                " + ".join(_symbolic_product(graph, edge) for edge in uses),
                " + ".join(_product(graph, edge) for edge in uses if edge.derivative is not None),
                describe(node.gradient),
            ]
            lines.append(" = ".join(term for term in terms if term))
    return "\n".join(lines)


def _symbolic_product(graph: Graph, edge: Edge) -> str:
    return f"{_ratio('d', graph.output, edge.target)} · {_ratio('∂', edge.target, edge.source)}"


def _product(graph: Graph, edge: Edge) -> str:
    gradient = np.asarray(graph.nodes[edge.target].gradient)
    return f"{describe(gradient)} × {describe(np.asarray(edge.derivative))}"


def _ratio(d: str, above: str, below: str) -> str:
    # A formula is put in parentheses, a name or a path into an argument is not.
    above, below = (f"({n})" if set(n) & set(" */-(") else n for n in (above, below))
    return f"{d}{above}/{d}{below}"


def to_dot(graph: Graph) -> str:
    """Write a graph in the DOT language, for Graphviz: ``dot -Tsvg``.

    Args:
        graph: What `trace_graph` returns.

    Returns:
        A digraph from left to right. Each node shows its name or operation, its value in green
        above and its gradient in red below; an edge shows its local derivative, and is dashed
        where no gradient goes back along it.

    Source: tutorial rows D12 and D13.

    >>> from jaxmnist.calculus import trace_graph
    >>> print(to_dot(trace_graph(lambda x: 2 * x, 3.0)).splitlines()[-2])
      "x" -> "f" [label="2"];
    """
    lines = [
        "digraph {",
        "  graph [rankdir=LR, nodesep=0.2, ranksep=0.2];",
        '  node [shape=plain, fontname="DejaVu Sans", fontsize=10];',
        '  edge [fontname="DejaVu Sans", fontsize=10, arrowsize=0.6];',
    ]
    for name, node in graph.nodes.items():
        lines.append(f"  {_quoted(name)} [label=<{_table(name, node)}>];")
    for edge in graph.edges:
        ends = f"{_quoted(edge.source)} -> {_quoted(edge.target)}"
        if edge.contribution is None:
            lines.append(f"  {ends} [style=dashed];")
        elif edge.derivative is None:
            lines.append(f"  {ends};")
        else:
            lines.append(f"  {ends} [label={_quoted(describe(edge.derivative))}];")
    return "\n".join([*lines, "}"])


def _table(name: str, node: Node) -> str:
    """Value, name or operation, and gradient, one above the other."""
    value = (
        f"{name} = {describe(node.value)}" if node.named and node.symbol else describe(node.value)
    )
    rows = [(value, f' color="{VALUE_COLOR}"'), (node.symbol or name, "")]
    if node.gradient is not None:
        rows.append((describe(node.gradient), f' color="{GRADIENT_COLOR}"'))
    cells = "".join(f"<tr><td><font{color}>{escape(text)}</font></td></tr>" for text, color in rows)
    return f'<table border="0" cellspacing="0">{cells}</table>'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
