"""What a JAX function computes in between is called by its name."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import verify

torch = pytest.importorskip("torch")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("middle", "end", "location", "cause"),
    [
        (None, nn.log_softmax, "2", "extra log-softmax"),
        (nn.softmax, None, "1", "extra softmax"),
        (lambda y: nn.softmax(y, axis=0), None, "1", "extra softmax over axis 0"),
        (lambda y: y / jnp.linalg.norm(y, axis=-1, keepdims=True), None, "1", "to length 1"),
        (lambda y: y - y.mean(-1, keepdims=True), None, "1", "extra mean"),
        (lambda y: nn.gelu(y, approximate=False), None, "1", "extra activation: GELU"),
        (None, lambda y: y + jnp.sin(y), "2", "extra residual connection"),
    ],
)
def test_an_extra_function_is_named(middle, end, location, cause) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5)
    module = torch.nn.Sequential(*layers).double()
    weights = {name: x.detach().numpy() for name, x in module.state_dict().items()}

    def ours(p, x):
        y = jnp.tanh(x @ p["0.weight"].T + p["0.bias"][None])
        y = y if middle is None else middle(y)
        y = y @ p["2.weight"].T + p["2.bias"][None]
        return y if end is None else end(y)

    result = verify.model(ours, weights, module, np.random.default_rng(0).normal(size=(4, 6)))
    assert (result.passed, result.location) == (False, location)
    assert cause in str(result.cause)
