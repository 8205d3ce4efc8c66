"""Softmax and cross-entropy, in their stable and their plain forms (tutorial rows D1 to D3)."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxmnist.plots import style

_STABLE: Final = {"color": style.BLUE, "linestyle": "-", "linewidth": 2.4}
_PLAIN: Final = {"color": style.VERMILION, "linestyle": (0, (4, 1.5)), "linewidth": 1.8}


def softmax(
    logits: Float[np.ndarray, " classes"],
    exponentials: Float[np.ndarray, " classes"],
    probabilities: Float[np.ndarray, " classes"],
    shifts: Float[np.ndarray, " shifts"],
    of_largest: Float[np.ndarray, " shifts"],
    of_largest_unshifted: Float[np.ndarray, " shifts"],
) -> Figure:
    """Draw logits, their exponentials and their shares, and what adding a constant does.

    Args:
        logits: One per class.
        exponentials: Of the logits.
        probabilities: The exponentials divided by their sum.
        shifts: Constants added to all logits.
        of_largest: The largest probability for each, by the stable form.
        of_largest_unshifted: The same without subtracting the maximum; NaN where it fails.

    Returns:
        A picture of four panels.

    Source: tutorial row D3.
    """
    figure = Figure(figsize=(10, 5.8), layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=(1.2, 1))
    classes = np.arange(len(logits))
    colors = [style.GOOD if c == logits.argmax() else style.BLUE for c in classes]
    for column, (values, title, form) in enumerate(
        (
            (logits, "Logits z", "{:g}"),
            (exponentials, "Exponentials eᶻ", "{:.2f}"),
            (probabilities, f"Divided by their sum, {exponentials.sum():.2f}", "{:.3f}"),
        )
    ):
        axes = figure.add_subplot(grid[0, column])
        bars = axes.bar(classes, values, color=colors, width=0.7)
        axes.bar_label(bars, [form.format(value) for value in values], padding=2)
        axes.axhline(0, color=style.muted(), linewidth=1)
        axes.margins(y=0.14)
        axes.set_xticks(classes)
        axes.set_xlabel("Class")
        axes.grid(visible=False, axis="x")
        axes.set_title(title)
    below = figure.add_subplot(grid[1, :])
    below.plot(shifts, of_largest, label="softmax (z + c), the maximum subtracted", **_STABLE)
    below.plot(shifts, of_largest_unshifted, label="eᶻ⁺ᶜ / Σ eᶻ⁺ᶜ as it stands", **_PLAIN)
    works = shifts[np.abs(of_largest_unshifted - of_largest) < 0.001]
    for low, high, why in (
        (shifts[0], works.min(), "0 / 0"),
        (works.max(), shifts[-1], "∞ / ∞"),
    ):
        below.axvspan(low, high, color=style.BAD, alpha=0.13, linewidth=0)
        middle = np.sign(low + high) * np.sqrt(abs(low * high))
        below.annotate(why, (middle, 0.3), ha="center", color=style.BAD)
    below.set_xscale("symlog", linthresh=1)
    below.set_ylim(0, 1.05)
    below.set_xlabel("Constant c added to every logit")
    below.set_ylabel("Largest probability")
    below.legend(loc="lower center")
    figure.suptitle(
        "Softmax turns any scores into probabilities, and a constant added to all of them changes "
        "nothing.\nIn float32 the plain quotient holds only for c from "
        f"{works.min():.0f} to {works.max():.0f}; with the maximum subtracted there is no end"
    )
    return figure


def cross_entropy(
    p: Float[np.ndarray, " points"],
    surprise: Float[np.ndarray, " points"],
    logits: Float[np.ndarray, " logits"],
    clamped: Mapping[int, Mapping[str, Float[np.ndarray, " logits"]]],
    stable: Mapping[int, Mapping[str, Float[np.ndarray, " logits"]]],
) -> Figure:
    """Draw -log p, and the binary cross-entropy of a logit in two forms, with its gradient.

    Args:
        p: Probabilities of the true class.
        surprise: -log p.
        logits: z, where the probability of the class 1 is sigmoid(z).
        clamped: By the true class, 1 and 0: ``loss`` and ``gradient`` of the form that clamps
            probabilities.
        stable: The same of the form on logits.

    Returns:
        A picture of five panels; where the clamped form has lost its gradient is shaded.

    Source: tutorial rows D1 and D2.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(0.85, 1, 1))
    left = figure.add_subplot(grid[:, 0])
    left.plot(p, surprise, color=style.ink())
    for probability in (0.9, 0.5, 0.1, 0.01):
        cost = -np.log(probability)
        left.plot(probability, cost, "o", color=style.GOOD if probability == 0.9 else style.BAD)
        left.annotate(
            f"p = {probability:g}: {cost:.2f}",
            (probability, cost),
            (0, -7) if probability == 0.9 else (7, 3),
            textcoords="offset points",
            ha="right" if probability == 0.9 else "left",
            va="top" if probability == 0.9 else "bottom",
        )
    left.set_xlabel("Probability given to the true class")
    left.set_ylabel("Loss (nats)")
    left.set_title("-log p")
    left.set_ylim(-0.4, 5.5)
    ends, spacing = [], logits[1] - logits[0]
    for column, target in enumerate((1, 0)):
        lost = (clamped[target]["gradient"] == 0) & (np.abs(stable[target]["gradient"]) > 0.5)
        # The last logits that still have a gradient.
        ends.append(logits[lost].max() + spacing if target else logits[lost].min() - spacing)
        for row, quantity in enumerate(("loss", "gradient")):
            axes = figure.add_subplot(grid[row, column + 1])
            axes.axvspan(
                logits[lost].min(), logits[lost].max(), color=style.BAD, alpha=0.13, linewidth=0
            )
            axes.plot(logits, stable[target][quantity], label="on the logit", **_STABLE)
            axes.plot(logits, clamped[target][quantity], label="on p, clamped", **_PLAIN)
            axes.set_xlim(logits[0], logits[-1])
            if row:
                axes.set_xlabel("Logit z")
                axes.set_ylim(-1.15, 1.15)
            else:
                axes.set_ylim(-2, 58)
                axes.set_title(f"True class {target}")
                axes.tick_params(labelbottom=False)
            if column:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel("Loss (nats)" if row == 0 else "Gradient dL/dz")
            if row == 0 and target:
                axes.legend(loc="upper right")
    figure.align_ylabels()
    figure.suptitle(
        "Cross-entropy punishes a confident mistake, if it can still feel it: with p clamped at "
        "1e-12 in float32 the gradient\nis 0 (shaded) for z below "
        f"{ends[0]:.1f} where the class is 1, and for z above {ends[1]:.1f} where it is 0"
    )
    return figure
