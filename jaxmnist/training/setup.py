"""The start of a run: model, optimizer and first state, in the precision of the config."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from jaxmnist import optim
from jaxmnist.config import Config, Hyper
from jaxmnist.errors import InputError
from jaxmnist.model import MLP
from jaxmnist.training.state import TrainState


def init(key: Key[Array, ""], hyper: Hyper, config: Config, num_classes: int = 10) -> TrainState:
    """Draw the initial weights and start the optimizer.

    Args:
        key: The run's key; the weights depend on it alone.
        hyper: The optimizer's float arguments, and perhaps ``init_scale``.
        config: Layers, optimizer and convention.
        num_classes: Number of logits.

    Returns:
        The state before the first step.

    Raises:
        InputError: The config's dtype is float64 while JAX's 64-bit numbers are off.
    """
    model, tx = model_and_optimizer(config, num_classes, hyper)
    init_key, _ = jax.random.split(key)
    dtype = jnp.float64 if config.dtype == "float64" else jnp.float32
    params = jax.tree.map(
        lambda leaf: leaf.astype(dtype), model.init(init_key, jnp.zeros((1, 28, 28)))
    )
    if "init_scale" in hyper:
        params = jax.tree.map(
            lambda leaf: jnp.asarray(hyper["init_scale"], leaf.dtype) * leaf, params
        )
    return TrainState(params, tx.init(params))


def model_and_optimizer(
    config: Config, num_classes: int, hyper: Hyper
) -> tuple[MLP, optax.GradientTransformation]:
    """Build the network and the optimizer of a run.

    Args:
        config: Layers, optimizer, convention and dtype.
        num_classes: Number of logits.
        hyper: The optimizer's float arguments. A dict of learning rates gives each layer an
            optimizer of its own; ``init_scale`` is for `init`, and is ignored here.

    Returns:
        The Flax module, and the optimizer for its parameters.

    Raises:
        InputError: The dict's layers are not the network's, the optimizer takes no such argument,
            or the config's dtype is float64 while JAX's 64-bit numbers are off.

    Source: tutorial rows D7, D8 and D20-D25.

    >>> from jaxmnist import default_hyper
    >>> model, tx = model_and_optimizer(Config(), 10, default_hyper(Config()))
    >>> model.hidden
    (256, 128, 64, 20)
    """
    check_precision(config)
    model = MLP(config.hidden, num_classes, config.dtype)
    arguments = {name: value for name, value in hyper.items() if name != "init_scale"}
    create = functools.partial(optim.create, config.optimizer, convention=config.convention)
    rates = arguments.get("learning_rate")
    if not isinstance(rates, dict):
        return model, create(**arguments)
    layers = [f"dense_{index}" for index in range(len(config.hidden) + 1)]
    if sorted(rates) != sorted(layers):
        raise InputError(
            f"learning_rate has the layers {', '.join(sorted(rates))}; "
            f"give one rate for each of {', '.join(layers)}"
        )
    each: dict[Any, optax.GradientTransformation] = {
        layer: create(**{**arguments, "learning_rate": rates[layer]}) for layer in layers
    }
    return model, optax.partition(each, {"params": {layer: layer for layer in layers}})


def check_precision(config: Config) -> None:
    """Refuse float64 where JAX would silently compute in float32.

    Args:
        config: The run.

    Raises:
        InputError: The config's dtype is float64 while JAX's 64-bit numbers are off.
    """
    if config.dtype == "float64" and jnp.result_type(float) != jnp.float64:
        raise InputError(
            "dtype is float64, and JAX's 64-bit numbers are off; "
            "put the call inside `with jax.enable_x64(True):`"
        )
