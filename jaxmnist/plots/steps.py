"""How long the optimizers' steps are, update by update (tutorial rows D21 to D26)."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from jaxmnist.plots import style

# Plain SGD is momentum 0; between it and the tutorial's 0.9 lies a colour of no optimizer's.
_FACTORS: Final = (
    (style.OPTIMIZERS["sgd"].color, "o"),
    (style.BROWN, "^"),
    (style.OPTIMIZERS["momentum"].color, "s"),
)


def terminal_velocity(
    factors: Float[np.ndarray, " factors"], velocities: Float[np.ndarray, "factors updates"]
) -> Figure:
    """Draw how momentum's step grows under a constant gradient, and what it still lacks.

    Args:
        factors: The momentum of each row, three.
        velocities: Its steps, in units of ηg.

    Returns:
        A picture of two panels.

    Source: tutorial row D21.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    updates = np.arange(1, velocities.shape[1] + 1)
    for factor, velocity, (color, marker) in zip(factors, velocities, _FACTORS, strict=True):
        terminal = 1 / (1 - factor)
        left.axhline(terminal, color=color, linestyle=":", linewidth=1.2)
        left.plot(updates, velocity, marker=marker, color=color, markersize=4, markevery=3)
        left.annotate(
            rf"$\gamma$ = {factor:g}: → {terminal:g} ηg",
            (updates[-1], terminal),
            (0, 5),
            textcoords="offset points",
            ha="right",
            color=color,
        )
        if factor:
            gap = 1 - velocity / terminal
            seen = gap > 1e-5
            label = rf"$\gamma$ = {factor:g}"
            right.plot(updates[seen], gap[seen], marker, color=color, markersize=4, label=label)
            right.plot(updates[seen], factor ** updates[seen], color=color, linewidth=1)
    left.set_ylim(0, 11.5)
    left.set_xlabel("Update t")
    left.set_ylabel("Velocity / ηg")
    left.set_title("The velocity")
    right.set_yscale("log")
    right.set_xlabel("Update t")
    right.set_ylabel("Share of the terminal velocity that is missing")
    right.set_title(r"What is missing; the line is $\gamma^t$")
    right.legend()
    last = ", ".join(
        rf"{velocity[-1]:.3g} at $\gamma$ = {factor:g}"
        for factor, velocity in zip(factors, velocities, strict=True)
    )
    figure.suptitle(
        r"Momentum under a constant gradient nears ηg/(1 - $\gamma$): after "
        f"{len(updates)} updates its step, in units of ηg, is {last}"
    )
    return figure


def step_sizes(
    updates: Int[np.ndarray, " updates"],
    constant: Mapping[str, Float[np.ndarray, " updates"]],
    falling_updates: Int[np.ndarray, " updates_2"],
    falling: Mapping[str, Float[np.ndarray, " updates_2"]],
    drop: int,
    factor: float,
) -> Figure:
    """Draw the six optimizers' steps under a constant gradient, and under one that falls.

    Args:
        updates: Which updates, from 1.
        constant: Their lengths under g = 1, by the optimizer's name.
        falling_updates: Which updates.
        falling: Their lengths when g falls.
        drop: After how many updates it falls.
        factor: From 1 to what.

    Returns:
        A picture of two panels.

    Source: tutorial rows D20 to D25.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, look in style.OPTIMIZERS.items():
        every = {"marker": look.marker, "markersize": 5}
        left.plot(updates, constant[name], **look.line, **every, markevery=(0.05, 0.13))
        right.plot(falling_updates, falling[name], **look.line, **every, markevery=(0.05, 0.13))
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlabel("Update t")
    left.set_ylabel("Length of the step")
    left.set_title("Under a constant gradient of 1")
    right.axvline(drop, color=style.muted(), linestyle="--", linewidth=1.2)
    right.annotate(
        f"g: 1 → {factor:g}",
        (drop, 1),
        (14, -4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
    )
    right.set_xlabel("Update t")
    right.set_title(f"The gradient falls to {factor:g} after {drop} updates")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    adagrad, rmsprop = constant["adagrad"], constant["rmsprop"]
    figure.suptitle(
        f"Adagrad's step only shrinks, as 1/√t: from {adagrad[0]:.2g} to {adagrad[-1]:.2g} in "
        f"{updates[-1]:,} updates, where RMSProp's settles at {rmsprop[-1]:.2g}.\n"
        "When the gradient falls, RMSProp soon steps as before and Adam slowly; "
        "Adagrad's step falls with it and stays there"
    )
    return figure


def bias_correction(
    updates: Int[np.ndarray, " updates"],
    b1_power: Float[np.ndarray, " updates"],
    b2_power: Float[np.ndarray, " updates"],
    corrected: Float[np.ndarray, " updates"],
    uncorrected: Float[np.ndarray, " updates"],
    b1: float,
    b2: float,
) -> Figure:
    """Draw how Adam's corrections fade, and its first steps with and without them.

    Args:
        updates: Which updates, from 1.
        b1_power: β1^t.
        b2_power: β2^t.
        corrected: Adam's steps under a constant gradient, in units of η.
        uncorrected: The same without the two divisions.
        b1: β1.
        b2: β2.

    Returns:
        A picture of two panels.

    Source: tutorial row D26.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for power, base, name, color, dash in (
        (b1_power, b1, "β₁", style.BLUE, (0, (6, 1.5))),
        (b2_power, b2, "β₂", style.VERMILION, "-"),
    ):
        left.plot(updates, power, color=color, linestyle=dash)
        near = int(np.abs(power - 0.5).argmin())
        left.annotate(
            f"{name}ᵗ, {name} = {base:g}",
            (updates[near], power[near]),
            (8, 2),
            textcoords="offset points",
            color=color,
        )
    left.set_ylabel("Share still missing from the average")
    left.set_title("The averages start at 0 and fill up")
    adam = style.OPTIMIZERS["adam"]
    right.plot(updates, uncorrected, color=style.BAD, label="without the corrections")
    right.plot(updates, corrected, color=adam.color, linestyle=adam.dash, label="Adam")
    peak = int(uncorrected.argmax())
    right.plot(updates[peak], uncorrected[peak], "o", color=style.BAD)
    right.annotate(
        f"{uncorrected[peak]:.1f} η at t = {updates[peak]}",
        (updates[peak], uncorrected[peak]),
        (8, 2),
        textcoords="offset points",
        color=style.BAD,
    )
    right.set_ylim(0, uncorrected.max() * 1.12)
    right.set_ylabel("Step / η, under a constant gradient")
    right.set_title("Adam's first steps")
    right.legend(loc="center right")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("Update t")
    figure.suptitle(
        "Adam divides its averages by 1 - βᵗ, a correction that fades.\nWithout it the first step "
        f"is {uncorrected[0]:.1f} η and the longest {uncorrected[peak]:.1f} η; with it every step "
        "under a constant gradient is η"
    )
    return figure
