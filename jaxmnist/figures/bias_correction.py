"""Adam's first steps with and without bias correction (D26)."""

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
    b1, b2, rate = 0.9, 0.999, 0.001
    shown = np.unique(np.geomspace(1, 10_000, 160).astype(int))
    gradients = jnp.ones(10_000)
    corrected = landscapes.step_lengths(optim.adam(rate, b1=b1, b2=b2), gradients)
    # Under a constant g the averages are g(1 - b1^t) and g²(1 - b2^t), so this is the step
    # without the two divisions.
    uncorrected = rate * (1 - b1**shown) / np.sqrt(1 - b2**shown)
    return {
        "b1": b1,
        "b2": b2,
        "updates": shown,
        "b1_power": b1**shown,
        "b2_power": b2**shown,
        "corrected": corrected[shown - 1] / rate,
        "uncorrected": uncorrected / rate,
    }


def _draw(data: Data) -> Figure:
    names = ("updates", "b1_power", "b2_power", "corrected", "uncorrected")
    return plots.bias_correction(
        **{name: np.array(data[name]) for name in names}, b1=data["b1"], b2=data["b2"]
    )


_FORM: Final = {
    **dict.fromkeys(("b1", "b2"), Numbers(least=0, most=1)),
    "updates": Numbers("updates", least=0, whole=True),
    **dict.fromkeys(("b1_power", "b2_power", "corrected", "uncorrected"), Numbers("updates")),
}

PICTURE: Final = Picture("bias_correction", "D26", _compute, _draw, form=_FORM)
