"""The curves of a run of any task: every metric against the epoch, training and test together."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxmnist.plots import style


def metric_curves(history: Mapping[str, np.ndarray], title: str) -> Figure:
    """Draw every metric of a history in a panel of its own.

    Args:
        history: Arrays with one value per epoch under ``train_<metric>`` and ``eval_<metric>``;
            the per-sample twins are left out.
        title: Says which run it is.

    Returns:
        A picture with a panel for each metric, at most two in a row.

    >>> history = {"train_loss": np.array([2.0, 1.0]), "eval_loss": np.array([2.0, 1.5])}
    >>> [axes.get_title() for axes in metric_curves(history, "A run").axes]
    ['loss']
    """
    shown = [name for name in history if not name.endswith("_per_sample")]
    metrics = list(dict.fromkeys(name.split("_", maxsplit=1)[1] for name in shown))
    columns = min(2, len(metrics))
    rows = -(-len(metrics) // columns)
    figure = Figure(figsize=(5 * columns, 4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, metric in zip(panels, metrics, strict=False):
        for part, label, look in (
            ("train", "Train", style.FIRST),
            ("eval", "Test", style.SECOND),
        ):
            if (values := history.get(f"{part}_{metric}")) is not None:
                axes.plot(np.arange(values.size), values, label=label, markersize=4, **look)
        axes.set_title(style.literal(metric))
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend()
    for axes in panels[len(metrics) :]:
        axes.remove()
    figure.suptitle(title)
    return figure
