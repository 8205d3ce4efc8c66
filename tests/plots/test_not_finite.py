"""Pictures of numbers that are partly NaN or infinite: what is marked as best is a number."""

import io

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import landscapes, plots
from jaxmnist.cli.train import _summary
from jaxmnist.figures.race import ground_data
from jaxmnist.landscapes import Surface
from jaxmnist.plots import style
from jaxmnist.plots.terrain import MARK
from jaxmnist.training import History

NOT_FINITE = (np.nan, np.inf, -np.inf)


def marks(axes, size: float) -> list[tuple[float, float]]:
    """Where the markers of a size are that have no line."""
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in axes.lines
        if len(line.get_xdata()) == 1 and line.get_markersize() == size
    ]


def drawn(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


@pytest.mark.slow
def test_race_on_a_surface_with_an_edge_is_drawn_from_its_finite_heights():
    edge = Surface(
        "Edge",
        lambda w: w[0] ** 2 + w[1] ** 2 - 0.1 * jnp.log(w[0]),
        ((0.05**0.5, 0.0),),
        ((-1.5, 1.5), (-1.5, 1.5)),
        (1.0, 1.0),
    )
    result = landscapes.race(edge, ("sgd", "momentum"), 20, (0.01, 0.02, 0.05, 0.3))
    assert np.isinf(result.scores).any()
    data = ground_data(edge, 21)
    x, y, height, minima = (np.array(data[name]) for name in ("x", "y", "height", "minima"))
    height[:, 10] = np.inf  # At x = 0, to rounding; left of it all are NaN.
    assert np.isnan(height).any()
    terrain = plots.Terrain(x, y, height, minima)
    finite = np.isfinite(height)
    raised = terrain.raised(height)
    assert (np.isfinite(raised) == finite).all()
    assert (raised[finite].min(), raised[finite].max()) == (0, 1)
    *_, losses, rates = drawn(plots.race(terrain, ("sgd", "momentum"), result, "")).axes
    bottom = height[finite].min()
    for line, loss in zip(losses.lines, np.asarray(result.loss), strict=True):
        np.testing.assert_allclose(
            np.asarray(line.get_ydata())[0], loss[0] - min(bottom, loss.min()), rtol=0.1
        )
    best = marks(rates, MARK)
    scores = np.asarray(result.scores)
    assert [height for _, height in best] == scores.min(axis=1).tolist()


@pytest.mark.parametrize("value", NOT_FINITE)
def test_score_that_is_not_finite_is_not_marked(value):
    scores = jnp.array([[value, 0.5, 0.3], [value, value, value]])
    zeros = jnp.zeros((2, 3))
    result = landscapes.Race(
        jnp.array([0.1, 0.2, 0.3]), scores, zeros, jnp.array([0.3, 0.1]),
        jnp.zeros((2, 3, 2)), jnp.array([[1.0, 0.5, 0.2]] * 2),
    )  # fmt: skip
    flat = plots.Terrain(np.arange(-1, 2.0), np.arange(-1, 2.0), np.eye(3), np.zeros((1, 2)))
    rates = plots.race(flat, ("sgd", "adam"), result, "").axes[-1]
    assert marks(rates, MARK) == [(pytest.approx(0.3), pytest.approx(0.3))]


@pytest.mark.parametrize("value", NOT_FINITE)
def test_tuning_marks_the_lowest_finite_loss(value):
    rates = np.array([0.1, 0.2, 0.4, 0.8])
    some, none = np.array([value, 0.7, 0.4, value]), np.full(4, value)
    figure = drawn(
        plots.tuning({"sgd": np.stack([rates, some]), "adam": np.stack([rates, none])}, "")
    )
    assert marks(figure.axes[0], 11) == [(0.4, 0.4)]
    assert style.OPTIMIZERS["adam"].label in [
        text.get_text() for text in figure.legends[0].get_texts()
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_sweep_does_not_call_nan_the_best(order):
    # The last setting's runs diverged, all of them.
    cells = [(0.1, 0.9), (0.2, 0.95), (0.4, None)]
    summary = [
        {
            "learning_rate": cells[i][0],
            "runs": 2,
            "diverged": 2 if cells[i][1] is None else 0,
            "eval_accuracy_iqm": cells[i][1],
            "eval_accuracy_iqm_low": cells[i][1],
            "eval_accuracy_iqm_high": cells[i][1],
        }
        for i in order
    ]
    figure = drawn(plots.sweep(summary, {"eval_loss": np.zeros((6, 2))}))
    assert "95.00 %" in figure.get_suptitle().replace("\n", " ")


def test_levels_of_a_loss_surface_are_those_of_its_finite_losses():
    xs = np.linspace(-1, 1, 7)
    loss = 0.07 + xs[None] ** 2 + xs[:, None] ** 2
    path = {"sgd": np.array([[0.0, 0.0], [0.5, 0.5]])}
    whole = plots.Cut(xs, xs, loss, path, {"sgd": 0.5}, {"sgd": 0.57})
    holes = loss.copy()
    holes[0, :3] = NOT_FINITE
    colors = []
    for cut in (whole, whole._replace(loss=holes)):
        figure = drawn(plots.loss_surface({"one": cut}, ""))
        norm = figure.axes[0].collections[0].norm
        colors.append((norm.vmin, norm.vmax))
    assert colors == [(0.07, 3.0)] * 2


def test_summary_of_a_run_does_not_call_nan_the_best():
    zeros = jnp.zeros(4)
    history = History._make([zeros] * 8)
    history = history._replace(eval_accuracy=jnp.array([0.5, np.nan, 0.8, 0.7]))
    assert "(best 0.8000, epoch 2)" in _summary(history)
