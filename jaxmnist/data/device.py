"""Copy data from the host's memory to the device."""

import jax
import numpy as np
from jaxtyping import PyTree


def on_device(data: PyTree) -> PyTree:
    """Copy arrays to JAX's default device, all of them by one program.

    ``jax.numpy.array`` compiles one for each shape; ``jax.device_put`` may share the memory of a
    NumPy array on a CPU, so that what is later written into it would change the copy.

    Args:
        data: A pytree of arrays, of NumPy's or JAX's, or of others that NumPy can read.

    Returns:
        The same pytree of JAX arrays, in the dtypes that JAX has for theirs: without 64-bit
        numbers float64 becomes float32. What is on a device already stays there.

    >>> on_device({"x": np.array([0.5, 2.0]), "y": np.array([3, 4])})
    {'x': Array([0.5, 2. ], dtype=float32), 'y': Array([3, 4], dtype=int32)}
    """
    return _same(
        jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else np.asarray(leaf), data)
    )


@jax.jit
def _same(data: PyTree) -> PyTree:
    return data
