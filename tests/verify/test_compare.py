"""The comparer: its errors on known cases, and their properties on any numbers."""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxmnist.errors import InputError
from jaxmnist.verify import Comparer, Comparison, Comparisons, Divergence, Errors

ARRAYS = hnp.arrays(
    np.float64, (5,), elements=st.floats(-1e300, 1e300, allow_nan=False, allow_subnormal=False)
)


def compared(actual, expected, tolerance=1e-12, **kwargs) -> Comparison:
    comparer = Comparer("a pair", tolerance, **kwargs)
    comparer.add(0, {"w": np.asarray(actual)}, {"w": np.asarray(expected)})
    return comparer.result()


@pytest.mark.parametrize(
    ("dtype", "value", "units"),
    [
        (np.float64, 1.0, 1),
        (np.float64, 1.5, 3),
        (np.float64, 2.0, 1),
        (np.float64, -7e200, 5),
        (np.float64, 0.0, 1),  # the smallest subnormal is one unit from zero
        (np.float64, 5e-324, 2),
        (np.float32, 1.0, 1),
        (np.float32, 3e-5, 8),
        (np.float16, 1.0, 2),
    ],
)
def test_ulp_counts_the_floats_between_two_neighbours(dtype, value, units) -> None:
    expected = dtype(value)
    actual = expected
    for _ in range(units):
        away = dtype(math.copysign(math.inf, value))
        actual = np.nextafter(actual, away)
    assert compared(actual, expected).errors.ulp == units


def test_ulp_is_of_the_coarser_dtype() -> None:
    assert compared(np.float64(1 + 2**-23), np.float32(1)).errors.ulp == 1
    assert compared(np.float32(1 + 2**-23), np.float64(1)).errors.ulp == 1
    brain = np.asarray(1 + 2**-7, ml_dtypes.bfloat16)
    assert compared(brain, np.float64(1)).errors.ulp == 1


def test_ulp_is_each_leafs_own() -> None:
    comparer = Comparer("two dtypes", 1.0)
    comparer.add(
        0,
        {"single": np.array([1 + 2**-23], np.float32), "double": np.array([1.0])},
        {"single": np.array([1], np.float32), "double": np.array([1.0 + 2**-50])},
    )
    assert comparer.result().errors.ulp == 4


def test_relative_error_is_against_the_elements_largest_value_so_far() -> None:
    comparer = Comparer("a walk back to zero", 1e-3)
    comparer.add(0, {"w": np.array([8.0, 1.0])}, {"w": np.array([8.0, 1.0])})
    errors = comparer.add(1, {"w": np.array([1e-3, 1.0])}, {"w": np.array([0.0, 1.0])})
    assert errors == Errors(1e-3, 1.25e-4, 1e-3 / (8 * 2**-52))
    assert comparer.result().passed
    # The other element has only been 1, so that the same error is too much there.
    comparer.add(2, {"w": np.array([8.0, 1.01])}, {"w": np.array([8.0, 1.0])})
    first = comparer.result().first_divergence
    assert first == Divergence(2, "w", (1,), 1.01, 1.0)


def test_by_leaf_the_error_is_against_the_leafs_largest_value_so_far() -> None:
    comparer = Comparer("sums", 1.0, by_leaf=True)
    same = {"a": np.array([[4.0], [0.0]]), "none": np.zeros((0,)), "b": np.array([1.0])}
    comparer.add(0, same, same)
    moved = same | {"a": np.array([[1.0], [1.0]])}
    expected = same | {"a": np.array([[1.0], [0.0]])}
    assert comparer.add(1, moved, expected).relative == 0.25


def test_first_divergence_is_the_first_element_past_the_tolerance_and_the_worst_is_beside_it() -> (
    None
):
    comparer = Comparer("steps", 0.1)
    shape = (2, 3)
    for step in range(5):
        actual = np.ones(shape)
        if step >= 3:
            actual[0, 1], actual[1, 2] = 1.2, 1.5
        comparer.add(
            10 * step, {"b": np.ones(2), "w": actual}, {"b": np.ones(2), "w": np.ones(shape)}
        )
    result = comparer.result()
    assert result.first_divergence == Divergence(30, "w", (0, 1), 1.2, 1.0)
    assert result.worst == Divergence(30, "w", (1, 2), 1.5, 1.0)
    assert "first divergence at step 30, w[0, 1]" in str(result)
    assert "largest error at step 30, w[1, 2]" in str(result)
    assert (result.steps, result.max_error, result.passed) == (5, 0.5, False)


def test_tolerance_may_grow_with_the_steps() -> None:
    one, more = {"w": np.array(1.0)}, {"w": np.array(1.25)}
    comparer = Comparer("grows", 0.0)
    comparer.add(0, one, one)
    comparer.add(1, more, one, tolerance=0.5)
    assert comparer.result().passed
    assert comparer.result().tolerance == 0.5
    comparer.add(2, more, one, tolerance=0.1)
    assert comparer.result().first_divergence == Divergence(2, "w", (), 1.25, 1.0)


def test_slack_is_not_an_error_and_what_exceeds_it_is() -> None:
    comparer = Comparer("rounded weights", 1e-12)
    actual, expected = {"w": np.array([1.0, 1.5])}, {"w": np.array([1.25, 1.0])}
    slack = {"w": np.array([0.25, 0.25])}
    assert comparer.add(0, actual, expected, slack=slack).absolute == 0.25
    assert comparer.result().first_divergence == Divergence(0, "w", (1,), 1.5, 1.0)


@pytest.mark.parametrize(
    ("actual", "expected", "error"),
    [
        (math.nan, math.nan, 0.0),
        (math.inf, math.inf, 0.0),
        (-math.inf, -math.inf, 0.0),
        (math.nan, 1.0, math.inf),
        (1.0, math.nan, math.inf),
        (math.inf, -math.inf, math.inf),
        (1.0, math.inf, math.inf),
        (math.inf, 1.0, math.inf),
        (1e-300, 0.0, math.inf),
        (0.0, -0.0, 0.0),
    ],
)
def test_what_is_not_finite_is_equal_or_infinitely_far(actual, expected, error) -> None:
    result = compared([1.0, actual], [1.0, expected])
    assert result.errors.relative == error
    assert result.passed == (error == 0.0)


def test_infinity_does_not_hide_what_comes_after() -> None:
    comparer = Comparer("after infinity", 1e-12)
    infinite = {"w": np.array([math.inf])}
    comparer.add(0, infinite, infinite)
    assert comparer.add(1, {"w": np.array([2.0])}, {"w": np.array([1.0])}).relative == 1.0


def test_complex_leaves_are_compared_by_magnitude() -> None:
    result = compared([3 + 4j], [3 + 4.5j])
    assert result.errors.relative == 0.5 / abs(3 + 4.5j)
    assert result.first_divergence == Divergence(0, "w", (0,), 3 + 4j, 3 + 4.5j)


def test_nothing_compared_is_not_a_pass() -> None:
    assert not Comparer("nothing", 1.0).result().passed
    assert not Comparisons("nothing", ()).passed


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        ({"w": np.zeros(2)}, {"v": np.zeros(2)}, r"\['w'\] here and \['v'\] in the reference"),
        ({"w": np.zeros(2)}, {"w": np.zeros(3)}, r"w has shape \(2,\) here and \(3,\)"),
        ({"w": np.zeros(3)}, {"w": np.zeros(3)}, "one step later"),
    ],
)
def test_other_names_and_shapes_are_refused(actual, expected, message) -> None:
    comparer = Comparer("shapes", 1.0)
    comparer.add(0, {"w": np.zeros(2)}, {"w": np.zeros(2)})
    with pytest.raises(InputError, match=message):
        comparer.add(1, actual, expected)


@given(ARRAYS)
def test_equal_arrays_have_no_error(array) -> None:
    assert compared(array, array.copy()).errors == Errors(0.0, 0.0, 0.0)


@given(ARRAYS, ARRAYS, st.sampled_from([0.5, 2.0, 4.0]))
def test_relative_and_ulp_errors_do_not_change_with_the_unit(actual, expected, factor) -> None:
    some, scaled = compared(actual, expected), compared(actual * factor, expected * factor)
    assert scaled.errors.relative == some.errors.relative
    if np.all(expected != 0):
        assert scaled.errors.ulp == some.errors.ulp


@given(ARRAYS, ARRAYS)
def test_relative_error_is_the_largest_of_any_element(actual, expected) -> None:
    with np.errstate(all="ignore"):
        ratios = np.abs(actual - expected) / np.abs(expected)
    ratios = np.where(actual == expected, 0.0, np.where(np.isnan(ratios), np.inf, ratios))
    assert compared(actual, expected).max_error == ratios.max()


@given(st.lists(st.tuples(ARRAYS, ARRAYS), min_size=1, max_size=4))
def test_the_result_holds_the_extremes_of_its_steps(pairs) -> None:
    comparer = Comparer("steps", 1e-3)
    each = [comparer.add(i, {"w": a}, {"w": e}) for i, (a, e) in enumerate(pairs)]
    result = comparer.result()
    assert result.errors == Errors(*(max(column) for column in zip(*each, strict=True)))
    past = [i for i, errors in enumerate(each) if errors.relative > 1e-3]
    first = result.first_divergence
    assert (first and first.step) == (past[0] if past else None)


def test_comparisons_gather_the_worst_and_the_first() -> None:
    early = Divergence(3, "w", (0,), 1.0, 2.0)
    late = Divergence(7, "v", (), 1.0, 2.0)
    parts = tuple(
        Comparison(name, 9, 1e-12, Errors(error, error, error), first)
        for name, error, first in (("a", 0.0, None), ("b", 0.5, late), ("c", 0.25, early))
    )
    together = Comparisons("three", parts)
    assert not together.passed
    assert together.max_error == 0.5
    assert together.first_divergence == early
    assert together["b"] is parts[1]
    assert list(together) == list(parts)
    with pytest.raises(KeyError, match="'d' was not compared"):
        together["d"]
    text = str(together)
    assert "three: FAILED" in text
    assert "first divergence at step 7, v: 1.0 here, 2.0 in the reference" in text
    assert Comparisons("one", parts[:1]).passed
