"""The errors of a comparison of two computations: by step, by leaf, and of a whole run."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxmnist.plots import style

_LINES: Final[Sequence[Mapping[str, Any]]] = (
    {"color": style.BLUE, "linestyle": "-"},
    {"color": style.VERMILION, "linestyle": (0, (6, 1.5))},
    {"color": style.GREEN, "linestyle": (0, (6, 1.5, 1.2, 1.5))},
    {"color": style.PURPLE, "linestyle": (0, (1.2, 1.2))},
    {"color": style.ORANGE, "linestyle": (0, (4, 1.2, 1.2, 1.2, 1.2, 1.2))},
    {"color": style.SKY, "linestyle": (0, (2.5, 1))},
)
_MARKS: Final[Sequence[Mapping[str, Any]]] = (
    {"color": style.BLUE, "marker": "o"},
    {"color": style.VERMILION, "marker": "x"},
    {"color": style.GREEN, "marker": "^"},
    {"color": style.PURPLE, "marker": "s"},
    {"color": style.ORANGE, "marker": "v"},
    {"color": style.SKY, "marker": "P"},
)

Curves = tuple[
    Int[np.ndarray, " steps"],
    Mapping[str, Float[np.ndarray, " steps"]],
    Float[np.ndarray, " steps"],
]
"""The numbers of the steps, each leaf's errors, and what is allowed."""


def errors_by_step(parts: Mapping[str, Curves], first: Mapping[str, int], title: str) -> Figure:
    """Draw the relative error of every leaf against the step.

    Args:
        parts: What is compared with what, such as "displacement", with its curves.
        first: The step at which a part first differs, of those that do.
        title: Says which computations they are.

    Returns:
        A picture with a panel for each part on one logarithmic scale. The six leaves with the
        largest errors have looks of their own. An error of 0 is drawn at the lower end, and one
        that is infinite at the upper end.

    >>> curves = np.arange(3), {"w": np.array([0.0, 1e-16, 1e-3])}, np.full(3, 1e-12)
    >>> errors_by_step({"displacement": curves}, {"displacement": 2}, "mine").axes[0].get_title()
    'displacement'
    """
    largest: dict[str, float] = {}
    for _, errors, _ in parts.values():
        for leaf, curve in errors.items():
            largest[leaf] = max(largest.get(leaf, 0.0), float(curve.max(initial=0.0)))
    worst = sorted(largest, key=lambda leaf: -largest[leaf])[: len(_LINES)]
    looks = dict(zip([leaf for leaf in largest if leaf in worst], _LINES, strict=False))
    low, high = _ends(
        [np.concatenate([*errors.values(), allowed]) for _, errors, allowed in parts.values()]
    )

    columns = 2 if len(parts) == 4 else min(3, len(parts))
    rows = -(-len(parts) // columns)
    figure = Figure(figsize=(10 if columns > 1 else 7, 1.3 + 2.9 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, (name, curves) in zip(panels.flat, parts.items(), strict=False):
        _draw_curves(axes, curves, looks, (low, high))
        if name in first:
            axes.axvline(first[name], color=style.ink(), linestyle=":", label="first divergence")
        axes.set_title(style.literal(name))
        axes.set_xlabel("Step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for axes in panels.flat[len(parts) :]:
        axes.set_axis_off()
    has_zero = any(
        (curve == 0).any() for _, errors, _ in parts.values() for curve in errors.values()
    )
    for axes in panels[:, 0]:
        axes.set_ylabel("Relative error" + ", 0 at the lower end" * has_zero)
    _legend(figure, panels.flat)
    figure.suptitle(style.literal(title))
    return figure


def errors_by_leaf(
    parts: Mapping[str, Mapping[str, float]], allowed: Mapping[str, float], title: str
) -> Figure:
    """Draw the relative error of every leaf.

    Args:
        parts: What is compared with what, such as "gradients": each leaf's error.
        allowed: The error that is rounding, of each part.
        title: Says which computations they are.

    Returns:
        A picture with a row for each leaf of each part, on a logarithmic scale. An error that is
        more than allowed has a ring. One of 0 is drawn at the left end, and one that is infinite at
        the right end.

    >>> errors_by_leaf({"values": {"value": 1e-16}}, {"values": 1e-14}, "mine").axes[0].get_xlabel()
    'Relative error'
    """
    rows = [(part, leaf, error) for part, own in parts.items() for leaf, error in own.items()]
    low, high = _ends([np.array([*(error for *_, error in rows), *allowed.values()])])
    figure = Figure(figsize=(8, 1.9 + 0.26 * len(rows)), layout="constrained")
    axes = figure.subplots()
    place = 0
    for number, (part, own) in enumerate(parts.items()):
        look = _MARKS[number % len(_MARKS)]
        errors = np.array([*own.values()], float)
        at = np.arange(place, place + len(own))
        shown = _clipped(errors, low, high)
        axes.plot(shown, at, linestyle="none", label=style.literal(part), **look)
        beyond = errors > allowed[part]
        if beyond.any():
            ring = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": style.ink()}
            axes.plot(shown[beyond], at[beyond], "o", label="differs", **ring)
        axes.vlines(allowed[part], place - 0.5, place + len(own) - 0.5, **_allowed_look())
        place += len(own)
    axes.set_xscale("log")
    axes.set_xlim(low / 3, high * 3)
    axes.set_yticks(range(len(rows)), [_row_name(part, leaf) for part, leaf, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    has_zero = any(error == 0 for *_, error in rows)
    axes.set_xlabel("Relative error" + ", 0 at the left end" * has_zero)
    axes.set_title(style.literal(title))
    _legend(figure, [axes])
    return figure


def run_errors(
    error: Float[np.ndarray, " steps"],
    perturbation: Float[np.ndarray, " steps"] | None,
    allowed: Float[np.ndarray, " steps"],
    first: int | None,
    title: str,
) -> Figure:
    """Draw the error of a run's loss step by step, with what is allowed.

    Args:
        error: The relative error of each batch's loss.
        perturbation: That of a run from weights perturbed by one unit in the last place, or None.
        allowed: What the error may be.
        first: The step at which the loss first differs, or None.
        title: Says which run it is.

    Returns:
        A picture with a dot for every step and a line for the largest error so far, on a
        logarithmic scale. An error of 0 is not drawn.

    >>> three = np.array([1e-16, 2e-16, 1e-15])
    >>> run_errors(three, None, np.full(3, 1e-12), None, "a run").axes[0].get_ylabel()
    'Relative error of the loss'
    """
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = np.arange(len(error))
    curves = [(error, style.FIRST, "-", "JAX against PyTorch")]
    if perturbation is not None:
        label = "JAX from weights one ULP away"
        curves.append((perturbation, style.SECOND, "-.", label))
    low, high = _ends([*(curve for curve, *_ in curves), allowed])
    for curve, look, dash, label in curves:
        color = look["color"]
        dots = np.where(curve > 0, _clipped(curve, low, high), np.nan)
        axes.plot(steps, dots, look["marker"], markersize=3, alpha=0.5, color=color)
        largest = _clipped(np.maximum.accumulate(curve), low, high)
        axes.plot(steps, largest, dash, color=color, label=label)
    axes.plot(steps, _clipped(allowed, low, high), **_allowed_look())
    if first is not None:
        axes.axvline(first, color=style.ink(), linestyle=":", label="first divergence")
    axes.set_yscale("log")
    axes.set_ylim(low / 3, high * 3)
    axes.set_xlabel("Step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("Relative error of the loss")
    axes.set_title(style.literal(title))
    _legend(figure, [axes])
    return figure


def _allowed_look() -> dict[str, Any]:
    return {"color": style.muted(), "linestyle": "--", "label": "allowed"}


def _draw_curves(
    axes: Axes, curves: Curves, looks: Mapping[str, Mapping[str, Any]], ends: tuple[float, float]
) -> None:
    steps, errors, allowed = curves
    marker = "o" if len(steps) == 1 else None
    for leaf, look in looks.items():
        if leaf in errors:
            shown = _clipped(errors[leaf], *ends)
            axes.plot(steps, shown, label=style.literal(leaf), marker=marker, **look)
    others = [leaf for leaf in errors if leaf not in looks]
    for leaf in others:
        label = f"{len(others)} others" if leaf == others[0] else None
        shown, look = _clipped(errors[leaf], *ends), {"color": style.muted(), "linewidth": 0.7}
        axes.plot(steps, shown, marker=marker, label=label, zorder=1.5, **look)
    axes.plot(steps, _clipped(allowed, *ends), **_allowed_look())
    axes.set_yscale("log")
    axes.set_ylim(ends[0] / 3, ends[1] * 3)


def _ends(curves: list[np.ndarray]) -> tuple[float, float]:
    """The smallest and the largest error that have a place, and room for what has none."""
    every = np.concatenate(curves)
    shown = every[np.isfinite(every) & (every > 0)]
    low, high = (shown.min(), shown.max()) if shown.size else (1e-16, 1e-12)
    low = low / 100 if (every == 0).any() else low
    return float(low), float(high * 10 if np.isinf(every).any() else high)


def _clipped(errors: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip(np.nan_to_num(errors, nan=np.inf), low, high)


def _row_name(part: str, leaf: str) -> str:
    return style.literal(part if part == leaf else f"{part}: {leaf}")


def _legend(figure: Figure, panels: Any) -> None:
    """One for all panels, below them, with each label once."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    columns = min(4, len(found))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns)
