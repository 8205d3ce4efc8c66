"""The tutorial's task: its network, cross-entropy and one of the six optimizers (D5 to D9)."""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxmnist import optim
from jaxmnist.config import Config, Hyper, default_hyper
from jaxmnist.data.batches import normalize
from jaxmnist.errors import InputError
from jaxmnist.losses import correct, cross_entropy_per_sample
from jaxmnist.model import MLP
from jaxmnist.tasks.value import Batch, BatchMetrics, Model, Task, first_of_pair


def tutorial_task(config: Config, num_classes: int = 10) -> Task:
    """Return the tutorial's task: `MLP`, mean cross-entropy, and an optimizer by name.

    Args:
        config: Layers, optimizer, convention and dtype; the learning rate becomes the default.
        num_classes: Number of logits.

    Returns:
        The task. Two configs with the same program have the same functions, so that what was
        compiled for one serves the other.

    Raises:
        InputError: When used, if the config's dtype is float64 while JAX's 64-bit numbers are off.

    Source: tutorial rows D5, D7 to D9 and D20 to D25.

    >>> tutorial_task(Config(optimizer="momentum")).hyper
    {'learning_rate': 0.01, 'momentum': 0.9}
    """
    # The functions depend neither on numbers nor on how long and in what batches they are used.
    blank = replace(config.program(), epochs=1, batch_size=1, eval_batch_size=1)
    return _program(blank, num_classes)._replace(hyper=default_hyper(config))


@functools.lru_cache(maxsize=128)
def _program(config: Config, num_classes: int) -> Task:
    def init(key: Key[Array, ""], hyper: Hyper, inputs: Any) -> Model:
        del inputs  # The network is one for 28x28 images, whatever it is shown.
        return Model(initial_params(key, hyper, config, num_classes), {})

    def optimizer(hyper: Hyper) -> optax.GradientTransformation:
        return model_and_optimizer(config, num_classes, hyper)[1]

    def predict(model: Model, batch: Batch) -> Float[Array, "batch classes"]:
        return apply_fn(model.params, inputs(first_of_pair(batch), model.params))

    apply_fn: Any = MLP(config.hidden, num_classes, config.dtype).apply
    return Task(init, classification(apply_fn), optimizer, {}, predict=predict)


def classification(apply_fn: Any) -> Any:
    """Return a task's ``measure`` for a classifier of images, without state or randomness.

    Args:
        apply_fn: ``apply_fn(params, x) -> logits``.

    Returns:
        ``measure(model, (images, labels), key, training)`` with every sample's cross-entropy and
        whether its class is right.

    Source: tutorial rows D8 and D9.
    """

    def measure(
        model: Model, batch: tuple[Any, Any], key: Any, training: bool
    ) -> tuple[BatchMetrics, PyTree[Array]]:
        del key, training
        images, labels = batch
        labels = class_labels(labels)
        logits = apply_fn(model.params, inputs(images, model.params))
        losses = cross_entropy_per_sample(logits, labels)
        return BatchMetrics(losses, correct(logits, labels)), model.state

    return measure


def initial_params(
    key: Key[Array, ""], hyper: Hyper, config: Config, num_classes: int
) -> PyTree[Array]:
    """Draw the network's parameters, in the precision of the config.

    Args:
        key: The run's key; the weights depend on it alone.
        hyper: Of it only ``init_scale`` is read, if it is there.
        config: Layers and dtype.
        num_classes: Number of logits.

    Returns:
        The parameters.

    Raises:
        InputError: The config's dtype is float64 while JAX's 64-bit numbers are off.

    Source: tutorial row D7.
    """
    check_precision(config)
    init_key, _ = jax.random.split(key)
    dtype = jnp.float64 if config.dtype == "float64" else jnp.float32
    model = MLP(config.hidden, num_classes, config.dtype)
    params = jax.tree.map(
        lambda leaf: leaf.astype(dtype), model.init(init_key, jnp.zeros((1, 28, 28)))
    )
    if "init_scale" not in hyper:
        return params
    return jax.tree.map(lambda leaf: jnp.asarray(hyper["init_scale"], leaf.dtype) * leaf, params)


def model_and_optimizer(
    config: Config, num_classes: int, hyper: Hyper
) -> tuple[MLP, optax.GradientTransformation]:
    """Build the network and the optimizer of a run.

    Args:
        config: Layers, optimizer, convention and dtype.
        num_classes: Number of logits.
        hyper: The optimizer's float arguments. A dict of learning rates gives each layer an
            optimizer of its own; ``init_scale`` is for `initial_params`, and is ignored here.

    Returns:
        The Flax module, and the optimizer for its parameters.

    Raises:
        InputError: The dict's layers are not the network's, the optimizer takes no such argument,
            or the config's dtype is float64 while JAX's 64-bit numbers are off.

    Source: tutorial rows D7, D8 and D20-D25.

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


def inputs(images: Array | np.ndarray, params: PyTree[Array]) -> Float[Array, "*shape"]:
    """Bring images into the form and the precision in which a model takes them.

    Args:
        images: Bytes, which are normalised as the tutorial's transform does it; or floating
            numbers, which are taken as they are.
        params: The model's parameters.

    Returns:
        The images in float64 if a parameter is, else in float32.

    Raises:
        InputError: They are of another dtype, such as int32, whose range is not known.

    Source: tutorial row D5.

    >>> params = jnp.zeros(1)
    >>> print(inputs(jnp.array([0, 255], jnp.uint8), params), inputs(jnp.array([0.5]), params))
    [-1.  1.] [0.5]
    """
    is_wide = any(jnp.result_type(leaf) == jnp.float64 for leaf in jax.tree.leaves(params))
    dtype = jnp.float64 if is_wide else jnp.float32
    images = jnp.asarray(images)
    if images.dtype == jnp.uint8:
        return normalize(images, dtype)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"images have dtype {images.dtype}; give uint8, which is normalised from 0 ... 255 to "
            "-1 ... 1, or floating numbers, which are taken as they are"
        )
    return images.astype(dtype)


def class_labels(labels: Array | np.ndarray) -> Int[Array, " batch"]:
    """Return labels as an array, or refuse what numbers no classes.

    Args:
        labels: Classes, of any integer dtype.

    Returns:
        The same.

    Raises:
        InputError: They are not integers.
    """
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InputError(
            f"labels have dtype {labels.dtype}; cross-entropy needs the classes as integers, "
            "0 to classes - 1"
        )
    return labels
