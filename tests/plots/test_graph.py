"""Drawings of graphs: every number is there, in its colour, and nothing lies on anything else."""

import io
import itertools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.text import Text

from jaxmnist import plots
from jaxmnist.calculus import trace_graph
from jaxmnist.figures import PICTURES as ALL
from jaxmnist.figures.picture import plain
from jaxmnist.plots import style

PICTURES = {name: ALL[name] for name in ("chain_rule", "neuron", "backpropagation")}


@pytest.fixture(scope="module")
def data() -> dict[str, dict]:
    """The pictures' numbers, as they come back from JSON."""
    return {
        name: json.loads(json.dumps(plain(made.compute(lambda _: None))))
        for name, made in PICTURES.items()
    }


def drawn(figure: Figure) -> list[Text]:
    figure.draw_without_rendering()
    return list(figure.axes[0].texts)


def texts(figure: Figure, color: str) -> list[str]:
    return [text.get_text() for text in drawn(figure) if to_hex(text.get_color()).upper() == color]


@pytest.mark.slow
def test_neuron_shows_the_documents_numbers(data):
    figure = PICTURES["neuron"].draw(data["neuron"])
    values = ["2", "-1", "-3", "-2", "-3", "-2", "6", "4", "-1", "0.367879", "1.36788"]
    assert sorted(texts(figure, style.GOOD)) == sorted([*values, "z = 1", "a = 0.731059"])
    gradients = ["1", "-0.534447", "-0.534447", "-0.196612", "0.393224", "-0.393224", "-0.589836"]
    gradients += ["-0.196612", *["0.196612"] * 5]
    assert sorted(texts(figure, style.BAD)) == sorted(gradients)
    assert {"w0", "x0", "w1", "x1", "w2", "exp", "1/·"} <= {t.get_text() for t in drawn(figure)}


@pytest.mark.slow
def test_chain_rule_shows_the_documents_numbers(data):
    figure = PICTURES["chain_rule"].draw(data["chain_rule"])
    assert texts(figure, style.GOOD) == ["-2", "5", "-4", "q = 3", "f = -12"]
    assert texts(figure, style.BAD) == ["-4", "-4", "3", "-4", "1"]
    assert [text.get_text() for text in drawn(figure)][:2] == ["-4", "3"]


@pytest.mark.slow
def test_network_shows_shapes_and_norms(data):
    nodes = data["backpropagation"]["nodes"]
    figure = PICTURES["backpropagation"].draw(data["backpropagation"])
    for name in ("x", "w1", "b1", "w2", "b2", "y"):
        shown = [text.get_text() for text in drawn(figure)]
        value, gradient = np.array(nodes[name]["value"]), np.array(nodes[name]["gradient"])
        place = shown.index(name)
        norms = [f"{np.linalg.norm(value):.3g}", f"{np.linalg.norm(gradient):.3g}"]
        shape = "×".join(map(str, value.shape))
        assert shown[place + 1 : place + 4] == [norms[0], shape, norms[1]]


@pytest.mark.slow_except(
    "dark-chain_rule",
    "dark-neuron",
    "light-neuron",
    "light-backpropagation",
    "dark-backpropagation",
)
@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_overlaps_or_is_clipped(name, theme, data):
    with style.theme(theme):
        figure = PICTURES[name].draw(data[name])
        width, height = figure.get_size_inches() * figure.dpi
        assert width <= 10 * figure.dpi
        boxes = {text: text.get_window_extent() for text in drawn(figure)}
        title = figure.texts[0]
        boxes[title] = title.get_window_extent()
    for box in boxes.values():
        assert 0 <= box.x0 < box.x1 <= width
        assert 0 <= box.y0 < box.y1 <= height
    for (one, box), (other, other_box) in itertools.combinations(boxes.items(), 2):
        assert not box.overlaps(other_box), (one.get_text(), other.get_text())


@pytest.mark.parametrize("name", PICTURES)
def test_every_edge_runs_from_left_to_right(name, data):
    figure = PICTURES[name].draw(data[name])
    edges = [patch for patch in figure.axes[0].patches if isinstance(patch, PathPatch)]
    assert len(edges) == len(data[name]["edges"])
    for edge in edges:
        x = np.asarray(edge.get_path().vertices)[:, 0]
        assert x[0] < x[-1]


def test_no_edge_runs_through_a_node_on_its_way():
    graph = trace_graph(jax.nn.softplus, 0.7, folded=())
    figure = plots.graph(graph)
    places = {
        text.get_position() for text in drawn(figure) if text.get_bbox_patch() and text.zorder == 3
    }
    assert len(places) == len(graph.nodes)
    for patch in figure.axes[0].patches:
        polygons: Any = patch.get_path().to_polygons(closed_only=False)
        curve = np.asarray(polygons[0], float)
        for place in places:
            distance = np.hypot(*(curve - np.array([place])).T)
            assert min(distance[0], distance[-1]) < 1e-6 or distance.min() > 0.3


def test_edges_without_gradient_are_dotted():
    graph = trace_graph(lambda x: jnp.where(x > 0, x, -x), 2.0)
    figure = plots.graph(graph)
    dashes = [patch.get_linestyle() for patch in figure.axes[0].patches]
    dotted = [edge.contribution is None for edge in graph.edges]
    assert any(dotted)
    assert not all(dotted)
    assert dashes == [":" if is_dotted else "-" for is_dotted in dotted]
    assert "True" in texts(figure, style.GOOD)


@pytest.mark.parametrize("f", [lambda x: x, lambda x: 3.0, jax.nn.softplus])
def test_any_graph_can_be_drawn(f):
    figure = plots.graph(trace_graph(f, 1.0, folded=()), "any")
    assert figure.get_suptitle() == "any"
    figure.savefig(io.BytesIO(), format="png")


def test_drawing_twice_gives_the_same_bytes():
    graph = trace_graph(lambda x, y: x * y + x, 2.0, 3.0)

    def png() -> bytes:
        content = io.BytesIO()
        plots.graph(graph, "twice").savefig(content, format="png")
        return content.getvalue()

    assert png() == png()


@pytest.mark.slow
def test_pictures_say_the_chain_rule_too(data):
    table = PICTURES["chain_rule"].table
    assert table is not None
    assert "df/dq = df/df · ∂f/∂q = 1 × -4 = -4\n" in table(data["chain_rule"])
