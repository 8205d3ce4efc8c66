"""Optax's rprop applies the update of the step before, so that its first step is 0."""

import numpy as np
import optax

tx = optax.rprop(learning_rate=1.0)
update, _ = tx.update(np.float32(2.0), tx.init(np.float32(0.0)))
is_ = float(np.asarray(update))
print(f"first step: is {is_:g}; should be -1, the learning rate against the gradient's sign")
raise SystemExit(int(is_ == -1))
