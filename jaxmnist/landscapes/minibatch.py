"""Gradient descent on a surface as on data: a mean over samples, and mini-batches of them."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxmnist.errors import InputError


def tilts(key: Key[Array, ""], samples: int, scale: float) -> Float[Array, "samples 2"]:
    """Samples whose losses are a surface tilted in different directions, and on average not.

    Sample i has the loss f(w) + a_i·w with Σ a_i = 0, so the loss over all samples is f itself,
    and a mini-batch's gradient is f's plus the mean of its tilts.

    Args:
        key: Of the tilts.
        samples: How many.
        scale: Their root mean square in each direction.

    Returns:
        The tilts a_i.

    Raises:
        InputError: There are fewer than two samples: a single tilt with the mean 0 is 0.

    Source: tutorial row D15.

    >>> a = tilts(jax.random.key(0), 64, 2.0)
    >>> bool(abs(a.mean()) < 1e-6), round(float(a.std()), 4)
    (True, 2.0)
    """
    if samples < 2:
        raise InputError(f"samples is {samples}; it must be a whole number of at least 2")
    drawn = jax.random.normal(key, (samples, 2))
    centred = drawn - drawn.mean(axis=0, keepdims=True)
    return scale * centred / centred.std(axis=0, keepdims=True)


@functools.partial(jax.jit, static_argnames=("function", "batch_size", "epochs"))
def descend(
    key: Key[Array, ""],
    start: Float[Array, "2"],
    learning_rate: Float[Array, ""] | float,
    tilts: Float[Array, "samples 2"],
    *,
    function: Callable[[Float[Array, "2"]], Float[Array, ""]],
    batch_size: int,
    epochs: int,
) -> Float[Array, "points 2"]:
    """Train two parameters on tilted samples with SGD, in epochs of mini-batches.

    Args:
        key: Of the samples' order; each epoch has its own.
        start: The point to begin at.
        learning_rate: SGD's.
        tilts: The samples, as `tilts` makes them.
        function: The loss over all samples.
        batch_size: How many samples a step takes; all of them give the full gradient.
        epochs: How often each sample is taken.

    Returns:
        The start and the point after each step, of which there are epochs · samples / batch_size.

    Raises:
        InputError: The samples do not divide into such batches.

    Source: tutorial row D15.

    >>> a = tilts(jax.random.key(0), 4, 1.0)
    >>> start = jnp.array([1.0, 2.0])
    >>> path = descend(
    ...     jax.random.key(1), start, 0.5, a, function=lambda w: w @ w, batch_size=4, epochs=1
    ... )
    >>> bool(jnp.allclose(path, jnp.array([[1.0, 2.0], [0.0, 0.0]]), atol=1e-6))
    True
    """
    samples = len(tilts)
    if not 1 <= batch_size <= samples or samples % batch_size:
        raise InputError(
            f"batch_size is {batch_size}; it must be a whole number of at least 1 that divides "
            f"the {samples} samples"
        )

    def batch_loss(w: Float[Array, "2"], batch: Float[Array, "batch 2"]) -> Float[Array, ""]:
        return jax.vmap(lambda tilt: function(w) + tilt @ w)(batch).mean()

    def step(w, batch):
        return w - learning_rate * jax.grad(batch_loss)(w, batch), w

    def epoch(w, index):
        order = jax.random.permutation(jax.random.fold_in(key, index), samples)
        return jax.lax.scan(step, w, tilts[order].reshape(-1, batch_size, 2))

    end, before = jax.lax.scan(epoch, start, jnp.arange(epochs))
    return jnp.concatenate([before.reshape(-1, 2), end[None]])


@functools.partial(jax.jit, static_argnames=("function", "batch_size", "epochs"))
def share_beyond(
    keys: Key[Array, " keys"],
    starts: Float[Array, " starts"],
    learning_rates: Float[Array, " rates"],
    tilts: Float[Array, "samples 2"],
    *,
    function: Callable[[Float[Array, "2"]], Float[Array, ""]],
    batch_size: int,
    epochs: int,
    boundary: Float[Array, ""] | float,
) -> Float[Array, "rates starts"]:
    """Compute which share of runs of `descend` ends at an x beyond a boundary.

    Args:
        keys: One per run, of the samples' order.
        starts: The x to begin at; y is 0.
        learning_rates: SGD's.
        tilts: The samples, as `tilts` makes them.
        function: The loss over all samples.
        batch_size: How many samples a step takes.
        epochs: How often each sample is taken.
        boundary: An x, such as that of a pass between two minima.

    Returns:
        The mean over the keys, from 0 to 1.

    Raises:
        InputError: The samples do not divide into such batches.

    Source: tutorial row D15.

    >>> a = tilts(jax.random.key(0), 4, 0.0)
    >>> keys = jax.random.split(jax.random.key(1), 2)
    >>> starts, rates = jnp.array([-1.0, 1.0]), jnp.array([0.1, 0.9])
    >>> print(share_beyond(keys, starts, rates, a, function=lambda w: w @ w, batch_size=4,
    ...     epochs=1, boundary=0.0))
    [[0. 1.]
     [1. 0.]]
    """

    def is_beyond(key, x, rate):
        start = jnp.stack([x, jnp.zeros_like(x)])
        path = descend(
            key, start, rate, tilts, function=function, batch_size=batch_size, epochs=epochs
        )
        return path[-1, 0] > boundary

    over_starts = jax.vmap(is_beyond, in_axes=(None, 0, None))
    over_rates = jax.vmap(over_starts, in_axes=(None, None, 0))
    over_keys = jax.vmap(over_rates, in_axes=(0, None, None))
    return over_keys(keys, starts, learning_rates).mean(axis=0)
