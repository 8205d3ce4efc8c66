"""A causal temporal network of dilated and depthwise convolutions with PReLU; NNX and functions."""

import jax
import jax.numpy as jnp
import torch
from flax import nnx
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.weights import arrays, conv, nnx_with, norm, normal, randomized

CHANNELS = 6


class Temporal(tnn.Module):
    def __init__(self):
        super().__init__()
        self.inp = tnn.Conv1d(3, CHANNELS, 1)
        self.depth = tnn.Conv1d(CHANNELS, 2 * CHANNELS, 3, dilation=2, groups=CHANNELS)
        self.prelu = tnn.PReLU(2 * CHANNELS)
        self.norm = tnn.GroupNorm(1, 2 * CHANNELS, eps=1e-8)
        self.point = tnn.Conv1d(2 * CHANNELS, CHANNELS, 1, bias=False)
        self.down = tnn.Conv1d(CHANNELS, 4, 4, stride=2, padding=1)

    def forward(self, x):
        x = self.inp(x)
        y = self.depth(torch.nn.functional.pad(x, (4, 0)))
        x = x + self.point(self.norm(self.prelu(y)))
        return self.down(x).mean(-1)


class NNXTemporal(nnx.Module):
    def __init__(self, rngs, epsilon, padding, end, causal):
        self.inp = nnx.Conv(3, CHANNELS, (1,), rngs=rngs)
        self.depth = nnx.Conv(
            CHANNELS, 2 * CHANNELS, (3,), kernel_dilation=2, feature_group_count=CHANNELS,
            padding=causal, rngs=rngs,
        )  # fmt: skip
        self.prelu = nnx.Param(jnp.zeros(2 * CHANNELS))
        self.norm = nnx.GroupNorm(
            2 * CHANNELS, 1, epsilon=epsilon, use_fast_variance=False, rngs=rngs
        )
        self.point = nnx.Conv(2 * CHANNELS, CHANNELS, (1,), use_bias=False, rngs=rngs)
        self.down = nnx.Conv(CHANNELS, 4, (4,), strides=2, padding=padding, rngs=rngs)
        self.end = end

    def __call__(self, x):
        x = self.inp(x)
        y = self.depth(x)
        y = jnp.where(y > 0, y, self.prelu[...] * y)
        x = x + self.point(self.norm(y))
        return self.end(self.down(x), 1)


def nnx_temporal(epsilon=1e-8, padding=1, end=jnp.mean, causal="CAUSAL", change=None) -> Port:
    module = randomized(Temporal())
    state = arrays(module)
    values = {"prelu": state["prelu.weight"]}
    for name in ("inp", "depth", "point", "down"):
        values |= {f"{name}.{part}": x for part, x in conv(state, name).items()}
    values |= {f"norm.{part}": x for part, x in norm(state, "norm").items()}
    if change is not None:
        values["depth.kernel"] = change(values["depth.kernel"])
    graph, params = nnx_with(NNXTemporal(nnx.Rngs(0), epsilon, padding, end, causal), values)
    x = normal(3, 3, 9)
    return Port(lambda p, x: nnx.merge(graph, p)(x), params, module, x.transpose(0, 2, 1), x)


def plain(wrong="") -> Port:
    """`jax.lax` on PyTorch's own layout."""
    module = randomized(Temporal(), 1)

    def convolved(p, name, x, low=0, high=0, stride=1, dilation=1, groups=1):
        y = jax.lax.conv_general_dilated(
            x, p[f"{name}.weight"], (stride,), [(low, high)], rhs_dilation=(dilation,),
            feature_group_count=groups, dimension_numbers=("NCH", "OIH", "NCH"),
        )  # fmt: skip
        bias = p.get(f"{name}.bias")
        return y if bias is None else y + bias[:, None]

    def apply(p, x):
        x = convolved(p, "inp", x)
        dilation, low = (1, 2) if wrong == "dilation" else (2, 4)
        y = convolved(p, "depth", x, low, 0, dilation=dilation, groups=CHANNELS)
        slope = 0.25 if wrong == "slope" else p["prelu.weight"][:, None]
        y = jnp.maximum(y, 0) + slope * jnp.minimum(y, 0)
        if wrong == "norm per step":
            y = (y - y.mean(1, keepdims=True)) / jnp.sqrt(y.var(1, keepdims=True) + 1e-8)
        else:
            y = y - y.mean((1, 2), keepdims=True)
            y = y / jnp.sqrt((y * y).mean((1, 2), keepdims=True) + 1e-8)
        y = y * p["norm.weight"][:, None] + p["norm.bias"][:, None]
        y = convolved(p, "point", y)
        x = x - y if wrong == "minus" else x + y
        low, high = (2, 0) if wrong == "shifted" else (1, 1)
        x = convolved(p, "down", x, low, high, 2)
        return x[..., -1] if wrong == "last" else x.mean(-1)

    return Port(apply, arrays(module), module, normal(3, 3, 9))


faults = Faults("temporal convolutions", "NNX", nnx_temporal)
plain_faults = Faults("temporal convolutions", "function", plain)

CASES = [
    right("temporal convolutions", "NNX", "channels last, 'CAUSAL'", nnx_temporal),
    right("temporal convolutions", "function", "jax.lax", plain),
    faults("GroupNorm's epsilon 1e-6 for 1e-8", "norm", "epsilon", epsilon=1e-6),
    faults("'SAME' for causal padding", ("depth", ""), "padding", causal="SAME",
           why="the padding is the forward's, read by the layer"),
    faults("'SAME' with stride 2", "down", ("padding", "stride"), padding=((1, 2),)),
    faults("the maximum of the steps for the mean", "", ("reduction", "maximum"), end=jnp.max),
    faults("kernel reversed in time", "depth", ("flip", "revers"), change=lambda k: k[::-1]),
    faults("channel multiplier in the other order", "depth", ("order", "weight"),
           change=lambda k: k.reshape(3, 1, CHANNELS, 2).swapaxes(2, 3).reshape(k.shape)),
    plain_faults("dilation 1 for 2", ("depth", ""), "dilation", wrong="dilation",
                 why="the padding before it is the forward's"),
    plain_faults("slope 0.25 for the learned one", "prelu", ("slope", "activation"),
                 wrong="slope"),
    plain_faults("normalized at each step alone", "norm", ("axis", "axes", "group"),
                 wrong="norm per step"),
    plain_faults("difference for sum", "", ("sign", "negat", "subtract", "difference"),
                 wrong="minus"),
    plain_faults("padded at the start alone", "down", ("padding", "stride"), wrong="shifted"),
    plain_faults("the last step for the mean", "", ("reduction", "last"), wrong="last"),
]  # fmt: skip
