"""Planes through parameters, their losses and projections, against NumPy and full grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxmnist as jm
from jaxmnist.landscapes import (
    Plane,
    loss_on_plane,
    plane_through,
    point_on,
    project,
    random_plane,
    share_in_plane,
)

EPS = np.finfo(np.float64).eps


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def tree(seed: int) -> dict[str, jax.Array]:
    """Parameters as of a small network, in float64, with rows of very different norms."""
    draw = np.random.default_rng(seed).standard_normal
    rows = 10.0 ** np.arange(-2, 3)
    return {
        "bias": jnp.asarray(draw(5)),
        "kernel": jnp.asarray(draw((5, 3, 2)) * rows[:, None, None]),
        "weight": jnp.asarray(draw((5, 7)) * rows[:, None]),
    }


def flat(params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def bent(params) -> dict[str, jax.Array]:
    """A loss without symmetry, and a second figure with an axis of its own."""
    w, k = params["weight"], params["kernel"]
    loss = jnp.sum(jnp.sin(w) ** 2) + jnp.sum(jnp.tanh(k) * k) + jnp.sum(params["bias"] ** 3)
    return {"loss": loss, "rows": jnp.sum(w, axis=1)}


# ------------------------------------------------------------------------------- planes


@pytest.mark.slow
def test_random_directions_have_the_rows_norms_of_the_parameters(x64):
    params = tree(0)
    plane = random_plane(jax.random.key(0), params)
    jax.tree.map(np.testing.assert_array_equal, plane.origin, params)
    for direction in (plane.u, plane.v):
        for name in ("kernel", "weight"):
            ours, theirs = (
                np.linalg.norm(np.asarray(side[name]).reshape(5, -1), axis=1)
                for side in (direction, params)
            )
            assert direction[name].dtype == jnp.float64
            # A sum of seven squares, a root, a quotient and a product: a few roundings.
            np.testing.assert_allclose(ours, theirs, rtol=16 * EPS)
        np.testing.assert_array_equal(direction["bias"], 0)


@pytest.mark.slow
def test_lengths_have_a_derivative_at_zero(x64):
    # A row's direction is g |w|/|g|: |w| has the slope w/|w|, and 0 is one of those at w = 0.
    weight = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    slope = jax.grad(lambda w: random_plane(jax.random.key(0), w).u.sum())(weight)
    drawn = random_plane(jax.random.key(0), jnp.ones((2, 2))).u[0] / np.sqrt(2)
    np.testing.assert_allclose(slope[0], np.array([0.6, 0.8]) * drawn.sum(), rtol=1e-13)
    np.testing.assert_array_equal(slope[1], 0)
    # A displacement at right angles to the plane has no share of it.
    plane = Plane(jnp.zeros(3), jnp.array([1.0, 0, 0]), jnp.array([0.0, 1, 0]))
    by_end = jax.grad(share_in_plane, argnums=2)(plane, jnp.zeros(3), jnp.array([0.0, 0, 2]))
    np.testing.assert_array_equal(by_end, 0)


@pytest.mark.slow
def test_random_directions_are_drawn_independently_for_each_leaf_direction_and_key(x64):
    same = jnp.ones((40, 50))
    planes = [random_plane(jax.random.key(seed), {"a": same, "b": same}) for seed in (0, 1)]
    directions = [side[leaf].ravel() for plane in planes for side in plane[1:] for leaf in "ab"]
    cosines = np.corrcoef(np.stack(directions))
    np.fill_diagonal(cosines, 0)
    # Of 2,000 numbers each: six standard deviations are 6 / sqrt(2000).
    assert np.abs(cosines).max() < 0.14


def test_a_row_of_zeros_stays_zero():
    plane = random_plane(jax.random.key(0), jnp.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(np.asarray(plane.u)[0], 0)
    assert np.isfinite(np.asarray(plane.u)).all()


def test_three_points_lie_in_their_plane_at_their_distances(x64):
    a, b, c = tree(1), tree(2), tree(3)
    plane = plane_through(a, b, c)
    u, v, ab, ac = flat(plane.u), flat(plane.v), flat(b) - flat(a), flat(c) - flat(a)
    np.testing.assert_allclose([u @ u, v @ v, u @ v], [1, 1, 0], atol=16 * EPS)
    size = np.linalg.norm(ac)
    along = ac @ ab / np.linalg.norm(ab)
    expected = [[0, 0], [np.linalg.norm(ab), 0], [along, np.sqrt(size**2 - along**2)]]
    found = np.stack([np.asarray(project(plane, point)) for point in (a, b, c)])
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=16 * EPS * size)
    for point, (x, y) in zip((a, b, c), found, strict=True):
        there = point_on(plane, jnp.asarray(x), jnp.asarray(y))
        np.testing.assert_allclose(flat(there), flat(point), rtol=0, atol=32 * EPS * size)


@pytest.mark.slow
def test_loss_at_the_three_points_is_their_own(x64):
    points = tree(1), tree(2), tree(3)
    plane = plane_through(*points)
    for point in points:
        x, y = project(plane, point)
        here = loss_on_plane(bent, plane, x[None], y[None])
        own = bent(point)
        # The point is off by some eps of its distance, about 300, and the slope is below 20.
        np.testing.assert_allclose(here["loss"][0, 0], own["loss"], rtol=1e-12, atol=1e-11)
        np.testing.assert_allclose(here["rows"][0, 0], own["rows"], rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("direction", [-2.0, 0.0, 1.0])
def test_three_points_on_a_line_are_refused(direction):
    a, b = (jax.tree.map(jnp.float32, tree(seed)) for seed in (1, 2))
    c = jax.tree.map(lambda a, b: a + direction * (b - a), a, b)
    with pytest.raises(jm.InputError, match=r"the three points lie on one line: c is \S+ from the"):
        plane_through(a, b, c)


def test_two_equal_points_are_refused():
    a, b = jnp.array([1.0, 2.0]), jnp.array([3.0, 1.0])
    for points in ((a, a, b), (a, b, a), (a, b, b), (a, a, a)):
        with pytest.raises(jm.InputError, match="on one line"):
            plane_through(*points)


def test_unlike_trees_are_refused_by_leaf_and_shapes():
    a = {"w": jnp.zeros((2, 3)), "b": jnp.zeros(2)}
    reshaped = {**a, "w": jnp.zeros((3, 2))}
    missing = {"w": a["w"]}
    more = {**a, "c": jnp.zeros(4)}
    plane = Plane(a, a, a)
    for call in (
        lambda other: plane_through(a, other, a),
        lambda other: plane_through(a, a, other),
        lambda other: project(plane, other),
        lambda other: share_in_plane(plane, a, other),
        lambda other: share_in_plane(plane, other, a),
    ):
        with pytest.raises(jm.InputError, match=r"w has shape \(3, 2\), .* its shape is \(2, 3\)"):
            call(reshaped)
        with pytest.raises(jm.InputError, match=r"b is missing, .* its shape is \(2,\)"):
            call(missing)
        with pytest.raises(jm.InputError, match=r"c has shape \(4,\), .* no such leaf"):
            call(more)


# ------------------------------------------------------------------------------- the grid


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
def test_grid_is_what_a_loop_finds(x64, batch_size):
    plane = random_plane(jax.random.key(2), tree(0))
    xs, ys = jnp.linspace(-1, 1, 4), jnp.linspace(0, 3, 3)
    grid = loss_on_plane(bent, plane, xs, ys, batch_size=batch_size)
    assert grid["loss"].shape == (3, 4)
    assert grid["rows"].shape == (3, 4, 5)
    for i, y in enumerate(ys):
        for j, x in enumerate(xs):
            here = jax.tree.map(lambda o, u, v, x=x, y=y: o + x * u + y * v, *plane)
            for name, value in bent(here).items():
                np.testing.assert_allclose(grid[name][i, j], value, rtol=1e-12, atol=1e-12)


def test_grid_is_one_program():
    traced = []

    def loss(params):
        traced.append(params.shape)
        return jnp.sum(params**2)

    plane = Plane(jnp.zeros(3), jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0]))
    measure = jax.jit(lambda plane, xs, ys: loss_on_plane(loss, plane, xs, ys, batch_size=8))
    for shift in (0.0, 1.0):
        measure(plane._replace(origin=plane.origin + shift), jnp.arange(5.0), jnp.arange(7.0))
    # Four batches of eight, and one of three: two programs, for all planes.
    assert traced == [(3,), (3,)]


# ------------------------------------------------------------------------------- projection


def oblique_plane() -> Plane:
    """Two directions at an angle, of different lengths, and parameters away from 0."""
    u, other = tree(5), tree(6)
    return Plane(tree(4), u, jax.tree.map(lambda a, b: 0.7 * a + 0.3 * b, u, other))


def test_point_in_the_plane_is_projected_to_its_coordinates(x64):
    plane = oblique_plane()
    for x, y in ((0.0, 0.0), (1.5, -2.0), (-0.3, 0.01)):
        there = point_on(plane, jnp.asarray(x), jnp.asarray(y))
        # The normal equations square the condition of the directions, here about 5.
        np.testing.assert_allclose(project(plane, there), [x, y], rtol=1e-12, atol=1e-12)
        if x:
            share = share_in_plane(plane, plane.origin, there)
            np.testing.assert_allclose(share, 1, rtol=1e-13)


def test_displacement_at_right_angles_is_not_seen(x64):
    plane = oblique_plane()
    basis, _ = np.linalg.qr(np.stack([flat(plane.u), flat(plane.v)], axis=1))
    away = flat(tree(7))
    away -= basis @ (basis.T @ away)
    away -= basis @ (basis.T @ away)
    _, unravel = ravel_pytree(plane.origin)
    end = jax.tree.map(jnp.add, plane.origin, unravel(jnp.asarray(away)))
    assert np.linalg.norm(away) > 10
    np.testing.assert_allclose(project(plane, end), [0, 0], atol=1e-13)
    assert share_in_plane(plane, plane.origin, end) < 1e-13


def test_projection_and_share_are_least_squares(x64):
    plane, start, end = oblique_plane(), tree(8), tree(9)
    directions = np.stack([flat(plane.u), flat(plane.v)], axis=1)
    expected, *_ = np.linalg.lstsq(directions, flat(end) - flat(plane.origin))
    np.testing.assert_allclose(project(plane, end), expected, rtol=1e-12)
    way = flat(end) - flat(start)
    seen = directions @ np.linalg.lstsq(directions, way)[0]
    share = share_in_plane(plane, start, end)
    assert 0.05 < share < 0.95
    np.testing.assert_allclose(share, np.linalg.norm(seen) / np.linalg.norm(way), rtol=1e-12)
    # Where the plane lies does not matter to it.
    moved = share_in_plane(plane._replace(origin=tree(3)), start, end)
    np.testing.assert_array_equal(moved, share)


def test_share_of_no_way_is_nan(x64):
    assert np.isnan(share_in_plane(oblique_plane(), tree(1), tree(1)))


@pytest.mark.slow
def test_path_is_projected_under_vmap(x64):
    plane = oblique_plane()
    path = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(tree(seed) for seed in (1, 2, 3)))
    together = jax.vmap(project, in_axes=(None, 0))(plane, path)
    singly = np.stack([np.asarray(project(plane, tree(seed))) for seed in (1, 2, 3)])
    np.testing.assert_allclose(together, singly, rtol=1e-13)
