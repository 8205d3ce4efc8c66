"""Whole models as people write them in either framework, layers nested and named in other ways."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as nn
from torch import nn as tnn

from jaxmnist import interop


class Encoder(nn.Module):
    """With as many features inside as outside, so that six matrices have one shape."""

    @nn.compact
    def __call__(self, x):
        y = nn.MultiHeadDotProductAttention(2, qkv_features=8)(x)
        x = nn.LayerNorm(1e-5, use_fast_variance=False)(x + y)
        # In one expression the outer layer would be Dense_0.
        y = nn.Dense(8)(x)
        y = nn.Dense(8)(nn.relu(y))
        return nn.LayerNorm(1e-5, use_fast_variance=False)(x + y)


class Stack(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = Encoder()(x)
        return nn.LayerNorm(1e-5, use_fast_variance=False)(x)


@pytest.mark.slow
def test_transformer_encoder(random_weights, inputs, shapes, there_and_back, close):
    layer = tnn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    module = random_weights(
        tnn.TransformerEncoder(layer, 2, norm=tnn.LayerNorm(8), enable_nested_tensor=False)
    )
    x = inputs(2, 3, 8)
    params, found = there_and_back(shapes(Stack(), x), module)
    close(Stack().apply(params, x), module(torch.from_numpy(x)))
    (entry,) = (
        e
        for e in found.entries
        if e.jax.endswith("Encoder_1/MultiHeadDotProductAttention_0/key/kernel")
    )
    assert entry.torch_module == "layers.1.self_attn"
    assert entry.jax_module == "Encoder_1/MultiHeadDotProductAttention_0/key"
    assert entry.torch_shown == ("layers.1.self_attn.in_proj_weight[8:16]",)
    assert entry.torch_shapes == ((8, 8),)


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, x, memory):
        def norm(x):
            return nn.LayerNorm(1e-5, use_fast_variance=False)(x)

        x = norm(x + nn.MultiHeadDotProductAttention(2, qkv_features=8)(x, x))
        x = norm(x + nn.MultiHeadDotProductAttention(2, qkv_features=8)(x, memory))
        return norm(x + nn.Dense(8)(nn.relu(nn.Dense(12)(x))))


@pytest.mark.slow
def test_transformer_decoder_with_two_attentions_of_one_name(
    random_weights, inputs, shapes, there_and_back, close
):
    module = random_weights(tnn.TransformerDecoderLayer(8, 2, 12, batch_first=True))
    x, memory = inputs(2, 3, 8), inputs(2, 4, 8)
    params, _ = there_and_back(shapes(Decoder(), x, memory), module)
    close(Decoder().apply(params, x, memory), module(*map(torch.from_numpy, (x, memory))))


class ResNetBlock(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        def norm(x):
            return nn.BatchNorm(use_running_average=True)(x)

        stride = (self.stride,) * 2
        y = norm(nn.Conv(self.features, (3, 3), stride, padding=1, use_bias=False)(x))
        y = norm(nn.Conv(self.features, (3, 3), padding=1, use_bias=False)(nn.relu(y)))
        if self.stride > 1:
            x = nn.Conv(self.features, (1, 1), stride, use_bias=False, name="conv_proj")(x)
            x = nn.BatchNorm(use_running_average=True, name="norm_proj")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        for features, stride in ((3, 1), (3, 1), (4, 2), (4, 1)):
            x = ResNetBlock(features, stride)(x)
        return nn.Dense(2)(x.mean((1, 2)))


class BasicBlock(tnn.Module):
    def __init__(self, channels, features, stride):
        super().__init__()
        self.conv1 = tnn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(features)
        self.conv2 = tnn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = tnn.BatchNorm2d(features)
        self.downsample = None
        if stride > 1:
            shortcut = tnn.Conv2d(channels, features, 1, stride, bias=False)
            self.downsample = tnn.Sequential(shortcut, tnn.BatchNorm2d(features))

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class TorchResNet(tnn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = tnn.Sequential(BasicBlock(3, 3, 1), BasicBlock(3, 3, 1))
        self.layer2 = tnn.Sequential(BasicBlock(3, 4, 2), BasicBlock(4, 4, 1))
        self.fc = tnn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


@pytest.mark.slow
def test_residual_network_with_running_statistics(
    random_weights, inputs, shapes, there_and_back, close
):
    module = random_weights(TorchResNet())
    x = inputs(2, 3, 5, 6)
    last = np.moveaxis(x, 1, -1)
    variables, found = there_and_back(shapes(ResNet(), last), module)
    close(ResNet().apply(variables, last), module(torch.from_numpy(x)))
    assert found.ignored == ()
    # Without the statistics these are the module's alone.
    found = interop.match(variables["params"], module)
    assert found.unmatched == ()
    assert {name.rpartition(".")[2] for name in found.ignored} == {"running_mean", "running_var"}


class Conv1D(tnn.Module):
    """GPT-2's layer, with its matrix (in, out)."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.weight = tnn.Parameter(torch.zeros(inputs, outputs))
        self.bias = tnn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


class Attention(tnn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("bias", torch.ones(5, 5).tril()[None, None].bool())
        self.c_attn, self.c_proj = Conv1D(24, 8), Conv1D(8, 8)

    def forward(self, x):
        parts = [p.unflatten(-1, (2, 4)).transpose(1, 2) for p in self.c_attn(x).chunk(3, -1)]
        y = tnn.functional.scaled_dot_product_attention(*parts, is_causal=True)
        return self.c_proj(y.transpose(1, 2).flatten(2))


class TorchBlock(tnn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.attn = tnn.LayerNorm(8, 1e-6), Attention()
        self.ln_2 = tnn.LayerNorm(8, 1e-6)
        gelu = tnn.GELU("tanh")
        layers = {"c_fc": Conv1D(32, 8), "act": gelu, "c_proj": Conv1D(8, 32)}
        self.mlp = tnn.Sequential(OrderedDict(layers))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(tnn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = tnn.Embedding(11, 8), tnn.Embedding(5, 8)
        self.h = tnn.ModuleList(TorchBlock() for _ in range(2))
        self.ln_f = tnn.LayerNorm(8, 1e-6)
        self.lm_head = tnn.Linear(8, 11, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids):
        x = self.wte(ids) + self.wpe.weight
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class FlaxGPT2(nn.Module):
    fused: bool
    tied: bool

    @nn.compact
    def __call__(self, ids):
        table = nn.Embed(11, 8)
        x = table(ids) + nn.Embed(5, 8)(jnp.arange(5))
        for number in range(2):
            x = Block(self.fused, name=f"block_{number}")(x)
        x = nn.LayerNorm(use_fast_variance=False)(x)
        return table.attend(x) if self.tied else nn.Dense(11, use_bias=False, name="lm_head")(x)


class Block(nn.Module):
    fused: bool

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(use_fast_variance=False)(x)
        mask = nn.make_causal_mask(y[..., 0])
        if self.fused:
            parts = jnp.split(nn.Dense(24, name="c_attn")(y), 3, -1)
            q, k, v = (part.reshape(*part.shape[:2], 2, 4) for part in parts)
            y = nn.dot_product_attention(q, k, v, mask=mask).reshape(y.shape)
            x = x + nn.Dense(8, name="c_proj")(y)
        else:
            x = x + nn.MultiHeadDotProductAttention(2)(y, mask=mask)
        y = nn.LayerNorm(use_fast_variance=False)(x)
        return x + nn.Dense(8)(nn.gelu(nn.Dense(32)(y)))


@pytest.mark.slow_except("two-tables-split")
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "split"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "two-tables"])
def test_gpt2(fused, tied, random_weights, shapes, there_and_back, close):
    module, model = random_weights(GPT2()), FlaxGPT2(fused, tied)
    ids = np.array([[1, 4, 0, 10, 3]])
    params, found = there_and_back(shapes(model, ids), module)
    close(model.apply(params, ids), module(torch.from_numpy(ids)))
    assert set(found.ignored) == {"h.0.attn.bias", "h.1.attn.bias"}
    if not tied:
        (head,) = (entry for entry in found.entries if entry.jax.endswith("lm_head/kernel"))
        assert head.why == "tied"
        assert head.torch == ("lm_head.weight",)
        # PyTorch's gradient of the one table is the sum of both.
        ones = jax.tree.map(jnp.ones_like, params)
        converted = found.gradients_to_torch(ones)
        assert (converted["wte.weight"] == 2).all()
        assert converted["lm_head.weight"].equal(converted["wte.weight"])


class SplitAttention(tnn.Module):
    def __init__(self):
        super().__init__()
        for name in ("q", "k", "v", "out"):
            self.add_module(f"{name}_proj", tnn.Linear(6, 6))


@pytest.mark.parametrize("features", [(18,), (3, 2, 3)], ids=["matrix", "heads"])
def test_attention_split_there_and_fused_here(
    features, random_weights, inputs, shapes, there_and_back, close
):
    class Fused(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.DenseGeneral(features, name="qkv")(x), nn.Dense(6, name="out")(x)

    module = random_weights(SplitAttention())
    x = inputs(2, 6)
    params, _ = there_and_back(shapes(Fused(), x), module)
    joined, out = Fused().apply(params, x)
    y = torch.from_numpy(x)
    parts = [getattr(module, f"{name}_proj")(y) for name in ("q", "k", "v", "out")]
    close(joined.reshape(2, 18), torch.cat(parts[:3], -1))
    close(out, parts[3])
