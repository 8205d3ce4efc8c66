"""Layers of Flax Linen with a PyTorch layer's weights compute what that layer does."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn
from torch import nn as tnn

from jaxmnist import interop


def channels_last(x):
    return np.moveaxis(x, 1, -1)


LAYERS = {
    "linear": (tnn.Linear(3, 5), nn.Dense(5), (2, 3)),
    "linear-square": (tnn.Linear(4, 4), nn.Dense(4), (2, 4)),
    "linear-without-bias": (tnn.Linear(3, 5, bias=False), nn.Dense(5, use_bias=False), (2, 3)),
    "linear-into-heads": (tnn.Linear(4, 6), nn.DenseGeneral((2, 3)), (2, 4)),
    "layer-norm": (tnn.LayerNorm(4, eps=1e-6), nn.LayerNorm(use_fast_variance=False), (2, 4)),
    "rms-norm": (tnn.RMSNorm(4, eps=1e-6), nn.RMSNorm(), (2, 4)),
}
CONVOLUTIONS = {
    "conv1d": (tnn.Conv1d(2, 4, 3), nn.Conv(4, (3,), padding="VALID"), (2, 2, 6)),
    "conv2d": (tnn.Conv2d(3, 3, 3), nn.Conv(3, (3, 3), padding="VALID"), (2, 3, 5, 6)),
    "conv2d-groups": (
        tnn.Conv2d(4, 6, (2, 3), groups=2),
        nn.Conv(6, (2, 3), feature_group_count=2, padding="VALID"),
        (2, 4, 5, 6),
    ),
    "conv3d": (tnn.Conv3d(2, 3, 2), nn.Conv(3, (2, 2, 2), padding="VALID"), (1, 2, 3, 4, 3)),
    "conv-transpose": (
        tnn.ConvTranspose2d(2, 3, 3, stride=2),
        nn.ConvTranspose(3, (3, 3), (2, 2), padding="VALID"),
        (2, 2, 4, 5),
    ),
    "conv-transpose-square": (
        tnn.ConvTranspose1d(3, 3, 3),
        nn.ConvTranspose(3, (3,), padding="VALID"),
        (2, 3, 4),
    ),
    "conv-transpose-of-a-convolution": (
        tnn.ConvTranspose2d(2, 3, (2, 3), stride=2),
        nn.ConvTranspose(3, (2, 3), (2, 2), padding="VALID", transpose_kernel=True),
        (2, 2, 4, 5),
    ),
    "group-norm": (
        tnn.GroupNorm(2, 4, eps=1e-6),
        nn.GroupNorm(2, use_fast_variance=False),
        (2, 4, 3, 3),
    ),
    "instance-norm": (
        tnn.InstanceNorm2d(4, eps=1e-6, affine=True),
        nn.InstanceNorm(use_fast_variance=False),
        (2, 4, 3, 3),
    ),
    "batch-norm": (tnn.BatchNorm2d(4), nn.BatchNorm(True), (2, 4, 3, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_with_features_last(name, random_weights, inputs, shapes, there_and_back, close):
    module, layer, shape = LAYERS[name]
    x = inputs(*shape)
    params, _ = there_and_back(shapes(layer, x), random_weights(module))
    ours = layer.apply(params, x)
    close(ours.reshape(*x.shape[:1], -1), module(torch.from_numpy(x)))


@pytest.mark.slow_except("instance-norm", "conv1d", "conv-transpose-square")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_layer_with_channels(name, random_weights, inputs, shapes, there_and_back, close):
    module, layer, shape = CONVOLUTIONS[name]
    x = inputs(*shape)
    last = channels_last(x)
    params, _ = there_and_back(shapes(layer, last), random_weights(module))
    ours = jnp.moveaxis(layer.apply(params, last), -1, 1)
    close(ours, module(torch.from_numpy(x)))


def test_square_transposed_convolution_says_which_kernel_was_assumed(shapes, inputs):
    layer = CONVOLUTIONS["conv-transpose-square"][1]
    found = interop.match(shapes(layer, inputs(2, 4, 3)), tnn.ConvTranspose1d(3, 3, 3))
    (kernel,) = (entry for entry in found.entries if entry.jax.endswith("kernel"))
    assert "transpose_kernel=False" in kernel.layout
    assert "fits both ways" in kernel.layout


def test_embedding(random_weights, shapes, there_and_back, close):
    layer, module = nn.Embed(7, 4), random_weights(tnn.Embedding(7, 4))
    ids = np.arange(6).reshape(2, 3)
    params, _ = there_and_back(shapes(layer, ids), module)
    close(layer.apply(params, ids), module(torch.from_numpy(ids)))


def test_prelu(random_weights, inputs, shapes, there_and_back, close):
    layer, module = nn.PReLU(), random_weights(tnn.PReLU())
    x = inputs(2, 3)
    params, _ = there_and_back(shapes(layer, x), module)
    close(layer.apply(params, x), module(torch.from_numpy(x)))


@pytest.mark.parametrize("bias", [True, False], ids=["biases", "no-biases"])
def test_attention_fused_there_and_split_here(
    bias, random_weights, inputs, shapes, there_and_back, close
):
    layer = nn.MultiHeadDotProductAttention(2, qkv_features=6, use_bias=bias)
    module = random_weights(tnn.MultiheadAttention(6, 2, bias=bias, batch_first=True))
    x = inputs(2, 3, 6)
    params, found = there_and_back(shapes(layer, x, x), module)
    y = torch.from_numpy(x)
    close(layer.apply(params, x, x), module(y, y, y)[0])
    assert {entry.torch_module for entry in found.entries} == {"", "out_proj"}


@pytest.mark.slow
def test_attention_with_other_keys_and_values(
    random_weights, inputs, shapes, there_and_back, close
):
    layer = nn.MultiHeadDotProductAttention(2, qkv_features=6)
    module = random_weights(tnn.MultiheadAttention(6, 2, kdim=4, vdim=5, batch_first=True))
    q, k, v = inputs(2, 3, 6), inputs(2, 4, 4), inputs(2, 4, 5)
    params, _ = there_and_back(shapes(layer, q, k, v), module)
    close(layer.apply(params, q, k, v), module(*map(torch.from_numpy, (q, k, v)))[0])
