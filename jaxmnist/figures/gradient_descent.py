"""Gradient descent on a parabola at four learning rates (D14)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxmnist import landscapes, optim, plots
from jaxmnist.figures.picture import Data, OnProgress, Picture, as_arrays
from jaxmnist.forms import Numbers


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    rates = jnp.array([0.1, 0.25, 0.85, 1.05])

    def loss(w: Float[Array, ""]) -> Float[Array, ""]:
        return (w - 2) ** 2

    def descend(rate: Float[Array, ""]) -> Float[Array, " points"]:
        return landscapes.trajectory(loss, optim.sgd(rate), jnp.array(-1.0), 12)

    paths = jax.vmap(descend)(rates)
    w = jnp.linspace(-3.5, 7.5, 111)
    return {
        "rates": rates,
        "curvature": jax.hessian(loss)(w[0]),
        "w": w,
        "loss": jax.vmap(loss)(w),
        "paths": paths,
        "losses": jax.vmap(jax.vmap(loss))(paths),
    }


def _draw(data: Data) -> Figure:
    return plots.gradient_descent(
        **as_arrays(data, "rates", "w", "loss", "paths", "losses"), curvature=data["curvature"]
    )


_FORM: Final = {
    "rates": Numbers("rates"),
    "curvature": Numbers(),
    **dict.fromkeys(("w", "loss"), Numbers("w")),
    **dict.fromkeys(("paths", "losses"), Numbers("rates points", none=True)),
}

PICTURE: Final = Picture("gradient_descent", "D14", _compute, _draw, form=_FORM)
