import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist.data.batches import normalize, permutation

BYTES = np.arange(256, dtype=np.uint8)


def tutorials_transform(x: np.ndarray) -> np.ndarray:
    x = np.array(x, dtype="float32") / 255
    return (x - 0.5) / 0.5


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shape", [(256,), (2, 128), (4, 8, 8)])
def test_normalize_equals_numpy_bit_for_bit(compiled, shape):
    expected = tutorials_transform(BYTES).reshape(shape)
    function = jax.jit(normalize) if compiled else normalize
    actual = np.asarray(function(jnp.asarray(BYTES.reshape(shape))))
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


def test_normalize_equals_numpy_inside_a_larger_program():
    """Fused with a gather and a product, as in a training step, XLA may round differently."""
    images = np.random.default_rng(0).permuted(np.tile(BYTES, (64, 4)), axis=1)[:, :784]

    @jax.jit
    def gathered(images, indices):
        x = normalize(images[indices])
        return x, x @ jnp.ones((784, 4))

    indices = jnp.arange(64)[::-1]
    actual, _ = gathered(jnp.asarray(images), indices)
    np.testing.assert_array_equal(actual, tutorials_transform(images[::-1]))


@pytest.mark.slow_except("1")
@pytest.mark.parametrize("size", [1, 2, 3, 64, 1000, 60_000, 70_000])
def test_permutation_has_every_index_once(size):
    order = permutation(jax.random.key(size), size)
    assert order.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_permutation_makes_every_order_equally_likely():
    draws = 24_000
    keys = jax.random.split(jax.random.key(0), draws)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: permutation(key, 4)))(keys))
    counts = np.array(
        [np.sum(np.all(orders == order, axis=1)) for order in itertools.permutations(range(4))]
    )
    chi_square = np.sum((counts - draws / 24) ** 2 / (draws / 24))
    # 23 degrees of freedom: beyond 58 with probability 7e-5.
    assert chi_square < 58


@pytest.mark.slow
def test_permutation_moves_first_and_last_anywhere():
    """A wrong pass of the radix sort would leave large sizes partly in order."""
    size = 60_000
    keys = jax.random.split(jax.random.key(1), 64)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: permutation(key, size)))(keys))
    positions = np.argsort(orders, axis=1)[:, [0, 1, size // 2, size - 1]] / size
    # The mean of 256 uniforms: standard error 1/sqrt(12 * 256).
    assert abs(positions.mean() - 0.5) < 5 / np.sqrt(12 * 256)
    neighbours = np.abs(positions[:, 0] - positions[:, 1])
    assert abs(neighbours.mean() - 1 / 3) < 5 * np.sqrt(1 / 18 / 64)
    rank = np.corrcoef(orders[0], orders[1])[0, 1]
    assert abs(rank) < 5 / np.sqrt(size)


@pytest.mark.slow
def test_permutation_is_the_keys():
    first, again, other = (permutation(jax.random.key(k), 500) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.mean(np.asarray(first) == np.asarray(other)) < 0.05
