"""The descent argument, compared with full Hessians, closed forms and a loop over an epoch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.sparse import linalg

import jaxmnist as jm
from jaxmnist import InputError
from jaxmnist.calculus import (
    change_by_angle,
    gradient_steps,
    hessian_vector_product,
    largest_decreasing_rate,
    largest_eigenvalue,
)
from jaxmnist.data.batches import permutation
from jaxmnist.landscapes import network_steps
from jaxmnist.training import eval_step, init

RNG = np.random.default_rng(0)
ROTATION = np.linalg.qr(RNG.normal(size=(6, 6)))[0]


def symmetric(*eigenvalues: float) -> np.ndarray:
    """A full matrix with these six eigenvalues."""
    return ROTATION @ np.diag(eigenvalues) @ ROTATION.T


def quadratic(matrix: np.ndarray):
    """½wᵀAw of w split over a tree, so that its leaves have different shapes."""

    def loss(params):
        w = jnp.concatenate([params["a"], params["b"].ravel()])
        return jnp.vdot(w, jnp.asarray(matrix) @ w) / 2

    return loss


def tree(w: np.ndarray) -> dict:
    return {"a": jnp.asarray(w[:2]), "b": jnp.asarray(w[2:]).reshape(2, 2)}


def flat(params: dict) -> np.ndarray:
    return np.concatenate([params["a"], np.ravel(params["b"])])


def small_network(params):
    """A loss that is no polynomial, of ten parameters."""
    x = jnp.asarray(np.linspace(-1, 1, 12).reshape(6, 2))
    hidden = jnp.tanh(x @ params["in"])
    return jnp.mean((hidden @ params["out"] - jnp.sin(3 * x[:, 0])) ** 2)


def small_params():
    rng = np.random.default_rng(1)
    return {"in": jnp.asarray(rng.normal(size=(2, 3))), "out": jnp.asarray(rng.normal(size=3))}


def full_hessian(loss, params) -> np.ndarray:
    w, unravel = ravel_pytree(params)
    return np.asarray(jax.hessian(lambda w: loss(unravel(w)))(w))


# ------------------------------------------------------------------------------- steps


def test_second_order_is_exact_on_a_quadratic():
    matrix, w = symmetric(5, 2, 1, 0.5, -1, -7), RNG.normal(size=6)
    rates = np.geomspace(1e-3, 10, 9)
    with jax.enable_x64(True):
        steps = gradient_steps(quadratic(matrix), tree(w), jnp.asarray(rates))
    g = matrix @ w
    ends = w[None] - rates[:, None] * g[None]
    measured = (np.einsum("ri,ij,rj->r", ends, matrix, ends) - w @ matrix @ w) / 2
    np.testing.assert_allclose(steps.squared_norm, g @ g, rtol=1e-13)
    np.testing.assert_allclose(steps.curvature, g @ matrix @ g / (g @ g), rtol=1e-12)
    np.testing.assert_allclose(steps.first_order, -rates * (g @ g), rtol=1e-13)
    # Measured is a difference of losses of the size of w·Aw.
    np.testing.assert_allclose(steps.measured, measured, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(steps.second_order, measured, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_predictions_err_by_the_next_power_of_the_rate():
    with jax.enable_x64(True):
        rates = jnp.array([4e-3, 2e-3])
        steps = gradient_steps(small_network, small_params(), rates)
        first = np.asarray(steps.measured - steps.first_order)
        second = np.asarray(steps.measured - steps.second_order)
    # Halving the rate divides the errors by 4 and 8, but for the power after that.
    assert 3.8 < first[0] / first[1] < 4.2
    assert 7.6 < second[0] / second[1] < 8.4


@pytest.mark.slow
def test_hessian_vector_product_matches_full_hessian():
    with jax.enable_x64(True):
        params = small_params()
        vector = jax.tree.map(lambda leaf: jnp.cos(7 * leaf), params)
        found = hessian_vector_product(small_network, params, vector)
        assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, params)
        v, product = (ravel_pytree(t)[0] for t in (vector, found))
        np.testing.assert_allclose(
            product, full_hessian(small_network, params) @ v, rtol=1e-12, atol=1e-14
        )


# ------------------------------------------------------------------------------- largest rate

GRID = np.geomspace(1e-3, 1e2, 60)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_largest_rate_along_an_eigenvector_is_two_over_its_eigenvalue(index):
    eigenvalues = (5.0, 2.0, 0.3, 0.1, -1.0, -7.0)
    with jax.enable_x64(True):
        found = largest_decreasing_rate(
            quadratic(symmetric(*eigenvalues)), tree(3 * ROTATION[:, index]), jnp.asarray(GRID)
        )
    # Near the rate itself the change is below the rounding of the losses, about 1e-16 of them.
    np.testing.assert_allclose(found, 2 / eigenvalues[index], rtol=1e-14)


def test_largest_rate_of_a_bending_loss_is_where_it_is_level_again():
    with jax.enable_x64(True):
        found = largest_decreasing_rate(lambda w: jnp.exp(w) - w, jnp.array(1.0), jnp.asarray(GRID))
        end = 1 - float(found) * (np.e - 1)
    assert end < 0
    np.testing.assert_allclose(np.exp(end) - end, np.e - 1, rtol=1e-14)


def test_largest_rate_where_nothing_rises_is_infinite():
    falling = quadratic(symmetric(-1, -1, -2, -3, -4, -5))
    with jax.enable_x64(True):
        assert np.isinf(largest_decreasing_rate(falling, tree(np.ones(6)), jnp.asarray(GRID)))


def test_largest_rate_where_nothing_falls_is_zero():
    assert largest_decreasing_rate(jnp.square, jnp.array(0.0), jnp.array([0.1, 1.0])) == 0


def test_largest_rate_is_below_the_first_one_tried_if_it_has_to_be():
    found = largest_decreasing_rate(lambda w: 500 * w**2, jnp.array(1.0), jnp.array([0.1, 1.0]))
    np.testing.assert_allclose(found, 2 / 1000, rtol=1e-4)


def test_largest_rate_ends_at_the_first_rise_whatever_the_order_of_the_rates():
    # Down the first valley of cos, up, and down again: sin(1) of slope, level again at 2π - 1.
    rates = jnp.asarray(np.random.default_rng(0).permutation(np.linspace(0.5, 12.0, 24)))
    with jax.enable_x64(True):
        found = largest_decreasing_rate(jnp.cos, jnp.array(1.0), rates.astype(np.float64))
    np.testing.assert_allclose(found, (2 * np.pi - 2) / np.sin(1), rtol=1e-12)


# ------------------------------------------------------------------------------- eigenvalue

SPECTRA = {
    "positive": (9, 4, 3, 2, 1, 0.5),
    "largest is positive": (9, 4, 1, -1, -3, -5),
    "largest modulus is negative": (3, 2, 1, -1, -4, -9),
    "both signs of it": (6, 2, 1, -1, -3, -6),
    "largest is small": (0.5, 0.1, 0, -1, -4, -9),
    "all negative": (-0.5, -2, -3, -4, -5, -9),
    "twice": (7, 7, 1, 0, -2, -7),
}


@jax.jit
def eigenpair_of_quadratic(matrix):
    return largest_eigenvalue(
        quadratic(matrix), tree(np.ones(6)), jax.random.key(0), tolerance=1e-6
    )


@pytest.mark.parametrize("name", SPECTRA)
def test_largest_eigenvalue_is_the_largest_with_its_sign(name):
    eigenvalues = np.array(SPECTRA[name], float)
    matrix = symmetric(*eigenvalues)
    with jax.enable_x64(True):
        pair = jax.tree.map(np.asarray, eigenpair_of_quadratic(matrix))
    v, radius = flat(pair.vector), np.abs(eigenvalues).max()
    assert pair.residual <= 1e-6 * radius
    # A Rayleigh quotient errs by residual² over the distance to the next eigenvalue.
    np.testing.assert_allclose(pair.value, eigenvalues.max(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(v @ v, 1, rtol=1e-14)
    np.testing.assert_allclose(
        np.linalg.norm(matrix @ v - eigenvalues.max() * v), pair.residual, rtol=1e-3, atol=1e-10
    )
    assert pair.iterations < 600 or name in ("both signs of it", "twice")


@pytest.mark.slow
def test_largest_eigenvalue_of_a_network_matches_full_hessian():
    with jax.enable_x64(True):
        params = small_params()
        found = jax.jit(lambda key: largest_eigenvalue(small_network, params, key, tolerance=1e-5))(
            jax.random.key(3)
        )
        expected = np.linalg.eigvalsh(full_hessian(small_network, params)).max()
    np.testing.assert_allclose(found.value, expected, rtol=1e-8)


def test_largest_eigenvalue_of_a_flat_loss_is_zero():
    pair = largest_eigenvalue(jnp.sum, jnp.ones(3), jax.random.key(0))
    assert (pair.value, pair.residual) == (0, 0)
    np.testing.assert_allclose(jnp.linalg.norm(pair.vector), 1, rtol=1e-6)


@pytest.mark.slow
def test_largest_eigenvalue_says_what_it_did_not_reach():
    matrix = symmetric(3, 2.99, 1, 0, 0, -1)
    with jax.enable_x64(True):
        pair = largest_eigenvalue(
            quadratic(matrix), tree(np.ones(6)), jax.random.key(0), 1e-9, max_iterations=5
        )
    assert pair.iterations <= 10
    assert np.asarray(pair.residual) > 1e-9 * 3


# ------------------------------------------------------------------------------- directions


def test_change_by_angle_matches_the_rotated_step():
    matrix = np.array([[1.0, 0.4], [0.4, 4.0]])
    w, angles, length = np.array([1.6, 0.9]), np.linspace(0, 2 * np.pi, 13), 0.7
    g = matrix @ w
    cos, sin = np.cos(angles), np.sin(angles)
    unit = g / np.linalg.norm(g)
    steps = length * np.stack([cos * unit[0] - sin * unit[1], sin * unit[0] + cos * unit[1]], 1)
    with jax.enable_x64(True):
        predicted, measured = change_by_angle(
            lambda w: jnp.vdot(w, jnp.asarray(matrix) @ w) / 2,
            jnp.asarray(w),
            # Anything on the left of g will do.
            jnp.asarray([-g[1], g[0]]) + 5 * g,
            jnp.asarray(angles),
            length,
        )
    np.testing.assert_allclose(predicted, steps @ g, rtol=1e-12, atol=1e-14)
    bend = np.einsum("ai,ij,aj->a", steps, matrix, steps) / 2
    np.testing.assert_allclose(measured, steps @ g + bend, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_short_steps_fall_most_at_180_degrees():
    angles = np.arange(0, 360, 0.5)
    with jax.enable_x64(True):
        across = jax.tree.map(jnp.ones_like, small_params())
        least = [
            angles[
                int(
                    change_by_angle(
                        small_network, small_params(), across, jnp.deg2rad(angles), length
                    )[1].argmin()
                )
            ]
            for length in (1.0, 1e-1, 1e-5)
        ]
    assert least[2] == 180
    assert abs(least[0] - 180) > abs(least[1] - 180) > 0


# ------------------------------------------------------------------------------- errors

RATE = jnp.array([0.1])


@pytest.mark.parametrize(
    ("loss", "params", "message"),
    [
        (jnp.sum, {}, "params hold nothing; they must be real arrays of one dtype"),
        (jnp.sum, jnp.arange(3), "params hold int32"),
        (lambda p: p[0] + p[1], [jnp.float32(1), jnp.float16(1)], "params hold float16, float32"),
        (jnp.sin, jnp.ones(3), r"loss returns .*shape=\(3,\).*; it must return one real number"),
        (lambda w: (w, w), jnp.array(1.0), "loss returns .*; it must return one real number"),
        (lambda w: w > 0, jnp.array(1.0), "it must return one real number"),
    ],
)
def test_unusable_losses_and_params_are_refused(loss, params, message):
    for call in (
        lambda: gradient_steps(loss, params, RATE),
        lambda: largest_decreasing_rate(loss, params, RATE),
        lambda: change_by_angle(loss, params, params, RATE, 1.0),
        lambda: largest_eigenvalue(loss, params, jax.random.key(0)),
    ):
        with pytest.raises(InputError, match=message):
            call()


# ------------------------------------------------------------------------------- the network


@pytest.mark.slow
def test_network_steps_match_a_plain_loop_over_the_run():
    config = jm.Config(hidden=(6,), batch_size=32, eval_batch_size=20, epochs=1, seed=5)
    data = jax.tree.map(lambda array: array[:72], jm.load_dataset("mnist").arrays())
    key, rate = jax.random.key(config.seed), 0.3
    probed = np.array([False, True, False])
    run = jax.jit(network_steps, static_argnames="config")
    found = run(key, jnp.float32(rate), data, config, jnp.asarray(probed))
    assert all(values.shape == (3,) for values in found)

    w, unravel = ravel_pytree(init(key, {"learning_rate": rate}, config).params)

    @jax.jit
    def loss(w, images, labels):
        params = unravel(w)
        return eval_step(params, images, labels, apply_fn=jm.MLP(config.hidden).apply).loss

    gradient = jax.jit(jax.grad(loss))

    @jax.jit
    @jax.grad
    def slope(w, v, images, labels):
        """Hv, backwards twice. (Differences of gradients would see the kinks of ReLU.)"""
        return jnp.vdot(v, gradient(w, images, labels))

    order = permutation(jax.random.fold_in(jax.random.split(key)[1], 0), 72)
    for step in range(3):
        images, labels = (
            array[order[32 * step : 32 * (step + 1)]]
            for array in (data.train_images, data.train_labels)
        )
        before, g = loss(w, images, labels), gradient(w, images, labels)
        squared_norm = float(jnp.vdot(g, g))

        def product(v, w=w, images=images, labels=labels):
            return np.asarray(slope(w, jnp.asarray(v, jnp.float32).ravel(), images, labels))

        def measured(rate, w=w, g=g, before=before, images=images, labels=labels):
            return float(loss(w - rate * g, images, labels) - before)

        bend = float(product(g) @ g)
        # float32 losses of about 2 differ by a few times 2e-7 between two programs.
        np.testing.assert_allclose(found.loss[step], before, rtol=1e-5)
        np.testing.assert_allclose(found.first_order[step], -rate * squared_norm, rtol=1e-4)
        np.testing.assert_allclose(found.curvature[step], bend / squared_norm, rtol=1e-4)
        np.testing.assert_allclose(
            found.second_order[step], -rate * squared_norm + rate**2 / 2 * bend, rtol=1e-4
        )
        np.testing.assert_allclose(found.measured[step], measured(rate), rtol=1e-4, atol=2e-6)
        if probed[step]:
            lanczos: Any = linalg
            hessian = lanczos.LinearOperator((w.size, w.size), matvec=product, dtype=np.float32)
            (largest,) = lanczos.eigsh(hessian, 1, which="LA", return_eigenvectors=False, tol=1e-5)
            np.testing.assert_allclose(found.largest_eigenvalue[step], largest, rtol=1e-4)
            limit = float(found.largest_rate[step])
            assert measured(0.99 * limit) < 0 < measured(1.01 * limit)
        else:
            assert np.isnan(found.largest_eigenvalue[step])
            assert np.isnan(found.largest_rate[step])
        w = w - rate * g

    _, history = jax.jit(jm.make_train(config))(key, {"learning_rate": rate}, data)
    np.testing.assert_allclose(jnp.mean(found.loss), history.train_loss[0], rtol=1e-5)
