"""Optax's schedules compute in float32 under x64, from the int32 count that its optimizers have."""

import jax
import numpy as np
import optax

with jax.enable_x64(True):
    tx = optax.sgd(optax.linear_schedule(1.0, 0.0, 10))
    _, state = tx.update(np.float64(1.0), tx.init(np.float64(0.0)))
    update, _ = tx.update(np.float64(1.0), state)
    is_ = float(np.asarray(update))
print(f"second step: is {is_:.17f}; should be -0.9 to 1e-16")
raise SystemExit(int(abs(is_ + 0.9) < 1e-15))
