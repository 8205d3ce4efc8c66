"""The curves of several runs in one picture: a panel for each metric, a look for each run."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jaxmnist.plots import style

_COLORS: Final = (
    *(style.BLUE, style.VERMILION, style.GREEN, style.ORANGE),
    *(style.PURPLE, style.SKY, style.BROWN),
)
_MARKERS: Final = "os^vDPX"
_DASHES: Final = ("-", (0, (6, 1.5)), (0, (1.2, 1.2)))
MAX_RUNS: Final = len(_COLORS) * len(_DASHES)
"""How many runs can be told apart."""


def run_comparison(histories: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw every metric of several runs in a panel of its own, where a run has it.

    Args:
        histories: For each run by its name, which may have any characters, arrays with one value
            per epoch under ``train_<metric>`` and ``eval_<metric>``; the per-sample twins are left
            out. At most `MAX_RUNS` runs, of which one has an epoch.

    Returns:
        A picture with a panel for each metric, at most two in a row: the test values with marks,
        and the training values as thin lines of the same colour.

    >>> runs = {
    ...     "sgd": {"train_loss": np.array([2.0, 1.0]), "eval_loss": np.array([2.0, 1.5])},
    ...     "a task": {"eval_error": np.array([0.3])},
    ... }
    >>> [axes.get_title() for axes in run_comparison(runs).axes]
    ['loss', 'error']
    """
    names = [name for history in histories.values() for name in history]
    shown = [name for name in names if not name.endswith("_per_sample")]
    metrics = list(dict.fromkeys(name.split("_", maxsplit=1)[1] for name in shown))
    columns = min(2, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(
        figsize=(5 * columns, 3.6 * rows + 0.22 * (len(histories) + 1)), layout="constrained"
    )
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, metric in zip(panels, metrics, strict=False):
        for index, history in enumerate(histories.values()):
            look = _look(index)
            if (values := history.get(f"train_{metric}")) is not None:
                axes.plot(np.arange(values.size), values, **{**look, "marker": ""}, linewidth=0.8)
            if (values := history.get(f"eval_{metric}")) is not None:
                axes.plot(np.arange(values.size), values, **look)
        axes.set_title(style.literal(metric))
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in panels[len(metrics) :]:
        axes.remove()
    lines = [Line2D([], [], **_look(index)) for index in range(len(histories))]
    figure.legend(
        [*lines, Line2D([], [], color=style.ink(), linewidth=0.8)],
        [*map(style.literal, histories), "thin: training"],
        loc="outside lower center",
    )
    return figure


def _look(index: int) -> dict[str, Any]:
    kinds = len(_COLORS)
    return {
        "color": _COLORS[index % kinds],
        "marker": _MARKERS[index % kinds],
        "markersize": 4,
        "linestyle": _DASHES[index // kinds % len(_DASHES)],
    }
