"""Part D of the document: how long the optimizers' steps are (D21 to D26)."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxmnist import optim, plots
from jaxmnist.figures.picture import Data, Picture, Report
from jaxmnist.plots import style


def step_lengths(
    tx: optax.GradientTransformation, gradients: Float[Array, " steps"]
) -> Float[Array, " steps"]:
    """Run an optimizer on a given sequence of gradients of one parameter.

    Args:
        tx: The optimizer.
        gradients: In the order in which it sees them.

    Returns:
        How far each update moves against the gradient's sign: minus the update.

    Source: document rows D21 to D26.

    >>> print(step_lengths(optim.momentum(1.0, momentum=0.5), jnp.ones(4)))
    [1.    1.5   1.75  1.875]
    """

    def step(state: Any, gradient: Float[Array, ""]) -> tuple[Any, Float[Array, ""]]:
        update, state = tx.update(gradient, state)
        return state, -jnp.asarray(update)

    return jax.lax.scan(step, tx.init(jnp.zeros(())), gradients)[1]


def _terminal_velocity(report: Report) -> Mapping[str, Any]:
    del report
    factors = (0.0, 0.5, 0.9)
    rate, gradient = 0.01, 2.0
    gradients = jnp.full(60, gradient)
    return {
        "factors": factors,
        "velocities": [
            step_lengths(optim.momentum(rate, momentum=factor), gradients) / (rate * gradient)
            for factor in factors
        ],
    }


def _draw_terminal_velocity(data: Data) -> Figure:
    return plots.terminal_velocity(np.array(data["factors"]), np.array(data["velocities"]))


def _step_sizes(report: Report) -> Mapping[str, Any]:
    del report
    shown = np.unique(np.geomspace(1, 10_000, 120).astype(int)) - 1
    drop, factor = 300, 0.1
    constant = jnp.ones(10_000)
    falling = jnp.where(jnp.arange(1500) < drop, 1.0, factor)
    optimizers = {name: optim.create(name) for name in style.OPTIMIZERS}
    return {
        "updates": shown + 1,
        "constant": {name: step_lengths(tx, constant)[shown] for name, tx in optimizers.items()},
        "drop": drop,
        "factor": factor,
        "falling_updates": np.arange(0, 1500, 4) + 1,
        "falling": {name: step_lengths(tx, falling)[::4] for name, tx in optimizers.items()},
    }


def _draw_step_sizes(data: Data) -> Figure:
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


def _bias_correction(report: Report) -> Mapping[str, Any]:
    del report
    b1, b2, rate = 0.9, 0.999, 0.001
    shown = np.unique(np.geomspace(1, 10_000, 160).astype(int))
    gradients = jnp.ones(10_000)
    corrected = step_lengths(optim.adam(rate, b1=b1, b2=b2), gradients)
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


def _draw_bias_correction(data: Data) -> Figure:
    names = ("updates", "b1_power", "b2_power", "corrected", "uncorrected")
    return plots.bias_correction(
        **{name: np.array(data[name]) for name in names}, b1=data["b1"], b2=data["b2"]
    )


PICTURES: Final = (
    Picture("terminal_velocity", "D21", _terminal_velocity, _draw_terminal_velocity),
    Picture("step_sizes", "D22, D23, D24, D25", _step_sizes, _draw_step_sizes),
    Picture("bias_correction", "D26", _bias_correction, _draw_bias_correction),
)
