"""Taylor polynomials of the exponential function and their errors (D17)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.calculus import (
    taylor,
    taylor_coefficients,
)
from jaxmnist.figures.picture import Data, OnProgress, Picture, as_arrays
from jaxmnist.forms import Each, Numbers


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    with jax.enable_x64(True):
        x = jnp.linspace(-3.0, 3.0, 121)
        radii, orders = jnp.array([1.0, 2.0, 3.0]), jnp.arange(26.0)
        coefficients = taylor_coefficients(jnp.exp, 0.0, 25)
        # Row k is the polynomial of order k: that of order k - 1 with one more term.
        polynomials = jnp.cumsum(coefficients[:, None] * x[None] ** orders[:, None], axis=0)
        exact = jnp.exp(x)
        errors = jnp.abs(polynomials - exact[None])
        is_near = jnp.abs(x)[None] <= radii[:, None]
        return {
            "x": x,
            "exact": exact,
            "curves": {order: taylor(jnp.exp, 0.0, order)(x) for order in (1, 5)},
            "orders": orders,
            "radii": radii,
            "errors": jnp.max(errors[None], axis=2, where=is_near[:, None], initial=0.0),
        }


def _draw(data: Data) -> Figure:
    return plots.taylor(
        **as_arrays(data, "x", "exact", "orders", "radii", "errors"),
        curves={int(order): np.array(values) for order, values in data["curves"].items()},
    )


_FORM: Final = {
    **dict.fromkeys(("x", "exact"), Numbers("x")),
    "curves": Each(Numbers("x"), ("1", "5")),
    "orders": Numbers("orders"),
    "radii": Numbers("radii"),
    "errors": Numbers("radii orders"),
}

PICTURE: Final = Picture("taylor", "D17", _compute, _draw, form=_FORM)
