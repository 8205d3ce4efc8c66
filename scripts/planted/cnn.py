"""A convolutional network with pooling, a stride and a flatten; Linen (NHWC) and Equinox (NCHW)."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import linen as nn
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.weights import arrays, conv, dense, equinox_with, normal, randomized


class CNN(tnn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = tnn.Conv2d(3, 8, 3, padding=1)
        self.relu1 = tnn.ReLU()
        self.pool = tnn.MaxPool2d(2)
        self.conv2 = tnn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.relu2 = tnn.ReLU()
        self.fc = tnn.Linear(48, 5)

    def forward(self, x):
        x = self.pool(self.relu1(self.conv1(x)))
        x = self.relu2(self.conv2(x))
        return self.fc(x.flatten(1))


class LinenCNN(nn.Module):
    padding1: Any = 1
    dilation1: int = 1
    bias1: bool = True
    activation1: Any = nn.relu
    pool: Any = nn.max_pool
    pool_first: bool = False
    padding2: Any = ((1, 1), (1, 1))
    offset: bool = False
    channels_last: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x):
        size = (3, 3)
        x = nn.Conv(
            8, size, padding=self.padding1, kernel_dilation=self.dilation1, use_bias=self.bias1
        )(x)
        if self.pool_first:
            x = self.activation1(self.pool(x, (2, 2), (2, 2)))
        else:
            x = self.pool(self.activation1(x), (2, 2), (2, 2))
        if self.offset:
            x = nn.Conv(8, size, padding=1)(x)[:, 1::2, 1::2]
        else:
            x = nn.Conv(8, size, strides=2, padding=self.padding2)(x)
        x = nn.relu(x)
        if not self.channels_last:
            x = x.transpose(0, 3, 1, 2)
        return nn.Dense(5, dtype=self.dtype)(x.reshape(len(x), -1))


def linen(change=None, **options) -> Port:
    module = randomized(CNN())
    state = arrays(module)
    params = {
        "Conv_0": conv(state, "conv1"),
        "Conv_1": conv(state, "conv2"),
        "Dense_0": dense(state, "fc"),
    }
    if not options.get("bias1", True):
        del params["Conv_0"]["bias"]
    if change is not None:
        layer, function = change
        params[layer] = params[layer] | {"kernel": function(params[layer]["kernel"])}
    x = normal(2, 3, 8, 12)
    model = LinenCNN(**options)
    return Port(model.apply, {"params": params}, module, x.transpose(0, 2, 3, 1), x)


class EquinoxCNN(eqx.Module):
    conv1: eqx.nn.Conv2d
    conv2: eqx.nn.Conv2d
    fc: eqx.nn.Linear
    pool: eqx.nn.Pool
    mode: str = eqx.field(static=True)
    rows: bool = eqx.field(static=True)
    slope: float = eqx.field(static=True)

    def __init__(self, mode, pool, rows, slope):
        keys = jax.random.split(jax.random.key(0), 3)
        self.conv1 = eqx.nn.Conv2d(3, 8, 3, padding=1, padding_mode=mode, key=keys[0])
        self.conv2 = eqx.nn.Conv2d(8, 8, 3, stride=2, padding=1, key=keys[1])
        self.fc = eqx.nn.Linear(48, 5, key=keys[2])
        self.pool = pool
        self.mode, self.rows, self.slope = mode, rows, slope

    def __call__(self, x):
        x = self.pool(jax.nn.relu(self.conv1(x)))
        x = jax.nn.leaky_relu(self.conv2(x), self.slope)
        return self.fc(x.mT.ravel() if self.rows else x.ravel())


def equinox(mode="ZEROS", pool=None, rows=False, slope=0.0) -> Port:
    module = randomized(CNN(), 1)
    values = arrays(module)
    for name in ("conv1.bias", "conv2.bias"):
        values[name] = values[name][:, None, None]
    pool = pool or eqx.nn.MaxPool2d(2, 2)
    model = equinox_with(EquinoxCNN(mode, pool, rows, slope), values)
    return Port(lambda m, x: jax.vmap(m)(x), model, module, normal(3, 3, 8, 12))


def plain(swap=False, scale=1.0) -> Port:
    """`jax.lax` on PyTorch's own layouts."""
    module = randomized(CNN(), 2)

    def convolved(x, w, b, stride, layout=("NCHW", "OIHW", "NCHW")):
        pads = ((1, 1), (1, 1))
        y = jax.lax.conv_general_dilated(x, w, stride, pads, dimension_numbers=layout)
        return y + b[:, None, None]

    def apply(p, x):
        x = jax.nn.relu(convolved(x, p["conv1.weight"], p["conv1.bias"], (1, 1)))
        x = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).max((3, 5))
        w = p["conv2.weight"].swapaxes(0, 1) if swap else p["conv2.weight"]
        x = jnp.maximum(convolved(x, w * scale, p["conv2.bias"], (2, 2)), 0)
        return x.reshape(x.shape[0], -1) @ p["fc.weight"].T + p["fc.bias"]

    return Port(apply, arrays(module), module, normal(2, 3, 8, 12))


faults = Faults("CNN", "Linen", linen)
equinox_faults = Faults("CNN", "Equinox", equinox)
plain_faults = Faults("CNN", "function", plain)
FLATTEN = "the flatten is the forward's own, its result is read by the layer"

CASES = [
    right("CNN", "Linen", "NHWC, transposed before the flatten", linen),
    right("CNN", "Linen", "NHWC, ReLU after the pooling", linen, pool_first=True),
    right("CNN", "Equinox", "NCHW, vmapped", equinox),
    right("CNN", "function", "jax.lax, pooled by a reshape", plain),
    faults("'SAME' with stride 2", "conv2", ("stride", "padding"), padding2="SAME"),
    faults("'VALID' for padding 1", "conv1", "padding", padding1="VALID"),
    faults("circular padding", "conv1", ("padding", "circular"), padding1="CIRCULAR"),
    faults("dilation 2", "conv1", "dilation", padding1=2, dilation1=2),
    faults("no bias in the first convolution", "conv1", "bias", bias1=False),
    faults("flattened with channels last", ("fc", ""), "flatten", channels_last=True, why=FLATTEN),
    faults("average for maximum pooling", "pool", ("average", "mean"), pool=nn.avg_pool),
    faults("the other offset of the stride", "conv2", "stride", offset=True),
    faults(
        "kernel flipped", "conv1", "flip", change=("Conv_0", lambda k: k[::-1, ::-1])
    ),
    faults(
        "kernel's height and width swapped", "conv1", "transposed",
        change=("Conv_0", lambda k: k.swapaxes(0, 1)),
    ),
    faults(
        "kernel's inputs and outputs swapped", "conv2", "transposed",
        change=("Conv_1", lambda k: k.swapaxes(2, 3)),
    ),
    faults(
        "no activation after the first convolution", "relu1", ("missing", "activation"),
        activation1=lambda x: x,
    ),
    faults("the last layer in bfloat16", "fc", ("bfloat16", "product"), dtype=jnp.bfloat16),
    equinox_faults("reflected padding", "conv1", ("padding", "reflect"), mode="REFLECT"),
    equinox_faults(
        "pooling windows with stride 2, size 3", "pool", ("pool", "window", "kernel"),
        pool=eqx.nn.MaxPool2d(3, 2, padding=((0, 1), (0, 1))),
    ),
    equinox_faults("flattened by columns", ("fc", ""), "flatten", rows=True, why=FLATTEN),
    equinox_faults("leaky ReLU for ReLU", "relu2", ("activation", "slope"), slope=0.01),
    plain_faults("kernel's inputs and outputs swapped", "conv2", "transposed", swap=True),
    plain_faults("a weight scaled by 1.1", "conv2", "scale", scale=1.1),
]  # fmt: skip
