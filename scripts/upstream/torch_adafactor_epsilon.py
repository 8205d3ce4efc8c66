"""PyTorch's Adafactor gives every parameter of a group the epsilon of the first one's dtype."""

import torch

found = []
for first in (torch.float32, torch.bfloat16):
    weights = [torch.ones(2, dtype=d, requires_grad=True) for d in (first, torch.float32)]
    for weight in weights:
        weight.grad = torch.full_like(weight, 1e-5)
    torch.optim.Adafactor(weights, lr=1.0).step()
    found.append(weights[1][0].item())
should, is_ = found
print(f"weight after one of bfloat16: is {is_:.4f}; should be {should:.4f}, as after float32")
raise SystemExit(int(is_ == should))
