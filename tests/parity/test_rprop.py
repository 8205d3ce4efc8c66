"""Rprop's drop-in where the product of two gradients is too small for a number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import parity


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_products_of_gradients_underflow_where_they_do_in_torch(dtype, torch):
    """Products from 16 times the smallest number to a 16th of it, and both signs."""
    info = np.finfo(dtype)
    smallest = int(np.log2(info.smallest_subnormal))
    exponents = np.linspace(smallest - 4, smallest + 4, 400)
    rng = np.random.default_rng(0)
    # From above the smallest normal number, below which XLA takes a gradient itself for 0.
    of_first = rng.uniform(smallest / 2 - 5, smallest / 2 + 5, 400)
    first, second = 2.0**of_first, 2.0 ** (exponents - of_first) * rng.choice([-1, 1], 400)
    gradients = np.stack([first, second, second]).astype(dtype)
    assert (np.abs(gradients) > info.smallest_normal).all()
    assert 0 < (np.abs(gradients[0] * gradients[1]) == 0).mean() < 1

    weight = torch.zeros(400, dtype=getattr(torch, dtype), requires_grad=True)
    theirs = torch.optim.Rprop([weight], lr=0.1)
    with jax.enable_x64(dtype == "float64"):
        params = jnp.zeros(400, dtype)
        tx = parity.rprop(lr=0.1)
        state, update = tx.init(params), jax.jit(tx.update)
        for gradient in gradients:
            weight.grad = torch.tensor(gradient)
            theirs.step()
            updates, state = update(jnp.asarray(gradient), state)
            params = params + updates
            np.testing.assert_array_equal(params, weight.detach().numpy())
