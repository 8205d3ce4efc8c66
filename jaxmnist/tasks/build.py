"""A task from a model, an optimizer and a loss as people have them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

import jax
import optax
from jaxtyping import PyTree

from jaxmnist.config import Hyper
from jaxmnist.errors import InputError
from jaxmnist.interop.models import accepted, functions
from jaxmnist.tasks.value import Batch, Metrics, Model, Task

Loss = Callable[[Any, Any], Any]
"""``loss(outputs, targets)``: one number per example, or one for the batch."""


def task(
    model: Any,
    optimizer: optax.GradientTransformation | Callable[..., optax.GradientTransformation],
    loss: Loss,
    metrics: Mapping[str, Loss] = MappingProxyType({}),
    hyper: Mapping[str, Any] = MappingProxyType({}),
    transform: Callable[..., Batch] | None = None,
) -> Task:
    """Build a task from a model, an optimizer and a loss.

    Args:
        model: A Flax Linen module, a function that builds a Flax NNX or an Equinox module from a
            key, such a module, or a pair ``(init, apply)``; see `jaxmnist.interop.models`.
        optimizer: A function of the hyperparameters, ``lambda hyper:
            optax.adamw(hyper["learning_rate"], weight_decay=hyper["weight_decay"])``; or an Optax
            transformation, if no hyperparameter is to be swept or differentiated.
        loss: ``loss(outputs, targets)``, given the model's outputs and the second of a batch's
            pair: one number per example, or one for the batch.
        metrics: Further functions of that form by their names, such as an accuracy per example.
        hyper: Default values of the hyperparameters that ``optimizer`` reads.
        transform: ``transform(batch, key, training) -> (inputs, targets)``, applied to every batch
            inside the compiled step: normalisation, augmentation. By default the batch is such a
            pair already.

    Returns:
        The task, for `jaxmnist.make_train`, `jaxmnist.fit` and whatever else takes one.

    Raises:
        InputError: The model is of no known kind, the optimizer is none, or a metric has the name
            of the loss.

    >>> import jax.numpy as jnp
    >>> line = task(
    ...     (lambda key, x: jnp.zeros(x.shape[1]), lambda params, x: x @ params),
    ...     lambda hyper: optax.sgd(hyper["learning_rate"]),
    ...     lambda outputs, targets: (outputs - targets) ** 2,
    ...     hyper={"learning_rate": 0.1},
    ... )
    >>> model = line.init(jax.random.key(0), line.hyper, jnp.ones((1, 3)))
    >>> line.measure(model, (jnp.ones((2, 3)), jnp.array([1.0, 2.0])), None, False)
    ({'loss': Array([1., 4.], dtype=float32)}, {})
    """
    model_functions = functions(model)
    if "loss" in metrics:
        raise InputError("a metric is named loss, which is the name of the loss; rename it")
    for name, function in (("loss", loss), *metrics.items()):
        if not callable(function):
            raise InputError(
                f"{name} is a {type(function).__name__}; give a function of (outputs, targets)"
            )
    measured = {"loss": loss, **metrics}

    def prepared(batch: Batch, key: Any, training: bool) -> tuple[Any, Any]:
        if transform is not None:
            batch = transform(batch, _folded(key, 0), training)
        if not (isinstance(batch, tuple | list) and len(batch) == 2):
            raise InputError(
                f"a batch is a {type(batch).__name__}; the loss needs a pair (inputs, targets): "
                "give data of pairs, or a transform that returns one"
            )
        return batch[0], batch[1]

    def init(key: Any, hyper: Hyper, inputs: Any) -> Model:
        del hyper
        return Model(*model_functions.init(key, inputs))

    def measure(model: Model, batch: Batch, key: Any, training: bool) -> tuple[Metrics, PyTree]:
        if key is None and not training:
            key = jax.random.key(0)  # An evaluation has no randomness, whatever key it has.
        inputs, targets = prepared(batch, key, training)
        outputs, state = model_functions.apply(
            model.params, model.state, inputs, _folded(key, 1), training
        )
        return {name: each(outputs, targets) for name, each in measured.items()}, state

    def predict(model: Model, batch: Batch) -> Any:
        key = jax.random.key(0)
        inputs, _ = prepared(batch, key, False)
        outputs, _ = model_functions.apply(model.params, model.state, inputs, key, False)
        return outputs

    def inputs(batch: Batch) -> Any:
        return prepared(batch, jax.random.key(0), False)[0]

    return Task(init, measure, _as_function(optimizer), dict(hyper), inputs, predict)


def _folded(key: Any, index: int) -> Any:
    """Return one of a step's keys; there is none for a task that is trained without one."""
    return None if key is None else jax.random.fold_in(key, index)


def _as_function(optimizer: Any) -> Callable[[Hyper], optax.GradientTransformation]:
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        return lambda hyper: optimizer
    if callable(optimizer):
        if "learning_rate" in accepted(optimizer, {"learning_rate": None}):
            name = getattr(optimizer, "__name__", "optimizer")
            raise InputError(
                f"the optimizer {name} takes a learning_rate; give a function of the "
                f'hyperparameters, such as lambda hyper: {name}(hyper["learning_rate"])'
            )
        return cast(Callable[[Hyper], optax.GradientTransformation], optimizer)
    raise InputError(
        f"the optimizer is a {type(optimizer).__name__}; give an optax.GradientTransformation, "
        "or a function of the hyperparameters that returns one"
    )
