"""Modules that are called several times: a Siamese pair, and one layer applied again and again."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.weights import arrays, dense, norm, normal, randomized


class Siamese(tnn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = tnn.Sequential(
            tnn.Linear(5, 8), tnn.GELU(), tnn.LayerNorm(8), tnn.Linear(8, 8)
        )
        self.score = tnn.Bilinear(8, 8, 3)

    def forward(self, a, b):
        a, b = self.encoder(a), self.encoder(b)
        return self.score(a, b) + (a - b).abs().mean(-1, keepdim=True)


def siamese(wrong="", second=False, epsilon=1e-5) -> Port:
    module = randomized(Siamese())

    def encoder(p, x, wrong=""):
        x = x @ p["encoder.0.weight"].T + p["encoder.0.bias"]
        x = jax.nn.gelu(x, approximate=wrong == "tanh")
        x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + epsilon)
        x = x * p["encoder.2.weight"] + p["encoder.2.bias"]
        y = x @ p["encoder.3.weight"].T
        return y if wrong == "no bias" else y + p["encoder.3.bias"]

    def apply(p, a, b):
        a, b = encoder(p, a, "" if second else wrong), encoder(p, b, wrong)
        w = p["score.weight"]
        w = w.swapaxes(1, 2) if wrong == "transposed" else w
        score = jnp.einsum("bi,oij,bj->bo", a, w, b) + p["score.bias"]
        gap = jnp.square(a - b) if wrong == "square" else jnp.abs(a - b)
        gap = a - b if wrong == "no abs" else gap
        return score + gap.mean(-1, keepdims=True)

    inputs = (normal(3, 5), normal(3, 5, seed=2))
    return Port(apply, arrays(module), module, inputs)


class Recycled(tnn.Module):
    """One block three times, as ALBERT and fixed-point models have it."""

    def __init__(self):
        super().__init__()
        self.block = tnn.Linear(6, 6)
        self.norm = tnn.LayerNorm(6)
        self.head = tnn.Linear(6, 2)

    def forward(self, x):
        for _ in range(3):
            x = self.norm(x + self.block(x).tanh())
        return self.head(x)


class LinenRecycled(nn.Module):
    times: int = 3
    epsilon: float = 1e-5
    last: bool = True
    damping: float = 1.0

    @nn.compact
    def __call__(self, x):
        block = nn.Dense(6, name="block")
        norm = nn.LayerNorm(self.epsilon, use_fast_variance=False, name="norm")
        for i in range(self.times):
            y = block(x)
            y = nn.tanh(y) if self.last or i < self.times - 1 else y
            x = norm(x + self.damping * y)
        return nn.Dense(2, name="head")(x)


def recycled(**options) -> Port:
    module = randomized(Recycled(), 1)
    state = arrays(module)
    params = {n: dense(state, n) for n in ("block", "head")} | {"norm": norm(state, "norm")}
    model = LinenRecycled(**options)
    return Port(model.apply, {"params": params}, module, normal(4, 6))


def looped(epsilon=1e-5) -> Port:
    """The block in a `jax.lax.fori_loop`."""
    module = randomized(Recycled(), 2)

    def apply(p, x):
        def body(_, x):
            x = x + jnp.tanh(x @ p["block.weight"].T + p["block.bias"])
            x = x - x.mean(-1, keepdims=True)
            x = x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + epsilon)
            return x * p["norm.weight"] + p["norm.bias"]

        x = jax.lax.fori_loop(0, 3, body, x)
        return x @ p["head.weight"].T + p["head.bias"]

    return Port(apply, arrays(module), module, normal(4, 6))


pair = Faults("Siamese pair", "function", siamese)
again = Faults("recycled layer", "Linen", recycled)

CASES = [
    right("Siamese pair", "function", "bilinear by einsum", siamese),
    right("recycled layer", "Linen", "one layer called thrice", recycled),
    right("recycled layer", "function", "in a fori_loop", looped),
    pair("GELU by the tanh approximation, in both", "encoder.1", "gelu", wrong="tanh"),
    pair("GELU by the tanh approximation, in the second", "encoder.1", "gelu", wrong="tanh",
         second=True),
    pair("no bias, in the second", "encoder.3", "bias", wrong="no bias", second=True),
    pair("bilinear weight transposed", "score", ("transposed", "swapped"), wrong="transposed"),
    pair("squares for magnitudes", "", ("activation", "square", "abs"), wrong="square"),
    pair("signed difference", "", ("missing", "abs"), wrong="no abs"),
    pair("epsilon 1e-6 for 1e-5", "encoder.2", "epsilon", epsilon=1e-6),
    again("twice for three times", ("block", "", "head"), ("missing", "times", "step"), times=2,
          why="the third call is not there"),
    again("four times for three", ("", "norm", "head"), ("extra", "times", "step"), times=4,
          why="after the last call, before the head"),
    again("epsilon 1e-6 for 1e-5", "norm", "epsilon", epsilon=1e-6),
    again("no tanh in the last", "", ("missing", "activation", "tanh"), last=False),
    again("damped by 0.5", "", "scale", damping=0.5),
    Faults("recycled layer", "function", looped)("epsilon 1e-3 in the loop", "norm", "epsilon",
                                                 epsilon=1e-3),
]  # fmt: skip
