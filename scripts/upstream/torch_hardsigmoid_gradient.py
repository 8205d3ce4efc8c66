"""PyTorch's hardsigmoid has the float32 number nearest to 1/6 for its gradient in float64."""

import torch

x = torch.zeros((), dtype=torch.float64, requires_grad=True)
(gradient,) = torch.autograd.grad(torch.nn.functional.hardsigmoid(x), x)
is_ = gradient.item()
print(f"gradient: is {is_:.16f}; should be {1 / 6:.16f}")
raise SystemExit(int(abs(is_ - 1 / 6) < 1e-15))
