"""Optax subtracts b2^t from 1 in float32: Adam's first steps lose two of seven digits."""

import numpy as np
import optax

tx = optax.scale_by_adam(eps=0.0)
update, _ = tx.update(np.float32(1.0), tx.init(np.float32(0.0)))
is_ = float(np.asarray(update))
print(f"first direction: is {is_:.7f}; should be 1 within 1e-6")
raise SystemExit(int(abs(is_ - 1) < 1e-6))
