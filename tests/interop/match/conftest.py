"""What every test of `match` does: random weights through both frameworks, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxmnist import interop

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _float64():
    """These libraries promote ranks and dtypes themselves."""
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield


def randomized(module):
    """The module in float64 and evaluation mode, every number of it random, variances positive."""
    module = module.double().eval()
    for name, entry in module.state_dict().items():
        if entry.is_floating_point():
            numbers = RNG.normal(size=entry.shape)
            entry.copy_(torch.from_numpy(numbers**2 + 0.5 if name.endswith("var") else numbers))
    return module


@pytest.fixture(scope="session")
def random_weights():
    return randomized


@pytest.fixture(scope="session")
def shapes():
    """A function from a Linen module and inputs to its variables' shapes."""
    return lambda module, *inputs: jax.eval_shape(module.init, jax.random.key(0), *inputs)


@pytest.fixture(scope="session")
def inputs():
    """A function from a shape to random numbers."""
    return lambda *shape: RNG.normal(size=shape)


@pytest.fixture(scope="session")
def there_and_back():
    """Convert a module's numbers and compare what comes back, to the bit."""

    def convert(params, module, names=None, *, same=True):
        found = interop.match(params, module, names)
        assert found.unmatched == (), str(found)
        state = module.state_dict()
        converted = found.to_jax(state)
        back = found.to_torch(converted)
        expected = {name for name in state if not name.endswith("num_batches_tracked")}
        assert set(back) == expected - set(found.ignored)
        for name, entry in back.items():
            assert entry.dtype == state[name].dtype
            if same:
                np.testing.assert_array_equal(entry.numpy(), state[name].numpy(), strict=True)
        again = found.to_jax({**state, **back})
        for one, other in zip(jax.tree.leaves(converted), jax.tree.leaves(again), strict=True):
            if isinstance(one, jax.Array) and jnp.issubdtype(one.dtype, jnp.inexact):
                np.testing.assert_array_equal(one, other)
        return converted, found

    return convert


@pytest.fixture(scope="session")
def close():
    """Compare an output of JAX with one of PyTorch."""

    def compare(ours, theirs):
        theirs = theirs.detach().numpy()
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * max(1, np.abs(theirs).max()))

    return compare
