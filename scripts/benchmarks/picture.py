"""The benchmark's results as a picture, from its JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.parts.models import ALONE, IN_LOCKSTEP
from benchmarks.parts.start_up import IMPORTS
from jaxmnist import plots
from jaxmnist.plots import style
from jaxmnist.plots.save import write_picture

LOOKS = tuple(style.OPTIMIZERS.values())
"""Colours, dashes and markers that can be told apart; here of programs and of sizes."""


def draw(about: Mapping[str, Any], path: Path) -> None:
    """Draw a panel for each part that was measured and has one.

    Args:
        about: The JSON of `benchmark.py`.
        path: The picture's file.
    """
    panels = [
        (draw_panel, about["parts"][part])
        for part, draw_panel in PANELS.items()
        if part in about["parts"]
    ]
    with plots.theme():
        figure = Figure(figsize=(10, 3.6 * max(1, -(-len(panels) // 2))), layout="constrained")
        grid = figure.subplots(max(1, -(-len(panels) // 2)), 2, squeeze=False)
        for axes, (draw_panel, found) in zip(grid.flat, panels, strict=False):
            draw_panel(axes, found)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        write_picture(figure, path)


def epoch(axes: Axes, found: Mapping[str, Any]) -> None:
    """Every peer's epoch in epochs of jaxmnist."""
    bars(axes, found["ratios"]["epoch / jaxmnist's"])
    axes.set_title("An epoch takes, in epochs of jaxmnist")
    axes.axvline(1, color=style.ink(), linewidth=1)


def start_up(axes: Axes, found: Mapping[str, Any]) -> None:
    """Seconds to the first epoch's line."""
    seconds = dict(found["seconds"])
    bars(axes, {"importing JAX, Flax and Optax": seconds.pop(IMPORTS), **seconds})
    axes.set_title("Seconds to the first epoch's line")


def optimizers(axes: Axes, found: Mapping[str, Any]) -> None:
    """Every optimizer's epoch in epochs of SGD."""
    (ratios,) = found["ratios"].values()
    bars(axes, {style.OPTIMIZERS[name].label: values for name, values in ratios.items()})
    axes.set_title("Training takes, in epochs of SGD")
    axes.axvline(1, color=style.ink(), linewidth=1)


def models(axes: Axes, found: Mapping[str, Any]) -> None:
    """A model's cost among many, in runs of its own."""
    ratios = found["ratios"][f"a model's / a run of its own, {ALONE[0]}"]
    for look, name in zip(LOOKS, IN_LOCKSTEP, strict=False):
        costs = {
            int(label.rpartition(", ")[2]): values["median"]
            for label, values in ratios.items()
            if label.rpartition(", ")[0] == name
        }
        line = {**look.line, "label": name}
        axes.plot(list(costs), list(costs.values()), marker=look.marker, **line)
    logarithmic(axes)
    axes.set_xlabel("Models trained together")
    axes.set_title(f"A model costs, in runs of {ALONE[0]}")
    axes.legend(loc="upper right", fontsize="small")


def growth(axes: Axes, found: Mapping[str, Any]) -> None:
    """An epoch's seconds by size, relative to the smallest, with the fitted exponents."""
    for look, (kind, values) in zip(LOOKS, found["by_size"].items(), strict=False):
        sizes = np.array([float(size) for size in values["seconds"]])
        seconds = np.array([x["median"] for x in values["seconds"].values()])
        x, y = sizes / sizes[0], seconds / seconds[0]
        axes.plot(x, y, marker=look.marker, **look.line)
        text = f"{kind}, p = {values['exponent']:.2f}"
        across, (right, up) = _BESIDE.get(kind, ("left", (8, -3)))
        axes.annotate(
            text,
            (x[-1], y[-1]),
            xytext=(right, up),
            textcoords="offset points",
            ha=across,
            color=look.color,
            fontsize="small",
        )
    logarithmic(axes)
    axes.set_xlim(right=150)  # Room for the lines' names.
    axes.set_xlabel("Size, in the smallest one's")
    axes.set_title("An epoch takes, in the smallest one's")


_BESIDE = {"batch size": ("right", (6, 26)), "width": ("left", (8, -8))}
"""Where the names of lines stand that would meet another: side, and distance in points."""


def memory(axes: Axes, found: Mapping[str, Any]) -> None:
    """Peak memory of every peer."""
    peaks = found["peak_mebibytes"]
    axes.barh(list(peaks), list(peaks.values()), color=style.BLUE)
    axes.invert_yaxis()
    axes.set_title("Peak memory of a process (MiB)")


def bars(axes: Axes, values: Mapping[str, Mapping[str, Any]]) -> None:
    """A bar for each median, with a line from the minimum to the maximum."""
    medians = np.array([x["median"] for x in values.values()])
    ends = np.array([[x["minimum"], x["maximum"]] for x in values.values()]).T
    spread = np.abs(ends - medians)
    axes.barh(list(values), medians, xerr=spread, color=style.BLUE, ecolor=style.ink())
    axes.invert_yaxis()


def logarithmic(axes: Axes) -> None:
    """Plain numbers on two logarithmic axes."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


PANELS = {
    "epoch": epoch,
    "start-up": start_up,
    "memory": memory,
    "optimizers": optimizers,
    "models": models,
    "growth": growth,
}
