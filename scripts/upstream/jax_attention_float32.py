"""JAX's dot_product_attention takes the softmax in float32 where all is float64."""

import jax
import jax.numpy as jnp

with jax.enable_x64(True):
    x = jnp.array([[[[0.3]], [[0.7]]]])  # batch, length, heads, features
    out = jax.nn.dot_product_attention(x, x, x)
    weights = jax.nn.softmax(x[0, :, 0] @ x[0, :, 0].T, axis=-1)
    apart = float(abs(out[0, :, 0] - weights @ x[0, :, 0]).max())
print(f"error: is {apart:.0e} in {out.dtype}; should be below 1e-15")
raise SystemExit(int(apart < 1e-15))
