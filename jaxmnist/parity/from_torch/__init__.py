"""A live torch optimizer, and its scheduler, as an Optax transformation and its state."""

from jaxmnist.parity.from_torch.convert import optimizer_from_torch as optimizer_from_torch
