"""Taylor polynomials beside their function, and how far they are off (tutorial row D17)."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from jaxmnist.plots import style

_LINES: Final = ((style.VERMILION, (0, (6, 1.5)), "s"), (style.BLUE, (0, (2.5, 1)), "o"))
_RADII: Final = ((style.BLUE, "o"), (style.GREEN, "s"), (style.VERMILION, "^"))


def taylor(
    x: Float[np.ndarray, " points"],
    exact: Float[np.ndarray, " points"],
    curves: Mapping[int, Float[np.ndarray, " points"]],
    orders: Float[np.ndarray, " orders"],
    radii: Float[np.ndarray, " radii"],
    errors: Float[np.ndarray, "radii orders"],
) -> Figure:
    """Draw e^x with two of its expansions at 0, and the largest error by the order.

    Args:
        x: Points.
        exact: e^x there.
        curves: The polynomials there, two, by their order.
        orders: From 0 up.
        radii: How far from 0 the error is looked at.
        errors: The largest error up to each radius, by order.

    Returns:
        A picture of two panels.

    Source: tutorial row D17.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(x, exact, color=style.ink(), linewidth=2.6)
    left.annotate(
        "eˣ", (x[-1], exact[-1]), (-6, 0), textcoords="offset points", ha="right", va="top"
    )
    for (order, values), (color, dash, _) in zip(curves.items(), _LINES, strict=True):
        left.plot(x, values, color=color, linestyle=dash, label=f"order {order}")
    left.plot(0, 1, "o", color=style.ink(), markersize=6)
    left.annotate("expanded here", (0, 1), (10, -12), textcoords="offset points", va="top")
    left.set_xlabel("x")
    left.legend(loc="upper left", title="Taylor polynomials")
    left.set_title("Near 0 the polynomials are the function")

    for radius, error, (color, marker) in zip(radii, errors, _RADII, strict=True):
        right.plot(
            orders, error, marker, color=color, markersize=5, label=f"up to |x| = {radius:g}"
        )
        bound = [np.exp(radius) * radius ** (k + 1) / _factorial(k + 1) for k in orders]
        right.plot(orders, bound, color=color, linewidth=1, alpha=0.8)
    right.set_yscale("log")
    right.set_ylim(1e-17, 1e2)
    right.set_xlabel("Order of the polynomial")
    right.set_ylabel("Largest error")
    right.legend(loc="lower left", title="Lines: Taylor's bound")
    right.set_title("Every order lowers the error, down to float64's rounding")
    at_one = errors[list(radii).index(1)]
    figure.suptitle(
        "eˣ expanded at 0 by automatic differentiation: up to |x| = 1 the error is "
        f"{at_one[1]:.2f} at order 1, {at_one[5]:.4f} at order 5, {at_one[10]:.0e} at order 10"
    )
    return figure


def _factorial(k: float) -> float:
    return float(np.prod(np.arange(1, int(k) + 1, dtype=float)))
