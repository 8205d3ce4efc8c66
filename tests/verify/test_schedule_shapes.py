"""The shape of a schedule is found piece by piece, and two shapes are told apart in words."""

import numpy as np
import pytest

from jaxmnist.verify.identify.shapes import difference, formula, pieces, stairs

T = np.arange(24)
COSINE = 0.1 * (1 + np.cos(np.pi * T / 30)) / 2
WARM_UP = np.where(T < 6, 0.1 * T / 6, 0.1)


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        (0.5 * 0.9**T, "0.5 · 0.9^t"),
        (0.3 / (1 + 0.2 * T), "0.3 / (1 + 0.2 t)"),
        (0.3 * (1 + 0.2 * T) ** -0.5, "0.3 · (1 + 0.2 t)^-0.5"),
        (0.4 - 0.01 * T, "linear from 0.4 at step 0 to 0.17 at step 23"),
        (COSINE, "a cosine of 30 steps from 0.1 at step 0 to 0"),
        ((1 - T / 23) ** 2.5, "a polynomial of power 2.5 from 1 at step 0 to 0 at step 23"),
        (np.full(24, 0.1), None),
        (WARM_UP, None),
        (np.sin(T.astype(float) ** 2), None),
    ],
)
def test_a_curve_of_one_formula_is_described(rates: np.ndarray, text: str | None) -> None:
    assert formula(rates) == text


def test_a_curve_is_cut_where_its_formula_changes() -> None:
    joined = np.concatenate([WARM_UP[:6], 0.1 * 0.8 ** np.arange(10), np.full(6, 0.01)])
    found = pieces(joined)
    assert found is not None
    assert [(p.form, p.first, p.last) for p in found] == [
        ("linear", 0, 6),
        ("exponential", 6, 15),
        ("constant", 16, 21),
    ]
    assert pieces(np.random.default_rng(0).random(20)) is None


def test_a_staircase_has_steps_and_factors() -> None:
    assert stairs(0.8 * 0.5 ** (T // 10), 1e-9) == ([10, 20], [0.5, 0.5])
    assert stairs(0.5 * 0.9**T, 1e-9) is None
    assert stairs(np.full(24, 0.1), 1e-9) is None


@pytest.mark.parametrize(
    ("here", "there", "words"),
    [
        (0.5 * 0.9**T, 0.5 * 0.5 ** (T // 5), "the shape: 0.5 · 0.9^t here, a staircase, by 0.5"),
        (0.5 ** (T // 6), 0.5 ** (T // 5), "the steps at which it changes: by 0.5 every 6 steps"),
        (0.5 ** (T // 6), 0.3 ** (T // 6), "the factors by which it changes: by 0.5 every 6"),
        (
            COSINE,
            0.9 * COSINE + 0.01,
            "where it ends: a cosine of 30 steps from 0.1 at step 0 to 0",
        ),
        (
            COSINE,
            0.1 * (1 + np.cos(np.pi * T / 25)) / 2,
            "how long a phase is: a cosine of 30 steps",
        ),
        (WARM_UP, np.maximum(WARM_UP, 0.05), "the shape"),
        (WARM_UP, np.where(T < 5, 0.1 * T / 5, 0.1), "how long a phase is: linear from 0"),
        (0.5 * 0.9**T, 0.4 * 0.9**T, "where it starts"),
        (0.5 * 0.9**T, 0.5 * 0.8**T, "where it ends"),
    ],
)
def test_two_shapes_differ_in_words(here: np.ndarray, there: np.ndarray, words: str) -> None:
    assert (difference(here, there, 1e-7) or "").startswith(words)


def test_equal_or_unknown_shapes_have_no_difference() -> None:
    assert difference(COSINE, COSINE.copy(), 1e-7) is None
    assert difference(COSINE, np.random.default_rng(0).random(24), 1e-7) is None
