"""A network's own loss surface with paths over it, and many optimizers' curves (row D28)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from jaxmnist.plots.style import OPTIMIZERS, Look, background, ink, muted


class Cut(NamedTuple):
    """The loss on a plane, and paths projected onto it."""

    xs: Float[np.ndarray, " columns"]
    ys: Float[np.ndarray, " rows"]
    loss: Float[np.ndarray, "rows columns"]
    paths: Mapping[str, Float[np.ndarray, "points 2"]]
    """By the optimizer's name, all from one start."""
    shares: Mapping[str, float]
    """How much of the way from start to end is seen in the plane."""
    heights: Mapping[str, float]
    """The loss at the paths' ends, of those that lie in the plane."""


def loss_surface(cuts: Mapping[str, Cut], title: str) -> Figure:
    """Draw the loss on planes, from above with the optimizers' paths over it, and as a solid.

    Args:
        cuts: The planes by what they are; all on one scale. Where the paths take up less than a
            tenth of a plane they are drawn in a window, enlarged.
        title: Says what loss it is.

    Returns:
        A picture with one column per plane. On the solid are only the ends that lie in the plane.

    Source: tutorial row D28.
    """
    figure = Figure(figsize=(10, 9.8), layout="constrained")
    levels = _levels(np.concatenate([cut.loss.ravel() for cut in cuts.values()]))
    ticks = _levels_that_begin_with(levels, "1", "2", "5")
    grid = figure.add_gridspec(3, len(cuts), height_ratios=(1, 0.92, 0.04))
    bands = []
    for column, (name, cut) in enumerate(cuts.items()):
        axes = figure.add_subplot(grid[0, column])
        bands.append(_draw_from_above(axes, cut, levels))
        axes.set_title(name)
        solid = figure.add_subplot(grid[1, column], projection="3d")
        _draw_solid(solid, cut, levels)
    bar = figure.colorbar(bands[0], cax=figure.add_subplot(grid[2, :]), orientation="horizontal")
    bar.set_label("Cross-entropy (nats)")
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.ax.xaxis.set_minor_locator(NullLocator())
    figure.suptitle(title)
    return figure


def training_comparison(
    train_loss: Mapping[str, Float[np.ndarray, "seeds epochs"]],
    test_error: Mapping[str, Float[np.ndarray, "seeds epochs"]],
    rates: Mapping[str, float | None],
    title: str,
) -> Figure:
    """Draw the training curves of several optimizers side by side, with bands over the seeds.

    Args:
        train_loss: By the optimizer's name, of every seed and epoch, in nats.
        test_error: By the same names: the share of test images classified wrongly.
        rates: Their learning rates; None for one that has none.
        title: Says what was run.

    Returns:
        A picture with the loss on the left and the error on the right, both logarithmic: each a
        line at the mean over the seeds, in a band from minimum to maximum.

    Source: tutorial row D28.
    """
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, curves in ((left, train_loss), (right, test_error)):
        for name, look in OPTIMIZERS.items():
            if name in curves:
                rate = rates[name]
                _draw_band(axes, look, curves[name], "" if rate is None else f", η = {rate:g}")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_title("Train loss")
    left.set_ylabel("Cross-entropy (nats)")
    left.yaxis.set_major_formatter("{x:g}")
    right.set_title("Test error, 1 - accuracy")
    right.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(title)
    return figure


def _draw_band(axes: Axes, look: Look, curves: np.ndarray, rate: str) -> None:
    epochs = np.arange(curves.shape[1])
    axes.fill_between(
        epochs, curves.min(axis=0), curves.max(axis=0), color=look.color, alpha=0.15, linewidth=0
    )
    line = look._replace(label=look.label + rate).line
    axes.plot(epochs, curves.mean(axis=0), marker=look.marker, markersize=5, **line)


def _levels(loss: np.ndarray) -> np.ndarray:
    """Heights for contours in the steps 1, 1.5, 2, 3, 5, 7 of every decade."""
    decades = 10.0 ** np.arange(-6, 7)
    every = (decades[:, None] * np.array([1, 1.5, 2, 3, 5, 7])).ravel()
    finite = loss[np.isfinite(loss)]
    first = np.searchsorted(every, finite.min(), side="right") - 1
    last = np.searchsorted(every, finite.max(), side="left")
    return every[max(first, 0) : last + 1].round(8)


def _levels_that_begin_with(levels: np.ndarray, *digits: str) -> list[float]:
    return [
        level for level in levels if f"{level:.1e}".partition("e")[0].removesuffix(".0") in digits
    ]


def _heights() -> LinearSegmentedColormap:
    """From the background in the valleys to grey on the heights: the colours are the paths'."""
    return LinearSegmentedColormap.from_list("heights", [background(), muted()])


def _draw_from_above(axes: Axes, cut: Cut, levels: np.ndarray) -> Any:
    norm = LogNorm(levels[0], levels[-1])
    surface = axes.contourf(cut.xs, cut.ys, cut.loss, levels, cmap=_heights(), norm=norm)
    axes.contour(cut.xs, cut.ys, cut.loss, levels, colors=[ink()], linewidths=0.4, alpha=0.5)
    points = np.concatenate(list(cut.paths.values()))
    if np.ptp(points, axis=0).max() < np.ptp(cut.xs) / 10:
        _draw_enlarged(axes, cut, points)
    else:
        _draw_paths(axes, cut)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.legend(
        handles=_legend(cut),
        title="Share of the way from start to end that lies in the plane",
        loc="upper center",
        bbox_to_anchor=(0.5, -0.06),
        ncols=3,
        columnspacing=1,
        handlelength=1.8,
    )
    return surface


def _draw_solid(axes: Any, cut: Cut, levels: np.ndarray) -> None:
    norm = Normalize(*np.log10(levels[[0, -1]]))
    axes.plot_surface(
        *np.meshgrid(cut.xs, cut.ys),
        np.log10(np.where(np.isfinite(cut.loss), cut.loss, np.nan)),
        cmap=_heights(),
        norm=norm,
        rcount=26,
        ccount=26,
        edgecolor=ink(),
        linewidth=0.12,
        rasterized=True,
        zorder=1,
    )
    axes.computed_zorder = False
    for name, height in cut.heights.items():
        _draw_end(axes, name, (*cut.paths[name][-1], np.log10(height)))
    ticks = _levels_that_begin_with(levels, "1", "3")
    axes.set_zticks(np.log10(ticks), [f"{tick:g}" for tick in ticks])
    axes.set_zlim(*np.log10(levels[[0, -1]]))
    axes.view_init(elev=48, azim=-72)
    axes.set_box_aspect((1, 1, 0.6), zoom=1.2)
    axes.grid(visible=False)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color(background())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))


def _draw_paths(axes: Axes, cut: Cut) -> None:
    outline = [patheffects.withStroke(linewidth=3.2, foreground=background())]
    for name, path in cut.paths.items():
        look = OPTIMIZERS[name]
        axes.plot(path[:, 0], path[:, 1], **look.line, path_effects=outline, zorder=3)
        _draw_end(axes, name, path[-1])
    start = next(iter(cut.paths.values()))[0]
    axes.plot(*start, "*", color=ink(), markersize=13, markeredgecolor=background(), zorder=4)


def _draw_end(axes: Any, name: str, at: Sequence[float] | np.ndarray) -> None:
    look = OPTIMIZERS[name]
    axes.plot(
        *([number] for number in at),
        look.marker,
        color=look.color,
        markersize=9,
        markeredgecolor=background(),
        zorder=5,
    )


def _draw_enlarged(axes: Axes, cut: Cut, points: np.ndarray) -> None:
    """The paths, and a second time in a window over the corner."""
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    half = 0.65 * np.ptp(points, axis=0).max()
    window = axes.inset_axes((0.57, 0.57, 0.41, 0.41), zorder=6)
    _draw_paths(window, cut)
    window.set_xlim(middle[0] - half, middle[0] + half)
    window.set_ylim(middle[1] - half, middle[1] + half)
    window.set_xticks([])
    window.set_yticks([])
    window.grid(visible=False)
    for spine in window.spines.values():
        spine.set_visible(True)
        spine.set_edgecolor(ink())
    times = 0.41 * np.ptp(cut.xs) / (2 * half)
    window.text(0.04, 0.04, f"{float(f'{times:.1g}'):g} times", transform=window.transAxes)
    axes.indicate_inset_zoom(window, edgecolor=ink(), alpha=1)


def _legend(cut: Cut) -> Sequence[Line2D]:
    return [
        Line2D(
            [],
            [],
            color=look.color,
            linestyle=look.dash,
            marker=look.marker,
            label=f"{look.label} {_percent(cut.shares[name])}",
        )
        for name, look in OPTIMIZERS.items()
        if name in cut.paths
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2f}%"
