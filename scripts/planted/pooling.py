"""Pooling of every kind between 1-D and 2-D layers; Linen and functions."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.weights import arrays, conv, dense, normal, randomized


class Pooling(tnn.Module):
    def __init__(self):
        super().__init__()
        self.conv = tnn.Conv2d(2, 6, 3)
        self.avg = tnn.AvgPool2d(3, stride=2, padding=1)
        self.mix = tnn.Conv2d(6, 6, 1)
        self.max = tnn.MaxPool2d(3, stride=2, padding=1)
        self.act = tnn.Hardswish()
        self.squeeze = tnn.AdaptiveAvgPool2d(1)
        self.fc1 = tnn.Linear(6, 3)
        self.gate = tnn.Linear(3, 6)
        self.head = tnn.Linear(6, 4)

    def forward(self, x):
        x = self.max(self.mix(self.avg(self.conv(x))))
        x = self.act(x)
        s = self.squeeze(x).flatten(1)
        s = self.gate(self.fc1(s).relu()).sigmoid()
        return self.head((x * s[:, :, None, None]).amax((2, 3)))


class LinenPooling(nn.Module):
    counted: bool = True
    avg_padding: Any = ((1, 1), (1, 1))
    max_padding: Any = ((1, 1), (1, 1))
    zeros: bool = False
    gated: bool = True
    gate: Any = nn.sigmoid
    end: Any = jnp.max
    act: Any = nn.hard_swish

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 3), padding="VALID", name="conv")(x)
        x = nn.avg_pool(x, (3, 3), (2, 2), self.avg_padding, count_include_pad=self.counted)
        x = nn.Conv(6, (1, 1), name="mix")(x)
        if self.zeros:
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            x = nn.max_pool(x, (3, 3), (2, 2))
        else:
            x = nn.max_pool(x, (3, 3), (2, 2), self.max_padding)
        x = self.act(x)
        s = nn.relu(nn.Dense(3, name="fc1")(x.mean((1, 2))))
        s = self.gate(nn.Dense(6, name="gate")(s))
        x = x * s[:, None, None] if self.gated else x
        return nn.Dense(4, name="head")(self.end(x, (1, 2)))


def linen(**options) -> Port:
    module = randomized(Pooling())
    state = arrays(module)
    params = {n: conv(state, n) for n in ("conv", "mix")}
    params |= {n: dense(state, n) for n in ("fc1", "gate", "head")}
    x = normal(2, 2, 10, 14)
    model = LinenPooling(**options)
    return Port(model.apply, {"params": params}, module, x.transpose(0, 2, 3, 1), x)


def plain(total="mean", shift=0) -> Port:
    """`jax.lax.reduce_window` on PyTorch's own layout."""
    module = randomized(Pooling(), 1)

    def windows(x, start, function, low=1):
        pads = ((0, 0), (0, 0), (low, 2 - low), (low, 2 - low))
        return jax.lax.reduce_window(x, start, function, (1, 1, 3, 3), (1, 1, 2, 2), pads)

    def apply(p, x):
        x = jax.lax.conv_general_dilated(x, p["conv.weight"], (1, 1), "VALID")
        x = windows(x + p["conv.bias"][:, None, None], 0.0, jax.lax.add) / 9
        x = jnp.einsum("oi,bihw->bohw", p["mix.weight"][:, :, 0, 0], x)
        x = windows(x + p["mix.bias"][:, None, None], -jnp.inf, jax.lax.max, 1 - shift)
        x = x * jnp.clip(x + 3, 0, 6) / 6
        s = x.sum((2, 3)) if total == "sum" else x.mean((2, 3))
        s = jax.nn.relu(s @ p["fc1.weight"].T + p["fc1.bias"])
        s = jax.nn.sigmoid(s @ p["gate.weight"].T + p["gate.bias"])
        x = (x * s[:, :, None, None]).max((2, 3))
        return x @ p["head.weight"].T + p["head.bias"]

    return Port(apply, arrays(module), module, normal(2, 2, 10, 14))


faults = Faults("pooling", "Linen", linen)
plain_faults = Faults("pooling", "function", plain)

CASES = [
    right("pooling", "Linen", "NHWC", linen),
    right("pooling", "function", "reduce_window", plain),
    faults("padding not counted in the average", "avg", ("padding", "count"), counted=False),
    faults("average padded by 'SAME'", "avg", "padding", avg_padding="SAME"),
    faults("maximum over padded zeros", "max", "padding", zeros=True),
    faults("maximum padded by 'SAME'", "max", "padding", max_padding="SAME"),
    faults("SiLU for hard swish", "act", "activation", act=nn.silu),
    faults("no gate", "", ("missing", "gate"), gated=False),
    faults("hard sigmoid for sigmoid", ("", "gate"), ("activation", "sigmoid"),
           gate=nn.hard_sigmoid, why="applied by the forward, after the layer"),
    faults("the mean for the maximum at the end", "", ("reduction", "mean"), end=jnp.mean),
    plain_faults("the sum for the mean", "squeeze", ("reduction", "sum", "scale"), total="sum"),
    plain_faults("maximum windows one off", "max", ("padding", "stride", "shift"), shift=1),
]  # fmt: skip
