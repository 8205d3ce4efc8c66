"""PyTorch's Adagrad ignores a parameter group's own initial_accumulator_value."""

import torch

weight = torch.zeros(1, requires_grad=True)
optimizer = torch.optim.Adagrad([{"params": [weight], "initial_accumulator_value": 3.0}], lr=1.0)
weight.grad = torch.ones(1)
optimizer.step()
print(f"first step: is {weight.item()}; should be -0.5, the gradient over sqrt(3 + 1)")
raise SystemExit(int(abs(weight.item() + 0.5) < 1e-6))
