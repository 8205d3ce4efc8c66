"""Data that are copied to the device: their values, their dtypes, and that nothing is shared."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxmnist.data.device import on_device


def test_what_is_written_into_the_source_later_is_not_seen(in_aligned_memory):
    sources = {
        "bytes": in_aligned_memory(np.arange(1000, dtype=np.uint8)),
        "floats": (in_aligned_memory(np.linspace(-1, 1, 1000, dtype=np.float32)),),
    }
    copies = on_device(sources)
    wanted = jax.tree.map(np.copy, sources)
    for source in jax.tree.leaves(sources):
        source[:] = 7
    jax.tree.map(np.testing.assert_array_equal, copies, wanted)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(copies))


@pytest.mark.parametrize("x64", [False, True])
def test_dtypes_are_those_of_jax_numpy(x64):
    with jax.enable_x64(x64):
        for dtype in (bool, np.uint8, np.int64, np.float16, np.float64, ml_dtypes.bfloat16):
            array = np.array([[0, 1], [1, 0]], dtype)
            found, wanted = on_device(array), jnp.array(array)
            assert (found.dtype, found.weak_type) == (wanted.dtype, wanted.weak_type)
            np.testing.assert_array_equal(found, wanted)


def test_tensors_of_torch_are_read(torch):
    found = on_device((torch.tensor([[1.5, -2.0]]), np.array([3])))
    np.testing.assert_array_equal(found[0], [[1.5, -2.0]])
    assert [leaf.dtype for leaf in found] == [np.float32, np.int32]
