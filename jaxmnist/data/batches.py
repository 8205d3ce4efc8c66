"""From stored images to the batches of an epoch: normalisation and the shuffled order."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key, UInt8


def normalize(
    images: UInt8[Array, "*shape"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "*shape"]:
    """Map bytes 0 ... 255 to [-1, 1] as the tutorial's transform does, to the last bit.

    ``(x / 255 - 0.5) / 0.5``, every operation rounded on its own.

    Args:
        images: Pixels in uint8, of any shape.
        dtype: Of the result and the arithmetic: float32, as the tutorial's, or float64.

    Returns:
        The same shape in that dtype.

    Source: tutorial row D5.

    >>> print(normalize(jnp.array([0, 51, 255], dtype=jnp.uint8)))
    [-1.  -0.6  1. ]
    """
    pixels = images.astype(dtype)
    # XLA would turn a division by 255 into a product with its rounded reciprocal, which is off by
    # one bit for 126 of the 256 values. x/255 = x/256 + x/(256 255) rounds as the division does:
    # the first term is exact, and the second is too small for its own rounding to show.
    unit = pixels * (1 / 256) + pixels * (1 / (256 * 255))
    return (unit - 0.5) / 0.5


def permutation(key: Key[Array, ""], size: int) -> Int[Array, " size"]:
    """Return the numbers 0 ... size - 1 in a random order, each order equally likely.

    A radix sort by random tags, done in passes: each pass gives every position a random tag in
    the upper bits of a word, its number in the lower bits, and sorts the words. After enough
    passes no two elements share all their tags: they agree with probability below
    ``1 / (2 size)``. Sorting bare words takes less than half the time of
    `jax.random.permutation`, which sorts pairs, a measurable share of an epoch.

    Args:
        key: The source of randomness.
        size: How many, at least 1 and below 2**24.

    Returns:
        int32 permutation.

    Source: the shuffle of tutorial row D6.

    >>> print(permutation(jax.random.key(0), 5).sort())
    [0 1 2 3 4]
    """
    position_bits = max(size - 1, 1).bit_length()
    tag_bits = 32 - position_bits
    passes = -(-3 * position_bits // tag_bits)
    position = jnp.arange(size, dtype=jnp.uint32)
    order = position
    for tags in jax.random.bits(key, (passes, size), dtype=jnp.uint32):
        words = jnp.sort((tags << position_bits) | position)
        order = order[words & ((1 << position_bits) - 1)]
    return order.astype(jnp.int32)
