"""Optax's ctc_loss of labels that do not fit into the frames is 1e5 and finite, not infinite."""

import jax.numpy as jnp
import optax

logits, frames, labels = jnp.zeros((1, 1, 3)), jnp.zeros((1, 1)), jnp.array([[1, 2]])
(is_,) = optax.ctc_loss(logits, frames, labels, jnp.zeros((1, 2)))
print(f"loss of two labels in one frame: is {is_:.0f}; should be inf, that of probability 0")
raise SystemExit(int(bool(jnp.isinf(is_))))
