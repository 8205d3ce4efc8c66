"""How long the six optimizers take to leave a saddle (D16)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import landscapes, optim, plots
from jaxmnist.conventions import hyperparameters
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.figures.race import RACE, as_race, as_terrain, race_data
from jaxmnist.forms import Each, Numbers
from jaxmnist.landscapes import SURFACES
from jaxmnist.plots import style

OFFSETS: Final = 10.0 ** np.linspace(-12, -1, 56)
LEFT: Final = 0.5
"""Distance from the ridge at which a run has left the saddle."""
PATIENCE: Final = 20_000
"""Steps of a run; one that has not left by then counts as never leaving."""


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    surface = SURFACES["saddle"]
    data = race_data("saddle")
    defaults = [hyperparameters(name)["learning_rate"] or 1.0 for name in optim.NAMES]
    rates = {"race": jnp.asarray(data["race"]["learning_rate"]), "document": jnp.asarray(defaults)}
    starts = jnp.stack([jnp.full(len(OFFSETS) + 1, surface.start[0]), jnp.append(OFFSETS, 0.0)], 1)

    @jax.jit
    def leave(rates):
        paths = landscapes.trajectories(
            surface.function, optim.NAMES, rates[:, None], starts, PATIENCE
        )
        return landscapes.first_step(jnp.abs(paths[:, 0, :, :, 1]) > LEFT)

    counts = {}
    for index, (choice, chosen) in enumerate(rates.items()):
        counts[choice] = {"learning_rates": chosen, "steps": leave(chosen)}
        on_progress((index + 1) / 2)
    return {
        **data,
        "offsets": OFFSETS,
        "choices": counts,
        "patience": PATIENCE,
        "hessian": jax.hessian(surface.function)(jnp.zeros(2)),
        "eigenvalues": jnp.linalg.eigvalsh(jax.hessian(surface.function)(jnp.zeros(2))),
    }


def _draw(data: Data) -> Figure:
    result, names = as_race(data), data["optimizers"]
    seen = slice(0, 24)  # Until all have left; later they would only circle the minimum.
    choices = {}
    for title, choice in (("Rates as in the race", "race"), ("The tutorial's rates", "document")):
        counts = np.array(data["choices"][choice]["steps"], float)[:, :-1]
        counts[counts < 0] = np.nan
        choices[title] = dict(zip(names, counts, strict=True))
    start = SURFACES["saddle"].start[1]
    race = choices["Rates as in the race"]
    column = int(np.abs(np.log(np.array(data["offsets"]) / start)).argmin())
    far, near = ([race[name][at] for name in ("sgd", "adam")] for at in (column, 0))
    return plots.saddle(
        as_terrain(data),
        dict(zip(names, np.asarray(result.path)[:, seen], strict=True)),
        dict(zip(names, np.asarray(result.loss)[:, seen], strict=True)),
        np.array(data["eigenvalues"])[::-1],
        np.array(data["offsets"]),
        choices,
        f"At a saddle the gradient is 0 and the Hessian's eigenvalues are {_pair(data)}. From "
        f"{start:g} off the ridge SGD leaves\nit after {far[0]:g} steps and Adam after {far[1]:g}, "
        f"from {data['offsets'][0]:g} after {near[0]:g} and {near[1]:g}; from the ridge itself "
        "none escapes",
    )


def _pair(data: Data) -> str:
    """The two eigenvalues, the positive one first."""
    low, high = sorted(data["eigenvalues"])
    return f"{high:+g} and {low:+g}"


def _table(data: Data) -> str:
    offsets = [1e-1, 1e-3, 1e-6, 1e-9, 1e-12]
    columns = [int(np.abs(np.log(data["offsets"]) - np.log(offset)).argmin()) for offset in offsets]
    lines = [
        "| optimizer | learning rate | "
        + " | ".join(f"from {o:g}" for o in offsets)
        + " | from 0 |",
        "|---" * (len(offsets) + 3) + "|",
    ]
    for choice in data["choices"].values():
        rows = zip(data["optimizers"], choice["learning_rates"], choice["steps"], strict=True)
        for name, rate, steps in rows:
            cells = [steps[column] for column in [*columns, -1]]
            shown = " | ".join("never" if count < 0 else str(count) for count in cells)
            lines.append(f"| {style.OPTIMIZERS[name].label} | {rate:.3g} | {shown} |")
    return (
        f"Steps until |y| > {LEFT} on the saddle x² - y² + y⁴/4, from (-1.2, offset); never means "
        f"not in {data['patience']}. Above, the race's learning rates; below, the tutorial's "
        "(Adadelta has none, which is 1).\n\n" + "\n".join(lines) + "\n"
    )


_FORM: Final = {
    **RACE,
    "offsets": Numbers("offsets"),
    "choices": Each(
        {"learning_rates": Numbers("6"), "steps": Numbers("6 starts", least=-1, whole=True)},
        ("race", "document"),
    ),
    "patience": Numbers(least=1, whole=True),
    "eigenvalues": Numbers("2"),
}

PICTURE: Final = Picture("saddle", "D16", _compute, _draw, table=_table, form=_FORM)
