"""Layers of Equinox and of NNX with a PyTorch layer's weights compute what that layer does."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn as tnn

KEY = jax.random.key(0)
E = eqx.nn
# Built when they are tested: each initial weight is drawn by a program that is compiled.
EQUINOX = {
    "linear": (tnn.Linear(3, 5), lambda: E.Linear(3, 5, key=KEY), (2, 3)),
    "linear-square": (tnn.Linear(4, 4), lambda: E.Linear(4, 4, key=KEY), (2, 4)),
    "conv1d": (tnn.Conv1d(2, 4, 3), lambda: E.Conv1d(2, 4, 3, key=KEY), (2, 2, 6)),
    "conv2d-groups": (
        tnn.Conv2d(4, 6, (2, 3), groups=2),
        lambda: E.Conv2d(4, 6, (2, 3), groups=2, key=KEY),
        (2, 4, 5, 6),
    ),
    "conv-transpose": (
        tnn.ConvTranspose2d(3, 3, (2, 3), stride=2),
        lambda: E.ConvTranspose2d(3, 3, (2, 3), stride=2, key=KEY),
        (2, 3, 4, 5),
    ),
    "conv-transpose-groups": (
        tnn.ConvTranspose2d(4, 6, (2, 3), groups=2),
        lambda: E.ConvTranspose2d(4, 6, (2, 3), groups=2, key=KEY),
        (2, 4, 4, 5),
    ),
    "layer-norm": (tnn.LayerNorm(4), lambda: E.LayerNorm(4), (2, 4)),
    "rms-norm": (tnn.RMSNorm(4, eps=1e-5), lambda: E.RMSNorm(4, eps=1e-5, use_bias=False), (2, 4)),
    "group-norm": (tnn.GroupNorm(2, 4), lambda: E.GroupNorm(2, 4), (2, 4, 3, 3)),
    "prelu": (tnn.PReLU(), lambda: E.PReLU(), (2, 3)),
}


@pytest.mark.slow_except("linear-square", "linear", "prelu", "rms-norm")
@pytest.mark.parametrize("name", EQUINOX)
def test_equinox_layer(name, random_weights, inputs, there_and_back, close):
    module, build, shape = EQUINOX[name]
    x, built = inputs(*shape), build()
    layer, _ = there_and_back(built, random_weights(module))
    assert isinstance(layer, type(built))
    close(jax.vmap(layer)(x), module(torch.from_numpy(x)))


@pytest.mark.parametrize("mode", ["ema", "batch"])
def test_equinox_batch_norm_with_its_state(mode, random_weights, inputs, there_and_back, close):
    layer = eqx.nn.make_with_state(E.BatchNorm)(3, "batch", mode=mode)
    module = random_weights(tnn.BatchNorm1d(3))
    (norm, state), found = there_and_back(layer, module)
    assert {entry.jax for entry in found.entries} >= {"mean", "var"}
    x = inputs(4, 3)

    def run(norm, state):
        return jax.vmap(norm, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)

    close(run(eqx.nn.inference_mode(norm), state)[0], module(torch.from_numpy(x)))


@pytest.mark.slow
def test_equinox_attention(random_weights, inputs, there_and_back, close):
    layer = E.MultiheadAttention(
        2, 6, use_query_bias=True, use_key_bias=True, use_value_bias=True, use_output_bias=True,
        key=KEY,
    )  # fmt: skip
    module = random_weights(tnn.MultiheadAttention(6, 2, batch_first=True))
    layer, _ = there_and_back(layer, module)
    x = inputs(2, 3, 6)
    y = torch.from_numpy(x)
    close(jax.vmap(layer)(x, x, x), module(y, y, y)[0])


@pytest.mark.slow
def test_equinox_mlp(random_weights, inputs, there_and_back, close):
    layer = E.MLP(3, 2, 4, 3, key=KEY)
    module = random_weights(
        tnn.Sequential(
            tnn.Linear(3, 4), tnn.ReLU(), tnn.Linear(4, 4), tnn.ReLU(),
            tnn.Linear(4, 4), tnn.ReLU(), tnn.Linear(4, 2),
        )
    )  # fmt: skip
    layer, found = there_and_back(layer, module)
    x = inputs(5, 3)
    close(jax.vmap(layer)(x), module(torch.from_numpy(x)))
    assert [entry.why for entry in found.entries if entry.jax == "layers/1/weight"] == ["order"]


RNGS = nnx.Rngs(0)
NNX = {
    "linear": (tnn.Linear(4, 4), lambda: nnx.Linear(4, 4, rngs=RNGS), (2, 4)),
    "batch-norm": (
        tnn.BatchNorm1d(3),
        lambda: nnx.BatchNorm(3, use_running_average=True, rngs=RNGS),
        (4, 3),
    ),
    "layer-norm": (
        tnn.LayerNorm(4, eps=1e-6),
        lambda: nnx.LayerNorm(4, use_fast_variance=False, rngs=RNGS),
        (2, 4),
    ),
}


@pytest.mark.parametrize("name", NNX)
def test_nnx_layer(name, random_weights, inputs, there_and_back, close):
    module, build, shape = NNX[name]
    x = inputs(*shape)
    layer, _ = there_and_back(build(), random_weights(module))
    close(layer(x), module(torch.from_numpy(x)))


@pytest.mark.parametrize("kept", [False, True])
def test_nnx_square_transposed_convolution_is_told_by_its_module(
    kept, random_weights, inputs, there_and_back, close
):
    layer = nnx.ConvTranspose(3, 3, (2, 3), padding="VALID", transpose_kernel=kept, rngs=RNGS)
    module = random_weights(tnn.ConvTranspose2d(3, 3, (2, 3)))
    x = inputs(2, 3, 4, 5)
    layer, _ = there_and_back(layer, module)
    close(jnp.moveaxis(layer(np.moveaxis(x, 1, -1)), -1, 1), module(torch.from_numpy(x)))


def attend(query, key, value, **_):
    """NNX's own attention has its softmax in float32, whatever the dtype."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)


@pytest.mark.slow
def test_nnx_attention(random_weights, inputs, there_and_back, close):
    layer = nnx.MultiHeadAttention(2, 6, 6, decode=False, attention_fn=attend, rngs=RNGS)
    module = random_weights(tnn.MultiheadAttention(6, 2, batch_first=True))
    layer, _ = there_and_back(layer, module)
    x = inputs(2, 3, 6)
    y = torch.from_numpy(x)
    close(layer(x), module(y, y, y)[0])


class Model(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.drop = nnx.Dropout(0.1, deterministic=True, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(3)])

    def __call__(self, x):
        x = self.drop(self.norm(self.first(x)))
        for block in self.blocks:
            x = jnp.tanh(block(x))
        return x


class Torch(tnn.Module):
    def __init__(self):
        super().__init__()
        self.inp = tnn.Linear(3, 4)
        self.bn = tnn.BatchNorm1d(4)
        self.layers = tnn.ModuleList([tnn.Linear(4, 4) for _ in range(3)])

    def forward(self, x):
        x = self.bn(self.inp(x))
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


@pytest.mark.slow_except("state")
@pytest.mark.parametrize("given", ["module", "state", "pure dict"])
def test_nnx_model(given, random_weights, inputs, there_and_back, close):
    model = Model(nnx.Rngs(1))
    graph, state = nnx.split(model)
    params = {"module": model, "state": state, "pure dict": nnx.to_pure_dict(state)}[given]
    module = random_weights(Torch())
    converted: Any
    converted, found = there_and_back(params, module)
    if given == "state":
        converted = nnx.merge(graph, converted)
    if given == "pure dict":
        nnx.replace_by_pure_dict(state, converted)
        converted = nnx.merge(graph, state)
    x = inputs(5, 3)
    close(converted(x), module(torch.from_numpy(x)))
    assert {name for name in found.ignored if name.startswith("drop")}


@pytest.mark.slow
def test_layers_of_an_nnx_module_are_in_the_order_of_definition(random_weights, there_and_back):
    class Named(nnx.Module):
        def __init__(self, rngs):
            self.up = nnx.Linear(4, 4, rngs=rngs)
            self.across = nnx.Linear(4, 4, rngs=rngs)

    _, found = there_and_back(
        Named(RNGS), random_weights(tnn.Sequential(tnn.Linear(4, 4), tnn.Linear(4, 4)))
    )
    assert {(entry.jax_module, entry.torch_module, entry.why) for entry in found.entries} == {
        ("up", "0", "order"),
        ("across", "1", "order"),
    }
