"""Two learning rate schedules, and two initializers, next to each other."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxmnist.plots import style


def schedules(
    here: Float[np.ndarray, " steps"],
    reference: Float[np.ndarray, " steps"],
    allowed: float,
    first: int | None,
    title: str,
) -> Figure:
    """Draw the rates of two schedules, and how far they are apart.

    Args:
        here: The rate at every step in JAX.
        reference: PyTorch's.
        allowed: The difference that is rounding, relative to the largest rate so far.
        first: The step at which they first differ, or None.
        title: Says which schedules they are.

    Returns:
        A picture of two panels: both rates, and the size of their difference on a logarithmic
        scale, where a difference of 0 is not drawn.

    >>> rates = np.array([0.1, 0.05])
    >>> schedules(rates, rates, 1e-15, None, "step").axes[0].get_ylabel()
    'Learning rate'
    """
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    steps = np.arange(len(here))
    above.plot(steps, here, color=style.BLUE, label="JAX", linewidth=3, alpha=0.7)
    above.plot(steps, reference, color=style.VERMILION, linestyle=(0, (5, 2)), label="PyTorch")
    above.set_ylabel("Learning rate")
    apart = np.abs(here - reference)
    room = allowed * np.maximum.accumulate(np.abs(reference))
    shown = np.where(np.isfinite(apart) & (apart > 0), apart, np.nan)
    below.plot(steps, shown, "o", markersize=3, color=style.BLUE, label="difference")
    below.plot(steps, np.where(room > 0, room, np.nan), "--", color=style.muted(), label="allowed")
    below.set_yscale("log")
    below.set_ylabel("Size of the difference")
    below.set_xlabel("Step")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not apart.any():
        label = {"ha": "center", "va": "center", "transform": below.transAxes}
        below.text(0.5, 0.5, "no difference at any step", **label)
    if first is not None:
        for axes in (above, below):
            axes.axvline(first, color=style.ink(), linestyle=":", label="first divergence")
    for axes in (above, below):
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    above.set_title(style.literal(title))
    return figure


def samples(
    here: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"], title: str
) -> Figure:
    """Draw the distributions of two samples, and the quantiles of one against the other's.

    Args:
        here: Drawn in JAX.
        reference: In PyTorch.
        title: Says which initializers they are.

    Returns:
        A picture of two panels. Samples of one distribution have their quantiles on the diagonal.

    >>> drawn = np.random.default_rng(0).normal(size=500)
    >>> samples(drawn, drawn, "normal").axes[1].get_xlabel()
    'Quantiles in PyTorch'
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    low = float(min(here.min(), reference.min()))
    high = float(max(here.max(), reference.max()))
    room = 0.04 * (high - low) or 0.5 * max(abs(low), 1.0)
    edges = np.linspace(low - room, high + room, 61)
    for sample, label, look in (
        (here, "JAX", {"color": style.BLUE, "alpha": 0.35, "histtype": "stepfilled"}),
        (reference, "PyTorch", {"color": style.VERMILION, "histtype": "step", "linewidth": 1.8}),
    ):
        left.hist(sample, edges, label=label, weights=np.full(sample.size, 1 / sample.size), **look)
    left.set_xlabel("Element")
    left.set_ylabel("Share of the elements")
    left.legend(loc="upper left", bbox_to_anchor=(0, 1.13), ncols=2)

    shares = np.linspace(0, 1, 101)
    ends = (low - room, high + room)
    right.plot(ends, ends, "--", color=style.muted(), label="one distribution")
    right.plot(
        np.quantile(reference, shares),
        np.quantile(here, shares),
        "o",
        markersize=3,
        color=style.BLUE,
        label="every hundredth",
    )
    right.set(xlim=ends, ylim=ends, aspect="equal")
    right.set_xlabel("Quantiles in PyTorch")
    right.set_ylabel("Quantiles in JAX")
    right.legend(loc="upper left", bbox_to_anchor=(0, 1.13), ncols=2)
    figure.suptitle(style.literal(title))
    return figure
