"""The summary of a sweep: means, intervals and diverged runs."""

import numpy as np
import pytest
from scipy import stats

import jaxmnist as jm
from jaxmnist import sweep
from jaxmnist.training import History

CONFIG = jm.Config(hidden=(8,), epochs=2, eval_batch_size=48)


def made_up(accuracies: list[float], diverged: tuple[int, ...] = ()) -> sweep.Sweep:
    values = np.array(accuracies)[:, None]
    losses = np.where(np.isin(np.arange(len(accuracies)), diverged)[:, None], np.nan, values)
    cells = tuple(
        sweep.Cell({"seed": seed, "b1": b1}, CONFIG, {})
        for seed in range(len(accuracies) // 2)
        for b1 in (0.5, 0.9)
    )
    history = History._make([losses, values, losses, values, losses, values, losses, values])
    return sweep.Sweep({"seed": (0, 1, 2), "b1": (0.5, 0.9)}, cells, history)


def test_summary_is_the_mean_and_students_interval_over_seeds():
    # b1 = 0.5 has 0.1, 0.2, 0.6; b1 = 0.9 has 0.3, 0.3, 0.9.
    first, second = sweep.summary(made_up([0.1, 0.3, 0.2, 0.3, 0.6, 0.9]))
    assert (first["b1"], first["runs"], first["diverged"]) == (0.5, 3, 0)
    # t(0.975, 2) = 4.302653 in any table; the deviations of 0.3 are 0.2, 0.1 and 0.3.
    assert first["eval_accuracy"] == pytest.approx(0.3)
    assert first["eval_accuracy_ci"] == pytest.approx(4.302653 * np.sqrt(0.14 / 2 / 3), rel=1e-6)
    low, high = stats.t.interval(0.95, 2, loc=0.5, scale=stats.sem([0.3, 0.3, 0.9]))
    assert second["eval_loss"] == pytest.approx((low + high) / 2)
    assert second["eval_loss_ci"] == pytest.approx((high - low) / 2)


def test_summary_leaves_diverged_runs_out_and_says_so():
    first, second = sweep.summary(made_up([0.1, 0.3, 0.2, 0.3, 0.6, 0.9], diverged=(0, 1, 3)))
    assert (first["runs"], first["diverged"]) == (2, 1)
    assert first["eval_accuracy"] == pytest.approx(0.4)
    # t(0.975, 1) = 12.7062, and half the difference of two is their standard error.
    assert first["eval_accuracy_ci"] == pytest.approx(12.7062 * 0.2, rel=1e-5)
    assert (second["runs"], second["diverged"]) == (1, 2)
    assert second["eval_accuracy"] == pytest.approx(0.9)
    assert second["eval_accuracy_ci"] is None
    head, *lines = sweep.table([first, second])
    assert head[:4] == ["b1", "runs", "diverged", "eval_accuracy"]
    assert lines[0][:4] == ["0.5", "2", "1", "0.4000 ± 2.5412"]
    assert lines[1][3] == "0.9000"
