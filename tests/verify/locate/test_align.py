"""Values are found by their numbers, whatever their order, and only if they say something."""

import numpy as np
import pytest

from jaxmnist.verify.locate.align import (
    Sorted,
    informative,
    magnitude,
    ordered,
    rearranged,
    same_elements,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4))


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_transposed_value_is_found_with_its_error(axes) -> None:
    other = RNG.normal(size=24)
    searched = Sorted([other, X, None], [0, 0, 0])
    moved = X.transpose(axes).reshape(6, 4) + 1e-9
    found = searched.nearest(moved)
    assert found is not None
    assert (found.number, found.step) == (1, None)
    np.testing.assert_allclose(found.error, 1e-9 / np.abs(moved).max(), rtol=1e-6)


def test_a_value_of_one_step_of_a_loop_is_found() -> None:
    searched = Sorted([RNG.normal(size=(5, 3, 4))], [5])
    found = searched.nearest(searched.arrays[0][3].T)  # type: ignore[index]
    assert found is not None
    assert (found.number, found.step, found.error) == (0, 3, 0.0)


def test_another_size_is_no_match_and_neither_is_what_is_excluded() -> None:
    searched = Sorted([X], [0])
    assert searched.nearest(X[:1]) is None
    assert searched.nearest(X, among=set()) is None


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (X, True),
        (np.zeros(3), False),
        (np.full(3, -np.inf), False),
        (np.array([-np.inf, 1.0, 2.0]), True),
        (np.arange(3), False),
        (np.array(2.5), True),
        (np.array([]), False),
    ],
)
def test_what_says_something(array, says) -> None:
    assert informative(array) is says


def test_masks_with_the_same_infinities_are_equal_and_have_a_finite_size() -> None:
    a = np.array([[0.5, -np.inf], [2.0, 1.0]])
    assert same_elements(a, a.T)
    assert magnitude(ordered(a)) == 2.0
    assert not same_elements(a, np.where(np.isinf(a), -1e9, a))


def test_complex_values_are_compared_by_both_parts() -> None:
    z = X + 1j * X[::-1]
    assert same_elements(z, z.transpose(2, 1, 0))
    assert not same_elements(z, 2 * z)


def test_values_follow_the_order_of_their_companions() -> None:
    moved = X.transpose(2, 0, 1).reshape(8, 3)
    np.testing.assert_array_equal(rearranged(10 * X, X, moved), 10 * moved)
