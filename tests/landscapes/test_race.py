"""Races: held against Python loops, closed forms, and the rule that gives each its rate."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmnist as jm
from jaxmnist import landscapes, optim
from jaxmnist.landscapes import SURFACES, Surface
from jaxmnist.landscapes.race import FLOOR

ROSENBROCK = SURFACES["rosenbrock"]


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def loop(function, optimizer, start, steps: int) -> np.ndarray:
    """One optimizer in plain Python, with Optax's own way to apply an update."""
    gradient = jax.jit(jax.grad(function))
    w = jnp.asarray(start, float)
    state, path = optimizer.init(w), [w]
    for _ in range(steps):
        updates, state = optimizer.update(gradient(w), state, w)
        w = jnp.asarray(optax.apply_updates(w, updates))
        path.append(w)
    return np.stack(path)


@pytest.mark.slow_except("rmsprop")
@pytest.mark.parametrize("name", optim.NAMES)
def test_row_of_a_race_is_a_python_loop(name, float64):
    function, steps = SURFACES["himmelblau"].function, 8
    starts = jnp.array([[-0.3, -0.9], [1.0, 2.5]])
    rates = jnp.array([[1e-3, 0.01], [2e-3, 0.02]])
    other = "adam" if name == "sgd" else "sgd"
    paths = landscapes.trajectories(function, (other, name), rates, starts, steps)
    assert paths.shape == (2, 2, 2, steps + 1, 2)
    for row, rate in enumerate(rates[1]):
        for column, start in enumerate(starts):
            expected = loop(function, optim.create(name, float(rate)), start, steps)
            np.testing.assert_allclose(paths[1, row, column], expected, rtol=0, atol=1e-11)


def by_hand(name: str, rate: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """SGD or Adagrad down Rosenbrock's valley in NumPy: the path and its heights."""
    w, squares, path = np.array([-1.2, 1.0]), np.zeros(2), [np.array([-1.2, 1.0])]
    with np.errstate(all="ignore"):
        for _ in range(steps):
            x, y = w
            g = np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])
            squares = squares + g**2
            w = w - rate * (g if name == "sgd" else g / np.sqrt(squares + 1e-10))
            path.append(w)
        x, y = np.transpose(path)
        return np.array(path), (1 - x) ** 2 + 100 * (y - x**2) ** 2


@pytest.mark.slow
def test_chosen_rate_is_the_one_with_the_lowest_second_half_inside_the_box(float64):
    rates, steps, names = 10.0 ** np.linspace(-4, 0.5, 19), 41, ("sgd", "adagrad")
    race = landscapes.race(ROSENBROCK, names, steps, rates)
    low, high = np.transpose(ROSENBROCK.bounds)
    for row, name in enumerate(names):
        runs = [by_hand(name, rate, steps) for rate in rates]
        inside = np.array([((low <= path) & (path <= high)).all() for path, _ in runs])
        late = np.array([np.maximum(heights[21:], FLOOR * 24.2).mean() for _, heights in runs])
        scores = np.where(inside, late, np.inf)
        assert 0 < inside.sum() < len(rates)
        np.testing.assert_allclose(race.scores[row], scores, rtol=1e-6)
        best = int(np.argmin(scores))
        assert race.learning_rate[row] == rates[best]
        np.testing.assert_allclose(race.path[row], runs[best][0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(race.loss[row], runs[best][1], rtol=1e-6)
        ends = [heights[-1] for _, heights in runs]
        np.testing.assert_allclose(
            race.final_losses[row, inside], np.array(ends)[inside], rtol=1e-6
        )


def test_smallest_of_equal_rates_wins(float64):
    # In the bowl w·w/2 many rates of SGD are at the bottom by the second half.
    bowl = Surface(
        "Bowl", lambda w: w @ w / 2, ((0.0, 0.0),), ((-2.0, 2.0), (-2.0, 2.0)), (1.0, 1.0)
    )
    race = landscapes.race(bowl, ("sgd",), 100, (0.05, 0.5, 0.9, 1.0, 1.5))
    np.testing.assert_array_equal(race.scores[0, 1:4], FLOOR)
    assert float(race.learning_rate[0]) == 0.5


@pytest.mark.slow
def test_diverging_rate_leaves_the_others_alone():
    tame = landscapes.race(SURFACES["beale"], steps=60, learning_rates=(1e-3, 2e-3, 5e-3))
    wild = landscapes.race(SURFACES["beale"], steps=60, learning_rates=(1e-3, 2e-3, 1e6))
    assert not np.isfinite(np.asarray(wild.final_losses[0, 2]))
    np.testing.assert_array_equal(tame.final_losses[:, :2], wild.final_losses[:, :2])
    np.testing.assert_array_equal(tame.scores[:, :2], wild.scores[:, :2])
    assert np.isinf(wild.scores[0, 2])
    assert np.isfinite(np.asarray(wild.path)).all()


def test_where_every_rate_leaves_the_box_the_smallest_is_kept():
    race = landscapes.race(SURFACES["valley"], ("sgd",), 10, (50.0, 500.0))
    assert np.isinf(race.scores).all()
    assert float(race.learning_rate[0]) == 50.0


def beyond_the_edge(w):
    """x² + y² - log(x)/10: NaN left of x = 0, and its minimum at x = sqrt(1/20), y = 0."""
    return w[0] ** 2 + w[1] ** 2 - 0.1 * jnp.log(w[0])


EDGE = Surface(
    "Edge",
    beyond_the_edge,
    ((math.sqrt(0.05), 0.0),),
    ((-1.5, 1.5), (-1.5, 1.5)),
    (1.0, 1.0),
)


def scores_on_the_edge(name, start, rates, steps) -> np.ndarray:
    """By the rule, in NumPy: infinite where a run leaves the box or is NaN in its second half."""
    scores = []
    height = lambda w: w[0] ** 2 + w[1] ** 2 - 0.1 * np.log(w[0])  # noqa: E731
    bottom = height(np.array(EDGE.minima[0]))
    for rate in rates:
        w, a, b, path = np.array(start), np.zeros(2), np.zeros(2), [np.array(start)]
        with np.errstate(all="ignore"):
            for t in range(1, steps + 1):
                g = 2 * w - np.array([0.1 / w[0], 0.0])
                if name == "momentum":
                    a = 0.9 * a + g
                    w = w - rate * a
                elif name == "adam":
                    a, b = 0.9 * a + 0.1 * g, 0.999 * b + 0.001 * g**2
                    n = b / (1 - 0.999**t)
                    w = w - rate * a / (1 - 0.9**t) / np.sqrt(n + 1e-8)
                else:
                    w = w - rate * g
                path.append(w)
            late = np.array([height(w) for w in path[-(steps // 2 + 1) :]])
            stays = (np.abs(path) <= 1.5).all() and np.isfinite(late).all()
            floor = FLOOR * (height(np.array(start)) - bottom)
            scores.append(np.maximum(late - bottom, floor).mean() if stays else np.inf)
    return np.array(scores)


@pytest.mark.parametrize("start", [(1.0, 1.0), (0.5, 1.2), (1.4, -0.3), (0.05, 0.6)])
def test_height_that_is_nan_never_wins(start, float64):
    names, steps = ("sgd", "momentum", "adam"), 60
    rates = 10.0 ** (np.arange(-24, 9) / 8)
    race = landscapes.race(EDGE, names, steps, rates, start)
    nan_in_the_box = 0
    for row, name in enumerate(names):
        expected = scores_on_the_edge(name, start, rates, steps)
        np.testing.assert_allclose(race.scores[row], expected, rtol=1e-6)
        assert race.learning_rate[row] == rates[int(np.argmin(expected))]
        inside = np.isinf(expected) & np.isnan(race.final_losses[row])
        nan_in_the_box += inside.sum()
    assert nan_in_the_box > 0
    assert np.isfinite(np.asarray(race.loss[:, -31:])).all()


@pytest.mark.slow_except("inf-infinite")
@pytest.mark.parametrize(
    ("beyond", "where"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "without bound")]
)
def test_heights_that_are_not_finite_count_as_leaving_the_box(beyond, where):
    # SGD on the bowl x² jumps over 0, where there is no height, at rates above 1/2.
    def bowl(w):
        return jnp.where(w[0] < 0, beyond, w @ w)

    surface = Surface(where, bowl, ((0.0, 0.0),), ((-2.0, 2.0), (-2.0, 2.0)), (1.0, 0.0))
    race = landscapes.race(surface, ("sgd",), 10, (0.05, 0.2, 0.75, 0.9))
    assert np.isfinite(race.scores[0]).tolist() == [True, True, False, False]
    assert race.learning_rate[0] == np.float32(0.2)
    none = landscapes.race(surface, ("sgd",), 10, (0.75, 0.9))
    assert np.isinf(none.scores).all()
    assert race.scores.dtype == none.scores.dtype
    assert none.learning_rate[0] == np.float32(0.75)


@pytest.mark.parametrize(
    ("minimum", "start", "words"),
    [
        ((-1.0, 0.0), (1.0, 1.0), r"at its first minimum \(-1.0, 0.0\) is nan; it must be finite"),
        ((0.0, 0.0), (1.0, 1.0), r"at its first minimum \(0.0, 0.0\) is inf"),
        (EDGE.minima[0], (-0.5, 1.0), r"at its start \(-0.5, 1.0\) is nan"),
    ],
)
def test_surface_without_a_height_to_measure_from_is_refused(minimum, start, words):
    with pytest.raises(jm.InputError, match=words):
        landscapes.race(EDGE._replace(minima=(minimum,)), ("sgd",), 5, (0.1,), start)


def test_one_trace_serves_all_rates_and_starts():
    traces = 0

    def function(w):
        nonlocal traces
        traces += 1
        return jnp.sum(w**2)

    bowl = Surface("Bowl", function, ((0.0, 0.0),), ((-2.0, 2.0), (-2.0, 2.0)), (1.0, 1.0))
    landscapes.race(bowl, steps=5, learning_rates=(0.1, 0.2))
    once = traces
    assert once > 0
    other = landscapes.race(bowl, steps=5, learning_rates=(0.05, 0.01), start=(0.3, -0.7))
    landscapes.race(
        bowl._replace(bounds=((-9.0, 9.0), (-9.0, 9.0))), steps=5, learning_rates=(3.0, 4.0)
    )
    assert traces == once
    np.testing.assert_allclose(other.path[0, 0], [0.3, -0.7], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"optimizers": ("sgd", "sgdd")}, "no optimizer 'sgdd'"),
        ({"optimizers": ()}, "needs optimizers; choose from: sgd, momentum"),
        ({"steps": 0}, "0 steps"),
        ({"start": (99.0, 0.0)}, "outside the box"),
    ],
)
def test_impossible_race_is_refused(arguments, words):
    with pytest.raises(jm.InputError, match=words):
        landscapes.race(SURFACES["valley"], **arguments)


# ------------------------------------------------------------------------------- the saddle


def plain_saddle(w):
    """Without an end: x² - y²."""
    return w[0] ** 2 - w[1] ** 2


def escape_steps(name: str, rate: float, offsets, radius: float, steps: int = 400) -> np.ndarray:
    starts = jnp.stack([jnp.full(len(offsets), 0.9), jnp.asarray(offsets)], axis=1)
    paths = landscapes.trajectories(plain_saddle, (name,), jnp.array([[rate]]), starts, steps)
    return np.asarray(landscapes.first_step(jnp.abs(paths[0, 0, :, :, 1]) > radius))


def test_sgd_leaves_the_saddle_when_its_closed_form_says(float64):
    # y grows by the factor 1 + 2η a step: to beyond the radius after log(radius/offset)/log(1+2η).
    offsets, rate, radius = 10.0 ** np.arange(-12, 0), 0.13, 0.5
    expected = np.floor(np.log(radius / offsets) / np.log(1 + 2 * rate)) + 1
    np.testing.assert_array_equal(escape_steps("sgd", rate, offsets, radius), expected)


def test_momentum_leaves_the_saddle_when_its_recurrence_says(float64):
    # y and velocity are a linear recurrence: z² = (1 + m + 2η)z - m with momentum m
    # has the solutions z₁ and z₂, and y(t) = a z₁ᵗ + b z₂ᵗ with y(0) = δ and y(1) = (1 + 2η)δ.
    rate, decay, radius = 0.02, 0.9, 0.5
    z1, z2 = np.roots([1, -(1 + decay + 2 * rate), decay])
    t = np.arange(400)
    unit = ((1 + 2 * rate - z2) * z1**t - (1 + 2 * rate - z1) * z2**t) / (z1 - z2)
    offsets = 10.0 ** np.arange(-12, 0)
    expected = [int(np.argmax(offset * unit > radius)) for offset in offsets]
    np.testing.assert_array_equal(escape_steps("momentum", rate, offsets, radius), expected)


@pytest.mark.parametrize("name", optim.NAMES)
def test_no_optimizer_leaves_the_ridge_itself(name):
    assert escape_steps(name, 0.1, [0.0], 1e-30)[0] == -1


def test_optimizers_that_scale_the_gradient_hardly_mind_the_offset(float64):
    for name in ("adagrad", "rmsprop", "adam"):
        # Down to offsets whose gradient is far above the root of ε, 1e-4 at most.
        near, far = escape_steps(name, 0.01, [1e-2, 1e-3], 0.5)
        assert abs(near - far) <= 0.05 * far, name
    sgd_near, sgd_far = escape_steps("sgd", 0.01, [1e-2, 1e-3], 0.5)
    assert sgd_far - sgd_near == pytest.approx(np.log(10) / np.log(1.02), abs=1.01)


# ------------------------------------------------------------------------------- momentum


@pytest.mark.parametrize(("decay", "times"), [(0.5, 2), (0.9, 10)])
def test_momentum_reaches_its_terminal_velocity(decay, times, float64):
    rate, slope = 0.3, 4.0
    path = landscapes.trajectory(
        lambda w: slope * w[0], optim.momentum(rate, decay), jnp.zeros(2), 400
    )
    steps = -np.diff(path[:, 0]) / (rate * slope)
    t = np.arange(1, 401)
    np.testing.assert_allclose(steps, (1 - decay**t) / (1 - decay), rtol=1e-12)
    assert steps[-1] == pytest.approx(times, rel=1e-12)


def test_momentum_is_faster_along_the_valley_and_damped_across(float64):
    rate, steps = 0.095, 60
    start = jnp.array(SURFACES["valley"].start)
    run = lambda decay: np.asarray(  # noqa: E731
        landscapes.trajectory(
            SURFACES["valley"].function, optim.momentum(rate, decay), start, steps
        )
    )
    plain, weak, strong = run(0.0), run(0.5), run(0.9)
    np.testing.assert_allclose(plain[:, 0], -9 * (1 - 0.1 * rate) ** np.arange(steps + 1))
    np.testing.assert_allclose(plain[:, 1], (1 - 20 * rate) ** np.arange(steps + 1), atol=1e-12)
    assert abs(strong[20, 0]) < abs(weak[20, 0]) < abs(plain[20, 0])
    # Across, momentum 0.5 contracts by its root, 0.71, a step, and SGD, near its limit, by 0.9.
    assert np.abs(weak[-8:, 1]).max() < 1e-4 * np.abs(plain[-8:, 1]).max()


# ------------------------------------------------------------------------------- arrival


@pytest.mark.slow
def test_arrival_is_when_the_path_stays():
    path = jnp.array([[9.0, 0], [0.5, 0], [5.0, 0], [0.3, 0], [0.2, 0.1]])
    targets = jnp.array([[0.0, 0.0], [7.0, 7.0]])
    assert int(landscapes.arrival(path, targets, 1.0)) == 3
    assert int(landscapes.arrival(path, targets, 20.0)) == 0
    assert int(landscapes.arrival(path, targets, 0.1)) == -1
    assert int(landscapes.arrival(jnp.full((3, 2), jnp.nan), targets, 1.0)) == -1


@pytest.mark.parametrize("steps", [10**20, 10**400, 0])
def test_race_of_too_many_steps_is_refused(steps):
    with pytest.raises(jm.InputError, match="a race of") as refused:
        landscapes.race(ROSENBROCK, ("sgd",), steps)
    assert ("--max-bytes" in str(refused.value)) == (steps >= 10**20)
