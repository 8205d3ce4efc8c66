"""Flax's guide on PyTorch calls BatchNorm the same; its running variance is biased, and slower."""

import flax.linen as nn
import jax
import numpy as np

norm, x = nn.BatchNorm(use_running_average=False), np.array([[0.0], [2.0]], np.float32)
_, new = norm.apply(norm.init(jax.random.key(0), x), x, mutable=["batch_stats"])
(is_,) = np.asarray(new["batch_stats"]["var"])
print(
    f"running variance: is {is_:.2f} = 0.99·1 + 0.01·1; should be 1.10 = 0.9·1 + 0.1·2, PyTorch's"
)
raise SystemExit(int(abs(is_ - 1.1) < 1e-6))
