"""Softmax, and where its plain form overflows (D3)."""

from collections.abc import Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import losses, plots
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Numbers


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    logits = jnp.array([2.0, -1.0, 0.5, 3.0, 1.0])
    distances = jnp.geomspace(0.1, 1e4, 401)
    shifts = jnp.concatenate([-distances[::-1], jnp.zeros(1), distances])
    shifted = logits[None, :] + shifts[:, None]
    exponentials = jnp.exp(shifted)
    largest = jnp.argmax(logits)
    return {
        "logits": logits,
        "exponentials": jnp.exp(logits),
        "probabilities": losses.softmax(logits),
        "shifts": shifts,
        "of_largest": losses.softmax(shifted)[:, largest],
        "of_largest_unshifted": exponentials[:, largest] / exponentials.sum(axis=1),
    }


def _draw(data: Data) -> Figure:
    return plots.softmax(**{name: np.array(values, float) for name, values in data.items()})


_FORM: Final = {
    **dict.fromkeys(("logits", "exponentials", "probabilities"), Numbers("classes")),
    **dict.fromkeys(("shifts", "of_largest"), Numbers("shifts")),
    "of_largest_unshifted": Numbers("shifts", none=True),
}

PICTURE: Final = Picture("softmax", "D3", _compute, _draw, form=_FORM)
