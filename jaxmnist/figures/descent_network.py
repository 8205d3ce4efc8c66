"""Every step of the first epoch of the tutorial's run, predicted and measured (D19)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import landscapes, plots
from jaxmnist.config import Config, default_hyper
from jaxmnist.data import load_dataset
from jaxmnist.figures.picture import Data, OnProgress, Picture, as_arrays
from jaxmnist.forms import Numbers

PROBED_EVERY: Final = 42


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    config = Config()
    rate = default_hyper(config)["learning_rate"]
    data = load_dataset("mnist").arrays()
    count = -(-data.train_labels.size // config.batch_size)
    probed = np.arange(count) % PROBED_EVERY == 0
    run = jax.jit(landscapes.network_steps, static_argnames="config")
    steps = run(jax.random.key(config.seed), jnp.float32(rate), data, config, jnp.asarray(probed))
    on_progress(1.0)
    return {
        "seed": config.seed,
        "learning_rate": rate,
        "first_order": steps.first_order,
        "second_order": steps.second_order,
        "measured": steps.measured,
        "curvature": steps.curvature,
        "probed": np.flatnonzero(probed),
        "largest_eigenvalue": steps.largest_eigenvalue[probed],
        "largest_rate": steps.largest_rate[probed],
    }


def _draw(data: Data) -> Figure:
    return plots.descent_network(
        **as_arrays(data, "first_order", "measured", "curvature", "probed"),
        **as_arrays(data, "largest_eigenvalue", "largest_rate"),
        learning_rate=data["learning_rate"],
    )


_FORM: Final = {
    "learning_rate": Numbers(),
    **dict.fromkeys(("first_order", "measured", "curvature"), Numbers("steps")),
    "probed": Numbers("probed", least=0, whole=True),
    **dict.fromkeys(("largest_eigenvalue", "largest_rate"), Numbers("probed")),
}

PICTURE: Final = Picture("descent_network", "D19", _compute, _draw, form=_FORM)
