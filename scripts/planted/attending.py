"""``nn.MultiheadAttention`` with a causal mask, and an attention written out with rotary angles."""

import equinox as eqx
import jax
import jax.numpy as jnp
import torch
from flax import linen as nn
from flax import nnx
from torch import nn as tnn

from planted.case import FLOAT64, Faults, Port, right
from planted.weights import arrays, attention, dense, equinox_with, nnx_with, normal, randomized

WIDTH, HEADS = 8, 2
SIZE = WIDTH // HEADS


class Causal(tnn.Module):
    def __init__(self):
        super().__init__()
        self.attn = tnn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.out = tnn.Linear(WIDTH, 3)

    def forward(self, x):
        n = x.shape[1]
        hidden = torch.ones(n, n, dtype=torch.bool).triu(1)
        y, _ = self.attn(x, x, x, attn_mask=hidden, need_weights=False)
        return self.out(y + x)


class LinenCausal(nn.Module):
    masked: bool = True
    skip: bool = True
    normalize: bool = False

    @nn.compact
    def __call__(self, x):
        mask = nn.make_causal_mask(x[..., 0]) if self.masked else None
        y = nn.MultiHeadDotProductAttention(HEADS, normalize_qk=self.normalize, name="attn")(
            x, mask=mask
        )
        return nn.Dense(3, name="out")(y + x if self.skip else y)


def linen(change=lambda params: params, **options) -> Port:
    module = randomized(Causal())
    state = arrays(module)
    params = {"attn": attention(state, "attn", HEADS), "out": dense(state, "out")}
    model = LinenCausal(**options)
    return Port(model.apply, {"params": change(params)}, module, normal(2, 5, WIDTH))


def heads_apart(params):
    """The output projection as (width, heads) for (heads, width)."""
    out = params["attn"]["out"]
    kernel = out["kernel"].reshape(SIZE, HEADS, WIDTH).swapaxes(0, 1)
    return params | {"attn": params["attn"] | {"out": out | {"kernel": kernel}}}


def by_einsum(query, key, value, mask=None, **_):
    """Attention as NNX calls it, in the inputs' own dtype."""
    scores = jnp.einsum("...qhd,...khd->...hqk", query, key) / query.shape[-1] ** 0.5
    scores = scores if mask is None else jnp.where(mask, scores, -jnp.inf)
    return jnp.einsum("...hqk,...khd->...qhd", jax.nn.softmax(scores), value)


def nnx_causal(causal=True, function=by_einsum) -> Port:
    module = randomized(Causal(), 1)
    state = arrays(module)

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.attn = nnx.MultiHeadAttention(
                HEADS, WIDTH, decode=False, attention_fn=function, rngs=rngs
            )
            self.out = nnx.Linear(WIDTH, 3, rngs=rngs)

        def __call__(self, x):
            mask = nnx.make_causal_mask(x[..., 0]) if causal else None
            return self.out(x + self.attn(x, mask=mask))

    values = {
        f"attn.{part}.{name}": x
        for part, found in attention(state, "attn", HEADS).items()
        for name, x in found.items()
    }
    values |= {f"out.{name}": x for name, x in dense(state, "out").items()}
    graph, params = nnx_with(Model(nnx.Rngs(0)), values)
    return Port(lambda p, x: nnx.merge(graph, p)(x), params, module, normal(2, 5, WIDTH))


def equinox(shift=0, halve=False) -> Port:
    module = randomized(Causal(), 2)
    state = arrays(module)

    class Model(eqx.Module):
        attn: eqx.nn.MultiheadAttention
        out: eqx.nn.Linear

        def __call__(self, x):
            n = x.shape[0]
            y = x / 2 if halve else x
            mask = jnp.tril(jnp.ones((n, n), bool), shift)
            return jax.vmap(self.out)(x + self.attn(y, x, x, mask=mask))

    keys = jax.random.split(jax.random.key(0))
    biases = {f"use_{part}_bias": True for part in ("query", "key", "value", "output")}
    model = Model(
        eqx.nn.MultiheadAttention(HEADS, WIDTH, **biases, key=keys[0]),
        eqx.nn.Linear(WIDTH, 3, key=keys[1]),
    )
    values = {"out.weight": state["out.weight"], "out.bias": state["out.bias"]}
    weight, bias = state["attn.in_proj_weight"], state["attn.in_proj_bias"]
    for index, part in enumerate(("query", "key", "value")):
        values[f"attn.{part}_proj.weight"] = weight.reshape(3, WIDTH, -1)[index]
        values[f"attn.{part}_proj.bias"] = bias.reshape(3, -1)[index]
    for name in ("weight", "bias"):
        values[f"attn.output_proj.{name}"] = state[f"attn.out_proj.{name}"]
    model = equinox_with(model, values)
    return Port(lambda m, x: jax.vmap(m)(x), model, module, normal(2, 5, WIDTH))


class Rotary(tnn.Module):
    """Two heads of queries on one of keys, with rotary angles and a soft cap of the scores."""

    def __init__(self):
        super().__init__()
        self.q_proj = tnn.Linear(WIDTH, WIDTH, bias=False)
        self.k_proj = tnn.Linear(WIDTH, SIZE, bias=False)
        self.v_proj = tnn.Linear(WIDTH, SIZE, bias=False)
        self.o_proj = tnn.Linear(WIDTH, WIDTH, bias=False)
        self.register_buffer("inv_freq", 1.0 / 100 ** (torch.arange(0, SIZE, 2).double() / SIZE))

    inv_freq: torch.Tensor

    def rotate(self, x):
        angles = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * self.inv_freq
        cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat((-b, a), -1) * sin

    def forward(self, x):
        b, n, _ = x.shape
        q = self.q_proj(x).view(b, n, HEADS, SIZE).transpose(1, 2)
        k, v = self.k_proj(x)[:, None], self.v_proj(x)[:, None]
        scores = self.rotate(q) @ self.rotate(k).transpose(-1, -2) * SIZE**-0.5
        scores = 5 * torch.tanh(scores / 5)
        mask = torch.full((n, n), -torch.inf, dtype=x.dtype).triu(1)
        weights = torch.nn.functional.softmax(scores + mask, dim=-1)
        return self.o_proj((weights @ v).transpose(1, 2).reshape(b, n, -1))


def rotary(wrong="", base=100.0, cap=5.0, dtype=None) -> Port:
    module = randomized(Rotary(), 3)

    def rotate(x, name):
        start = 1 if wrong == "from 1" else 0
        positions = jnp.arange(start, x.shape[-2] + start, dtype=x.dtype)
        angles = positions[:, None] / base ** (jnp.arange(0, SIZE, 2, dtype=x.dtype) / SIZE)
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        if dtype is not None:
            cos, sin = cos.astype(dtype).astype(x.dtype), sin.astype(dtype).astype(x.dtype)
        if wrong == "keys not turned" and name == "k":
            return x
        if wrong == "other way":
            sin = -sin
        if wrong == "interleaved":
            a, b = x[..., ::2], x[..., 1::2]
            return jnp.stack((a * cos - b * sin, b * cos + a * sin), -1).reshape(x.shape)
        a, b = jnp.split(x, 2, -1)
        return jnp.concatenate((a * cos - b * sin, b * cos + a * sin), -1)

    def apply(p, x):
        b, n, _ = x.shape
        q = (x @ p["q_proj.weight"].T).reshape(b, n, HEADS, SIZE).swapaxes(1, 2)
        k, v = (x @ p[f"{name}_proj.weight"].T for name in "kv")
        scores = jnp.einsum("bhqd,bkd->bhqk", rotate(q, "q"), rotate(k, "k")) / SIZE**0.5
        scores = scores if cap is None else cap * jnp.tanh(scores / cap)
        lower = jnp.tril(jnp.ones((n, n), bool))
        if wrong == "mask of 0":
            weights = jax.nn.softmax(scores * lower, -1)
        elif wrong == "masked after":
            weights = jax.nn.softmax(scores, -1) * lower
        else:
            weights = jax.nn.softmax(jnp.where(lower, scores, -1e30), -1)
        y = jnp.einsum("bhqk,bkd->bqhd", weights, v).reshape(b, n, -1)
        if wrong == "no output":
            return y
        return y @ p["o_proj.weight"].T

    state = {n: x for n, x in arrays(module).items() if n != "inv_freq"}
    return Port(apply, state, module, normal(2, 4, WIDTH))


faults = Faults("attention", "Linen", linen)
rotary_faults = Faults("rotary attention", "function", rotary)
CASES = [
    right("attention", "Linen", "make_causal_mask", linen),
    right("attention", "NNX", "an attention_fn", nnx_causal),
    right("attention", "Equinox", "under vmap", equinox),
    right("rotary attention", "function", "halves by themselves", rotary),
    right("rotary attention", "function", "from position 1: only differences count", rotary,
          wrong="from 1"),
    faults("no causal mask", "attn", "mask", masked=False),
    faults("no residual connection", "", "residual", skip=False),
    faults("the output's heads the other way", ("attn.out_proj", "attn"), ("order", "head"),
           change=heads_apart, why="attention applies the projection's weights by itself"),
    Faults("attention", "NNX", nnx_causal)("no causal mask", "attn", "mask", causal=False),
    Faults("attention", "NNX", nnx_causal)(
        "nnx.dot_product_attention, float32 inside",
        "attn",
        "float32",
        FLOAT64,
        function=nnx.dot_product_attention,
    ),
    Faults("attention", "Equinox", equinox)("mask shifted by one", "attn", "mask", shift=1),
    Faults("attention", "Equinox", equinox)("a query's input halved", ("attn", ""), "scale",
                                            halve=True, why="it lies between the two"),
    rotary_faults("angles of base 10000 for 100", "", ("base", "frequen", "table", "angle",
                  "position"), base=1e4),
    rotary_faults("angles of other pairs", "", ("order", "interleav", "pair"),
                  wrong="interleaved"),
    rotary_faults("turned the other way", "", ("sign", "negat", "operand", "swapped"),
                  wrong="other way"),
    rotary_faults("keys not turned", "", "missing", wrong="keys not turned"),
    rotary_faults("angles in float32", "", "float32", dtypes=FLOAT64, dtype=jnp.float32),
    rotary_faults("angles in bfloat16", "", "bfloat16", dtype=jnp.bfloat16),
    rotary_faults("no soft cap of the scores", "", ("missing", "tanh"), cap=None),
    rotary_faults("masked by 0", "", "mask", wrong="mask of 0"),
    rotary_faults("masked after the softmax", "", "mask", wrong="masked after"),
]  # fmt: skip
