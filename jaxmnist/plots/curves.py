"""The curves of a run: accuracy and loss against the epoch (tutorial row D11)."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxmnist.plots import style

CURVES: Final = {
    "train_accuracy": "Train accuracy",
    "train_loss": "Train loss",
    "eval_accuracy": "Test accuracy",
    "eval_loss": "Test loss",
}
"""The tutorial's four curves in its order: the history's field, and the title."""

_LOOKS: Final[Mapping[str, Mapping[str, Any]]] = {"train": style.FIRST, "eval": style.SECOND}


def training_curve(history: Mapping[str, np.ndarray], field: str) -> Figure:
    """Draw one figure of the history against the epoch.

    Args:
        history: Arrays with one value per epoch, by name.
        field: A key of `CURVES`.

    Returns:
        A picture of one curve.

    Source: tutorial row D11.

    >>> training_curve({"train_loss": np.array([0.9, 0.4])}, "train_loss").axes[0].get_title()
    'Train loss'
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    _draw(axes, history, field)
    axes.set_title(CURVES[field])
    return figure


def training_curves(history: Mapping[str, np.ndarray], title: str) -> Figure:
    """Draw train and test together: accuracy on the left, loss on the right.

    Args:
        history: The four arrays of `CURVES` by name, each [epochs], or [runs, epochs] to draw
            every run thinly behind the mean.
        title: Says which run it is.

    Returns:
        A picture of two panels with two curves each.

    Source: tutorial row D11.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for part in ("train", "eval"):
            _draw(axes, history, f"{part}_{quantity}")
        axes.set_title(quantity.capitalize())
        axes.legend()
    figure.suptitle(title)
    return figure


def _draw(axes: Axes, history: Mapping[str, np.ndarray], field: str) -> None:
    part, quantity = field.split("_", maxsplit=1)
    runs = np.atleast_2d(history[field])
    epochs = np.arange(runs.shape[1])
    if len(runs) > 1:
        axes.plot(epochs, runs.T, color=_LOOKS[part]["color"], linewidth=0.8, alpha=0.35)
    axes.plot(epochs, runs.mean(axis=0), label=CURVES[field], markersize=4, **_LOOKS[part])
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))
    else:
        axes.set_ylabel("Cross-entropy (nats)")
