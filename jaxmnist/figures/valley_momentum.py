"""SGD and momentum in a long flat valley (D21)."""

from collections.abc import Mapping
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import landscapes, optim, plots
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.figures.race import GROUND, as_terrain, ground_data
from jaxmnist.forms import Numbers
from jaxmnist.landscapes import SURFACES


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    surface = SURFACES["valley"]
    rate, steps = 0.095, 100
    paths, speeds = {}, {}
    for decay in (0.0, 0.5, 0.9):
        optimizer = optim.momentum(rate, decay)
        paths[decay] = landscapes.trajectory(
            surface.function, optimizer, jnp.array(surface.start), steps
        )
        slope = landscapes.trajectory(lambda w: w[0], optimizer, jnp.zeros(2), 50)
        speeds[decay] = -jnp.diff(slope[:, 0]) / rate
    return {
        "ground": ground_data(surface, 121),
        "learning_rate": rate,
        "decays": list(paths),
        "paths": list(paths.values()),
        "speeds": list(speeds.values()),
    }


def _draw(data: Data) -> Figure:
    names = ["SGD" if decay == 0 else f"Momentum {decay:g}" for decay in data["decays"]]
    paths = [np.array(path) for path in data["paths"]]
    halfway = [int((np.abs(path[:, 0]) < np.abs(path[0, 0]) / 2).argmax()) for path in paths]
    # The last time that the path is farther than that, and one more.
    across = [int(np.flatnonzero(np.abs(path[:, 1]) >= 0.01)[-1]) + 1 for path in paths]
    return plots.valley_momentum(
        as_terrain(data),
        dict(zip(names, paths, strict=True)),
        dict(zip(names, map(np.array, data["speeds"]), strict=True)),
        f"At one learning rate, {data['learning_rate']:g}: half the way along the valley takes SGD "
        f"{halfway[0]} steps, momentum 0.5 {halfway[1]}, and momentum 0.9 {halfway[2]};\n"
        f"to be within 0.01 of the middle across it takes {across[0]}, {across[1]} and "
        f"{across[2]}. On a constant slope steps grow to 1/(1 - momentum) times SGD's",
    )


_FORM: Final = {
    "ground": GROUND,
    "learning_rate": Numbers(),
    "decays": Numbers("3"),
    "paths": Numbers("3 points 2"),
    "speeds": Numbers("3 updates"),
}

PICTURE: Final = Picture("valley_momentum", "D21", _compute, _draw, form=_FORM)
