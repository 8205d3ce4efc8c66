"""Where learning rates go when they follow the derivative of the loss."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from jaxmnist.plots import style


def tuning(
    trajectories: Mapping[str, Float[np.ndarray, "2 iterations"]],
    title: str,
) -> Figure:
    """Draw each optimizer's learning rates and the loss at each of them.

    Args:
        trajectories: By the optimizer's name: the rates of all iterations, and the losses, NaN
            for one that was not finite.
        title: Says what the losses are of.

    Returns:
        A picture with a path for each optimizer: hollow where it starts, large where it is best,
        if any of its losses is finite.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    for name, (rates, losses) in trajectories.items():
        look = style.OPTIMIZERS[name]
        axes.plot(rates, losses, marker=look.marker, markersize=4, **look.line)
        marks = [(0, 7, style.background())]
        if np.isfinite(losses).any():
            best = int(np.where(np.isfinite(losses), losses, np.inf).argmin())
            marks.insert(0, (best, 11, look.color))
        for index, size, face in marks:
            axes.plot(
                rates[index],
                losses[index],
                look.marker,
                markersize=size,
                markeredgecolor=look.color,
                markerfacecolor=face,
                zorder=3,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    axes.set_xlabel("Learning rate: hollow at the start, large where the loss was least")
    axes.set_ylabel("Mean loss of the batches (nats)")
    figure.legend(loc="outside lower center", ncols=len(trajectories))
    figure.suptitle(title)
    return figure
