"""PyTorch's NAdam keeps the product of its momenta in float32 for float64 parameters."""

import torch

weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.NAdam([weight])
weight.grad = torch.ones(1, dtype=torch.float64)
optimizer.step()
product, should = optimizer.state[weight]["mu_product"], 0.9 * (1 - 0.5 * 0.96**0.004)
print(f"product: is {product.item():.16f} ({product.dtype}); should be {should:.16f}")
raise SystemExit(int(abs(product.item() - should) < 1e-15))
