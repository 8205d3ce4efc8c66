"""Flax's LayerNorm takes E[x²] - E[x]² by default, of which float32 has no digit left here."""

import flax.linen as nn
import numpy as np

x = np.array([10000, 10001, 10002], np.float32)
params = {"scale": np.ones(3, np.float32), "bias": np.zeros(3, np.float32)}
is_ = np.asarray(nn.LayerNorm().apply({"params": params}, x))
print(f"normalized: is {is_}; should be [-1.2247, 0, 1.2247]")
raise SystemExit(int(abs(is_[2] - 1.2247) < 1e-3))
