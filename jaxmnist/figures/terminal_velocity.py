"""Momentum's velocity under a constant gradient (D21)."""

from collections.abc import Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import landscapes, optim, plots
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Numbers


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    factors = (0.0, 0.5, 0.9)
    rate, gradient = 0.01, 2.0
    gradients = jnp.full(60, gradient)
    return {
        "factors": factors,
        "velocities": [
            landscapes.step_lengths(optim.momentum(rate, momentum=factor), gradients)
            / (rate * gradient)
            for factor in factors
        ],
    }


def _draw(data: Data) -> Figure:
    return plots.terminal_velocity(np.array(data["factors"]), np.array(data["velocities"]))


_FORM: Final = {"factors": Numbers("factors"), "velocities": Numbers("factors updates")}

PICTURE: Final = Picture("terminal_velocity", "D21", _compute, _draw, form=_FORM)
