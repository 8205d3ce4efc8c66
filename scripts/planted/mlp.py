"""An MLP with a LayerNorm, a residual connection and three activations; Linen, NNX, Equinox."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from jax.scipy.special import erf
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.weights import (
    arrays,
    dense,
    equinox_with,
    flax_names,
    nnx_with,
    norm,
    normal,
    randomized,
)


class MLP(tnn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = tnn.Linear(6, 12)
        self.act1 = tnn.GELU()
        self.norm = tnn.LayerNorm(12)
        self.fc2 = tnn.Linear(12, 12)
        self.act2 = tnn.LeakyReLU(0.2)
        self.fc3 = tnn.Linear(12, 12)
        self.act3 = tnn.SiLU()
        self.head = tnn.Linear(12, 4)

    def forward(self, x):
        x = self.norm(self.act1(self.fc1(x)))
        x = x + self.act2(self.fc2(x))
        return self.head(self.act3(self.fc3(x)))


class LinenMLP(nn.Module):
    approximate: bool = False
    epsilon: float = 1e-5
    fast: bool = False
    slope: float = 0.2
    act3: Any = nn.silu
    bias2: bool = True
    skip: bool = True
    norm_first: bool = False
    extra: Any = None
    stop: bool = False
    end: Any = None

    @nn.compact
    def __call__(self, x):
        norm = nn.LayerNorm(self.epsilon, use_fast_variance=self.fast, name="norm")
        x = nn.Dense(12, name="fc1")(x)
        if self.norm_first:
            x = nn.gelu(norm(x), approximate=False)
        else:
            x = norm(nn.gelu(x, approximate=self.approximate))
        if self.extra is not None:
            x = self.extra(x)
        y = nn.Dense(12, use_bias=self.bias2, name="fc2")(x)
        y = nn.leaky_relu(y, self.slope)
        y = nn.Dense(12, name="fc3")(x + y if self.skip else y)
        if self.stop:
            y = jax.lax.stop_gradient(y)
        y = nn.Dense(4, name="head")(y if self.act3 is None else self.act3(y))
        return y if self.end is None else self.end(y)


def linen(change=None, **options) -> Port:
    module = randomized(MLP())
    state = arrays(module)
    params = {name: dense(state, name) for name in ("fc1", "fc2", "fc3", "head")}
    params["norm"] = norm(state, "norm")
    if not options.get("bias2", True):
        del params["fc2"]["bias"]
    if change is not None:
        params = change(params)
    return Port(LinenMLP(**options).apply, {"params": params}, module, normal(4, 6))


def transposed(params):
    return params | {"fc2": params["fc2"] | {"kernel": params["fc2"]["kernel"].T}}


def swapped(params):
    return params | {"fc2": params["fc3"], "fc3": params["fc2"]}


def reused(params):
    return params | {"fc3": params["fc2"]}


class NNXMLP(nnx.Module):
    def __init__(self, rngs, activation):
        self.fc1 = nnx.Linear(6, 12, rngs=rngs)
        self.norm = nnx.LayerNorm(12, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.fc2 = nnx.Linear(12, 12, rngs=rngs)
        self.fc3 = nnx.Linear(12, 12, rngs=rngs)
        self.head = nnx.Linear(12, 4, rngs=rngs)
        self.activation = activation

    def __call__(self, x):
        x = self.norm(nnx.gelu(self.fc1(x), approximate=False))
        x += self.activation(self.fc2(x))
        return self.head(nnx.silu(self.fc3(x)))


def nnx_mlp(activation=lambda x: nnx.leaky_relu(x, 0.2), halve=False) -> Port:
    module = randomized(MLP(), 3)
    state = arrays(module)
    values = flax_names(state, "fc1", "fc2", "fc3", "head")
    values |= {"norm.scale": state["norm.weight"], "norm.bias": state["norm.bias"]}
    graph, params = nnx_with(NNXMLP(nnx.Rngs(0), activation), values)

    def apply(params, x):
        return nnx.merge(graph, params)(x / 2 if halve else x)

    return Port(apply, params, module, normal(3, 6))


class EquinoxMLP(eqx.Module):
    fc1: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    fc2: eqx.nn.Linear
    fc3: eqx.nn.Linear
    head: eqx.nn.Linear
    twice: bool = eqx.field(static=True)

    def __init__(self, key, epsilon, twice):
        keys = jax.random.split(key, 4)
        self.fc1 = eqx.nn.Linear(6, 12, key=keys[0])
        self.norm = eqx.nn.LayerNorm(12, eps=epsilon)
        self.fc2 = eqx.nn.Linear(12, 12, key=keys[1])
        self.fc3 = eqx.nn.Linear(12, 12, key=keys[2])
        self.head = eqx.nn.Linear(12, 4, key=keys[3])
        self.twice = twice

    def __call__(self, x):
        x = self.norm(jax.nn.gelu(self.fc1(x), approximate=False))
        x = x + jax.nn.leaky_relu(self.fc2(x), 0.2)
        if self.twice:
            x = x + jax.nn.leaky_relu(self.fc2(x), 0.2)
        return self.head(jax.nn.silu(self.fc3(x)))


def equinox(epsilon=1e-5, twice=False, change=lambda values: values) -> Port:
    module = randomized(MLP(), 4)
    values = change(arrays(module))
    model = equinox_with(EquinoxMLP(jax.random.key(0), epsilon, twice), values)
    return Port(lambda m, x: jax.vmap(m)(x), model, module, normal(5, 6))


def plain(dtype=None, gain=1.0) -> Port:
    """Everything written out, on a dict of the module's own names."""
    module = randomized(MLP(), 5)
    state = arrays(module)

    def linear(p, name, x):
        w = p[f"{name}.weight"]
        if dtype is not None and name == "fc3":
            y = jnp.einsum("oi,bi->bo", w.astype(dtype), x.astype(dtype)).astype(x.dtype)
        else:
            y = jnp.einsum("oi,bi->bo", w, x)
        return y + p[f"{name}.bias"]

    def apply(p, x):
        x = linear(p, "fc1", x)
        x = 0.5 * x * (1 + erf(x / np.sqrt(2)))
        centred = x - x.mean(-1, keepdims=True)
        x = centred * jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5)
        x = x * p["norm.weight"] + p["norm.bias"]
        y = linear(p, "fc2", x)
        x = x + gain * jnp.where(y > 0, y, 0.2 * y)
        x = linear(p, "fc3", x)
        return linear(p, "head", x / (1 + jnp.exp(-x)))

    return Port(apply, state, module, normal(4, 6))


faults = Faults("MLP", "Linen", linen)
nnx_faults = Faults("MLP", "NNX", nnx_mlp)
equinox_faults = Faults("MLP", "Equinox", equinox)
plain_faults = Faults("MLP", "function", plain)
BETWEEN = "it lies between the two"

CASES = [
    right("MLP", "Linen", "as it is", linen),
    right("MLP", "Linen", "variance as E[x²] - E[x]²", linen, fast=True),
    right("MLP", "NNX", "as it is", nnx_mlp),
    right("MLP", "Equinox", "vmapped over the batch", equinox),
    right("MLP", "function", "everything written out", plain),
    faults("GELU by the tanh approximation", "act1", "gelu", approximate=True),
    faults("epsilon 1e-6 for 1e-5", "norm", "epsilon", epsilon=1e-6),
    faults("epsilon 3e-5 for 1e-5", "norm", "epsilon", epsilon=3e-5),
    faults("leaky slope 0.01 for 0.2", "act2", ("slope", "leaky"), slope=0.01),
    faults("leaky slope 0.15 for 0.2", "act2", ("slope", "leaky"), slope=0.15),
    faults("ReLU for SiLU", "act3", "activation", act3=nn.relu),
    faults("no activation for SiLU", "act3", ("missing", "activation"), act3=None),
    faults("no bias in the second layer", "fc2", "bias", bias2=False),
    faults("no residual connection", "", "residual", skip=False),
    faults(
        "normalized before the activation", ("act1", "norm"), "order", norm_first=True,
        why="the two have changed places",
    ),
    faults("a square weight not transposed", "fc2", "transposed", change=transposed),
    faults("weights of two layers swapped", "fc2", "weight", change=swapped),
    faults("another layer's weights used", "fc3", "weight", change=reused),
    faults(
        "stop_gradient after the third layer", ("fc3", "act3"), "gradient", stop=True, why=BETWEEN
    ),
    faults(
        "an extra ReLU after the norm", ("norm", "fc2"), "extra", extra=nn.relu, why=BETWEEN
    ),
    faults(
        "log-softmax at the end", ("head", ""), ("log", "extra"), end=nn.log_softmax, why=BETWEEN
    ),
    faults(
        "outputs divided by 2", ("head", ""), "scale", end=lambda x: x / 2, why=BETWEEN
    ),
    nnx_faults("ReLU for leaky ReLU", "act2", "activation", activation=nnx.relu),
    nnx_faults("inputs halved", ("fc1", ""), "scale", halve=True, why=BETWEEN),
    equinox_faults("epsilon 1e-3 for 1e-5", "norm", "epsilon", epsilon=1e-3),
    equinox_faults(
        "the second layer applied twice", ("", "fc3"), ("extra", "residual"), twice=True,
        why="it is no layer of the module's",
    ),
    equinox_faults(
        "the bias of another layer", "fc3", ("bias", "weight"),
        change=lambda values: values | {"fc3.bias": values["fc2.bias"]},
    ),
    plain_faults("a product in bfloat16", "fc3", ("bfloat16", "product"), dtype=jnp.bfloat16),
    plain_faults("a branch weighted by 0.9", ("", "act2"), "scale", gain=0.9, why=BETWEEN),
]  # fmt: skip
