"""How two frameworks' runs diverge: their distance step by step, and where many runs end."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter

from jaxmnist.plots import style
from jaxmnist.plots.curves import CURVES


def divergence(
    curves: Mapping[str, Mapping[str, Float[np.ndarray, " steps"]]],
    title: str,
    room: float = 10,
    limit: float | None = None,
) -> Figure:
    """Draw two frameworks' distance, step by step, next to the effect of a one-ULP perturbation.

    Args:
        curves: By the panel's title: ``error``, the relative error of each batch's loss, and
            ``perturbation``, that of a run from weights moved by one unit in the last place.
        title: Says which run it is.
        room: How many times the running maximum of the perturbation is still rounding.
        limit: An error that is asked for whatever the perturbation, drawn as a line.

    Returns:
        A picture with a panel for each pair of curves, on one logarithmic scale: every step as a
        dot, and the largest so far as a line.
    """
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(
        figsize=(10, 4.2) if rows == 1 else (10, 3.0 * rows + 0.4), layout="constrained"
    )
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (name, pair) in zip(panels.flat, curves.items(), strict=False):
        _draw_divergence(axes, pair, room, limit)
        if len(curves) > 1:
            axes.set_title(name)
    for axes in panels[-1]:
        axes.set_xlabel("Step")
    for axes in panels[:, 0]:
        axes.set_ylabel("Relative error of the loss")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(title)
    return figure


def distributions(
    history: Mapping[str, Mapping[str, Float[np.ndarray, "runs epochs"]]],
    last: int,
    p_values: Mapping[str, float],
) -> Figure:
    """Draw many runs of two frameworks together, and where each of them ends.

    Args:
        history: By the framework, ours first: ``eval_accuracy`` and ``train_loss`` of every run.
        last: Over how many epochs at the end a run is averaged.
        p_values: Of the test that the frameworks' averages are alike, by the same names.

    Returns:
        A picture with the curves above and, below them, one mark per run.
    """
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    panels = figure.subplots(2, 2, height_ratios=(2.4, 1))
    runs = 0
    for column, field in enumerate(("eval_accuracy", "train_loss")):
        above, below = panels[:, column]
        for row, (look, (framework, metrics)) in enumerate(
            zip((style.FIRST, style.SECOND), history.items(), strict=True)
        ):
            values = metrics[field]
            runs = len(values)
            epochs = np.arange(values.shape[1])
            color, marker = look["color"], look["marker"]
            above.plot(epochs, values.T, color=color, linewidth=0.8, alpha=0.4)
            above.plot(epochs, np.median(values, axis=0), label=framework, markersize=4, **look)
            ends = values[:, -last:].mean(axis=1)
            below.plot(ends, np.full(runs, -row), marker, color=color, alpha=0.75)
            below.plot([np.median(ends)] * 2, [-row - 0.3, -row + 0.3], color=color, linewidth=2)
        above.set_title(CURVES[field])
        above.set_xlabel("Epoch")
        above.xaxis.set_major_locator(MaxNLocator(integer=True))
        above.legend()
        below.set_yticks([0, -1], list(history))
        below.set_ylim(-1.6, 0.6)
        below.set_xlabel(f"Mean of the last {last} epochs (rank test: p = {p_values[field]:.2f})")
        below.xaxis.set_major_locator(MaxNLocator(6))
        if field == "eval_accuracy":
            # The first epochs, and the few in which a run dips far, would take most of the picture.
            above.set_ylim(0.94, 0.985)
            above.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=1))
            below.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=2))
        else:
            above.set_yscale("log")
            above.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], minor=False)
            above.yaxis.set_major_formatter(ScalarFormatter())
            above.minorticks_off()
            above.set_ylabel("Cross-entropy (nats)")
    figure.suptitle(
        f"The tutorial's run in float32, each framework with its own randomness:\n"
        f"{runs} seeds (thin) and their median above, where each run ends below"
    )
    return figure


def _draw_divergence(
    axes: Axes, pair: Mapping[str, np.ndarray], room: float, limit: float | None
) -> None:
    """Every step as a dot, and the running maxima as lines."""
    steps = np.arange(len(pair["error"]))
    for name, look, line, label in (
        ("error", style.FIRST, "-", "JAX against PyTorch"),
        ("perturbation", style.SECOND, "-.", "JAX from weights one ULP away"),
    ):
        color = look["color"]
        axes.plot(steps, _positive(pair[name]), ".", markersize=2, alpha=0.35, color=color)
        largest = np.maximum.accumulate(pair[name])
        axes.plot(steps, _positive(largest), line, color=color, label=label)
    largest = np.maximum.accumulate(pair["perturbation"])
    label = f"{room:g} times that"
    axes.plot(steps, _positive(room * largest), "--", color=style.muted(), label=label)
    if limit is not None:
        axes.axhline(limit, color=style.ink(), linewidth=1, linestyle=":", label=f"{limit:g}")
    axes.set_yscale("log")


def _positive(values: np.ndarray) -> np.ndarray:
    """What has a place on a logarithmic axis; a difference of exactly 0 has none."""
    return np.where(values > 0, values, np.nan)
