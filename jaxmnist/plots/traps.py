"""Where gradient descent stays: a local minimum, a saddle, and the slow floor of a valley."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import PercentFormatter, StrMethodFormatter
from mpl_toolkits.mplot3d.axes3d import Axes3D

from jaxmnist.plots import style, terrain
from jaxmnist.plots.terrain import Terrain


def local_minimum(
    profile: Float[np.ndarray, "2 points"],
    summit: float,
    walks: Mapping[str, Float[np.ndarray, "2 steps"]],
    starts: Float[np.ndarray, " starts"],
    learning_rates: Float[np.ndarray, " rates"],
    shares: Mapping[str, Float[np.ndarray, "rates starts"]],
    title: str,
) -> Figure:
    """Draw who stays in a local minimum: three walks, and all starts and step sizes as maps.

    Args:
        profile: x and the height along the line through both minima.
        summit: The x on that line beyond which the lowest minimum lies.
        walks: By what they show: x and the height at each step.
        starts: Values of x that runs began at.
        learning_rates: Their step sizes, even in their logarithms.
        shares: By how the gradient was taken, the share of runs that reached the lowest minimum.
        title: Says what one sees.

    Returns:
        A picture with the walks above and a map for each of the shares below.

    Source: tutorial row D15.
    """
    figure = Figure(figsize=(10, 6.8), layout="constrained")
    halves = figure.add_gridspec(2, 1, height_ratios=(1, 1.25))
    upper, lower = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    low, high = profile[1].min(), profile[1].max()
    for axes, (name, (x, height)) in zip(
        upper.subplots(1, len(walks), sharey=True), walks.items(), strict=True
    ):
        escapes = x[-1] > summit
        color = style.GOOD if escapes else style.BAD
        axes.axvline(summit, color=style.muted(), linewidth=1, linestyle=":")
        axes.plot(*profile, color=style.muted(), linewidth=3, zorder=1)
        (line,) = axes.plot(x, height, color=color, linewidth=1.0, zorder=2)
        line.set_path_effects([Stroke(linewidth=2, foreground=style.background()), Normal()])
        axes.scatter(x, height, 14, color=color, edgecolors=style.background(), lw=0.5, zorder=3)
        axes.plot(
            x[-1],
            height[-1],
            "o" if escapes else "s",
            color=color,
            markersize=10,
            markeredgecolor=style.background(),
            markeredgewidth=1.2,
            zorder=4,
        )
        axes.set_title(name)
        axes.set_xlabel("x")
        axes.set_xlim(profile[0, 0], profile[0, -1])
        axes.set_ylim(low - 0.08 * (high - low), high)
    upper.axes[0].set_ylabel("Loss at (x, 0)")

    panels = lower.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    mesh = None
    for axes, (name, share) in zip(panels, shares.items(), strict=True):
        mesh = axes.pcolormesh(
            starts, learning_rates, share, cmap=_share_colors(), vmin=0, vmax=1, rasterized=True
        )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_ylim(learning_rates[0], learning_rates[-1])
        axes.grid(visible=False)
        axes.set_xlabel("Start x")
        axes.set_title(name)
    panels[0].set_ylabel("Learning rate")
    if mesh is not None:
        bar = lower.colorbar(mesh, ax=list(panels), aspect=16, pad=0.02)
        bar.set_label("Share that escapes")
        bar.ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        bar.outline.set_visible(False)
    figure.suptitle(title)
    return figure


def saddle(
    ground: Terrain,
    paths: Mapping[str, Float[np.ndarray, "points 2"]],
    losses: Mapping[str, Float[np.ndarray, " points"]],
    eigenvalues: Float[np.ndarray, " 2"],
    offsets: Float[np.ndarray, " offsets"],
    steps: Mapping[str, Mapping[str, Float[np.ndarray, " offsets"]]],
    title: str,
) -> Figure:
    """Draw a saddle with optimizers leaving it, and how long that takes by how near they begin.

    Args:
        ground: The surface; the saddle point is at the origin, with its axes along x and y.
        paths: By the optimizer's name, one way from the ridge.
        losses: By the same names, the heights on it.
        eigenvalues: Of the Hessian at the saddle point, along x and along y.
        offsets: How far beside the ridge runs began.
        steps: By how the learning rates were chosen, and by the optimizer's name: how many steps
            it took to leave; NaN where it did not.
        title: Says what one sees.

    Returns:
        A picture of the surface on the left, and a panel for each choice of rates on the right.

    Source: tutorial row D16.
    """
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    halves = figure.add_gridspec(1, 2, width_ratios=(1.05, 1))
    left, right = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    side: Axes3D = left.add_subplot(projection="3d")
    terrain.draw_hills(side, ground)
    _draw_curvatures(side, ground, eigenvalues)
    terrain.draw_paths_on_hills(side, ground, paths, losses)

    panels = right.subplots(len(steps), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (choice, counts) in zip(panels, steps.items(), strict=True):
        for index, (name, values) in enumerate(counts.items()):
            look = style.OPTIMIZERS[name]
            axes.plot(offsets, values, **look.line)
            # Each marks other points, so that marks on one line do not cover each other.
            some = slice(index % 3, None, 6)
            axes.plot(offsets[some], values[some], **terrain.mark_look(name, 6.5))
        axes.set_yscale("log")
        axes.set_xscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_xlim(offsets[0], offsets[-1])
        axes.minorticks_off()
        axes.set_ylabel("Steps until it has left")
        axes.set_title(choice)
        ends = {name: float(values[-1]) for name, values in counts.items()}
        texts = {name: style.OPTIMIZERS[name].label for name in counts}
        terrain.label_lines(axes, ends, texts)
    panels[-1].set_xlabel("Start's distance from the ridge")
    figure.suptitle(title)
    return figure


def valley_momentum(
    ground: Terrain,
    paths: Mapping[str, Float[np.ndarray, "points 2"]],
    speeds: Mapping[str, Float[np.ndarray, " slope"]],
    title: str,
) -> Figure:
    """Draw what momentum does in a valley: along it, across it, and on a constant slope.

    Args:
        ground: The valley, along x.
        paths: By what was used, at most three, all at one learning rate.
        speeds: By the same names, the size of each step on a constant slope, in SGD's.
        title: Says what one sees.

    Returns:
        A picture with the valley above, and three panels of curves below.

    Source: tutorial row D21.
    """
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    halves = figure.add_gridspec(2, 1, height_ratios=(1.15, 1))
    upper, lower = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    above = upper.subplots()
    terrain.draw_contours(above, ground)
    along, across, speed = lower.subplots(1, 3)
    for look, (name, path) in zip(_MOMENTA, paths.items(), strict=False):
        (line,) = above.plot(
            *path.T,
            label=name,
            **look,
            markersize=terrain.MARK,
            markevery=[-1],
            markeredgecolor=style.background(),
            markeredgewidth=1.2,
        )
        line.set_path_effects([Stroke(linewidth=3.4, foreground=style.background()), Normal()])
        points = np.arange(len(path))
        along.plot(points, np.abs(path[:, 0]), **_line(look))
        across.plot(points, np.abs(path[:, 1]), **_line(look))
        speed.plot(np.arange(1, len(speeds[name]) + 1), speeds[name], **_line(look))
        speed.annotate(
            f"{speeds[name][-1]:.3g}",
            (len(speeds[name]), speeds[name][-1]),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=look["color"],
        )
    legend = above.legend(
        loc="lower right",
        ncols=3,
        frameon=True,
        facecolor=style.background(),
        edgecolor="none",
        framealpha=0.85,
        handlelength=3.5,
    )
    legend.set_zorder(9)
    for axes, name in ((along, "Along: |x|"), (across, "Across: |y|")):
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_title(name)
    across.set_ylim(bottom=1e-4)
    along.set_ylim(bottom=1e-2)
    speed.set_title("On a constant slope: step ÷ SGD's")
    speed.set_ylim(bottom=0)
    for axes in (along, across, speed):
        axes.set_xlabel("Step")
    figure.suptitle(title)
    return figure


_MOMENTA: Final[Sequence[Mapping[str, Any]]] = (
    {"color": style.OPTIMIZERS["sgd"].color, "linestyle": "-", "marker": "o"},
    {"color": style.BROWN, "linestyle": (0, (2.5, 1)), "marker": "^"},
    {"color": style.OPTIMIZERS["momentum"].color, "linestyle": (0, (6, 1.5)), "marker": "s"},
)
"""SGD's and momentum's own looks, and one for a weaker momentum."""


def _line(look: Mapping[str, Any]) -> dict[str, Any]:
    return {**look, "marker": ""}


def _share_colors() -> ListedColormap:
    """From what stays to what escapes, by way of the background."""
    background = np.array(to_rgb(style.background()))
    share = np.linspace(-1, 1, 101)[:, None]
    end = np.where(share < 0, to_rgb(style.BAD), to_rgb(style.GOOD))
    weight = 0.08 + 0.72 * np.abs(share)
    return ListedColormap((1 - weight) * background + weight * end)


def _draw_curvatures(axes: Axes3D, ground: Terrain, eigenvalues: np.ndarray) -> None:
    """The two curves through the saddle point along its axes, named by their curvatures."""
    row, column = np.abs(ground.y).argmin(), np.abs(ground.x).argmin()
    curves = (
        (ground.x, np.zeros_like(ground.x), ground.height[row]),
        (np.zeros_like(ground.y), ground.y, ground.height[:, column]),
    )
    for (x, y, height), eigenvalue in zip(curves, eigenvalues, strict=True):
        raised = ground.raised(height)
        axes.plot(x, y, raised, color=style.ink(), linewidth=1, zorder=2)
        end = 0
        axes.text(
            x[end],
            y[end],
            raised[end] + 0.06,
            f"λ = {eigenvalue:+.3g}",
            color=style.ink(),
            zorder=9,
            ha="center",
        )
