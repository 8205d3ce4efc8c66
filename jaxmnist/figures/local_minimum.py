"""Gradient descent leaving a local minimum, with the full gradient and with mini-batches (D15)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from jaxmnist import landscapes, plots
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Numbers
from jaxmnist.landscapes import SURFACES

STARTS: Final = np.linspace(-4.4, 3.4, 79)
RATES: Final = np.geomspace(0.02, 4, 60)
SAMPLES, BATCH_SIZE, EPOCHS, KEYS = 64, 4, 20, 16
PASS: Final = -1.0104719
"""Where between its two minima the surface with the dent is highest, on the line through both."""


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    function = SURFACES["local_minimum"].function
    tilts = landscapes.tilts(jax.random.key(0), SAMPLES, 1.5)

    def shares(keys: Key[Array, " keys"], batch_size: int) -> Float[Array, "rates starts"]:
        return landscapes.share_beyond(
            keys,
            jnp.asarray(STARTS),
            jnp.asarray(RATES),
            tilts,
            function=function,
            batch_size=batch_size,
            epochs=EPOCHS * batch_size // BATCH_SIZE,
            boundary=PASS,
        )

    keys = jax.random.split(jax.random.key(1), KEYS)
    full = shares(jax.random.split(jax.random.key(1), 1), SAMPLES)
    on_progress(0.3)
    batches = shares(keys, BATCH_SIZE)

    walks = []
    for rate, batch_size in ((0.1, SAMPLES), (1.2, SAMPLES), (0.4, BATCH_SIZE)):
        path = landscapes.descend(
            keys[0],
            jnp.array([-3.0, 0.0]),
            rate,
            tilts,
            function=function,
            batch_size=batch_size,
            epochs=60 * batch_size // SAMPLES,
        )
        walk = {"learning_rate": rate, "batch_size": batch_size}
        walks.append(
            {**walk, "path": path, "loss": jax.vmap(function)(path * jnp.array([[1.0, 0.0]]))}
        )
    x = jnp.linspace(-4.5, 3.5, 400)
    height = jax.vmap(lambda x: function(jnp.stack([x, jnp.zeros_like(x)])))(x)
    return {
        "profile": [x, height],
        "walks": walks,
        "starts": STARTS,
        "learning_rates": RATES,
        "full": full,
        "batches": batches,
        "batch_size": BATCH_SIZE,
        "samples": SAMPLES,
        "keys": KEYS,
        "steps": EPOCHS * SAMPLES // BATCH_SIZE,
    }


def _draw(data: Data) -> Figure:
    starts, rates = np.array(data["starts"]), np.array(data["learning_rates"])
    full, batches = np.array(data["full"]), np.array(data["batches"])
    walks = {}
    for walk in data["walks"]:
        everything = walk["batch_size"] == data["samples"]
        how = "Full gradient" if everything else f"Batches of {walk['batch_size']}"
        x = np.array(walk["path"])[:, 0]
        fate = "escapes" if x[-1] > PASS else "stays"
        walks[f"{how}, rate {walk['learning_rate']:g}: {fate}"] = np.stack([x, walk["loss"]])
    # Of the runs that begin left of the pass, which rates bring out more than half.
    trapped = starts < PASS
    smallest = [rates[(share[:, trapped].mean(axis=1) > 0.5).argmax()] for share in (full, batches)]
    return plots.local_minimum(
        np.array(data["profile"]),
        PASS,
        walks,
        starts,
        rates,
        {
            "Full gradient": full,
            f"Mini-batches of {data['batch_size']} of {data['samples']} samples, "
            f"{data['keys']} orders": batches,
        },
        f"From the left of a local minimum most runs escape in {data['steps']} steps at rates from "
        f"{smallest[0]:.2f} with the full\ngradient, which overshoots, and from {smallest[1]:.2f} "
        "with mini-batches, whose noise carries them out (and, far above, back in)",
    )


_FORM: Final = {
    "profile": Numbers("2 profile"),
    "walks": [
        {
            "learning_rate": Numbers(),
            "batch_size": Numbers(whole=True),
            "path": Numbers("points 2"),
            "loss": Numbers("points"),
        }
    ],
    "starts": Numbers("starts"),
    "learning_rates": Numbers("rates"),
    **dict.fromkeys(("full", "batches"), Numbers("rates starts", 0, 1)),
    **dict.fromkeys(("batch_size", "samples", "keys", "steps"), Numbers(least=1, whole=True)),
}

PICTURE: Final = Picture("local_minimum", "D15", _compute, _draw, form=_FORM)
