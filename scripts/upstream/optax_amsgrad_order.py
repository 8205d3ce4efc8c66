"""Optax's amsgrad keeps the largest v / (1 - b2^t), not the largest v that the paper defines."""

import numpy as np
import optax

tx = optax.amsgrad(learning_rate=1.0, b1=0.0, b2=0.5, eps=0.0)
first, state = tx.update(np.float32(2.0), tx.init(np.float32(0.0)))
second, state = tx.update(np.float32(1.0), state)
# v is 2 and then 1.5, of which the largest is 2; corrected by 1 - 0.5^2 that is 2.6667.
is_, should = float(np.asarray(second)), -1 / (2 / 0.75) ** 0.5
print(f"second step: is {is_:.4f}; should be {should:.4f}")
raise SystemExit(int(abs(is_ - should) < 1e-3))
