"""A step of gradient descent on losses of one parameter, predicted and measured (D18)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.calculus import (
    gradient_steps,
    largest_decreasing_rate,
)
from jaxmnist.figures.picture import Data, OnProgress, Picture, as_arrays
from jaxmnist.forms import Numbers


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress

    def exponential(w: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.exp(w) - w

    cases = {
        "L = w²: constant curvature": (jnp.square, 1.0, 1.6),
        "L = eʷ - w from the right: it falls": (exponential, 1.0, 1.8),
        "L = eʷ - w from the left: it rises": (exponential, -0.7, 4.4),
    }
    return {"cases": [_case(title, *case) for title, case in cases.items()]}


def _draw(data: Data) -> Figure:
    arrays = ("w", "loss", "rates", "first_order", "second_order", "measured")
    return plots.descent_1d([{**case, **as_arrays(case, *arrays)} for case in data["cases"]])


def _case(title: str, loss: Any, start: float, longest: float) -> Mapping[str, Any]:
    w0, rates = jnp.array(start), jnp.linspace(0.0, longest, 121)
    slope = jax.grad(loss)(w0)
    steps = gradient_steps(loss, w0, rates)
    ends = w0 - rates * slope
    margin = 0.12 * jnp.abs(ends[-1] - w0)
    w = jnp.linspace(jnp.minimum(w0, ends[-1]) - margin, jnp.maximum(w0, ends[-1]) + margin, 121)
    return {
        "title": title,
        "w": w,
        "loss": jax.vmap(loss)(w),
        "start": w0,
        "slope": slope,
        "curvature": steps.curvature,
        "rates": rates,
        "first_order": steps.first_order,
        "second_order": steps.second_order,
        "measured": steps.measured,
        "largest_rate": largest_decreasing_rate(loss, w0, jnp.geomspace(1e-3, 20.0, 200)),
    }


_FORM: Final = {
    "cases": [
        {
            "title": str,
            **dict.fromkeys(("start", "slope", "curvature", "largest_rate"), Numbers()),
            **dict.fromkeys(("w", "loss"), Numbers("w")),
            **dict.fromkeys(("rates", "first_order", "second_order", "measured"), Numbers("rates")),
        }
    ]
}

PICTURE: Final = Picture("descent_1d", "D18", _compute, _draw, form=_FORM)
