"""What a sweep found: curves with bands over its seeds, and a map of two axes.

A point's error is that of the interquartile mean of its runs' accuracies, with its bootstrap
interval; a run that diverged counts as accuracy 0.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from jaxmnist.plots import style
from jaxmnist.plots.curves import training_curves

_LABELS: Final = {
    "learning_rate": "learning rate η",
    "hidden": "hidden layers",
    "batch_size": "batch size",
    "init_scale": "scale of the initial parameters",
    "initial_accumulator_value": "initial accumulator",
}
_MARKERS: Final = "os^DvPX*"
_LEAST: Final = 1e-4  # Error that a logarithmic scale still shows.
_COLORMAP: Final = "viridis_r"  # Bright where the error is small.


class _Grid(NamedTuple):
    """The summary's test error over rows and columns, as fractions."""

    rows: str | None
    row_values: list[Any]
    columns: str
    column_values: list[Any]
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    diverged: np.ndarray
    runs: np.ndarray


def sweep(summary: Sequence[Mapping[str, Any]], history: Mapping[str, Any]) -> Figure:
    """Draw the test error after the last epoch over at most two axes; the seeds make the bands.

    One axis is drawn as a curve. Of two axes the one with more numbers is the abscissa: curves
    above, and below them, column by column, the map of the accuracies, each row's best in a frame.
    A sweep of seeds alone is drawn against the epoch.

    Args:
        summary: From `jaxmnist.sweep.summary`, or read from its JSON.
        history: Arrays ``[runs, epochs]`` by the name of the figure; only their number of epochs
            is used unless the sweep is of seeds alone.

    Returns:
        The picture.

    Raises:
        ValueError: There are more than two axes besides the seed.
    """
    names = list(summary[0])[: list(summary[0]).index("runs")]
    epochs = np.shape(history["eval_loss"])[1]
    if len(names) > 2:
        raise ValueError(f"two axes can be drawn, not {', '.join(names)}")
    if not names:
        kept = {name: np.asarray(values) for name, values in history.items()}
        return training_curves(kept, _title(summary, epochs))
    grid = _grid(summary, names)
    width = min(10.0, max(8.0, 1.9 + 0.66 * len(grid.column_values)))
    if grid.rows is None:
        figure = Figure(figsize=(width, 4.4), layout="constrained")
        axes = figure.subplots()
        _draw_curves(axes, grid)
        _label_columns(axes, grid)
        _mark_diverged(axes, grid)
    else:
        map_height = 0.42 * len(grid.row_values)
        figure = Figure(figsize=(width, 5.0 + map_height), layout="constrained")
        above, below = figure.subplots(
            2, 1, sharex=True, height_ratios=(3.4, map_height), squeeze=True
        )
        _draw_curves(above, grid)
        above.tick_params(labelbottom=False)
        _draw_map(below, grid)
        _label_columns(below, grid)
    figure.suptitle(textwrap.fill(_title(summary, epochs), int(11.5 * width)))
    return figure


def _grid(summary: Sequence[Mapping[str, Any]], names: Sequence[str]) -> _Grid:
    values = {name: list(dict.fromkeys(row[name] for row in summary)) for name in names}

    def numbers(name: str) -> tuple[bool, int]:
        return not isinstance(values[name][0], str), len(values[name])

    columns = max(names, key=numbers)
    rows = next((name for name in names if name != columns), None)
    column_values = values[columns]
    if not isinstance(column_values[0], str):
        column_values = sorted(column_values)
    row_values = [None] if rows is None else values[rows]
    arrays = {
        name: np.full((len(row_values), len(column_values)), np.nan)
        for name in ("error", "low", "high", "diverged", "runs")
    }
    for row in summary:
        at = (
            0 if rows is None else row_values.index(row[rows]),
            column_values.index(row[columns]),
        )
        if _has_result(row):
            arrays["error"][at] = 1 - row["eval_accuracy_iqm"]
            arrays["low"][at], arrays["high"][at] = (1 - end for end in _interval(row))
        arrays["diverged"][at], arrays["runs"][at] = row["diverged"], row["runs"]
    return _Grid(rows, row_values, columns, column_values, **arrays)


def _has_result(row: Mapping[str, Any]) -> bool:
    return bool(row["diverged"] < row["runs"]) and row["eval_accuracy_iqm"] is not None


def _interval(row: Mapping[str, Any]) -> tuple[float, float]:
    """From the higher accuracy to the lower; a single run's is the run's own."""
    ends = row["eval_accuracy_iqm_high"], row["eval_accuracy_iqm_low"]
    return ends if None not in ends else (row["eval_accuracy_iqm"],) * 2


def _draw_curves(axes: Axes, grid: _Grid) -> None:
    """The error against the column; a run that has none leaves a gap."""
    x = np.arange(len(grid.column_values))
    named = isinstance(grid.column_values[0], str)
    least = max(np.nanmin(grid.error, initial=1.0), _LEAST)
    for index, value in enumerate(grid.row_values):
        look = _look(grid, index, value)
        error = np.maximum(grid.error[index], _LEAST)
        low, high = np.maximum(grid.low[index], least / 2), np.maximum(grid.high[index], least / 2)
        if named:
            axes.errorbar(
                x, error, yerr=[error - low, high - error], color=look.color, marker=look.marker,
                linestyle="none", capsize=4, label=look.label,
            )  # fmt: skip
        else:
            axes.fill_between(x, low, high, color=look.color, alpha=0.22, linewidth=0)
            axes.plot(x, error, marker=look.marker, markersize=4.5, **look.line)
    known = grid.error[np.isfinite(grid.error)]
    axes.set_ylim(0.8 * max(known.min(initial=1.0), _LEAST), 1.2 * known.max(initial=_LEAST))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("Test error")
    if grid.rows is not None:
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=min(6, len(grid.row_values)),
            title=None if grid.rows == "optimizer" else _label(grid.rows),
        )


def _mark_diverged(axes: Axes, grid: _Grid) -> None:
    lost = np.flatnonzero(~np.isfinite(grid.error[0]))
    for column in lost.tolist():
        axes.text(
            column, 0.5, "✗\ndiverged", color=style.BAD, ha="center", va="center",
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip


def _draw_map(axes: Axes, grid: _Grid) -> None:
    """Accuracies in percent, coloured by the error on a logarithmic scale."""
    finite = np.maximum(grid.error[np.isfinite(grid.error)], _LEAST)
    if not finite.size:  # Every run diverged, and no cell has a colour.
        finite = np.array([_LEAST, 1.0])
    # A little room, since all errors may be the same.
    norm = LogNorm(0.99 * finite.min(initial=1.0), 1.01 * finite.max(initial=_LEAST))
    colors = mpl.colormaps[_COLORMAP]
    # What its colours mean is written on them.
    axes.imshow(np.ma.masked_invalid(grid.error), norm=norm, cmap=colors, aspect="auto", zorder=1)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    best = [np.nanargmin(errors) if np.isfinite(errors).any() else None for errors in grid.error]
    for (row, column), error in np.ndenumerate(grid.error):
        if not np.isfinite(error):
            axes.text(column, row, "✗", ha="center", va="center", color=style.BAD)
            continue
        red, green, blue, _ = colors(float(norm(max(error, _LEAST))))
        # The cell's colour is the same in both themes, and so is what stands on it.
        on_cell = "#1F2328" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#FFFFFF"
        text = f"{100 * (1 - error):.1f}" + ("*" if grid.diverged[row, column] else "")
        axes.text(column, row, text, ha="center", va="center", color=on_cell)
        if column == best[row]:
            frame = Rectangle((column - 0.46, row - 0.42), 0.92, 0.84, fill=False, zorder=3)
            frame.set(edgecolor=on_cell, linewidth=1.8)
            axes.add_patch(frame)
    axes.set_yticks(range(len(grid.row_values)), [_name(grid.rows, v) for v in grid.row_values])
    axes.tick_params(length=0)
    marks = ["Test accuracy in %, each row's best in a frame"]
    if (grid.diverged > 0).any():
        marks.append("✗: every run diverged")
    if ((grid.diverged > 0) & (grid.diverged < grid.runs)).any():
        marks.append("*: some did, as accuracy 0")
    axes.set_title("; ".join(marks))


def _label_columns(axes: Axes, grid: _Grid) -> None:
    labels = [_name(grid.columns, value) for value in grid.column_values]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(_label(grid.columns))
    axes.set_xlim(-0.5, len(labels) - 0.5)


def _look(grid: _Grid, index: int, value: Any) -> style.Look:
    if grid.rows is None:
        return style.Look("", style.FIRST["color"], "-", style.FIRST["marker"])
    if grid.rows == "optimizer" and value in style.OPTIMIZERS:
        return style.OPTIMIZERS[value]
    share = (index + 0.5) / len(grid.row_values)
    color = to_hex(mpl.colormaps["viridis"](0.1 + 0.75 * share))
    return style.Look(_name(grid.rows, value), color, "-", _MARKERS[index % len(_MARKERS)])


def _name(axis: str | None, value: Any) -> str:
    if axis == "optimizer" and value in style.OPTIMIZERS:
        return style.OPTIMIZERS[value].label
    return value if isinstance(value, str) else f"{value:.3g}"


def _label(axis: str) -> str:
    return _LABELS.get(axis, style.literal(axis)).capitalize()


def _title(summary: Sequence[Mapping[str, Any]], epochs: int) -> str:
    known = [row for row in summary if _has_result(row)]
    total = sum(row["runs"] for row in summary)
    lost = sum(row["diverged"] for row in summary)
    count = f"{total} runs of {epochs} epoch{'s' if epochs > 1 else ''}"
    if lost:
        count += f", {lost} of which diverged"
    if not known:
        return f"{count}: there is nothing to compare"
    best = max(known, key=lambda row: row["eval_accuracy_iqm"])
    names = list(best)[: list(best).index("runs")]
    where = ", ".join(
        ("" if name == "optimizer" else _LABELS.get(name, style.literal(name)) + " ")
        + _name(name, best[name])
        for name in names
    )
    accuracy = f"{100 * best['eval_accuracy_iqm']:.2f} %"
    if best["eval_accuracy_iqm_low"] is not None:
        high, low = _interval(best)
        accuracy += (
            f" (interquartile mean of {best['runs']} seeds, 95\N{NO-BREAK SPACE}% bootstrap "
            f"interval {100 * low:.2f} to {100 * high:.2f} %)"
        )
    found = f"the best test accuracy is {accuracy}" if names else f"test accuracy {accuracy}"
    return f"{count}: {found}" + (f", with {where}" if names else "")
