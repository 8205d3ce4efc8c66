"""The results of a sweep: metrics by cell and epoch, and what is typical of a point's seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from jaxmnist.sweep.axes import Axes, Cell, text
from jaxmnist.training import History

SUMMARIZED: Final = ("eval_accuracy", "eval_loss", "train_accuracy", "train_loss")
CONFIDENCE: Final = 0.95
LEGEND: Final = (
    f"median / interquartile mean [{100 * CONFIDENCE:.0f} % bootstrap interval of the latter] "
    "over the runs; a diverged run counts as accuracy 0 and an infinite loss"
)
"""What stands in the cells of `table`."""

_STATISTICS: Final = ("", "_median", "_iqm", "_iqm_low", "_iqm_high")
_RESAMPLES: Final = 9999


class Sweep(NamedTuple):
    """The metrics of every run of a sweep.

    The parameters are not stored: a cell's `config` reproduces them.
    """

    axes: Axes
    """The values by the axis's name."""
    cells: tuple[Cell, ...]
    """Every combination, the last axis fastest."""
    history: History
    """Arrays ``[cells, epochs]``; NaN from the epoch on in which a run diverged."""

    @property
    def diverged(self) -> Int[np.ndarray, " cells"]:
        """The epoch in which each run diverged, or -1."""
        return diverged_at(self.history)


def diverged_at(history: History) -> Any:
    """Return the first epoch with a loss that is not finite, or -1, over the last axis.

    >>> losses = np.array([[0.5, 0.4, 0.3], [0.5, np.inf, np.nan]])
    >>> diverged_at(History._make([losses] * 8))
    array([-1,  1])
    """
    broken = ~(np.isfinite(history.train_loss) & np.isfinite(history.eval_loss))
    return np.where(broken.any(axis=-1), broken.argmax(axis=-1), -1)


def without_diverged(history: History) -> History:
    """Replace what a run measured from the epoch of its divergence on by NaN.

    Args:
        history: Arrays ``[runs, epochs]``.

    Returns:
        The same shapes. As with `jaxmnist.fit`, only whole epochs before it count.
    """
    at = diverged_at(history)[:, None]
    gone = (at >= 0) & (np.arange(history.train_loss.shape[1])[None] >= at)
    return jax.tree.map(lambda values: np.where(gone, np.nan, values).astype(values.dtype), history)


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """Return the tidy table: one row for each cell and epoch.

    Args:
        sweep: The results.

    Returns:
        The cell's index, its value on every axis, the epoch from 0, the eight metrics of `History`
        in the fewest digits that restore them, None once the run has diverged, and the epoch in
        which it did, or None.
    """
    table = []
    for index, (cell, at) in enumerate(zip(sweep.cells, sweep.diverged.tolist(), strict=True)):
        values = {name: _entry(value) for name, value in cell.values.items()}
        for epoch in range(sweep.history.train_loss.shape[1]):
            metrics = {
                name: number(figure[index, epoch])
                for name, figure in sweep.history._asdict().items()
            }
            diverged = None if at < 0 else at
            table.append({"cell": index, **values, "epoch": epoch, **metrics, "diverged": diverged})
    return table


def summary(sweep: Sweep) -> list[dict[str, Any]]:
    """Condense the last epoch over the seeds of each point, a diverged run as the worst outcome.

    A run that diverged has accuracy 0 and an infinite loss: left out, it would let a setting at
    which half of the seeds diverge look as good as its survivors. The interquartile mean is the
    mean without the lowest and the highest quarter of the runs, each rounded down, so that of
    fewer than four it is the mean. Its 95 % interval is between percentiles of that mean over 9999
    resamples of the runs, drawn from a fixed seed: it is never outside the runs' own range, so no
    accuracy above 1 and no loss below 0. Of few runs it is too narrow rather than too wide. Runs
    that are all equal have an interval of no width; a single run has none.

    Args:
        sweep: The results.

    Returns:
        One row per combination of all axes but the seed: its values; the number of runs that all
        its numbers rest on, and how many of them diverged; and of each of `SUMMARIZED` the mean,
        ``<name>_median``, ``<name>_iqm``, the interquartile mean, and ``<name>_iqm_low`` and
        ``<name>_iqm_high``, its interval. None where it is infinite, or there is no interval.

    Source: the interquartile mean over seeds with a bootstrap interval, Agarwal and others, "Deep
    reinforcement learning at the edge of the statistical precipice", 2021,
    https://arxiv.org/abs/2108.13264.

    >>> losses = np.array([[1.0], [2.0], [3.0], [np.inf]])
    >>> cells = tuple(Cell({"seed": seed}, None, {}) for seed in range(4))
    >>> (row,) = summary(Sweep({"seed": (0, 1, 2, 3)}, cells, History._make([losses] * 8)))
    >>> row["runs"], row["diverged"], row["eval_loss"], row["eval_loss_iqm"]
    (4, 1, None, 2.5)
    """
    table = []
    diverged = sweep.diverged
    for point, members in points(sweep).items():
        lost = diverged[members] >= 0
        row = {
            **{name: _entry(value) for name, value in point},
            "runs": len(members),
            "diverged": int(lost.sum()),
        }
        for name in SUMMARIZED:
            worst = 0.0 if name.endswith("accuracy") else np.inf
            last = getattr(sweep.history, name)[members, -1].astype(float)
            last = np.where(lost, worst, last)
            typical = (*centers(last), *interval(last))
            row |= {f"{name}{s}": number(v) for s, v in zip(_STATISTICS, typical, strict=True)}
        table.append(row)
    return table


def points(sweep: Sweep) -> dict[tuple[tuple[str, Any], ...], list[int]]:
    """Gather the cells that differ in the seed alone, by their values on the other axes."""
    gathered: dict[tuple[tuple[str, Any], ...], list[int]] = {}
    for index, cell in enumerate(sweep.cells):
        point = tuple((name, value) for name, value in cell.values.items() if name != "seed")
        gathered.setdefault(point, []).append(index)
    return gathered


def centers(values: Float[np.ndarray, " runs"]) -> tuple[float, float, float]:
    """Return the mean, the median and the interquartile mean; infinite where the values make it so.

    >>> centers(np.array([0.0, 0.5, 0.75, 0.75]))
    (0.5, 0.625, 0.625)
    """
    with np.errstate(invalid="ignore"):  # Of the median's own check, where values are infinite.
        middle = float(np.median(values))
    return float(values.mean()), middle, float(_interquartile_mean(values))


def interval(values: Float[np.ndarray, " runs"]) -> tuple[float, float]:
    """Return the bootstrap interval of the interquartile mean; NaN where there is one value."""
    if values.size < 2:
        return np.nan, np.nan
    if (values == values[0]).all():
        return float(values[0]), float(values[0])
    with np.errstate(invalid="ignore"):  # Of its standard error, where values are infinite.
        resampled = stats.bootstrap(
            (values,),
            _interquartile_mean,
            n_resamples=_RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(0),
        ).bootstrap_distribution
    tail = (1 - CONFIDENCE) / 2
    # Percentiles that are among the resampled means: none between a number and infinity.
    ends = np.quantile(resampled, [tail, 1 - tail], method="inverted_cdf")
    low, high = np.clip(ends, values.min(), values.max()).tolist()
    return low, high


def _interquartile_mean(values: np.ndarray, axis: int = -1) -> Any:
    return stats.trim_mean(values, 0.25, axis=axis)


def table(summary: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Write a summary as cells of text, the column's names first; `LEGEND` says what they are."""
    values = list(summary[0])[: list(summary[0]).index("runs")]
    lines = [[*values, "runs", "diverged", *SUMMARIZED]]
    for row in summary:
        counts = [str(row["runs"]), str(row["diverged"])]
        lines.append(
            [
                *(text(row[name]) for name in values),
                *counts,
                *(_typical(row, name) for name in SUMMARIZED),
            ]
        )
    return lines


def number(value: Any) -> float | None:
    """A NumPy float in the fewest digits that restore it; None for what JSON does not know."""
    return float(str(value)) if np.isfinite(value) else None


def _typical(row: Mapping[str, Any], name: str) -> str:
    """One cell of `table`."""

    def written(statistic: str) -> str:
        value = row[f"{name}{statistic}"]
        return "inf" if value is None else f"{value:.4f}"

    centers = f"{written('_median')} / {written('_iqm')}"
    if row["runs"] < 2:
        return centers
    return f"{centers} [{written('_iqm_low')}, {written('_iqm_high')}]"


def _entry(value: Any) -> Any:
    return text(value) if isinstance(value, tuple) else value
