"""Every step of an epoch of SGD on the network: its predicted and its measured effect (row D19)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxmnist import optim
from jaxmnist.calculus import gradient_steps, largest_decreasing_rate, largest_eigenvalue
from jaxmnist.config import Config
from jaxmnist.data import Arrays
from jaxmnist.model import MLP
from jaxmnist.training import (
    TrainState,
    epoch_order,
    eval_step,
    init,
    scan_batches,
    train_step,
)


class NetworkSteps(NamedTuple):
    """The change of the batch's loss at every step of an epoch, predicted and measured."""

    loss: Float[Array, " steps"]
    """The batch's loss before the step."""
    first_order: Float[Array, " steps"]
    """``-η‖g‖²``."""
    second_order: Float[Array, " steps"]
    """``-η‖g‖² + η²/2 gᵀHg``, with the Hessian of the batch's loss."""
    measured: Float[Array, " steps"]
    """The same batch's loss after the step, minus before."""
    curvature: Float[Array, " steps"]
    """``gᵀHg / ‖g‖²``."""
    largest_eigenvalue: Float[Array, " steps"]
    """Of H; NaN at the steps that are not probed."""
    largest_rate: Float[Array, " steps"]
    """The largest η that lowers the batch's loss; NaN at the steps that are not probed."""


def network_steps(
    key: Key[Array, ""],
    learning_rate: Float[Array, ""],
    data: Arrays,
    config: Config,
    probed: Bool[Array, " steps"],
) -> NetworkSteps:
    """Take the first epoch of a run of SGD, and compare every step with its prediction.

    The weights, the order of the images and the steps are those of `jaxmnist.make_train`.

    Args:
        key: The run's key.
        learning_rate: η.
        data: Images and labels; the test set is not read.
        config: Layers and batch size; the optimizer is SGD.
        probed: True at the steps where the eigenvalue and the largest rate are computed, which
            takes hundreds of times as long as a step.

    Returns:
        One value per step, the short last batch included.

    Source: tutorial row D19.
    """
    apply_fn = MLP(config.hidden).apply
    tx = optim.sgd(learning_rate)
    rates = jnp.geomspace(1e-3, 1e3, 61)
    samples = data.train_labels.size
    order = epoch_order(key, 0, samples)

    def step(
        state: TrainState, inputs: tuple[Int[Array, " batch"], Int[Array, ""], Bool[Array, ""]]
    ) -> tuple[TrainState, NetworkSteps]:
        batch, index, is_probed = inputs
        images, labels = data.train_images[batch], data.train_labels[batch]

        def loss(params: Any) -> Float[Array, ""]:
            return eval_step(params, images, labels, apply_fn=apply_fn).loss

        def probe(params: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
            return (
                largest_eigenvalue(loss, params, jax.random.fold_in(key, index)).value,
                largest_decreasing_rate(loss, params, rates),
            )

        predicted = gradient_steps(loss, state.params, learning_rate[None])
        eigenvalue, largest_rate = jax.lax.cond(
            is_probed, probe, lambda _: (jnp.array(jnp.nan),) * 2, state.params
        )
        after, before = train_step(state, images, labels, apply_fn=apply_fn, tx=tx)
        return after, NetworkSteps(
            loss=before.loss,
            first_order=predicted.first_order[0],
            second_order=predicted.second_order[0],
            measured=loss(after.params) - before.loss,
            curvature=predicted.curvature,
            largest_eigenvalue=eigenvalue,
            largest_rate=largest_rate,
        )

    def numbered(
        carry: tuple[TrainState, Int[Array, ""]], batch: Int[Array, " batch"]
    ) -> tuple[tuple[TrainState, Int[Array, ""]], NetworkSteps]:
        state, index = carry
        state, row = step(state, (batch, index, probed[index]))
        return (state, index + 1), jax.tree.map(lambda value: value[None], row)

    start = init(key, {"learning_rate": learning_rate}, config), jnp.array(0)
    _, steps = scan_batches(numbered, start, order, config.batch_size)
    return steps
