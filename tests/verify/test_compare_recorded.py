"""Comparisons of recorded curves and of mean displacements."""

import numpy as np

from jaxmnist.verify.compare import (
    Curve,
    compare_curves,
    compare_means,
    distance,
    relative_error,
)


def test_curves_are_measured_against_their_own_scale():
    steps = np.arange(4).reshape(2, 2)
    expected = np.array([[2.0, 0.5], [0.25, 0.0]])
    error = np.array([[0.0, 1e-3], [1e-3, 0.0]])
    allowed = np.array([[1e-9, 1e-2], [1e-3, 1e-9]])
    loss = Curve("loss", expected + error, expected, allowed, expected)
    share = Curve("share", expected + error, expected, np.full((2, 2), 5e-4), 1.0)
    result = compare_curves("curves", steps, [loss], "float64", growth=0.5)
    assert result.first_divergence is not None
    assert result.first_divergence[:3] == (2, "loss", (1, 0))
    assert (result.steps, result.tolerance, result.growth) == (4, 1e-9, 0.5)
    np.testing.assert_allclose(result.errors[:2], (1e-3, 4e-3), rtol=1e-12)
    # Of two curves the one that diverges first is reported.
    both = compare_curves("curves", steps, [loss, share], "float64").first_divergence
    assert both is not None
    assert both[:3] == (1, "share", (0, 1))
    np.testing.assert_allclose(both.actual, 0.501)


def test_relative_error_of_what_is_not_a_number_is_infinite():
    nan, inf = np.nan, np.inf
    actual, expected = np.array([nan, 1.0, inf, inf, 1.0, 0.0]), np.array([1.0, nan, 1, inf, 0, 0])
    np.testing.assert_array_equal(
        relative_error(distance(actual, expected), np.abs(expected)), [inf, inf, inf, 0, inf, 0]
    )


def test_two_nans_agree_only_where_they_are_equal_by_request():
    nan = np.array([np.nan])
    assert distance(nan, nan) == 0
    assert distance(nan, nan, equal_nan=False) == np.inf
    for result in (
        compare_curves(
            "curves", np.arange(1), [Curve("loss", nan, nan, np.ones(1), 1.0)], "float64"
        ),
        compare_means("weights", {"w": nan}, {"w": nan}, "float64", tolerance=1.0),
    ):
        assert result.max_error == np.inf
        assert not result.passed


def test_means_are_compared_leaf_by_leaf():
    expected = {"a": np.array([2.0, 0.0]), "b": np.array([4.0])}
    actual = {"a": np.array([2.0, 0.5]), "b": np.array([5.0])}
    result = compare_means("weights", actual, expected, "float64", tolerance=0.2, step=7)
    assert result.first_divergence is not None
    assert result.first_divergence == (7, "a", (1,), 0.5, 0.0)
    np.testing.assert_array_equal(result.errors, (1.0, 0.25, 0.25 * 2.0**52))
    assert compare_means("weights", actual, expected, "float64", tolerance=0.25).passed


def test_means_allow_a_unit_in_the_last_place_of_the_start():
    start, still = {"w": np.array([8.0])}, {"w": np.zeros(1)}
    for units, passed in ((1, True), (2, False)):
        moved = {"w": np.array([units * 8 * 2.0**-52])}
        assert compare_means("weights", moved, still, "float64", start=start).passed == passed
