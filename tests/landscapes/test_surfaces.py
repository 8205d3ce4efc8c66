"""Named surfaces: their minima, their saddles, their values in the literature, and mini-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import landscapes
from jaxmnist.landscapes import SURFACES

EPS64 = np.finfo(np.float64).eps


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.slow_except("rosenbrock", "beale", "saddle", "himmelblau")
@pytest.mark.parametrize("name", SURFACES)
def test_minima_are_stationary_and_curve_upwards(name):
    surface = SURFACES[name]
    for minimum in surface.minima:
        at = jnp.array(minimum)
        hessian = np.asarray(jax.hessian(surface.function)(at))
        eigenvalues = np.linalg.eigvalsh(hessian)
        assert eigenvalues.min() > 0
        # Sixteen digits of the point leave an error of the gradient of the curvature times that,
        # and Himmelblau's terms of 11 and Beale's of 3 are rounded before they cancel.
        allowed = 100 * EPS64 * max(1, eigenvalues.max()) * max(1, *np.abs(minimum))
        assert np.abs(jax.grad(surface.function)(at)).max() < allowed


@pytest.mark.parametrize("name", SURFACES)
def test_nothing_in_the_box_is_below_the_first_minimum(name):
    surface = SURFACES[name]
    lowest = float(surface.function(jnp.array(surface.minima[0])))
    _, _, height = landscapes.heights(surface, 301, 301)
    assert float(height.min()) >= lowest - 1e-12
    for minimum in surface.minima[1:]:
        assert float(surface.function(jnp.array(minimum))) >= lowest - 1e-12


@pytest.mark.parametrize("name", SURFACES)
def test_box_holds_the_minima_and_the_start(name):
    surface = SURFACES[name]
    low, high = np.transpose(surface.bounds)
    points = np.array([*surface.minima, surface.start])
    assert (low < points).all()
    assert (points < high).all()


@pytest.mark.parametrize(
    ("name", "point", "value"),
    [
        # Moré, Garbow and Hillstrom, 1981: f at the standard starts, and the minima.
        ("rosenbrock", (-1.2, 1.0), 24.2),
        ("beale", (1.0, 1.0), 14.203125),
        ("beale", (3.0, 0.5), 0.0),
        ("himmelblau", (3.0, 2.0), 0.0),
        ("himmelblau", (-0.270845, -0.923039), 181.617),  # Its only maximum.
        ("rastrigin", (0.0, 0.0), 0.0),
        ("rastrigin", (1.0, 1.0), 2.0),
        ("rastrigin", (0.5, 0.5), 40.5),
        ("valley", (-9.0, 1.0), 14.05),
        ("saddle", (0.0, 2**0.5), -1.0),
        ("monkey_saddle", (0.5, 3**0.5 / 2), -0.25),
        ("local_minimum", (-2.0, 0.0), 9 / 8 - 0.9),
    ],
)
def test_values_match_the_literature(name, point, value):
    height = float(SURFACES[name].function(jnp.array(point)))
    assert height == pytest.approx(value, abs=1e-12, rel=3e-6)


def test_valley_is_two_hundred_times_more_curved_across_whichever_way_it_lies():
    for name, axis in (("valley", (1, 0)), ("turned_valley", (0.5**0.5, 0.5**0.5))):
        hessian = np.asarray(jax.hessian(SURFACES[name].function)(jnp.array([0.3, -0.7])))
        values, vectors = np.linalg.eigh(hessian)
        np.testing.assert_allclose(values, [0.1, 20], rtol=1e-12)
        np.testing.assert_allclose(np.abs(vectors[:, 0]), axis, atol=1e-12)


def test_turned_valley_is_the_valley_turned_and_has_its_start():
    turn = np.array([[1, 1], [-1, 1]]) * 0.5**0.5
    for point in ((1.0, 0.3), (-2.0, 0.9), SURFACES["turned_valley"].start):
        turned = float(SURFACES["turned_valley"].function(jnp.array(point)))
        plain = float(SURFACES["valley"].function(jnp.asarray(turn @ np.array(point))))
        assert turned == pytest.approx(plain, rel=1e-12)
    np.testing.assert_allclose(
        turn @ SURFACES["turned_valley"].start, SURFACES["valley"].start, atol=0.01
    )


@pytest.mark.parametrize("name", ["saddle", "monkey_saddle", "local_minimum", "himmelblau"])
def test_saddles_have_eigenvalues_of_both_signs(name):
    points = {
        "saddle": (0.0, 0.0),
        "monkey_saddle": (0.05, 0.0),  # At its very middle the Hessian is 0.
        "local_minimum": (-1.0104719414646275, 0.0),
        "himmelblau": (0.0866775, 2.8842547),
    }
    function, at = SURFACES[name].function, jnp.array(points[name])
    low, high = np.linalg.eigvalsh(np.asarray(jax.hessian(function)(at)))
    assert low < 0 < high
    if name != "monkey_saddle":
        assert np.abs(jax.grad(function)(at)).max() < 1e-5


def test_saddles_are_flat_where_they_should_be():
    middle = jnp.zeros(2)
    hessian = jax.hessian(SURFACES["saddle"].function)(middle)
    np.testing.assert_array_equal(hessian, np.diag([2.0, -2.0]))
    monkey = SURFACES["monkey_saddle"].function
    np.testing.assert_array_equal(jax.grad(monkey)(middle), np.zeros(2))
    np.testing.assert_array_equal(jax.hessian(monkey)(middle), np.zeros((2, 2)))


def test_monkey_saddle_falls_in_three_directions():
    angles = jnp.arange(6.0) * jnp.pi / 3
    ring = 0.1 * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
    heights = jax.vmap(SURFACES["monkey_saddle"].function)(ring)
    np.testing.assert_array_equal(np.sign(heights), [1, -1, 1, -1, 1, -1])


def test_heights_are_the_function_on_a_grid():
    surface = SURFACES["beale"]
    x, y, height = landscapes.heights(surface, 5, 4)
    assert height.shape == (4, 5)
    assert (x[0], x[-1], y[0], y[-1]) == (*surface.bounds[0], *surface.bounds[1])
    for row in range(4):
        for column in range(5):
            expected = surface.function(jnp.stack([x[column], y[row]]))
            assert float(height[row, column]) == pytest.approx(float(expected), rel=1e-14)


def test_unknown_surface_is_refused_with_all_that_there_are():
    with pytest.raises(jm.InputError, match="no surface 'vally'") as refused:
        landscapes.surface("vally")
    assert all(name in str(refused.value) for name in SURFACES)


# ------------------------------------------------------------------------------- mini-batches

FUNCTION = SURFACES["local_minimum"].function
START = jnp.array([-3.0, 0.4])


def descend(key: int, tilts, batch_size: int, epochs: int = 3, rate: float = 0.3):
    return landscapes.descend(
        jax.random.key(key),
        jnp.asarray(START, float),
        rate,
        tilts,
        function=FUNCTION,
        batch_size=batch_size,
        epochs=epochs,
    )


@pytest.fixture
def tilts(float64):
    del float64
    return landscapes.tilts(jax.random.key(5), 12, 1.5)


@pytest.mark.slow
def test_tilts_average_to_nothing(tilts):
    assert tilts.shape == (12, 2)
    np.testing.assert_allclose(tilts.mean(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(np.sqrt((tilts**2).mean(axis=0)), 1.5, rtol=1e-14)
    other = landscapes.tilts(jax.random.key(6), 12, 1.5)
    assert np.abs(other - tilts).max() > 0.1


@pytest.mark.parametrize("samples", [0, 1])
def test_tilts_that_could_only_be_zero_are_refused(samples):
    with pytest.raises(jm.InputError, match=f"samples is {samples}; it must be"):
        landscapes.tilts(jax.random.key(0), samples, 1.0)


def gradient_descent(steps: int, noise=None, rate: float = 0.3) -> np.ndarray:
    """By hand, in NumPy: the derivative of the surface written out."""
    w, path = np.array(START, float), [np.array(START, float)]
    for step in range(steps):
        dent = 0.9 * np.exp(-2 * ((w[0] + 2) ** 2 + w[1] ** 2))
        gradient = (w - [1, 0]) / 4 + 4 * dent * (w - [-2, 0])
        w = w - rate * (gradient if noise is None else gradient + noise[step])
        path.append(w)
    return np.array(path)


@pytest.mark.slow
def test_whole_batch_is_the_full_gradient_whatever_the_key(tilts):
    expected = gradient_descent(20)
    for key in (0, 1):
        path = descend(key, tilts, batch_size=12, epochs=20)
        np.testing.assert_allclose(path, expected, atol=1e-13)


def test_no_tilt_is_no_noise(tilts):
    path = descend(0, jnp.zeros_like(tilts), batch_size=3)
    np.testing.assert_allclose(path, gradient_descent(12), atol=1e-13)


def test_mini_batches_take_each_sample_once_an_epoch(tilts):
    path = np.asarray(descend(7, tilts, batch_size=3, epochs=2))
    order = [
        jax.random.permutation(jax.random.fold_in(jax.random.key(7), epoch), 12)
        for epoch in range(2)
    ]
    batches = np.asarray(tilts)[np.concatenate(order)].reshape(8, 3, 2)
    np.testing.assert_allclose(path, gradient_descent(8, batches.mean(axis=1)), atol=1e-13)


def test_mini_batches_differ_by_key_and_only_by_key(tilts):
    first, again, other = (np.asarray(descend(key, tilts, 3)) for key in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    np.testing.assert_array_equal(first[0], other[0])


@pytest.mark.parametrize("batch_size", [0, 5, 24])
def test_batch_that_does_not_divide_the_samples_is_refused(batch_size, tilts):
    with pytest.raises(
        jm.InputError, match=f"batch_size is {batch_size}; .* divides the 12 samples"
    ):
        descend(0, tilts, batch_size)


@pytest.mark.slow
def test_step_too_large_for_the_dent_escapes_it_and_a_small_one_stays(tilts):
    pass_x = -1.0104719414646275
    ends = {rate: float(descend(0, tilts, 12, epochs=300, rate=rate)[-1, 0]) for rate in (0.1, 1.2)}
    assert ends[0.1] < pass_x < ends[1.2]
    np.testing.assert_allclose([ends[0.1], ends[1.2]], [-1.7882001546, 0.9999993421], atol=1e-9)
