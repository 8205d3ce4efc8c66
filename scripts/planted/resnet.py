"""A small ResNet with BatchNorm, in eval and in train mode; Linen, NNX, and functions."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.weights import arrays, conv, dense, nnx_with, norm, normal, randomized, running


class Block(tnn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = tnn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = tnn.BatchNorm2d(outputs)
        self.relu = tnn.ReLU(inplace=True)
        self.conv2 = tnn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = tnn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1:
            self.downsample = tnn.Sequential(
                tnn.Conv2d(inputs, outputs, 1, stride, bias=False), tnn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(tnn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = tnn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = tnn.BatchNorm2d(8)
        self.layer1 = Block(8, 8, 1)
        self.layer2 = Block(8, 12, 2)
        self.avgpool = tnn.AdaptiveAvgPool2d(1)
        self.fc = tnn.Linear(12, 4)

    def forward(self, x):
        x = self.layer2(self.layer1(self.bn1(self.conv1(x)).relu()))
        return self.fc(self.avgpool(x).flatten(1))


class LinenBlock(nn.Module):
    features: int
    stride: int
    average: bool
    skip: bool = True
    relu_before: bool = False
    last: bool = True
    same: bool = False
    scale2: bool = True

    @nn.compact
    def __call__(self, x):
        def bn(name, **options):
            return nn.BatchNorm(self.average, momentum=0.9, name=name, **options)

        stride = (self.stride, self.stride)
        pads = "SAME" if self.same else 1
        y = nn.Conv(self.features, (3, 3), stride, pads, use_bias=False, name="conv1")(x)
        y = nn.relu(bn("bn1")(y))
        y = nn.Conv(self.features, (3, 3), padding=1, use_bias=False, name="conv2")(y)
        y = bn("bn2", use_scale=self.scale2)(y)
        if self.stride > 1:
            x = nn.Conv(self.features, (1, 1), stride, use_bias=False, name="downsample_conv")(x)
            x = bn("downsample_bn")(x)
        if self.relu_before:
            return nn.relu(y) + x
        y = y + x if self.skip else y
        return nn.relu(y) if self.last else y


class LinenResNet(nn.Module):
    average: bool = True
    epsilon: float = 1e-5
    pool: Any = jnp.mean
    layer1: Any = ()
    layer2: Any = ()

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), padding=1, use_bias=False, name="conv1")(x)
        bn = nn.BatchNorm(self.average, momentum=0.9, epsilon=self.epsilon, name="bn1")
        x = nn.relu(bn(x))
        x = LinenBlock(8, 1, self.average, **dict(self.layer1), name="layer1")(x)
        x = LinenBlock(12, 2, self.average, **dict(self.layer2), name="layer2")(x)
        return nn.Dense(4, name="fc")(self.pool(x, axis=(1, 2)))


def variables(state):
    """All weights and statistics for Linen."""

    def of(kind, block):
        found = {name: kind(state, f"{block}.{name}") for name in ("bn1", "bn2")}
        if block == "layer2":
            found["downsample_bn"] = kind(state, "layer2.downsample.1")
        return found

    params: dict[str, Any] = {
        "conv1": conv(state, "conv1"),
        "bn1": norm(state, "bn1"),
        "fc": dense(state, "fc"),
    }
    statistics: dict[str, Any] = {"bn1": running(state, "bn1")}
    for block in ("layer1", "layer2"):
        convs = {name: conv(state, f"{block}.{name}") for name in ("conv1", "conv2")}
        params[block] = convs | of(norm, block)
        statistics[block] = of(running, block)
    params["layer2"]["downsample_conv"] = conv(state, "layer2.downsample.0")
    return {"params": params, "batch_stats": statistics}


def linen(train=False, change=None, **options) -> Port:
    module = randomized(ResNet()).train(train)
    params: dict[str, Any] = variables(arrays(module))
    if dict(options.get("layer1", ())).get("scale2") is False:
        del params["params"]["layer1"]["bn2"]["scale"]
    if change is not None:
        params = change(params)
    given: dict[str, Any] = {"average": not train} | options
    model = LinenResNet(**given)

    def apply(variables, x):
        if not train:
            return model.apply(variables, x, mutable=["batch_stats"])[0]
        return model.apply(variables, x, mutable=["batch_stats"])

    x = normal(4, 3, 6, 6)
    return Port(apply, params, module, x.transpose(0, 2, 3, 1), x)


def other_statistics(variables):
    statistics = variables["batch_stats"]
    layer = statistics["layer1"] | {"bn2": statistics["layer1"]["bn1"]}
    return variables | {"batch_stats": statistics | {"layer1": layer}}


def plain(
    train=True, momentum=0.1, biased=False, epsilon=1e-5, stop=False, frozen=None, batch=False
) -> Port:
    """NCHW functions on a dict of the module's own names, which return the new statistics."""
    module = randomized(ResNet(), 2).train(train)

    def bn(p, name, x, new):
        eps = epsilon if name == "layer2.bn1" else 1e-5
        mean, var = p[f"{name}.running_mean"], p[f"{name}.running_var"]
        if train or batch:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
            if stop and name == "layer2.bn2":
                mean, var = jax.lax.stop_gradient((mean, var))
            n = x.size // x.shape[1]
            kept = 0.0 if name == frozen else momentum
            for part, now in (("mean", mean), ("var", var if biased else var * n / (n - 1))):
                key = f"{name}.running_{part}"
                new[key] = (1 - kept) * p[key] + kept * now

        def wide(v):
            return v[None, :, None, None]

        normed = (x - wide(mean)) / jnp.sqrt(wide(var) + eps)
        return normed * wide(p[f"{name}.weight"]) + wide(p[f"{name}.bias"])

    def convolved(p, name, x, stride=1):
        w = p[f"{name}.weight"]
        pads = [(w.shape[-1] // 2,) * 2] * 2
        return jax.lax.conv_general_dilated(x, w, (stride, stride), pads)

    def block(p, name, x, stride, new):
        y = jax.nn.relu(bn(p, f"{name}.bn1", convolved(p, f"{name}.conv1", x, stride), new))
        y = bn(p, f"{name}.bn2", convolved(p, f"{name}.conv2", y), new)
        if stride > 1:
            x = bn(p, f"{name}.downsample.1", convolved(p, f"{name}.downsample.0", x, stride), new)
        return jax.nn.relu(x + y)

    def apply(p, x):
        new = {}
        x = jax.nn.relu(bn(p, "bn1", convolved(p, "conv1", x), new))
        x = block(p, "layer2", block(p, "layer1", x, 1, new), 2, new)
        logits = x.mean((2, 3)) @ p["fc.weight"].T + p["fc.bias"]
        return (logits, new) if train else logits

    state = arrays(module)
    params = {name: x for name, x in state.items() if "num_batches" not in name}
    return Port(apply, params, module, normal(4, 3, 6, 6))


class NNXBlock(nnx.Module):
    def __init__(self, rngs, momentum):
        def conv(features, size):
            return nnx.Conv(features, 8, (size, size), padding="SAME", use_bias=False, rngs=rngs)

        self.conv1, self.conv2 = conv(3, 3), conv(8, 3)
        self.bn1 = nnx.BatchNorm(8, momentum=momentum, epsilon=1e-5, rngs=rngs)
        self.bn2 = nnx.BatchNorm(8, momentum=momentum, epsilon=1e-5, rngs=rngs)
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.relu(x + self.bn2(self.conv2(x)))
        return self.head(x.mean((1, 2)))


class Plain(tnn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = tnn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = tnn.BatchNorm2d(8)
        self.conv2 = tnn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = tnn.BatchNorm2d(8)
        self.head = tnn.Linear(8, 4)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = (x + self.bn2(self.conv2(x))).relu()
        return self.head(x.mean((2, 3)))


def nnx_resnet(train=False, momentum=0.9, frozen=False, swap=False) -> Port:
    module = randomized(Plain(), 3).train(train)
    state = arrays(module)
    values = {f"{n}.kernel": conv(state, n)["kernel"] for n in ("conv1", "conv2")}
    values |= {f"head.{part}": x for part, x in dense(state, "head").items()}
    for name in ("bn1", "bn2"):
        found = norm(state, name) | running(state, name)
        if swap and name == "bn1":
            found["scale"], found["bias"] = found["bias"], found["scale"]
        values |= {f"{name}.{part}": x for part, x in found.items()}
    graph, params = nnx_with(NNXBlock(nnx.Rngs(0), momentum), values)

    def apply(params, x):
        model = nnx.merge(graph, params)
        if not train or frozen:
            model.eval()
            return model(x)
        out = model(x)
        return out, nnx.state(model, nnx.BatchStat)

    x = normal(4, 3, 5, 5)
    return Port(apply, params, module, x.transpose(0, 2, 3, 1), x)


faults = Faults("ResNet", "Linen", linen)
train_faults = Faults("ResNet, train", "function", plain)
nnx_faults = Faults("ResNet, train", "NNX", nnx_resnet)

CASES = [
    right("ResNet", "Linen", "NHWC, eval", linen),
    right("ResNet", "NNX", "NHWC, eval", nnx_resnet),
    right("ResNet", "function", "NCHW, eval", plain, train=False),
    right("ResNet, train", "function", "NCHW, statistics returned", plain),
    faults("epsilon 1e-3 for 1e-5", "bn1", "epsilon", epsilon=1e-3),
    faults(
        "statistics of the batch in eval mode", "bn1", "statistics", average=False
    ),
    faults("no residual connection", "layer1", "residual", layer1=(("skip", False),)),
    faults(
        "ReLU before the sum", ("layer1", "layer1.relu", "layer1.bn2"),
        ("order", "activation", "extra"), layer1=(("relu_before", True),),
        why="the two have changed places: the ReLU is after bn2, before the sum",
    ),
    faults(
        "no ReLU after the sum", "layer1.relu", ("missing", "activation"),
        layer1=(("last", False),),
    ),
    faults("no scale in a BatchNorm", "layer1.bn2", "scale", layer1=(("scale2", False),)),
    faults(
        "'SAME' with stride 2", "layer2.conv1", ("stride", "padding"), layer2=(("same", True),)
    ),
    faults(
        "another layer's statistics", "layer1.bn2", ("weight", "statistics", "mean"),
        change=other_statistics,
    ),
    faults(
        "maximum for average pooling", "avgpool", ("reduction", "pool", "maximum"), pool=jnp.max
    ),
    Faults("ResNet, train", "Linen", linen)(
        "running variance biased, as Linen has it", "bn1", "variance", train=True
    ),
    Faults("ResNet, eval", "function", plain)(
        "statistics of the batch in eval mode", "bn1", "statistics", train=False, batch=True
    ),
    train_faults("momentum 0.01 for 0.1", "bn1", "momentum", momentum=0.01),
    train_faults("momentum 0.9 for 0.1", "bn1", "momentum", momentum=0.9),
    train_faults("running variance biased", "bn1", "variance", biased=True),
    train_faults("epsilon 1e-6 for 1e-5", "layer2.bn1", "epsilon", epsilon=1e-6),
    train_faults("no gradient through the statistics", "layer2.bn2", "gradient", stop=True),
    train_faults(
        "statistics not updated in one layer", "layer1.bn1", ("not updated", "momentum"),
        frozen="layer1.bn1",
    ),
    nnx_faults("momentum 0.99, NNX's default", "bn1", "momentum", train=True, momentum=0.99),
    nnx_faults(
        "running statistics in train mode", "bn1", "statistics", train=True, frozen=True
    ),
    nnx_faults(
        "scale and bias of a BatchNorm swapped", "bn1", ("weight", "swapped"), swap=True
    ),
]  # fmt: skip
