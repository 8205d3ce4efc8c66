"""LSTM, GRU and plain recurrent layers: gates in either order, and one bias for PyTorch's two."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn
from flax import nnx
from torch import nn as tnn

from jaxmnist import interop

KEY = jax.random.key(0)
RNGS = nnx.Rngs(0)
F64 = jnp.float64
KINDS = {"lstm": tnn.LSTM, "gru": tnn.GRU, "rnn": tnn.RNN}
LINEN = {
    "lstm": (nn.LSTMCell, nn.OptimizedLSTMCell),
    "gru": (nn.GRUCell,),
    "rnn": (nn.SimpleCell,),
}


def both(kind, **options):
    return KINDS[kind](3, 4, batch_first=True, **options)


@pytest.mark.slow_except("rnn-SimpleCell", "gru-GRUCell")
@pytest.mark.parametrize(
    ("kind", "cell"), [(kind, cell) for kind, cells in LINEN.items() for cell in cells]
)
def test_linen_cell(kind, cell, random_weights, inputs, shapes, there_and_back, close):
    layer, module = nn.RNN(cell(4, param_dtype=F64)), random_weights(both(kind))
    x = inputs(2, 5, 3)
    params, _ = there_and_back(shapes(layer, x), module, same=False)
    close(layer.apply(params, x), module(torch.from_numpy(x))[0])


@pytest.mark.slow_except("gru")
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_linen_two_layers_in_both_directions(
    kind, random_weights, inputs, shapes, there_and_back, close
):
    cell = LINEN[kind][-1]

    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            for _ in range(2):
                x = nn.Bidirectional(
                    nn.RNN(cell(4, param_dtype=F64)), nn.RNN(cell(4, param_dtype=F64))
                )(x)
            return x

    layer, module = Stack(), random_weights(both(kind, num_layers=2, bidirectional=True))
    x = inputs(2, 5, 3)
    params, found = there_and_back(shapes(layer, x), module, same=False)
    close(layer.apply(params, x), module(torch.from_numpy(x))[0])
    assert {entry.why for entry in found.entries} == {"order"}


@pytest.mark.slow_except("lstm")
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_equinox_cell(kind, random_weights, inputs, there_and_back, close):
    layer = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}[kind](3, 4, key=KEY)
    module = random_weights({"lstm": tnn.LSTMCell, "gru": tnn.GRUCell}[kind](3, 4))
    layer, _ = there_and_back(layer, module, same=False)
    x, h, c = inputs(2, 3), inputs(2, 4), inputs(2, 4)
    states, there = (h, torch.from_numpy(h)), torch.from_numpy(x)
    if kind == "lstm":
        carry = (torch.from_numpy(h), torch.from_numpy(c))
        close(jax.vmap(layer)(x, (h, c))[0], module(there, carry)[0])
    else:
        close(jax.vmap(layer)(x, states[0]), module(there, states[1]))


@pytest.mark.slow_except("rnn-SimpleCell")
@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("lstm", nnx.LSTMCell),
        ("lstm", nnx.OptimizedLSTMCell),
        ("rnn", nnx.SimpleCell),
    ],
)
def test_nnx_cell(kind, cell, random_weights, inputs, there_and_back, close):
    layer, module = (
        nnx.RNN(cell(3, 4, dtype=F64, param_dtype=F64, rngs=RNGS), rngs=RNGS),
        random_weights(both(kind)),
    )
    x = inputs(2, 5, 3)
    layer, _ = there_and_back(layer, module, same=False)
    close(layer(x), module(torch.from_numpy(x))[0])


@pytest.mark.slow
def test_nnx_gru_has_no_bias_inside_the_product(
    random_weights, inputs, there_and_back, close, refused
):
    layer, module = (
        nnx.RNN(nnx.GRUCell(3, 4, dtype=F64, param_dtype=F64, rngs=RNGS), rngs=RNGS),
        random_weights(both("gru")),
    )
    found = interop.match(layer, module)
    with refused("bias_hh_l0[8:12]", "is not zero", "reset gate"):
        found.to_jax(module.state_dict())
    module.state_dict()["bias_hh_l0"][8:] = 0
    layer, _ = there_and_back(layer, module, same=False)
    x = inputs(2, 5, 3)
    close(layer(x), module(torch.from_numpy(x))[0])


def test_sum_of_biases_comes_back_as_the_first(random_weights, shapes, inputs):
    module = random_weights(both("lstm"))
    found = interop.match(shapes(nn.RNN(nn.LSTMCell(4, param_dtype=F64)), inputs(2, 5, 3)), module)
    state = module.state_dict()
    back = found.to_torch(found.to_jax(state))
    np.testing.assert_array_equal(back["bias_ih_l0"], state["bias_ih_l0"] + state["bias_hh_l0"])
    assert not back["bias_hh_l0"].any()
    np.testing.assert_array_equal(back["weight_hh_l0"], state["weight_hh_l0"])


@pytest.mark.slow_except("lstm")
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_gradients_are_those_of_torch(kind, random_weights, inputs, shapes, there_and_back):
    layer, module = nn.RNN(LINEN[kind][-1](4, param_dtype=F64)), random_weights(both(kind))
    x = inputs(2, 5, 3)
    params, found = there_and_back(shapes(layer, x), module, same=False)

    def loss(params):
        return jnp.sin(jnp.asarray(layer.apply(params, x))).sum()

    gradients = jax.grad(loss)(params)
    module(torch.from_numpy(x))[0].sin().sum().backward()
    converted = found.gradients_to_torch(gradients)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(converted[name], parameter.grad, rtol=0, atol=1e-12)
