"""The pictures of parts A, C and D: the numbers they compute, and what is drawn from them."""

import json

import numpy as np
import pytest
from matplotlib.text import Text

from jaxmnist.figures import PICTURES as ALL
from jaxmnist.figures import picture
from jaxmnist.plots import style

NAMES = (
    *("softmax", "cross_entropy"),
    *("gradient_descent", "taylor", "descent_1d", "descent_2d", "descent_network"),
    *("terminal_velocity", "step_sizes", "bias_correction"),
)
PICTURES = {name: ALL[name] for name in NAMES}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Each picture's data as its JSON gives it, computed once; not the network's, which trains."""
    found = {}

    def get(name: str):
        if name not in found:
            out = tmp_path_factory.mktemp(name)
            (path,) = picture.make(PICTURES[name]._replace(themes=()), out)
            assert path.stat().st_size < 150_000
            found[name] = json.loads(path.read_text())["data"]
        return found[name]

    return get


def network_data():
    rng = np.random.default_rng(0)
    first_order = -rng.uniform(0.1, 1, 20)
    curvature = rng.uniform(-1, 40, 20)
    return {
        "learning_rate": 0.1,
        "first_order": first_order.tolist(),
        "measured": (first_order * (1 - 0.05 * curvature)).tolist(),
        "curvature": curvature.tolist(),
        "probed": [0, 10],
        "largest_eigenvalue": [5.0, 40.0],
        "largest_rate": [0.5, 0.2],
    }


@pytest.mark.slow_except("descent_network", "terminal_velocity")
@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_drawn_whole_in_both_themes(name, data):
    given = network_data() if name == "descent_network" else data(name)
    for theme in ("light", "dark"):
        with style.theme(theme):
            figure = PICTURES[name].draw(given)
            figure.draw_without_rendering()
            assert figure.get_size_inches()[0] <= 10
            title = figure.texts[0] if figure.get_suptitle() else figure.axes[0].title
            extent = title.get_window_extent()
            assert 0 <= extent.x0 < extent.x1 <= figure.bbox.x1, "the caption is cut off"
            texts = [artist for artist in figure.findobj(Text) if isinstance(artist, Text)]
            sizes = {text.get_fontsize() for text in texts}
            assert sizes == {style.FONT_SIZE}
            assert "nan" not in figure.get_suptitle()


def test_softmax_of_shifted_scores_never_changes(data):
    given = data("softmax")
    expected = np.exp(given["logits"]) / np.exp(given["logits"]).sum()
    np.testing.assert_allclose(given["probabilities"], expected, rtol=1e-5)
    shifts, stable = np.array(given["shifts"]), np.array(given["of_largest"])
    plain = np.array(given["of_largest_unshifted"], float)
    assert (shifts.min(), shifts.max()) == (-1e4, 1e4)
    # A logit of 1e4 is rounded by 5e-4, and its probability with it.
    np.testing.assert_allclose(stable, expected.max(), rtol=1e-3)
    assert np.isnan(plain[np.abs(shifts) > 110]).all()
    np.testing.assert_allclose(plain[np.abs(shifts) < 80], expected.max(), rtol=1e-4)


@pytest.mark.slow
def test_clamped_cross_entropy_loses_its_gradient_where_the_stable_one_has_it(data):
    given = data("cross_entropy")
    z = np.array(given["logits"])
    for target, limit in (("1", -27.63), ("0", 16.64)):
        exact = 1 / (1 + np.exp(-z)) - float(target)
        np.testing.assert_allclose(given["stable"][target]["gradient"], exact, atol=2e-6)
        clamped = np.array(given["clamped"][target]["gradient"])
        lost = z < limit if target == "1" else z > limit
        assert (clamped[lost] == 0).all()
        # Nearer to the limit 1 - p has few digits left in float32.
        inside = ~lost & (z < 8)
        np.testing.assert_allclose(clamped[inside], exact[inside], rtol=1e-3, atol=1e-5)


def test_gradient_descent_multiplies_the_error(data):
    given = data("gradient_descent")
    for rate, path, values in zip(given["rates"], given["paths"], given["losses"], strict=True):
        expected = 2 - 3 * (1 - 2 * rate) ** np.arange(len(path))
        np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-5)
        falls = np.diff(values) < 0
        assert falls.all() if rate < 1 else not falls.any()


@pytest.mark.slow
def test_taylor_errors_are_those_of_the_series(data):
    given = data("taylor")
    errors = np.array(given["errors"])
    # What is left of e at 1: e - 2 and e - 163/60.
    np.testing.assert_allclose(errors[0, [1, 5]], [np.e - 2, np.e - 163 / 60], rtol=1e-5)
    x = np.array(given["x"])
    np.testing.assert_allclose(given["curves"]["1"], 1 + x, rtol=1e-5, atol=1e-6)
    expected = 1 + x + x**2 / 2 + x**3 / 6 + x**4 / 24 + x**5 / 120
    np.testing.assert_allclose(given["curves"]["5"], expected, rtol=1e-5)


@pytest.mark.slow
def test_one_dimensional_limits(data):
    constant, falling, rising = data("descent_1d")["cases"]
    np.testing.assert_allclose(constant["largest_rate"], 1, rtol=1e-5)
    for case in (constant, falling, rising):
        end = case["start"] - case["largest_rate"] * case["slope"]
        if case is not constant:
            level = np.exp(case["start"]) - case["start"]
            np.testing.assert_allclose(np.exp(end) - end, level, rtol=1e-5)
    assert falling["largest_rate"] > 2 / falling["curvature"]
    assert rising["largest_rate"] < 2 / rising["curvature"]


@pytest.mark.slow
def test_two_dimensional_steps_are_steepest_at_180_degrees_when_short(data):
    given = data("descent_2d")
    degrees, changes = np.array(given["degrees"]), np.array(given["changes"])
    lowest = degrees[changes.argmin(axis=1)]
    assert lowest[0] == 180
    assert lowest[2] < lowest[1] < 180


def test_momentum_reaches_its_terminal_velocity(data):
    given = data("terminal_velocity")
    for factor, velocity in zip(given["factors"], given["velocities"], strict=True):
        t = np.arange(1, len(velocity) + 1)
        np.testing.assert_allclose(velocity, (1 - factor**t) / (1 - factor), rtol=1e-5)
    ends = [velocity[-1] for velocity in given["velocities"]]
    # Twice the step at 0.5 and ten times at 0.9, but for 0.9^60.
    np.testing.assert_allclose(ends, [1, 2, 10 * (1 - 0.9**60)], rtol=1e-5)


@pytest.mark.slow
def test_steps_under_a_constant_gradient_follow_their_formulas(data):
    given = data("step_sizes")
    t, found = np.array(given["updates"]), given["constant"]
    expected = {
        "sgd": np.full(len(t), 0.1),
        "momentum": 0.1 * (1 - 0.9**t),
        "adagrad": 0.01 / np.sqrt(t),
        "rmsprop": 0.001 / np.sqrt(1 - 0.9**t),
        "adam": np.full(len(t), 0.001),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, err_msg=name)
    assert np.all(np.diff(found["adadelta"]) > 0)


@pytest.mark.slow
def test_when_the_gradient_falls_rmsprop_recovers_and_adagrad_does_not(data):
    given = data("step_sizes")
    after = np.array(given["falling_updates"]) > given["drop"] + 150
    falling = {name: np.array(values) for name, values in given["falling"].items()}
    np.testing.assert_allclose(falling["rmsprop"][after], 0.001, rtol=1e-3)
    t = np.array(given["falling_updates"])[after] - given["drop"]
    expected = 0.01 * 0.1 / np.sqrt(given["drop"] + 0.01 * t)
    np.testing.assert_allclose(falling["adagrad"][after], expected, rtol=1e-4)


def test_bias_correction_makes_every_step_the_rate(data):
    given = data("bias_correction")
    # Averages of 10,000 float32 updates.
    np.testing.assert_allclose(given["corrected"], 1, rtol=3e-5)
    t = np.array(given["updates"])
    np.testing.assert_allclose(given["b1_power"], 0.9**t, rtol=1e-5, atol=1e-300)
    uncorrected = np.array(given["uncorrected"])
    # The averages run by hand from 0, under g = 1.
    mean = square = 0.0
    for k in range(1, 11):
        mean, square = 0.9 * mean + 0.1, 0.999 * square + 0.001
        if k in t:
            step = uncorrected[list(t).index(k)]
            np.testing.assert_allclose(step, mean / square**0.5, rtol=1e-5)
    np.testing.assert_allclose(uncorrected[0], 10**0.5, rtol=1e-5)
    assert t[uncorrected.argmax()] == 12


@pytest.mark.slow
def test_network_caption_counts_steps():
    title = PICTURES["descent_network"].draw(network_data()).get_suptitle()
    rising = np.mean(np.array(network_data()["measured"]) >= 0)
    assert f"{1 - rising:.1%} of 20 steps" in title
    assert "at 1 of 2 probed steps" in title
    assert "at 1 of those" in title
