"""Embeddings as BERT has them, with a padding index and a sinusoidal table; Linen and functions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn
from torch import nn as tnn

from planted.case import FLOAT64, Faults, Port, right
from planted.weights import arrays, dense, norm, randomized, tokens

WIDTH, LENGTH = 8, 6


def angles(length, width, base=1e4):
    """Positions times falling frequencies, in NumPy."""
    frequencies = base ** (-np.arange(0, width, 2) / width)
    return np.arange(length)[:, None] * frequencies


def sinusoids(length, width):
    found = torch.from_numpy(angles(length, width))
    table = torch.zeros(length, width, dtype=torch.float64)
    table[:, 0::2], table[:, 1::2] = found.sin(), found.cos()
    return table


class Embeddings(tnn.Module):
    def __init__(self):
        super().__init__()
        self.words = tnn.Embedding(13, WIDTH, padding_idx=0)
        self.types = tnn.Embedding(2, WIDTH)
        self.register_buffer("table", sinusoids(16, WIDTH))
        self.norm = tnn.LayerNorm(WIDTH, eps=1e-12)
        self.out = tnn.Linear(WIDTH, 4)

    table: torch.Tensor

    def forward(self, ids, types):
        x = self.words(ids) * WIDTH**0.5 + self.types(types)
        x = x + self.table[: ids.shape[1]]
        return self.out(self.norm(x))


class LinenEmbeddings(nn.Module):
    epsilon: float = 1e-12
    scale: float = WIDTH**0.5
    offset: int = 0
    split: bool = False
    padding: bool = True
    typed: bool = True
    index: int = 0
    base: float = 1e4
    dtype: Any = None

    @nn.compact
    def __call__(self, ids, types):
        ids = jnp.clip(ids + self.index, 0, 12)
        x = nn.Embed(13, WIDTH, name="words")(ids)
        if self.padding:
            x = jnp.where((ids == 0)[..., None], jax.lax.stop_gradient(x), x)
        x = x * self.scale
        if self.typed:
            x = x + nn.Embed(2, WIDTH, name="types")(types)
        found = angles(ids.shape[1] + self.offset, WIDTH, self.base)[self.offset :]
        found = jnp.asarray(found, x.dtype)
        both = (jnp.sin(found), jnp.cos(found))
        table = jnp.concatenate(both, -1) if self.split else jnp.stack(both, -1).reshape(-1, WIDTH)
        if self.dtype is not None:
            table = table.astype(self.dtype).astype(x.dtype)
        x = nn.LayerNorm(self.epsilon, use_fast_variance=False, name="norm")(x + table)
        return nn.Dense(4, name="out")(x)


def ids_of(seed):
    ids = tokens(12, 3, LENGTH, seed=seed) + 1
    ids[1, 4:] = ids[2, 2:] = 0
    return ids, tokens(2, 3, LENGTH, seed=seed + 1)


def linen(**options) -> Port:
    module = randomized(Embeddings())
    state = arrays(module)
    params = {n: {"embedding": state[f"{n}.weight"]} for n in ("words", "types")}
    params |= {"norm": norm(state, "norm"), "out": dense(state, "out")}
    model = LinenEmbeddings(**options)
    if not options.get("typed", True):
        del params["types"]
    return Port(model.apply, {"params": params}, module, ids_of(1))


class Bag(tnn.Module):
    """The mean of a bag's embeddings, with learned positions."""

    def __init__(self):
        super().__init__()
        self.tokens = tnn.Embedding(13, WIDTH)
        self.positions = tnn.Parameter(torch.zeros(1, 10, WIDTH))
        self.out = tnn.Linear(WIDTH, 4)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions[:, : ids.shape[1]]
        hidden = ids == 0
        x = x.masked_fill(hidden[..., None], 0.0)
        return self.out(x.sum(1) / (~hidden).sum(1, keepdim=True))


def plain(wrong="", start=0, shift=0) -> Port:
    module = randomized(Bag(), 1)

    def apply(p, ids):
        n = ids.shape[1]
        one_hot = jax.nn.one_hot((ids + shift) % 13, 13, dtype=p["tokens.weight"].dtype)
        x = one_hot @ p["tokens.weight"]
        if wrong != "no positions":
            x = x + p["positions"][0, start : start + n]
        present = (ids != 0)[..., None]
        if wrong != "not masked":
            x = x * present
        count = present.sum(1)
        if wrong == "count":
            count = jnp.full_like(count, n)
        x = x.max(1) if wrong == "maximum" else x.sum(1) if wrong == "sum" else x.sum(1) / count
        return x @ p["out.weight"].T + p["out.bias"]

    return Port(apply, arrays(module), module, ids_of(3)[0])


faults = Faults("embeddings", "Linen", linen)
bag = Faults("bag of embeddings", "function", plain)
OWN = "the forward's own operation, next to the layer"

CASES = [
    right("embeddings", "Linen", "padding stopped by where", linen),
    right("bag of embeddings", "function", "one-hot products", plain),
    faults("padding row with a gradient", "words", ("padding", "gradient"), padding=False),
    faults("epsilon 1e-6 for 1e-12", "norm", "epsilon", epsilon=1e-6),
    faults("epsilon 1e-5 for 1e-12", "norm", "epsilon", epsilon=1e-5),
    faults("not scaled by the root of the width", ("", "words"), "scale", scale=1.0, why=OWN),
    faults("scaled by the width", ("", "words"), "scale", scale=float(WIDTH), why=OWN),
    faults("positions from 1", "", ("offset", "shift", "position"), offset=1),
    faults("positions from 2", "", ("offset", "shift", "position"), offset=2),
    faults("sines and cosines in halves", "", ("order", "table"), split=True),
    faults("no types", ("types", ""), ("missing", "types"), typed=False, why=OWN),
    faults("words shifted by one", "words", ("shift", "index"), index=1),
    faults("table of another base", "", ("table", "frequen", "base"), base=1e3),
    faults("table in float32", "", "float32", dtypes=FLOAT64, dtype=jnp.float32),
    faults("table in float16", "", "float16", dtype=jnp.float16),
    bag("positions from 1", "", ("offset", "shift"), start=1),
    bag("tokens shifted by one", "tokens", ("shift", "index"), shift=1),
    bag("padding not masked", "", "mask", wrong="not masked"),
    bag("no positions", "", ("missing", "position"), wrong="no positions"),
    bag("divided by the whole length", "", ("scale", "count", "operand", "divi"), wrong="count"),
    bag("the maximum for the mean", "", ("reduction", "maximum"), wrong="maximum"),
    bag("the sum for the mean", "", ("reduction", "missing", "scale"), wrong="sum"),
]  # fmt: skip
