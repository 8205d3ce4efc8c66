"""Optimizers racing over a surface: one race in full, many in small, and one as it happens."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from mpl_toolkits.mplot3d.axes3d import Axes3D

from jaxmnist.plots import style, terrain
from jaxmnist.plots.terrain import Terrain

if TYPE_CHECKING:
    from jaxmnist.landscapes.race import Race
else:  # Its type is no reason to load JAX.
    Race = Any

_LOWEST_SHOWN: Final = 1e-5
"""A logarithmic axis of heights ends five decades below the start's."""

RULE: Final = (
    "Learning rates by one rule: of one grid for all, the rate with the lowest mean height over "
    "the second half of the steps, among those that never leave the box"
)
"""How each optimizer got its rate, as pictures say it."""


def race(ground: Terrain, optimizers: Sequence[str], result: Race, title: str) -> Figure:
    """Draw a race from above, from the side, as losses, and by learning rate.

    Args:
        ground: The surface.
        optimizers: The names, in the race's order.
        result: The race.
        title: Says what one sees.

    Returns:
        A picture of four panels.

    Source: tutorial row D27.
    """
    figure = Figure(figsize=(10, 8.2), layout="constrained")
    halves = figure.add_gridspec(2, 1, height_ratios=(1.35, 1))
    upper, lower = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    grid = upper.add_gridspec(1, 2, width_ratios=(1.15, 1))
    above = upper.add_subplot(grid[0])
    side: Axes3D = upper.add_subplot(grid[1], projection="3d")
    losses, rates = lower.subplots(1, 2)
    path, loss = np.asarray(result.path), np.asarray(result.loss)
    paths = _by_name(optimizers, path)
    terrain.draw_contours(above, ground)
    terrain.draw_hills(side, ground)
    terrain.draw_paths_on_hills(side, ground, paths, _by_name(optimizers, loss))
    above.set_title("From above: colour is height, a cross a minimum")
    side.set_title("The same, from the side")
    gaps = _gaps(ground, loss)
    for name, gap in _by_name(optimizers, gaps).items():
        losses.plot(gap, **style.OPTIMIZERS[name].line)
    _loss_axes(losses, gaps)
    _label_losses(losses, optimizers, result, gaps)
    losses.set_title("Beside each name, its learning rate")
    rates.set_title("The rule for rates: each line's lowest point")
    _draw_rates(rates, optimizers, result, float(gaps[0, 0]))
    figure.suptitle(title)
    figure.draw_without_rendering()  # Marks are moved apart by what they cover at their final size.
    terrain.draw_paths(above, paths)
    return figure


def races(
    grounds: Mapping[str, Terrain],
    optimizers: Sequence[str],
    results: Mapping[str, Race],
    title: str,
) -> Figure:
    """Draw many races in small, each from above.

    Args:
        grounds: The surfaces by their titles.
        optimizers: The names, in the races' order.
        results: The races by the same titles.
        title: Says what one sees.

    Returns:
        A picture with four panels in a row, and a legend.

    Source: tutorial row D27.
    """
    rows = -(-(len(grounds) + 1) // 4)
    figure = Figure(figsize=(10, 2.75 * rows + 0.7), layout="constrained")
    panels = figure.subplots(rows, 4, squeeze=False).ravel()
    for axes, (name, ground) in zip(panels, grounds.items(), strict=False):
        terrain.draw_contours(axes, ground)
        axes.set_box_aspect(1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(name)
    for axes in panels[len(grounds) :]:
        axes.set_axis_off()
    panels[len(grounds)].legend(
        handles=[_legend_line(name) for name in optimizers], loc="center", handlelength=3
    )
    figure.suptitle(title)
    figure.draw_without_rendering()
    for axes, name in zip(panels, grounds, strict=False):
        paths = _by_name(optimizers, np.asarray(results[name].path))
        terrain.draw_paths(axes, paths, width=1.4, size=6.0)
    return figure


def race_frames(
    ground: Terrain,
    optimizers: Sequence[str],
    result: Race,
    title: str,
    every: int = 2,
    width: int = 830,
) -> Iterator[UInt8[np.ndarray, "rows columns 3"]]:
    """Draw a race as it happens.

    Args:
        ground: The surface.
        optimizers: The names, in the race's order.
        result: The race.
        title: Says what one sees.
        every: How many steps pass between frames.
        width: Of a frame, in pixels.

    Yields:
        Frames of one even size, the last one after the last step.

    Source: tutorial row D27.
    """
    figure = Figure(figsize=(8.3, 4.6), dpi=2 * round(width / 16.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1), height_ratios=(1.15, 1))
    above = figure.add_subplot(grid[:, 0])
    side: Axes3D = figure.add_subplot(grid[0, 1], projection="3d")
    losses = figure.add_subplot(grid[1, 1])
    terrain.draw_contours(above, ground)
    terrain.draw_hills(side, ground)
    path, loss = np.asarray(result.path), np.asarray(result.loss)
    gaps = _gaps(ground, loss)
    steps = gaps.shape[1] - 1
    _loss_axes(losses, gaps)
    losses.set_xlim(0, steps)
    _label_losses(losses, optimizers, result, gaps)
    figure.suptitle(title)
    above.set_title(" ")  # Room for the clock.
    lines = [[terrain.path_lines(axes, name) for name in optimizers] for axes in (above, side)]
    curves = [losses.plot([], [], **style.OPTIMIZERS[name].line)[0] for name in optimizers]
    clock = above.text(0.5, 1.015, "", ha="center", transform=above.transAxes)
    moving = [
        *(
            (axes, artist)
            for axes, row in zip((above, side), lines, strict=True)
            for artist in sorted(sum(row, ()), key=Line2D.get_zorder)
        ),
        *((losses, curve) for curve in curves),
        (above, clock),
    ]
    for _, artist in moving:
        artist.set_animated(True)
    # What does not move is drawn once.
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    for now in [*range(0, steps, every), steps]:
        canvas.restore_region(still)
        marks = terrain.apart(above, path[:, now])
        for index in range(len(optimizers)):
            line, mark = lines[0][index]
            line.set_data(*path[index, : now + 1].T)
            mark.set_data(*marks[index, :, None])
            line, mark = lines[1][index]
            x, y, z = terrain.on_hills(ground, path[index, : now + 1], loss[index, : now + 1])
            line.set_data_3d(x, y, z)
            mark.set_data_3d(x[-1:], y[-1:], z[-1:])
            curves[index].set_data(np.arange(now + 1), gaps[index, : now + 1])
        clock.set_text(f"Step {now}")
        for axes, artist in moving:
            axes.draw_artist(artist)
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _by_name(optimizers: Sequence[str], rows: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(optimizers, rows, strict=True))


def _gaps(ground: Terrain, losses: np.ndarray) -> np.ndarray:
    """Heights above the lowest point, cut to what a logarithmic axis shows."""
    nearest = [
        ground.height[np.abs(ground.y - y).argmin(), np.abs(ground.x - x).argmin()]
        for x, y in ground.minima[:1]
    ]
    every = np.concatenate([losses.ravel(), nearest, ground.height.ravel()])
    lowest = every[np.isfinite(every)].min()
    gaps = losses - lowest
    return np.clip(gaps, _LOWEST_SHOWN * gaps[0, 0], 100 * gaps[0, 0])


def _loss_axes(axes: Axes, gaps: np.ndarray) -> None:
    axes.set_yscale("log")
    axes.set_ylim(0.7 * _LOWEST_SHOWN * gaps[0, 0], 3 * gaps[0, 0])
    axes.set_xlim(0, gaps.shape[1] - 1)
    axes.set_xlabel("Step")
    axes.set_ylabel("Height above minimum")
    axes.minorticks_off()


def _label_losses(axes: Axes, optimizers: Sequence[str], result: Race, gaps: np.ndarray) -> None:
    """Name each line at its end, with its rate."""
    texts = {
        name: f"{style.OPTIMIZERS[name].label} {rate:.3g}"
        for name, rate in zip(optimizers, np.asarray(result.learning_rate), strict=True)
    }
    ends = {name: float(gap[-1]) for name, gap in _by_name(optimizers, gaps).items()}
    terrain.label_lines(axes, ends, texts)


def _draw_rates(axes: Axes, optimizers: Sequence[str], result: Race, start: float) -> None:
    """Score against learning rate, with the chosen ones marked."""
    rates = np.asarray(result.learning_rates)
    for name, scores in _by_name(optimizers, np.asarray(result.scores)).items():
        look = style.OPTIMIZERS[name]
        seen = np.where(np.isfinite(scores), scores, np.nan)
        axes.plot(rates, seen, **look.line)
        if np.isfinite(seen).any():
            best = np.nanargmin(seen)
            axes.plot(rates[best], scores[best], zorder=4, **terrain.mark_look(name))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.7 * _LOWEST_SHOWN * start, 3 * start)
    axes.minorticks_off()
    axes.set_xlabel("Learning rate")
    axes.set_ylabel("Mean height, second half")


def _legend_line(name: str) -> Line2D:
    return Line2D([], [], **{**terrain.mark_look(name), **style.OPTIMIZERS[name].line})
