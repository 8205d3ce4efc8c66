"""Arrays of any pytree by name: every leaf has one, and the tree comes back."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import save

import jaxmnist as jm
from jaxmnist.interop.parameters import read_safetensors
from jaxmnist.runs import from_named_arrays, named_arrays
from jaxmnist.runs.named_arrays import shapes_by_name


def state() -> jm.TrainState:
    module = eqx.nn.MLP(3, 2, 4, 1, key=jax.random.key(0))
    params = eqx.filter(module, eqx.is_array)
    tx = optax.chain(optax.clip(1.0), optax.adamw(1e-3))
    rest = {"a.b": {"c": jnp.ones(2, jnp.bfloat16)}, "a": {"b.c": jnp.zeros(())}}
    keys = {"key": jax.random.key(3), "keys": jax.random.split(jax.random.key(4), 2)}
    return jm.TrainState(params, tx.init(params), {**rest, **keys})


def test_tree_comes_back_through_safetensors(tmp_path):
    tree = state()
    arrays = named_arrays(tree)
    assert "params.layers.0.weight" in arrays
    assert {r"model_state.a\.b.c", r"model_state.a.b\.c"} < arrays.keys()
    like = jax.eval_shape(lambda: tree)
    assert list(shapes_by_name(like)) == list(arrays)
    (tmp_path / "it").write_bytes(save(arrays))
    found = from_named_arrays(read_safetensors(tmp_path / "it"), like, "it")
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert one.dtype == other.dtype
        if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = map(jax.random.key_data, (one, other))
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "it: w is nothing; the task has float32[2] there"),
        ({"w": np.ones(3, np.float32)}, "it: w is float32[3]; the task has float32[2] there"),
        ({"w": np.ones(2, np.int32)}, "it: w is int32[2]; the task has float32[2] there"),
        (
            {"w": np.ones(2, np.float32), "v": np.ones(1, np.float32)},
            "it: v is float32[1]; the task has nothing there",
        ),
    ],
    ids=str,
)
def test_arrays_of_another_tree_are_refused(arrays, message):
    with pytest.raises(jm.InputError, match=re.escape(message)):
        from_named_arrays(arrays, {"w": jnp.ones(2)}, "it")
