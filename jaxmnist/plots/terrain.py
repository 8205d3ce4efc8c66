"""A loss surface with optimizers' paths on it, from above and from the side.

Colour is height, blue below and red above as in the tutorial, but pale, so that the paths stand
out. No path may hide another: a line is dashed in its optimizer's way and edged in the background's
colour, and the marks where optimizers are keep a distance from each other.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, to_rgb
from matplotlib.patheffects import Normal, Stroke
from mpl_toolkits.mplot3d.axes3d import Axes3D

from jaxmnist.plots import style

BANDS: Final = 14
"""How many steps of height are told apart."""

LOW, HIGH = "#2166AC", "#B2182B"
MARK: Final = 8.0
"""The size of the mark where an optimizer is, in points."""


class Terrain(NamedTuple):
    """A surface as heights on a grid."""

    x: Float[np.ndarray, " columns"]
    y: Float[np.ndarray, " rows"]
    height: Float[np.ndarray, "rows columns"]
    minima: Float[np.ndarray, "minima 2"]
    relief: float = 1.0
    """The power of a height above the lowest that is drawn."""
    view: tuple[float, float] = (40.0, -60.0)
    """From where it is seen from the side: degrees above the ground, and around."""

    def raised(self, height: np.ndarray) -> np.ndarray:
        """A height as it is drawn: 0 for the lowest on the grid, 1 for the highest.

        A height that is not finite is a gap, NaN, here and on the grid.
        """
        finite = self.height[np.isfinite(self.height)]
        low, high = finite.min(), finite.max()
        known = np.where(np.isfinite(height), height, np.nan)
        return (np.maximum(known - low, 0) / (high - low)) ** self.relief


def height_colors() -> ListedColormap:
    """The colours of the bands of height, on the present theme.

    Returns:
        `BANDS` colours from blue, low, to red, high; pale, and palest between.

    >>> height_colors().N
    14
    """
    background, share = np.array(to_rgb(style.background())), np.linspace(-1, 1, BANDS)[:, None]
    end = np.where(share < 0, to_rgb(LOW), to_rgb(HIGH))
    weight = 0.10 + 0.42 * np.abs(share)
    return ListedColormap((1 - weight) * background + weight * end)


def draw_contours(axes: Axes, terrain: Terrain) -> None:
    """Fill axes with the surface seen from above, and mark its minima.

    Args:
        axes: The axes, which become as large as the surface's box.
        terrain: The surface.
    """
    raised, levels = terrain.raised(terrain.height), _levels()
    filled = axes.contourf(
        terrain.x, terrain.y, raised, levels, cmap=height_colors(), vmin=0, vmax=1, zorder=0
    )
    filled.set_rasterized(True)
    axes.contour(
        terrain.x, terrain.y, raised, levels, colors=style.background(), linewidths=0.5, zorder=0.5
    )
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlim(terrain.x[0], terrain.x[-1])
    axes.set_ylim(terrain.y[0], terrain.y[-1])
    axes.plot(*terrain.minima.T, "x", color=style.ink(), markersize=6, mew=1.2, zorder=1)


def draw_hills(axes: Axes3D, terrain: Terrain) -> None:
    """Fill three-dimensional axes with the surface.

    Args:
        axes: The axes.
        terrain: The surface.
    """
    coarse = slice(None, None, max(1, len(terrain.x) // 60))
    x, y = np.meshgrid(terrain.x[coarse], terrain.y[coarse])
    raised = terrain.raised(terrain.height)[coarse, coarse]
    middle = (raised[:-1, :-1] + raised[1:, :-1] + raised[:-1, 1:] + raised[1:, 1:]) / 4
    # On a grid of squares the edges of bands would be stairs: here the colours are continuous.
    colors = LinearSegmentedColormap.from_list("height", height_colors().colors)
    axes.computed_zorder = False
    surface = axes.plot_surface(
        x,
        y,
        raised,
        facecolors=colors(np.sqrt(middle)),
        rstride=1,
        cstride=1,
        linewidth=0,
        antialiased=False,
        shade=False,
        rasterized=True,
        zorder=0,
    )
    surface.set_clip_on(False)
    axes.set_axis_off()
    axes.set_xlim(terrain.x[0], terrain.x[-1])
    axes.set_ylim(terrain.y[0], terrain.y[-1])
    axes.set_zlim(0, 1)
    axes.view_init(*terrain.view)
    axes.set_box_aspect((1.2, 1.2, 0.75), zoom=1)


def path_lines(axes: Axes, name: str, width: float = 1.8, size: float = MARK) -> tuple[Any, Any]:
    """Put an optimizer's empty line, and the mark of where it is, into axes.

    Args:
        axes: The axes, also three-dimensional ones.
        name: The optimizer.
        width: Of the line, in points.
        size: Of the mark, in points.

    Returns:
        The line and the mark, to be filled with `set_data` or `set_data_3d`.
    """
    look = style.OPTIMIZERS[name]
    order = 3 + list(style.OPTIMIZERS).index(name) / 10
    empty: list[list[float]] = [[]] * (3 if isinstance(axes, Axes3D) else 2)
    (line,) = axes.plot(*empty, **look.line, linewidth=width, zorder=order)
    line.set_path_effects([Stroke(linewidth=width + 1.8, foreground=style.background()), Normal()])
    (mark,) = axes.plot(*empty, zorder=order + 2, **mark_look(name, size))
    return line, mark


def draw_paths(
    axes: Axes,
    paths: Mapping[str, Float[np.ndarray, "points 2"]],
    width: float = 1.8,
    size: float = MARK,
) -> None:
    """Draw optimizers' paths on contours, each with its mark at the end.

    Args:
        axes: The axes, with their final limits and size.
        paths: By the optimizer's name.
        width: Of the lines, in points.
        size: Of the marks, in points.
    """
    ends = apart(axes, np.array([path[-1] for path in paths.values()]), size)
    for (name, path), end in zip(paths.items(), ends, strict=True):
        line, mark = path_lines(axes, name, width, size)
        line.set_data(*path.T)
        mark.set_data(*end[:, None])


def draw_paths_on_hills(
    axes: Axes3D,
    terrain: Terrain,
    paths: Mapping[str, np.ndarray],
    losses: Mapping[str, np.ndarray],
) -> None:
    """Draw optimizers' paths on the surface seen from the side.

    Args:
        axes: The axes, with the surface drawn.
        terrain: The surface.
        paths: By the optimizer's name, each [points, 2].
        losses: By the same names, the heights of those points, each [points].
    """
    for name, path in paths.items():
        line, mark = path_lines(axes, name)
        x, y, z = on_hills(terrain, path, losses[name])
        line.set_data_3d(x, y, z)
        mark.set_data_3d(x[-1:], y[-1:], z[-1:])


def on_hills(terrain: Terrain, path: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """A path's x, y and drawn height, with gaps where it is outside the surface's box.

    Args:
        terrain: The surface.
        path: The points, [points, 2].
        loss: Their heights, [points].

    Returns:
        Three rows, [3, points].

    >>> flat = Terrain(np.arange(2.0), np.arange(2.0), np.eye(2), np.zeros((1, 2)))
    >>> on_hills(flat, np.array([[0.0, 1.0], [5.0, 0.0]]), np.array([0.5, 9.0]))[:, 0].tolist()
    [0.0, 1.0, 0.5]
    """
    x, y = path.T
    inside = (terrain.x[0] <= x) & (x <= terrain.x[-1])
    inside &= (terrain.y[0] <= y) & (y <= terrain.y[-1])
    return np.where(inside, np.stack([x, y, terrain.raised(loss)]), np.nan)


def apart(
    axes: Axes, points: Float[np.ndarray, "marks 2"], size: float = MARK
) -> Float[np.ndarray, "marks 2"]:
    """Move marks that would cover each other until none does.

    Args:
        axes: Where they are drawn, with their final limits and size.
        points: Where they belong, in the data's units; NaN for a mark that is not there.
        size: Of a mark, in points.

    Returns:
        Where to draw them: the same, wherever there is room.
    """
    pixels = axes.transData.transform(points)
    distance = size * axes.figure.dpi / 72
    return axes.transData.inverted().transform(spread(pixels, distance))


def spread(
    points: Float[np.ndarray, "marks dimensions"], distance: float
) -> Float[np.ndarray, "marks dimensions"]:
    """Push points apart until each pair has a distance.

    Args:
        points: In the plane or on a line. What is NaN or infinite stays, and pushes nothing.
        distance: The least that is wanted, reached to within a hundredth.

    Returns:
        The moved points; those that had room are where they were.

    >>> spread(np.array([[0.0], [0.5], [9.0]]), 1.0).round(2).tolist()
    [[-0.25], [0.75], [9.0]]
    """
    moved = points.astype(float)
    there = np.flatnonzero(np.isfinite(moved).all(axis=1))
    # Points on one spot have no direction to be pushed in: each gets a little one of its own.
    angle = 2 * np.pi * there / max(len(points), 1)
    nudge = (
        np.stack([np.cos(angle), np.sin(angle)], axis=1)
        if points.shape[1] == 2
        else (there[:, None] / len(points))
    )
    some = (
        moved[there] + 1e-3 * distance * nudge if _crowded(moved[there], distance) else moved[there]
    )
    for _ in range(400):
        if not _crowded(some, distance):
            break
        between = some[:, None] - some[None]
        length = np.linalg.norm(between, axis=2)
        np.fill_diagonal(length, np.inf)
        push = np.maximum(distance - length, 0) / (2 * np.maximum(length, 1e-9))
        # Each neighbour counts less the more there are: many on one spot would else fly far apart.
        neighbours = np.maximum((length < distance).sum(axis=1), 1)
        some = some + (between * push[..., None]).sum(axis=1) / neighbours[:, None]
    moved[there] = some
    return moved


def _crowded(points: np.ndarray, distance: float) -> bool:
    """Whether any two are nearer than 99 hundredths of the distance."""
    length = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(length, np.inf)
    return bool((length < 0.99 * distance).any())


def label_lines(axes: Axes, values: Mapping[str, float], texts: Mapping[str, str]) -> None:
    """Write optimizers' names right of axes at their lines' heights, none over another.

    Args:
        axes: The axes, with their final limits.
        values: By the optimizer's name, the line's last value; NaN puts it at the top.
        texts: By the same names, what to write.
    """
    bottom, top = axes.get_ylim()
    shown = np.nan_to_num(np.array(list(values.values())), nan=top, posinf=top).clip(bottom, top)
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = np.array([to_axes.transform((axes.get_xlim()[0], value))[1] for value in shown])
    size = axes.bbox.height * 72 / axes.figure.dpi
    heights = _inside(heights, 1.5 * style.FONT_SIZE / size)
    for name, height in zip(values, heights, strict=True):
        color = style.OPTIMIZERS[name].color
        axes.text(1.03, height, texts[name], color=color, va="center", transform=axes.transAxes)


def _inside(heights: np.ndarray, distance: float) -> np.ndarray:
    """Heights of labels between 0 and 1, in their order, at least a distance apart."""
    order = np.argsort(heights, kind="stable")
    placed = heights[order]
    for index in range(1, len(placed)):
        placed[index] = max(placed[index], placed[index - 1] + distance)
    placed[-1:] = np.minimum(placed[-1:], 1)
    for index in range(len(placed) - 2, -1, -1):
        placed[index] = min(placed[index], placed[index + 1] - distance)
    result = np.empty_like(placed)
    result[order] = placed
    return result


def _levels() -> np.ndarray:
    """Heights between the bands: closer near the lowest, where races are decided."""
    return np.linspace(0, 1, BANDS + 1) ** 2


def mark_look(name: str, size: float = MARK) -> dict[str, Any]:
    """Arguments of ``Axes.plot`` for an optimizer's mark, edged in the background's colour.

    Args:
        name: The optimizer.
        size: Of the mark, in points.

    Returns:
        The arguments, without a line.
    """
    look = style.OPTIMIZERS[name]
    return {
        "color": look.color,
        "marker": look.marker,
        "linestyle": "none",
        "markersize": size,
        "markeredgecolor": style.background(),
        "markeredgewidth": size / 7,
    }
