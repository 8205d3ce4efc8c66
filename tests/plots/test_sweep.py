"""Pictures of sweeps: every number is where it belongs, and nothing is cut off."""

import io
import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxmnist import Config, plots, sweep
from jaxmnist.plots import style
from jaxmnist.plots.curves import CURVES
from jaxmnist.sweep.axes import cells as combined
from jaxmnist.sweep.axes import check_axes
from jaxmnist.training import History

OPTIMIZERS = ("sgd", "adam", "rmsprop")
RATES = (0.001, 0.01, 0.1, 1.0)
# One optimizer a row; NaN where all four seeds diverged.
ACCURACY = np.array(
    [[0.5, 0.8, 0.95, np.nan], [0.93, 0.97, 0.6, 0.1], [0.94, 0.92, 0.2, 0.11]]
)  # fmt: skip
LOST = np.array([[0, 0, 1, 4], [0, 0, 0, 0], [0, 0, 0, 0]])
HISTORY = {"eval_loss": np.zeros((48, 5))}


def row(values: dict, accuracy: float, diverged: int = 0, half: float | None = 0.01) -> dict:
    """A point of four runs; an accuracy that is NaN is that of runs that all diverged."""
    center = float(np.nan_to_num(accuracy))
    ends = (None, None) if half is None else (center - half, center + half)
    return {
        **values,
        "runs": 4,
        "diverged": diverged,
        "eval_accuracy": center / 2,  # Not what is drawn.
        "eval_accuracy_median": center / 3,
        "eval_accuracy_iqm": center,
        "eval_accuracy_iqm_low": ends[0],
        "eval_accuracy_iqm_high": ends[1],
    }


def summary() -> list[dict]:
    """With the rates in no order, as a person may give them."""
    return [
        row({"optimizer": OPTIMIZERS[i], "learning_rate": RATES[j]}, ACCURACY[i, j], LOST[i, j])
        for i, j in itertools.product(range(3), (2, 0, 1, 3))
    ]


def draw(figure: Figure) -> Figure:
    figure.savefig(io.BytesIO(), format="png")
    return figure


def ticks(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_two_axes_are_curves_above_and_a_map_below():
    curves, grid = draw(plots.sweep(summary(), HISTORY)).axes
    assert ticks(grid.yaxis) == ["SGD", "Adam", "RMSProp"]
    assert ticks(grid.xaxis) == ["0.001", "0.01", "0.1", "1"]
    assert grid.get_xlabel() == "Learning rate η"
    assert curves.get_xlim() == grid.get_xlim()
    written = {text.get_position(): text.get_text() for text in grid.texts}
    for (i, j), accuracy in np.ndenumerate(ACCURACY):
        expected = "✗" if np.isnan(accuracy) else f"{100 * accuracy:.1f}"
        assert written[j, i] == expected + ("*" if LOST[i, j] == 1 else "")
    (image,) = grid.images
    shown = image.get_array()
    assert shown is not None
    np.testing.assert_allclose(np.ma.filled(shown, np.nan), 1 - ACCURACY)
    frames = [patch for patch in grid.patches if isinstance(patch, Rectangle)]
    centres = [(p.get_y() + p.get_height() / 2, p.get_x() + p.get_width() / 2) for p in frames]
    np.testing.assert_allclose(centres, [(0, 2), (1, 1), (2, 0)], atol=1e-12)
    for line, name, accuracies in zip(curves.lines, OPTIMIZERS, ACCURACY, strict=True):
        np.testing.assert_allclose(np.asarray(line.get_ydata(), float), 1 - accuracies)
        assert to_hex(line.get_color()) == style.OPTIMIZERS[name].color.lower()
        assert line.get_label() == style.OPTIMIZERS[name].label


def test_bands_are_the_intervals():
    curves = plots.sweep(summary(), HISTORY).axes[0]
    bands = [part for part in curves.collections if isinstance(part, PolyCollection)]
    assert len(bands) == 3
    for band, accuracies in zip(bands, ACCURACY, strict=True):
        vertices = np.concatenate([np.array(path.vertices) for path in band.get_paths()])
        corners = {tuple(corner) for corner in vertices.round(6).tolist()}
        for column, error in enumerate(1 - accuracies):
            if np.isfinite(error):
                assert (column, round(error - 0.01, 6)) in corners
                assert (column, round(error + 0.01, 6)) in corners


def test_title_names_the_best_and_what_diverged():
    title = plots.sweep(summary(), HISTORY).get_suptitle()
    assert title.replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ") == (
        "48 runs of 5 epochs, 5 of which diverged: the best test accuracy is 97.00 % "
        "(interquartile mean of 4 seeds, 95 % bootstrap interval 96.00 to 98.00 %), "
        "with Adam, learning rate η 0.01"
    )
    (marks,) = {axes.get_title() for axes in plots.sweep(summary(), HISTORY).axes} - {""}
    assert "✗: every run diverged; *: some did, as accuracy 0" in marks


def test_one_axis_is_a_curve_that_says_where_it_diverged():
    rows = [{k: v for k, v in r.items() if k != "optimizer"} for r in summary()[:4]]
    (axes,) = draw(plots.sweep(rows, HISTORY)).axes
    (line,) = axes.lines
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), 1 - ACCURACY[0])
    (text,) = axes.texts
    assert (text.get_position()[0], text.get_text()) == (3, "✗\ndiverged")
    assert ticks(axes.xaxis) == ["0.001", "0.01", "0.1", "1"]


def test_names_are_points_with_bars_in_the_order_given():
    rows = [row({"hidden": name}, 0.9, half=None) for name in ("256-128", "none", "8")]
    (axes,) = draw(plots.sweep(rows, HISTORY)).axes
    assert ticks(axes.xaxis) == ["256-128", "none", "8"]
    assert "interval" not in plots.sweep(rows, HISTORY).get_suptitle()
    points = next(line for line in axes.lines if np.size(line.get_xdata()) == 3)
    assert points.get_linestyle() == "None"
    np.testing.assert_allclose(np.asarray(points.get_ydata(), float), 0.1)


def test_seeds_alone_are_drawn_against_the_epoch():
    rng = np.random.default_rng(0)
    history = {name: rng.uniform(0.1, 0.9, (3, 2)) for name in CURVES}
    figure = draw(plots.sweep([row({}, 0.9)], history))
    assert [axes.get_title() for axes in figure.axes] == ["Accuracy", "Loss"]
    assert figure.get_suptitle().startswith("4 runs of 2 epochs: test accuracy 90.00 % (interquart")


def test_sweep_without_a_result_and_one_of_three_axes():
    nothing = [row({"learning_rate": rate}, np.nan, 4) for rate in RATES]
    title = draw(plots.sweep(nothing, HISTORY)).get_suptitle()
    assert title == "16 runs of 5 epochs, 16 of which diverged: there is nothing to compare"
    with pytest.raises(ValueError, match="two axes can be drawn, not b1, b2, eps"):
        plots.sweep([row({"b1": 0.9, "b2": 0.9, "eps": 0.0}, 0.9)], HISTORY)


@pytest.mark.slow_except("2-dark")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("columns", [2, 12])
def test_nothing_is_cut_off(theme, columns):
    rates = [float(f"{rate:.6g}") for rate in np.geomspace(1e-4, 31.6228, columns)]
    rows = [
        row({"optimizer": name, "learning_rate": rate}, 0.5, 1)
        for name in style.OPTIMIZERS
        for rate in rates
    ]
    with plots.theme(theme):
        figure = draw(plots.sweep(rows, HISTORY))
        assert figure.get_figwidth() <= 10
        box = figure.bbox
        for axes in figure.axes:
            tight = axes.get_tightbbox()
            assert tight is not None
            assert tight.x0 >= box.x0 - 1
            assert tight.x1 <= box.x1 + 1
        title = figure._suptitle.get_window_extent()  # pyright: ignore
        assert title.x0 >= box.x0
        assert title.x1 <= box.x1


@pytest.mark.parametrize(
    "axes",
    [
        {"learning_rate": (1e30, 1e31)},
        {"learning_rate": (1e30,), "optimizer": ("sgd", "adam")},
        {"seed": (0, 1)},
    ],
)
@pytest.mark.parametrize("lost", ["loss", "accuracy"])
def test_sweep_without_any_result_is_drawn(axes, lost):
    """Every run diverged; or its loss is finite, and its accuracy is not."""
    axes = check_axes(axes)
    cells = combined(Config(), axes)
    shape = len(cells), 2
    history: dict[str, Any] = {
        name: np.full(shape, np.nan if lost == "loss" or "accuracy" in name else 1.0)
        for name in History._fields
    }
    found = sweep.Sweep(axes, cells, History(**history))
    with plots.theme():
        figure = plots.sweep(sweep.summary(found), history)
        figure.savefig(io.BytesIO(), format="png", dpi=20)
