"""The run in JAX: `make_train`'s program, every batch's metrics, and runs from perturbed starts."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxmnist import interop
from jaxmnist.config import Config, Hyper, default_hyper
from jaxmnist.data.batches import permutation
from jaxmnist.data.dataset import Arrays, Dataset
from jaxmnist.training import (
    BatchMetrics,
    History,
    Params,
    TrainState,
    init,
    make_train,
    model_and_optimizer,
    train_epoch,
)
from jaxmnist.verify.rounding import PERTURBATIONS


class Trained(NamedTuple):
    """Our training without evaluation, with every batch's metrics."""

    loss: Float[np.ndarray, "epochs batches"]
    accuracy: Float[np.ndarray, "epochs batches"]
    displacement: Mapping[str, np.ndarray]


class JaxRun(NamedTuple):
    """What our run measured."""

    start: Params
    orders: Int[np.ndarray, "epochs samples"]
    history: Mapping[str, Float[np.ndarray, " epochs"]]
    displacement: Mapping[str, np.ndarray]
    batches: Trained
    perturbed: tuple[Trained, ...]
    """The same from several starts, each perturbed by one ULP."""


def run_in_jax(config: Config, dataset: Dataset, dtype: str, perturb: bool) -> JaxRun:
    """Make our run, once as a whole and once more with every batch's metrics.

    Args:
        config: The run.
        dataset: The images.
        dtype: Of the weights and all arithmetic.
        perturb: Whether to repeat it from perturbed starts.

    Returns:
        What was measured.
    """
    # What the programs do not depend on is blanked, so that the next call finds them compiled.
    program = config.program()
    with jax.enable_x64(dtype == "float64"):
        key, data = jax.random.key(config.seed), dataset.arrays()
        constants = (program, dataset.num_classes, default_hyper(config), data)
        start = init(key, default_hyper(config), config, dataset.num_classes)
        # The documented rule: (seed, epoch) gives the order. It is written out here, and not taken
        # from `training`, so that a change there is found.
        _, data_key = jax.random.split(key)
        keys = [jax.random.fold_in(data_key, epoch) for epoch in range(config.epochs)]
        orders = jnp.stack([permutation(key, data.train_labels.size) for key in keys])

        def trained_from(params: Params) -> Trained:
            end, metrics = _all_batches(*constants, orders, start._replace(params=params))
            displacement = _displacement(end.params, params)
            loss, accuracy = (_every_batch(values, config, data) for values in metrics)
            return Trained(loss, accuracy, displacement)

        state, history = _whole_run(*constants, key)
        return JaxRun(
            start.params,
            np.asarray(orders),
            jax.device_get(history)._asdict(),
            _displacement(state.params, start.params),
            trained_from(start.params),
            tuple(
                trained_from(perturbed(start.params, (config.seed, number)))
                for number in range(PERTURBATIONS if perturb else 0)
            ),
        )


@partial(jax.jit, static_argnums=(0, 1))
def _whole_run(
    config: Config, num_classes: int, hyper: Hyper, data: Arrays, key: Key[Array, ""]
) -> tuple[TrainState, History]:
    return make_train(config, num_classes)(key, hyper, data)


@partial(jax.jit, static_argnums=(0, 1))
def _all_batches(
    config: Config,
    num_classes: int,
    hyper: Hyper,
    data: Arrays,
    orders: Int[Array, "epochs samples"],
    start: TrainState,
) -> tuple[TrainState, BatchMetrics]:
    """The run's training alone, from any start, with every batch's metrics."""
    model, tx = model_and_optimizer(config, num_classes, hyper)

    def epoch(state: TrainState, order: Int[Array, " samples"]) -> tuple[TrainState, BatchMetrics]:
        return train_epoch(
            state,
            order,
            data.train_images,
            data.train_labels,
            apply_fn=model.apply,
            tx=tx,
            batch_size=config.batch_size,
        )

    return jax.lax.scan(epoch, start, orders)


def _every_batch(
    values: Float[Array, "epochs made"], config: Config, data: Arrays
) -> Float[np.ndarray, "epochs batches"]:
    """A metric of every batch that the data has; NaN for one that was not made."""
    batches = -(-data.train_labels.size // config.batch_size)
    missing = max(0, batches - values.shape[1])
    return np.pad(np.asarray(values), ((0, 0), (0, missing)), constant_values=np.nan)


def perturbed(params: PyTree, seed: int | tuple[int, ...]) -> Params:
    """Move every weight to its next number up or down, at random.

    Args:
        params: Floating arrays, of JAX or NumPy.
        seed: Of the directions.

    Returns:
        The same structure, perturbed by one ULP.
    """
    generator = np.random.default_rng(seed)

    def perturb(leaf: Any) -> Array:
        values = np.asarray(leaf)
        towards = np.where(generator.random(values.shape) < 0.5, -np.inf, np.inf)
        return jnp.asarray(np.nextafter(values, towards.astype(values.dtype)))

    return jax.tree.map(perturb, params)


def _displacement(end: Params, start: Params) -> dict[str, np.ndarray]:
    """The difference of two trees of parameters, under PyTorch's names."""
    difference = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), end, start)
    return interop.params_to_state_dict(difference)
