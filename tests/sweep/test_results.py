"""The summary of a sweep: medians, interquartile means, their intervals, and diverged runs."""

import numpy as np
import pytest
from scipy import stats

import jaxmnist as jm
from jaxmnist import sweep
from jaxmnist.sweep import results
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
    return sweep.Sweep(
        {"seed": tuple(range(len(accuracies) // 2)), "b1": (0.5, 0.9)}, cells, history
    )


def test_summary_is_of_all_seeds():
    # b1 = 0.5 has 0.1, 0.2, 0.6 and 0.7, b1 = 0.9 four times 0.3.
    first, second = sweep.summary(made_up([0.1, 0.3, 0.2, 0.3, 0.6, 0.3, 0.7, 0.3]))
    assert (first["b1"], first["runs"], first["diverged"]) == (0.5, 4, 0)
    assert first["eval_accuracy"] == pytest.approx(0.4)
    assert first["eval_loss_median"] == pytest.approx(0.4)
    assert first["eval_loss_iqm"] == pytest.approx(0.4)  # Of 0.2 and 0.6.
    for end in ("low", "high"):
        assert second[f"eval_accuracy_iqm_{end}"] == 0.3
    head, *lines = sweep.table([first, second])
    assert head[:4] == ["b1", "runs", "diverged", "eval_accuracy"]
    assert lines[1][:4] == ["0.9", "4", "0", "0.3000 / 0.3000 [0.3000, 0.3000]"]


def test_diverged_run_is_the_worst_outcome():
    first, second = sweep.summary(
        made_up([0.1, 0.3, 0.2, 0.3, 0.6, 0.3, 0.7, 0.9], diverged=(0, 1, 3, 5))
    )
    # Accuracies 0, 0.2, 0.6, 0.7, and losses 0.2, 0.6, 0.7 and infinity.
    assert (first["runs"], first["diverged"]) == (4, 1)
    assert first["eval_accuracy"] == pytest.approx(0.375)
    assert first["eval_accuracy_median"] == pytest.approx(0.4)
    assert first["eval_loss"] is None
    assert first["eval_loss_median"] == pytest.approx(0.65)
    assert first["eval_loss_iqm"] == pytest.approx(0.65)
    assert first["eval_loss_iqm_low"] >= 0.2
    assert first["eval_loss_iqm_high"] is None
    # Three of four diverged: the survivor's 0.9 is the highest quarter, which is left out.
    assert (second["runs"], second["diverged"]) == (4, 3)
    assert second["eval_accuracy_iqm"] == second["eval_accuracy_median"] == 0
    assert second["eval_loss_iqm"] is None
    _, *lines = sweep.table([first, second])
    assert lines[0][:3] == ["0.5", "4", "1"]
    assert lines[1][4].startswith("inf / inf [")


def test_half_diverged_looks_worse_than_its_survivors():
    first, second = sweep.summary(
        made_up([0.9, 0.8, 0.9, 0.8, 0.9, 0.8, 0.9, 0.8], diverged=(0, 2))
    )
    for statistic in ("", "_median", "_iqm"):
        assert first[f"eval_accuracy{statistic}"] < second[f"eval_accuracy{statistic}"]


def test_every_run_diverged_and_a_single_run():
    first, second = sweep.summary(made_up([0.9, 0.8], diverged=(0,)))
    assert (first["eval_accuracy_iqm"], first["eval_loss_iqm"]) == (0, None)
    assert (second["runs"], second["eval_accuracy_iqm"]) == (1, 0.8)
    assert second["eval_accuracy_iqm_low"] is second["eval_accuracy_iqm_high"] is None
    _, *lines = sweep.table([first, second])
    assert [line[3:5] for line in lines] == [
        ["0.0000 / 0.0000", "inf / inf"],
        ["0.8000 / 0.8000", "0.8000 / 0.8000"],
    ]
    (lost, _) = sweep.summary(made_up([0.9, 0.8, 0.9, 0.8], diverged=(0, 2)))
    assert (lost["eval_accuracy_iqm_low"], lost["eval_accuracy_iqm_high"]) == (0, 0)


@pytest.mark.parametrize("seeds", [2, 4, 7, 20])
def test_interval_stays_within_what_is_possible_and_is_scipys(seeds):
    # Where Student's interval over four reaches above 1.
    accuracies = np.random.default_rng(seeds).uniform(0.5, 1, seeds) ** 0.1
    low, high = results.interval(accuracies)
    center = stats.trim_mean(accuracies, 0.25)
    assert accuracies.min() <= low <= center <= high <= accuracies.max() <= 1
    right = stats.bootstrap(
        (accuracies,),
        lambda values, axis: stats.trim_mean(values, 0.25, axis=axis),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    width = high - low
    np.testing.assert_allclose((low, high), right, atol=0.02 * width)
    assert results.interval(accuracies) == (low, high)


@pytest.mark.slow
def test_interval_covers_the_center_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(60):
        low, high = results.interval(rng.uniform(size=24))
        covered.append(low <= 0.5 <= high)
    assert 0.85 <= np.mean(covered) <= 1
