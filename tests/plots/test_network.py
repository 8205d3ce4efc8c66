import io
from typing import Any

import numpy as np
import pytest
from mpl_toolkits.mplot3d.axes3d import Axes3D

from jaxmnist import plots
from jaxmnist.figures import loss_surface, optimizers

NAMES = tuple(plots.OPTIMIZERS)
TITLE = "What it is"


def cut(size: float) -> plots.Cut:
    """A bowl on a grid that is not square, and six paths out of one start, of that size."""
    xs, ys = np.linspace(-1, 1, 12), np.linspace(-1.5, 0.5, 9)
    turns = np.arange(6) * np.pi / 3
    directions = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return plots.Cut(
        xs,
        ys,
        0.07 + xs[None, :] ** 2 + 3 * ys[:, None] ** 2,
        {
            name: size * np.linspace(0, 1, 5)[:, None] * direction
            for name, direction in zip(NAMES, directions, strict=True)
        },
        {name: 10.0**-index for index, name in enumerate(NAMES)},
        {"adam": 0.25, "sgd": 1.07},
    )


def markers(axes) -> dict:
    """Where each marker without a line lies."""
    return {
        line.get_marker(): tuple(float(numbers[0]) for numbers in line.get_data())
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_are_drawn_in_both_themes(theme):
    curves = {name: np.geomspace(0.5, 0.02, 12).reshape(3, 4) for name in NAMES}
    with plots.theme(theme):
        for figure in (
            plots.loss_surface({"small": cut(0.02), "large": cut(0.4)}, TITLE),
            plots.training_comparison(curves, curves, dict.fromkeys(NAMES), TITLE),
        ):
            figure.savefig(io.BytesIO(), dpi=50)
            assert figure.get_size_inches()[0] <= 10
            assert figure.get_suptitle() == TITLE


def test_paths_are_drawn_to_their_ends_and_small_ones_in_a_window():
    small, large = cut(0.02), cut(0.4)
    figure = plots.loss_surface({"small": small, "large": large}, TITLE)
    flat_small, flat_large = (
        axes for axes in figure.axes if axes.get_title() in ("small", "large")
    )
    assert not flat_large.child_axes
    (window,) = (axes for axes in flat_small.child_axes if axes.lines)
    for axes, of in ((window, small), (flat_large, large)):
        where = markers(axes)
        assert where.pop("*") == (0, 0)
        assert len(where) == 6
        for name, look in plots.OPTIMIZERS.items():
            assert where[look.marker] == pytest.approx(tuple(of.paths[name][-1]))
            low, high = axes.get_xlim()
            assert low < where[look.marker][0] < high
    # 0.41 of the width of 2 over 1.3 of the paths' 2 sqrt(3/4) 0.02 or 2 0.02.
    assert [text.get_text() for text in window.texts] == ["20 times"]


def test_shares_are_said_in_the_legend():
    figure = plots.loss_surface({"one": cut(0.4)}, TITLE)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    labels = [look.label for look in plots.OPTIMIZERS.values()]
    shares = ["100%", "10%", "1.00%", "0.10%", "0.01%", "0.00%"]
    assert texts == [f"{label} {share}" for label, share in zip(labels, shares, strict=True)]


def test_solid_has_the_ends_that_lie_in_the_plane_at_their_loss():
    figure = plots.loss_surface({"one": cut(0.4)}, TITLE)
    (solid,) = (axes for axes in figure.axes if isinstance(axes, Axes3D))
    lines: Any = solid.lines
    found = {line.get_marker(): np.ravel(line.get_data_3d()) for line in lines}
    paths = cut(0.4).paths
    assert set(found) == {"P", "o"}
    np.testing.assert_allclose(found["P"], [*paths["adam"][-1], np.log10(0.25)])
    np.testing.assert_allclose(found["o"], [*paths["sgd"][-1], np.log10(1.07)])


def test_colours_are_on_one_scale_that_holds_every_height():
    low, high = cut(0.4), cut(0.4)._replace(loss=cut(0.4).loss * 100)
    figure = plots.loss_surface({"low": low, "high": high}, TITLE)
    norms = [
        collection.norm
        for axes in figure.axes
        if axes.get_title()
        for collection in axes.collections
        if collection.get_array() is not None and collection.get_cmap().name == "heights"
    ]
    assert len(norms) == 2
    for norm in norms:
        assert (norm.vmin, norm.vmax) == (0.07, 1000)
        assert low.loss.min() >= norm.vmin
        assert high.loss.max() <= norm.vmax


def test_comparison_has_the_mean_in_a_band_from_minimum_to_maximum():
    draw = np.random.default_rng(0).uniform
    losses = {name: draw(0.01, 1, (5, 7)) for name in NAMES}
    errors = {name: draw(0.01, 0.1, (5, 7)) for name in NAMES}
    rates = {"sgd": 0.1, "momentum": None, "adagrad": 2e-5} | dict.fromkeys(NAMES[3:], 1.0)
    figure = plots.training_comparison(losses, errors, rates, TITLE)
    for axes, curves in zip(figure.axes, (losses, errors), strict=True):
        assert axes.get_yscale() == "log"
        for name, line, band in zip(NAMES, axes.lines, axes.collections, strict=True):
            look = plots.OPTIMIZERS[name]
            assert (line.get_color(), line.get_marker()) == (look.color, look.marker)
            np.testing.assert_array_equal(line.get_xdata(), range(7))
            np.testing.assert_allclose(np.asarray(line.get_ydata()), curves[name].mean(axis=0))
            corners = np.asarray(band.get_paths()[0].vertices)
            for epoch in range(7):
                heights = corners[corners[:, 0] == epoch, 1]
                assert heights.min() == curves[name][:, epoch].min()
                assert heights.max() == curves[name][:, epoch].max()
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[:3] == ["SGD, η = 0.1", "Momentum", "Adagrad, η = 2e-05"]


# ------------------------------------------------------------------------------- the numbers


def run(rate: float | None, first: float) -> dict:
    """Two seeds, two epochs, two snapshots in each; the second seed is better by a hundredth."""
    accuracies = [[0.1, first, 0.95, 0.96, 0.94], [0.1, first, 0.96, 0.97, 0.95]]
    return {
        "learning_rate": rate,
        "train_loss": [[1.0, 0.5], [1.0, 0.7]],
        "test_loss": [[2.3, 1.0, 0.5, 0.4, 0.3]] * 2,
        "test_accuracy": accuracies,
        "steps": [0, 134, 938, 1072, 1876],
    }


def test_table_says_what_came_out():
    data = {
        "seeds": [0, 1],
        "epochs": 2,
        "goal": 0.97,
        "curves": {"sgd": run(0.1, 0.5), "adadelta": run(None, 0.98), "adam": run(0.001, 0.1)},
        "time_over_sgd": {
            "sgd": [1.0, 1.0, 1.0],
            "adadelta": [2.0, 1.5, 9.0],
            "adam": [1.1, 1.3, 1.2],
        },
    }
    data["curves"]["adam"]["test_accuracy"][1][3] = 0.5
    text = vars(optimizers)["_table"](data)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    metrics = "| 0.6000 ± 0.1414 | 0.9450 ± 0.0071 | 0.9550 ± 0.0071 |"
    assert rows[2:] == [
        f"| SGD | 0.1 {metrics} 1.00 (1.00 to 1.00) | 1,072 (1,072 to 1,072); 1 of 2 seeds |",
        f"| Adadelta | none {metrics} 2.00 (1.50 to 9.00) | 134 (134 to 134) |",
        f"| Adam | 0.001 {metrics} 1.20 (1.10 to 1.30) | not reached |",
    ]


def test_square_is_around_all_points():
    points = np.array([[0.0, 1.0], [10.0, 2.0], [4.0, 5.0]])
    (left, right), (low, high) = vars(loss_surface)["_square_around"](points)
    np.testing.assert_allclose([left, right, low, high], [-1.2, 11.2, -3.2, 9.2], rtol=1e-6)
