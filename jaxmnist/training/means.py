"""From the metrics of examples to those of batches, and of batches to those of an epoch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxmnist.errors import InputError
from jaxmnist.tasks.value import Batch, BatchMetrics
from jaxmnist.training.state import HasBatchSizes, History, Metered, samples_in


class Means(NamedTuple):
    """A batch's metrics, or those of several batches stacked on the first axis."""

    per_example: Any
    """Means of what was measured on every example: `BatchMetrics`, or a mapping by name."""
    per_batch: Mapping[str, Float[Array, "*steps"]]
    """What was measured on the batch as a whole, by name."""

    @property
    def loss(self) -> Any:
        """The loss, which one of the two has: an array of JAX, or of NumPy on the host."""
        return self.by_name()["loss"]

    def by_name(self) -> dict[str, Any]:
        """Return all of them by name."""
        return {**_by_name(self.per_example), **self.per_batch}


def batch_means(metrics: Any, batch: Batch) -> Means:
    """Average each metric over a batch.

    Args:
        metrics: Arrays of one number per example, or one number for the batch, by name.
        batch: What they were measured on.

    Returns:
        One number by name.

    Raises:
        InputError: They have no ``loss``, or one is of another shape.

    >>> measured = {"loss": jnp.array([1.0, 2.0]), "rate": jnp.array(0.5)}
    >>> means = batch_means(measured, jnp.zeros((2, 3)))
    >>> float(means.per_example["loss"]), float(means.per_batch["rate"])
    (1.5, 0.5)
    """
    samples = samples_in(batch, "the batch")
    named = _by_name(metrics)
    if "loss" not in named:
        raise InputError(
            f"the task's measure returned the metrics {', '.join(named) or 'of none'}; one must be "
            "named loss"
        )
    per_example, per_batch = {}, {}
    for name, values in named.items():
        if not _is_numbers(values):
            raise InputError(
                f"the metric {name} is a {type(values).__name__}; it must be an array: one number "
                f"per example, ({samples},), or one for the batch, ()"
            )
        shape = jnp.shape(values)
        if shape == (samples,):
            per_example[name] = jnp.mean(values)
        elif shape == ():
            per_batch[name] = jnp.asarray(values)
        else:
            raise InputError(
                f"the metric {name} has shape {shape} on a batch of {samples}; it must be one "
                f"number per example, ({samples},), or one for the batch, ()"
            )
    if isinstance(metrics, BatchMetrics) and not per_batch:
        return Means(BatchMetrics(**per_example), {})
    return Means(per_example, per_batch)


def average(metrics: Any, batch_size: int, samples: int) -> tuple[Any, Any]:
    """Average an epoch's batches in both ways: each batch the same, and each sample the same.

    Args:
        metrics: Each batch's metrics, `BatchMetrics` or a mapping; all batches are full but
            perhaps the last.
        batch_size: Samples in a full batch.
        samples: Samples in all batches.

    Returns:
        The mean over batches, as the tutorial takes it, and the mean over samples.

    Source: tutorial row D9.

    >>> metrics = BatchMetrics(loss=jnp.array([1.0, 4.0]), accuracy=jnp.array([0.5, 1.0]))
    >>> [float(means.loss) for means in average(metrics, batch_size=2, samples=3)]
    [2.5, 2.0]
    """

    def over_samples(values: Float[Array, " steps"]) -> Float[Array, ""]:
        sizes = jnp.minimum(batch_size, samples - batch_size * jnp.arange(values.size))
        return jnp.sum(values * (sizes.astype(values.dtype) / samples))

    return jax.tree.map(jnp.mean, metrics), jax.tree.map(over_samples, metrics)


def epoch_metrics(
    batches: HasBatchSizes, train: Means, test: Means, train_samples: int, test_samples: int
) -> Metered:
    """Put an epoch's averages into the order of a history.

    Args:
        batches: The batch sizes.
        train: Each training batch's metrics.
        test: Each test batch's metrics.
        train_samples: Samples in all training batches.
        test_samples: Samples in all test batches.

    Returns:
        The means over batches, and over samples where there are metrics per example, each one
        number: a `History` for the tutorial's metrics, a mapping for others.

    Raises:
        InputError: Training and evaluation have other metrics.
    """
    check_same_metrics(train, test, "training", "an evaluation")
    train_means = average(train.per_example, batches.batch_size, train_samples)
    test_means = average(test.per_example, batches.eval_batch_size, test_samples)
    if isinstance(train.per_example, BatchMetrics) and isinstance(test.per_example, BatchMetrics):
        return History(*train_means[0], *test_means[0], *train_means[1], *test_means[1])
    named: dict[str, Any] = {}
    for prefix, means, per_batch in (
        ("train", train_means, train.per_batch),
        ("eval", test_means, test.per_batch),
    ):
        for suffix, values in zip(("", "_per_sample"), means, strict=True):
            named |= {f"{prefix}_{name}{suffix}": x for name, x in _by_name(values).items()}
        named |= {f"{prefix}_{name}": jnp.mean(x) for name, x in per_batch.items()}
    return named


def check_same_metrics(first: Means, second: Means, training: str, evaluation: str) -> None:
    """Refuse metrics that one kind of batch has and another has not, or has in another form.

    Args:
        first: Of one kind of batch.
        second: Of another.
        training: What the first is called.
        evaluation: What the second is called.

    Raises:
        InputError: A metric has no twin, or is of every example in one and of the batch in the
            other.
    """
    forms = [
        dict.fromkeys(_by_name(means.per_example), "one number per example")
        | dict.fromkeys(means.per_batch, "one number for the batch")
        for means in (first, second)
    ]
    for name in [*forms[0], *forms[1]]:
        one, other = (form.get(name, "nothing") for form in forms)
        if one != other:
            raise InputError(
                f"the metric {name} is {one} in {training} and {other} in {evaluation}; it must be "
                "the same in every batch"
            )


def _is_numbers(values: Any) -> bool:
    return isinstance(values, (jax.Array, np.ndarray, np.generic, bool, int, float))


def _by_name(metrics: Any) -> Mapping[str, Any]:
    if isinstance(metrics, BatchMetrics):
        return metrics._asdict()
    if not isinstance(metrics, Mapping):
        raise InputError(
            f"the task's measure returned metrics of type {type(metrics).__name__}; it must return "
            "({'loss': …, …}, state)"
        )
    return metrics
