"""PyTorch's gelu adds 1 to erf(x/√2), of which no digit is left for x below -8.3 in float64."""

import math

import torch

is_ = torch.nn.functional.gelu(torch.tensor(-9.0, dtype=torch.float64)).item()
should = -9 / 2 * math.erfc(9 / math.sqrt(2))
print(f"gelu(-9): is {is_:.4e}; should be {should:.4e}")
raise SystemExit(int(abs(is_ / should - 1) < 1e-9))
