"""Optax's adafactor computes the share of the newest square in float32 under x64."""

import jax
import numpy as np
import optax

with jax.enable_x64(True):
    tx, one = optax.scale_by_factored_rms(epsilon=0.0), np.ones(1)
    _, state = tx.update(one, tx.init(one), one)
    update, _ = tx.update(3 * one, state, one)
    is_, should = float(np.asarray(update)[0]), 3 / (1 + 8 * 2**-0.8) ** 0.5
print(f"second direction: is {is_:.16f}; should be {should:.16f}")
raise SystemExit(int(abs(is_ - should) < 1e-15))
