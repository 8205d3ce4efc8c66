"""Steps in every direction on a loss of two parameters (D19)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.calculus import (
    change_by_angle,
)
from jaxmnist.figures.picture import Data, OnProgress, Picture, as_arrays
from jaxmnist.forms import Numbers


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    w0 = jnp.array([1.6, 0.9])

    def loss(w: Float[Array, "2"]) -> Float[Array, ""]:
        return w[0] ** 2 / 2 + 2 * w[1] ** 2

    gradient = jax.grad(loss)(w0)
    degrees = jnp.arange(0.0, 361.0)
    quarter_turn = jnp.array([-gradient[1], gradient[0]])
    lengths = jnp.array([0.02, 0.4, 1.0])
    _, measured = jax.vmap(
        lambda length: change_by_angle(loss, w0, quarter_turn, jnp.deg2rad(degrees), length)
    )(lengths)
    w1, w2 = jnp.linspace(-1.0, 3.4, 81), jnp.linspace(-1.4, 2.4, 71)
    grid = jnp.stack(jnp.meshgrid(w1, w2), axis=-1)
    return {
        "w1": w1,
        "w2": w2,
        "loss": jax.vmap(jax.vmap(loss))(grid),
        "start": w0,
        "gradient": gradient,
        "degrees": degrees,
        "lengths": lengths,
        "changes": measured / (lengths * jnp.linalg.norm(gradient))[:, None],
    }


def _draw(data: Data) -> Figure:
    return plots.descent_2d(
        **as_arrays(data, "w1", "w2", "loss", "start", "gradient", "degrees", "lengths", "changes")
    )


_FORM: Final = {
    "w1": Numbers("w1"),
    "w2": Numbers("w2"),
    "loss": Numbers("w2 w1"),
    **dict.fromkeys(("start", "gradient"), Numbers("2")),
    "degrees": Numbers("degrees"),
    "lengths": Numbers("lengths"),
    "changes": Numbers("lengths degrees"),
}

PICTURE: Final = Picture("descent_2d", "D19", _compute, _draw, form=_FORM)
