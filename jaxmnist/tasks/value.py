"""The type of a task: what is trained, as four pure functions and the default hyperparameters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Float, PyTree

from jaxmnist.config import Hyper

Batch = PyTree[Any]
"""The data, or some rows of it: arrays with a leading sample axis, such as a pair of two."""


class Model(NamedTuple):
    """A model's numbers."""

    params: PyTree[Array]
    """What the optimizer updates."""
    state: PyTree[Array]
    """What a training step replaces besides, such as batch statistics; ``{}`` if there is none."""


class BatchMetrics(NamedTuple):
    """The tutorial's metrics: of every sample of a batch, of one batch, or of several batches."""

    loss: Float[Array, "*steps"]
    """Cross-entropy, in nats; of a batch, its mean."""
    accuracy: Float[Array, "*steps"]
    """1 where the class is right and 0 elsewhere; of a batch, the share that is right."""


Metrics = Mapping[str, Any] | BatchMetrics
"""Arrays by name, ``loss`` among them."""


def first_of_pair(batch: Batch) -> Any:
    """Return the first of a pair, and anything else as it is.

    >>> first_of_pair(("images", "labels")), first_of_pair({"images": 0})
    ('images', {'images': 0})
    """
    return batch[0] if isinstance(batch, tuple | list) and len(batch) == 2 else batch


class Task(NamedTuple):
    """What a run trains. Every field but ``hyper`` is a pure function.

    A step on a batch minimises the mean over the batch of the metric ``loss``.

    >>> import jax.numpy as jnp
    >>> def measure(model, batch, key, training):
    ...     x, y = batch
    ...     return {"loss": (x @ model.params - y) ** 2}, model.state
    >>> line = Task(
    ...     init=lambda key, hyper, inputs: Model(jnp.zeros(inputs.shape[1]), {}),
    ...     measure=measure,
    ...     optimizer=lambda hyper: optax.sgd(hyper["learning_rate"]),
    ...     hyper={"learning_rate": 0.1},
    ... )
    >>> line.hyper
    {'learning_rate': 0.1}
    """

    init: Callable[..., Model]
    """``(key, hyper, inputs) -> Model``, the start. The key is the run's own. ``inputs`` are of a
    batch of one sample, what the field of that name returns, and are there for their shapes."""
    measure: Callable[..., tuple[Metrics, PyTree[Array]]]
    """``(model, batch, key, training) -> (metrics, state)``. Each metric is an array of one number
    per example, f[batch], or one number for the batch; then it has no per-sample mean. ``key`` is
    the step's own, for dropout and augmentation, and ``training`` a Python bool; an evaluation has
    no randomness, and its ``state`` is not kept."""
    optimizer: Callable[[Hyper], optax.GradientTransformation]
    """``hyper -> GradientTransformation`` from numbers that may be traced."""
    hyper: Hyper
    """Default hyperparameters by name."""
    inputs: Callable[[Batch], Any] = first_of_pair
    """What ``init`` is given of a batch: by default the first of a pair."""
    predict: Callable[[Model, Batch], Any] | None = None
    """``(model, batch) -> outputs`` of a batch as it is stored, without randomness, for `jaxmnist
    predict` and exports. None where a task has none."""

    def program(self) -> "Task":
        """Return the part that a compiled program depends on: the functions, without numbers.

        Two tasks with the same functions have the same program; this is the key to cache it by.
        """
        return self._replace(hyper={})  # See __hash__.

    def __hash__(self) -> int:
        """Hash the functions; the default hyperparameters are no part of a program."""
        return hash((self.init, self.measure, self.optimizer, self.inputs, self.predict))
