"""PyTorch's ASGD rounds its rate to float32 for float64 parameters."""

import torch

weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.ASGD([weight], lr=0.1)
weight.grad = torch.ones(1, dtype=torch.float64)
optimizer.step()
print(f"first step: is {weight.item():.16f}; should be -0.1000000000000000")
raise SystemExit(int(abs(weight.item() + 0.1) < 1e-15))
