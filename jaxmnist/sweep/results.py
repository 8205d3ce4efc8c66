"""The results of a sweep: metrics by cell and epoch, their mean and confidence over seeds."""

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
    """Average the last epoch over the seeds of each point, with a confidence interval.

    With s the standard deviation (n - 1 in its denominator) of n seeds, the mean's 95 % interval
    is ``mean ± t s / sqrt(n)``, t the 97.5 % quantile of Student's distribution with n - 1 degrees
    of freedom. It takes the seeds' metrics as draws from a normal distribution.

    Args:
        sweep: The results.

    Returns:
        One row per combination of all axes but the seed: its values; how many runs were averaged
        and how many diverged, which are left out; and of each of `SUMMARIZED` the mean and
        ``<name>_ci``, the half width of the interval. None where there are too few runs.

    >>> losses = np.array([[1.0], [2.0], [3.0]])
    >>> cells = tuple(Cell({"seed": seed}, None, {}) for seed in range(3))
    >>> (row,) = summary(Sweep({"seed": (0, 1, 2)}, cells, History._make([losses] * 8)))
    >>> row["runs"], row["eval_loss"], round(row["eval_loss_ci"], 4)  # 4.3027 / sqrt(3)
    (3, 2.0, 2.4841)
    """
    table = []
    diverged = sweep.diverged
    for point, members in points(sweep).items():
        kept = [index for index in members if diverged[index] < 0]
        row = {
            **{name: _entry(value) for name, value in point},
            "runs": len(kept),
            "diverged": len(members) - len(kept),
        }
        for name in SUMMARIZED:
            last = getattr(sweep.history, name)[kept, -1].astype(float)
            row[name], row[f"{name}_ci"] = map(number, mean_and_half_width(last))
        table.append(row)
    return table


def points(sweep: Sweep) -> dict[tuple[tuple[str, Any], ...], list[int]]:
    """Gather the cells that differ in the seed alone, by their values on the other axes."""
    gathered: dict[tuple[tuple[str, Any], ...], list[int]] = {}
    for index, cell in enumerate(sweep.cells):
        point = tuple((name, value) for name, value in cell.values.items() if name != "seed")
        gathered.setdefault(point, []).append(index)
    return gathered


def mean_and_half_width(values: Float[np.ndarray, " runs"]) -> tuple[float, float]:
    """The mean and its confidence interval's half width; NaN where there are too few values."""
    n = values.size
    mean = values.mean() if n else np.nan
    if n < 2:
        return float(mean), np.nan
    t = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    return float(mean), float(t * values.std(ddof=1) / np.sqrt(n))


def table(summary: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Write a summary as cells of text, the column's names first."""
    values = [name for name in summary[0] if name not in _counts_and_metrics()]
    lines = [[*values, "runs", "diverged", *SUMMARIZED]]
    for row in summary:
        counts = [str(row["runs"]), str(row["diverged"])]
        lines.append(
            [
                *(text(row[name]) for name in values),
                *counts,
                *(_interval(row[name], row[f"{name}_ci"]) for name in SUMMARIZED),
            ]
        )
    return lines


def number(value: Any) -> float | None:
    """A NumPy float in the fewest digits that restore it; None for what JSON does not know."""
    return float(str(value)) if np.isfinite(value) else None


def _counts_and_metrics() -> tuple[str, ...]:
    return ("runs", "diverged", *SUMMARIZED, *(f"{name}_ci" for name in SUMMARIZED))


def _interval(mean: float | None, half_width: float | None) -> str:
    if mean is None:
        return "none"
    return f"{mean:.4f}" if half_width is None else f"{mean:.4f} ± {half_width:.4f}"


def _entry(value: Any) -> Any:
    return text(value) if isinstance(value, tuple) else value
