"""The six optimizers' step sizes under a constant and a falling gradient (D22 to D25)."""

from collections.abc import Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxmnist import landscapes, optim, plots
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Each, Numbers
from jaxmnist.plots import style


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    shown = np.unique(np.geomspace(1, 10_000, 120).astype(int)) - 1
    drop, factor = 300, 0.1
    constant = jnp.ones(10_000)
    falling = jnp.where(jnp.arange(1500) < drop, 1.0, factor)

    def lengths(gradients: Float[Array, " updates"]) -> dict[str, Float[Array, " updates"]]:
        return {
            name: landscapes.step_lengths(optim.create(name), gradients)
            for name in style.OPTIMIZERS
        }

    return {
        "updates": shown + 1,
        "constant": {name: steps[shown] for name, steps in lengths(constant).items()},
        "drop": drop,
        "factor": factor,
        "falling_updates": np.arange(0, 1500, 4) + 1,
        "falling": {name: steps[::4] for name, steps in lengths(falling).items()},
    }


def _draw(data: Data) -> Figure:
    constant, falling = (
        {name: np.array(values) for name, values in data[part].items()}
        for part in ("constant", "falling")
    )
    return plots.step_sizes(
        updates=np.array(data["updates"]),
        constant=constant,
        falling_updates=np.array(data["falling_updates"]),
        falling=falling,
        drop=data["drop"],
        factor=data["factor"],
    )


_FORM: Final = {
    "updates": Numbers("updates", least=0, whole=True),
    "constant": Each(Numbers("updates"), optim.NAMES),
    "drop": Numbers(least=0, whole=True),
    "factor": Numbers(),
    "falling_updates": Numbers("falling", least=0, whole=True),
    "falling": Each(Numbers("falling"), optim.NAMES),
}

PICTURE: Final = Picture("step_sizes", "D22, D23, D24, D25", _compute, _draw, form=_FORM)
