"""Gradient descent, and its steps against their prediction (tutorial rows D14, D18, D19)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxmnist.plots import style

# Told apart by the colour-blind on both themes; the dash or the marker differs too. What was
# measured is drawn in ink.
_FIRST: Final[Mapping[str, Any]] = {"color": style.BLUE, "linestyle": (0, (6, 1.5))}
_SECOND: Final[Mapping[str, Any]] = {"color": style.ORANGE, "linestyle": (0, (1.2, 1.2))}
_SERIES: Final = (
    (style.BLUE, "o"),
    (style.GREEN, "s"),
    (style.ORANGE, "D"),
    (style.VERMILION, "^"),
)


def gradient_descent(
    rates: Float[np.ndarray, " rates"],
    w: Float[np.ndarray, " points"],
    loss: Float[np.ndarray, " points"],
    paths: Float[np.ndarray, "rates steps"],
    losses: Float[np.ndarray, "rates steps"],
    curvature: float,
) -> Figure:
    """Draw the iteration on a parabola, a panel for each of four rates, and its losses below.

    Args:
        rates: Learning rates.
        w: Points.
        loss: There; its least value is 0.
        paths: Where each rate's iteration is, the start first.
        losses: And its loss there.
        curvature: The loss's second derivative, the same everywhere.

    Returns:
        A picture of five panels.

    Source: tutorial row D14.
    """
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, len(rates), height_ratios=(1.15, 1))
    below = figure.add_subplot(grid[1, :])
    first = None
    for column, (rate, path, values, (color, marker)) in enumerate(
        zip(rates, paths, losses, _SERIES, strict=True)
    ):
        axes = first = figure.add_subplot(grid[0, column], sharex=first, sharey=first)
        axes.plot(w, loss, color=style.muted())
        inside = np.abs(path - w.mean()) <= np.ptp(w) / 2
        axes.plot(path[inside], values[inside], marker=marker, color=color, linewidth=1, ms=5)
        # Beside the points, where the path does not pass: inside unless it jumps across.
        outside = rate * curvature > 1
        for index in range(3):
            on_left = path[index] < w.mean()
            axes.annotate(
                f"$L_{index + 1}$",
                (path[index], values[index]),
                (-6 if on_left == outside else 6, -3 if outside else 1),
                textcoords="offset points",
                ha="right" if on_left == outside else "left",
                va="top" if outside else "bottom",
            )
        axes.set_title(rf"η = {rate:g}: error $\times$ {1 - rate * curvature:.2g} a step")
        axes.set_xlabel("w")
        if column:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("L(w) = (w - 2)²")
        label = f"η = {rate:g}"
        below.plot(values, marker=marker, color=color, markersize=5, label=label)
    below.set_yscale("log")
    below.set_xlabel("Step")
    below.set_ylabel("Loss")
    below.legend(loc="lower left", ncols=len(rates))
    figure.suptitle(
        "w ← w - ηL'(w): the loss falls at every step, "
        f"$L_1 > L_2 > L_3$ …, while η is below 2/L'' = {2 / curvature:g}"
    )
    return figure


def descent_1d(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw steps down losses of one parameter, with what was predicted for them.

    Args:
        cases: From left to right, each with ``title``; ``w`` and ``loss`` [points]; ``start``,
            ``slope`` and ``curvature`` there; ``rates``, ``first_order``, ``second_order`` and
            ``measured`` [rates]; and ``largest_rate``.

    Returns:
        A picture with each loss above and the change by the rate below.

    Source: tutorial row D18.
    """
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    panels = figure.subplots(2, len(cases))
    for (above, below), case in zip(panels.T, cases, strict=True):
        _draw_loss(above, case)
        _draw_changes(below, case)
        above.set_title(case["title"])
    panels[0, 0].set_ylabel("L(w)")
    panels[1, 0].set_ylabel("Change of the loss")
    handles, labels = panels[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    limits = " and ".join(
        f"{case['largest_rate']:.2f} against {2 / case['curvature']:.2f}" for case in cases[1:]
    )
    figure.suptitle(
        r"L(w - $\alpha$L') ≈ L - $\alpha$L'² holds for small $\alpha$. "
        r"The loss falls up to $\alpha$ = 2/L'' exactly where "
        f"the curvature is constant;\nelsewhere up to {limits}: "
        "2/L'' knows the curvature at the start only"
    )
    return figure


def _draw_loss(axes: Axes, case: Mapping[str, Any]) -> None:
    w, loss, start = case["w"], case["loss"], case["start"]
    value = np.interp(start, w, loss)
    end = start - case["largest_rate"] * case["slope"]
    axes.plot(w, loss, color=style.ink())
    tangent = value + case["slope"] * (w - start)
    axes.plot(w, tangent, **_FIRST)
    axes.plot(w, tangent + case["curvature"] / 2 * (w - start) ** 2, **_SECOND)
    room = np.ptp(loss)
    axes.set_ylim(loss.min() - 0.5 * room, loss.max() + 0.1 * room)
    axes.plot([start, end], [value, value], color=style.muted(), linewidth=1, linestyle=":")
    axes.plot(start, value, "o", color=style.ink(), markersize=7)
    axes.plot(end, value, "X", color=style.BAD, markersize=8)
    axes.set_xlabel("w")


def _draw_changes(axes: Axes, case: Mapping[str, Any]) -> None:
    rates, measured = case["rates"], case["measured"]
    axes.axhline(0, color=style.muted(), linewidth=1)
    axes.plot(rates, case["first_order"], label=r"first order, -$\alpha$L'²", **_FIRST)
    axes.plot(rates, case["second_order"], label="second order", **_SECOND)
    axes.plot(rates, measured, color=style.ink(), label="measured")
    axes.axvline(
        2 / case["curvature"], color=style.muted(), linestyle="--", linewidth=1.2, label="2/L''"
    )
    axes.plot(
        case["largest_rate"], 0, "X", color=style.BAD, markersize=8, label="no longer descends"
    )
    room = max(np.ptp(measured), 1e-12)
    axes.set_ylim(measured.min() - 0.7 * room, measured.max() + 0.1 * room)
    axes.set_xlim(0, rates[-1])
    axes.set_xlabel(r"Learning rate $\alpha$")


def descent_2d(
    w1: Float[np.ndarray, " columns"],
    w2: Float[np.ndarray, " rows"],
    loss: Float[np.ndarray, "rows columns"],
    start: Float[np.ndarray, "2"],
    gradient: Float[np.ndarray, "2"],
    degrees: Float[np.ndarray, " angles"],
    lengths: Float[np.ndarray, " lengths"],
    changes: Float[np.ndarray, "lengths angles"],
) -> Figure:
    """Draw steps of fixed lengths in all directions, and the change of the loss by the angle.

    Args:
        w1: Columns of the grid.
        w2: Rows of the grid.
        loss: On the grid.
        start: Where the steps start.
        gradient: There.
        degrees: Between the step and the gradient, counterclockwise.
        lengths: Of the steps, two or three.
        changes: Of the loss, in units of the length times ‖g‖.

    Returns:
        A picture of two panels.

    Source: tutorial row D19.
    """
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    behind = {"facecolor": style.background(), "edgecolor": "none", "pad": 1.5}
    left.contour(w1, w2, loss, levels=14, colors=style.muted(), linewidths=0.8)
    direction = gradient / np.linalg.norm(gradient)
    normal = np.array([-direction[1], direction[0]])
    for sign, color, name, offset in (
        (1, style.BAD, "gradient (u, v)", (-6, 8)),
        (-1, style.GOOD, "-η(u, v)", (-2, -14)),
    ):
        tip = start + sign * direction
        left.annotate(
            "", tip, start, arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 2.2}
        )
        left.annotate(name, tip, offset, textcoords="offset points", color=color, bbox=behind)
    right.plot(
        degrees,
        np.cos(np.deg2rad(degrees)),
        color=style.ink(),
        linewidth=2.6,
        label="first order: cos θ",
    )
    left.plot(*start, "o", color=style.ink(), markersize=5)
    best = []
    for length, change, (color, marker) in zip(lengths, changes, _SERIES, strict=False):
        angles = np.deg2rad(degrees)
        around = np.outer(np.cos(angles), direction) + np.outer(np.sin(angles), normal)
        circle = start + length * around
        lowest = int(np.argmin(np.where(np.isfinite(change), change, np.inf)))
        best.append(degrees[lowest])
        left.plot(*circle.T, color=color, linestyle="--", linewidth=1.2)
        left.plot(*circle[lowest], marker, color=color, markersize=8)
        label = f"measured, steps of {length:g}: least at {degrees[lowest]:.0f}°"
        right.plot(degrees, change, color=color, linestyle="--", label=label)
        right.plot(degrees[lowest], change[lowest], marker, color=color, markersize=8)
    left.set_aspect("equal")
    left.set_xlabel("$w_1$")
    left.set_ylabel("$w_2$")
    left.set_title("Steps of three lengths, and where each falls most")
    right.axvline(180, color=style.GOOD, linewidth=1.2, zorder=0)
    right.set_xticks(range(0, 361, 45), [f"{angle}°" for angle in range(0, 361, 45)])
    right.set_xlabel("Angle θ between the step and the gradient")
    right.set_ylabel("Change of the loss / (length · ‖g‖)")
    right.legend(loc="upper center", frameon=True, framealpha=1, edgecolor="none")
    right.set_ylim(-1.1, max(changes[np.isfinite(changes)].max(initial=1), 1) + 1.1)
    right.set_title("The change of the loss in every direction")
    figure.suptitle(
        "The inner product (u, v)·(Δw₁, Δw₂) is least opposite the gradient: short steps fall most "
        f"at {best[0]:.0f}°;\nlonger ones, which feel the curvature, at "
        + " and ".join(f"{angle:.0f}°" for angle in best[1:])
    )
    return figure


def descent_network(
    first_order: Float[np.ndarray, " steps"],
    measured: Float[np.ndarray, " steps"],
    curvature: Float[np.ndarray, " steps"],
    probed: Float[np.ndarray, " probes"],
    largest_eigenvalue: Float[np.ndarray, " probes"],
    largest_rate: Float[np.ndarray, " probes"],
    learning_rate: float,
) -> Figure:
    """Draw an epoch's steps against their predictions, and the rates that would have descended.

    Args:
        first_order: ``-η‖g‖²`` of each batch.
        measured: The change of the same batch's loss over its step.
        curvature: ``gᵀHg / ‖g‖²`` of each batch.
        probed: The steps of the next two.
        largest_eigenvalue: Of the batch's Hessian.
        largest_rate: The largest rate that would have lowered the batch's loss.
        learning_rate: η.

    Returns:
        A picture of three panels.

    Source: tutorial row D19.
    """
    figure = Figure(figsize=(10, 7.4), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    changes, ratios = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    limits = figure.add_subplot(grid[1, :])
    steps = np.arange(len(measured))
    rises = measured >= 0

    changes.plot(steps, first_order, ".", color=style.BLUE, ms=3.5, rasterized=True)
    changes.plot(steps, measured, ".", color=style.ink(), ms=3.5, rasterized=True)
    changes.plot(steps[rises], measured[rises], "x", color=style.BAD, ms=5, rasterized=True)
    changes.set_yscale("symlog", linthresh=0.01)
    for color, marker, label in (
        (style.BLUE, "o", "predicted, -η‖g‖²"),
        (style.ink(), "o", "measured"),
        (style.BAD, "x", f"measured, rising ({rises.mean():.1%})"),
    ):
        changes.plot([], [], marker, color=color, markersize=5, label=label)
    changes.legend(loc="lower right")
    changes.set_ylim(-600, 3)
    changes.set_xlabel("Step")
    changes.set_ylabel("Change of the batch's loss")
    correlation = np.corrcoef(first_order, measured)[0, 1]
    changes.set_title(f"Step by step: predicted and measured correlate by {correlation:.2f}")

    share = learning_rate * curvature / 2
    ratio = measured / first_order
    ratios.axhline(0, color=style.muted(), linewidth=1)
    ratios.plot(share, ratio, ".", color=style.ink(), markersize=3.5, alpha=0.6, rasterized=True)
    ratios.plot(share[rises], ratio[rises], "x", color=style.BAD, markersize=5, rasterized=True)
    line = np.array([-0.2, 2.5])
    ratios.plot(line, np.ones(2), label="first order", **_FIRST)
    ratios.plot(line, 1 - line, label="second order, 1 - ηκ/2", **{**_SECOND, "linewidth": 2.4})
    ratios.set_xlim(-0.2, 2.5)
    ratios.set_ylim(-1.6, 1.4)
    ratios.legend(loc="lower left")
    ratios.set_xlabel("ηκ/2, with the curvature along the gradient κ = gᵀHg / ‖g‖²")
    ratios.set_ylabel("Measured / predicted")
    ratios.set_title("What became of the prediction")

    along = 2 / curvature[probed.astype(int)]
    for values, color, marker, dash, label in (
        (largest_rate, style.ink(), "o", "-", "largest η that lowers the batch's loss"),
        (np.where(along > 0, along, np.nan), style.ORANGE, "D", ":", "2/κ, along the gradient"),
        (
            2 / largest_eigenvalue,
            style.BLUE,
            "s",
            "--",
            r"2/$\lambda_{max}$, in the worst direction",
        ),
    ):
        limits.plot(probed, values, dash, marker=marker, color=color, markersize=5, label=label)
    limits.axhline(learning_rate, color=style.BAD, linewidth=1.4)
    limits.annotate(
        f"η = {learning_rate:g}, this run",
        (0, learning_rate),
        (5, -5),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="top",
        color=style.BAD,
    )
    limits.set_yscale("log")
    limits.set_xlabel("Step")
    limits.set_ylabel("Learning rate")
    limits.legend(loc="upper right")
    limits.set_title("How far one could have gone")
    beyond = 2 / largest_eigenvalue < learning_rate
    all_the_same = beyond & (largest_rate > learning_rate)
    figure.suptitle(
        f"The tutorial's run, first epoch: {1 - rises.mean():.1%} of {len(steps)} steps lower "
        f"their batch's loss; the median change is {np.median(ratio):.0%} of -η‖g‖².\n"
        rf"η is beyond 2/$\lambda_{{max}}$ at {beyond.sum()} of {len(probed)} probed steps, "
        f"and lowers the loss all the same at {all_the_same.sum()} of those"
    )
    return figure
