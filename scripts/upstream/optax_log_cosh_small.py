"""Optax's log_cosh takes log 2 from a logarithm near it: small errors have a loss of few digits."""

import numpy as np
import optax

x = np.float32(1e-3)
is_ = float(np.asarray(optax.log_cosh(x, np.float32(0.0))))
print(f"log_cosh(0.001): is {is_:.3e}; should be 5.000e-07 within 1e-5 of it")
raise SystemExit(int(abs(is_ / 5e-7 - 1) < 1e-5))
