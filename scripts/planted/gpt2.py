"""A small GPT-2 with tied embedding; Linen, functions and NNX."""

from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen as nn
from flax import nnx
from torch import nn as tnn

from planted.case import FLOAT64, Faults, Port, right
from planted.encoder import layer_norm, linear
from planted.weights import arrays, dense, flax_names, nnx_with, norm, randomized, tokens

WIDTH, HEADS, VOCABULARY = 8, 2, 11


class Attention(tnn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn = tnn.Linear(WIDTH, 3 * WIDTH)
        self.c_proj = tnn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        b, n, _ = x.shape
        q, k, v = (
            y.view(b, n, HEADS, -1).transpose(1, 2) for y in self.c_attn(x).split(WIDTH, dim=2)
        )
        scores = q @ k.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5
        hidden = torch.ones(n, n, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        return self.c_proj((weights @ v).transpose(1, 2).reshape(b, n, WIDTH))


class MLP(tnn.Module):
    def __init__(self):
        super().__init__()
        self.c_fc = tnn.Linear(WIDTH, 4 * WIDTH)
        self.act = tnn.GELU(approximate="tanh")
        self.c_proj = tnn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        return self.c_proj(self.act(self.c_fc(x)))


class Block(tnn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = tnn.LayerNorm(WIDTH)
        self.attn = Attention()
        self.ln_2 = tnn.LayerNorm(WIDTH)
        self.mlp = MLP()

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(tnn.Module):
    def __init__(self):
        super().__init__()
        self.wte = tnn.Embedding(VOCABULARY, WIDTH)
        self.wpe = tnn.Embedding(9, WIDTH)
        self.h = tnn.ModuleList([Block(), Block()])
        self.ln_f = tnn.LayerNorm(WIDTH)
        self.lm_head = tnn.Linear(WIDTH, VOCABULARY, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class LinenBlock(nn.Module):
    tanh: bool = True
    shift: int = 0
    scale: float = (WIDTH // HEADS) ** -0.5
    order: Any = (0, 1, 2)
    bias: bool = True
    normed_skip: bool = False
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(1e-5, name="ln_1")(x)
        if self.normed_skip:
            x = y
        b, n, _ = y.shape
        parts = jnp.split(nn.Dense(3 * WIDTH, name="c_attn")(y), 3, -1)
        q, k, v = (parts[i].reshape(b, n, HEADS, -1) for i in self.order)
        if self.dtype is not None:
            q, k = q.astype(self.dtype), k.astype(self.dtype)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k).astype(x.dtype) * self.scale
        mask = jnp.tril(jnp.ones((n, n), bool), self.shift)
        weights = nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min))
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, n, WIDTH)
        x = x + nn.Dense(WIDTH, name="c_proj")(y)
        y = nn.Dense(4 * WIDTH, name="c_fc")(nn.LayerNorm(self.epsilon, name="ln_2")(x))
        y = nn.gelu(y, approximate=self.tanh)
        return x + nn.Dense(WIDTH, use_bias=self.bias, name="mlp_c_proj")(y)


class LinenGPT2(nn.Module):
    second: Any = ()
    offset: int = 0
    embedding_scale: float = 1.0
    final_norm: bool = True
    stop: bool = False

    @nn.compact
    def __call__(self, ids):
        wte = nn.Embed(VOCABULARY, WIDTH, name="wte")
        x = wte(ids) * self.embedding_scale
        x = x + nn.Embed(9, WIDTH, name="wpe")(jnp.arange(ids.shape[1]) + self.offset)
        x = LinenBlock(name="h_0")(x)
        x = LinenBlock(**dict(self.second), name="h_1")(x)
        if self.final_norm:
            x = nn.LayerNorm(1e-5, name="ln_f")(x)
        if self.stop:
            return x @ jax.lax.stop_gradient(wte.embedding).T
        return wte.attend(x)


def linen(change=None, **options) -> Port:
    module = randomized(GPT2())
    state = arrays(module)
    params: dict[str, Any] = {n: {"embedding": state[f"{n}.weight"]} for n in ("wte", "wpe")}
    if options.get("final_norm", True):
        params["ln_f"] = norm(state, "ln_f")
    for i in range(2):
        params[f"h_{i}"] = {
            **{n: norm(state, f"h.{i}.{n}") for n in ("ln_1", "ln_2")},
            **{n: dense(state, f"h.{i}.attn.{n}") for n in ("c_attn", "c_proj")},
            "c_fc": dense(state, f"h.{i}.mlp.c_fc"),
            "mlp_c_proj": dense(state, f"h.{i}.mlp.c_proj"),
        }
    if dict(options.get("second", ())).get("bias") is False:
        del params["h_1"]["mlp_c_proj"]["bias"]
    if change is not None:
        params = change(params)
    model = LinenGPT2(**options)
    return Port(model.apply, {"params": params}, module, tokens(VOCABULARY, 2, 6))


def blocks_swapped(params):
    return params | {"h_0": params["h_1"], "h_1": params["h_0"]}


def plain(order=(0, 1), dtype=None, scanned=False, untransposed=False) -> Port:
    """On a dict of the module's own names."""
    module = randomized(GPT2(), 1)

    def block(p, x):
        b, n, _ = x.shape
        y = linear(p, "attn.c_attn", layer_norm(p, "ln_1", x))
        q, k, v = (z.reshape(b, n, HEADS, -1).swapaxes(1, 2) for z in jnp.split(y, 3, -1))
        q = q / (WIDTH // HEADS) ** 0.5
        mask = jnp.triu(jnp.full((n, n), -jnp.inf), 1)
        y = jax.nn.softmax(q @ k.swapaxes(2, 3) + mask, -1) @ v
        y = y if untransposed else y.swapaxes(1, 2)
        x = x + linear(p, "attn.c_proj", y.reshape(b, n, WIDTH))
        y = jax.nn.gelu(linear(p, "mlp.c_fc", layer_norm(p, "ln_2", x)))
        return x + linear(p, "mlp.c_proj", y)

    def apply(p, ids):
        table = p["wpe.weight"] if dtype is None else p["wpe.weight"].astype(dtype)
        x = p["wte.weight"][ids] + table[: ids.shape[1]]
        layers = [
            {n.removeprefix(f"h.{i}."): a for n, a in p.items() if n.startswith(f"h.{i}.")}
            for i in order
        ]
        if scanned:
            stacked = jax.tree.map(lambda *a: jnp.stack(a), *layers)
            x, _ = jax.lax.scan(lambda x, p: (block(p, x), None), x, stacked)
        else:
            for layer in layers:
                x = block(layer, x)
        return layer_norm(p, "ln_f", x) @ p["wte.weight"].T

    params = {n: x for n, x in arrays(module).items() if n != "lm_head.weight"}
    return Port(apply, params, module, tokens(VOCABULARY, 2, 6))


class NNXBlock(nnx.Module):
    def __init__(self, rngs, epsilon, own):
        self.own = own
        self.ln_1 = nnx.LayerNorm(WIDTH, epsilon=epsilon, rngs=rngs)
        self.c_attn = nnx.Linear(WIDTH, 3 * WIDTH, rngs=rngs)
        self.c_proj = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.ln_2 = nnx.LayerNorm(WIDTH, epsilon=epsilon, rngs=rngs)
        self.fc = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.proj = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x):
        b, n, _ = x.shape
        q, k, v = jnp.split(self.c_attn(self.ln_1(x)), 3, -1)
        q, k, v = (y.reshape(b, n, HEADS, -1) for y in (q, k, v))
        if self.own:
            scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / (WIDTH // HEADS) ** 0.5
            scores = jnp.where(jnp.tri(n, dtype=bool), scores, -jnp.inf)
            y = jnp.einsum("bhqk,bkhd->bqhd", nnx.softmax(scores), v)
        else:
            y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.reshape(b, n, WIDTH))
        return x + self.proj(nnx.gelu(self.fc(self.ln_2(x))))


class NNXGPT2(nnx.Module):
    def __init__(self, rngs, epsilon, first, gain, own, kind):
        self.wte = nnx.Embed(VOCABULARY, WIDTH, param_dtype=kind, rngs=rngs)
        self.wpe = nnx.Embed(9, WIDTH, param_dtype=jnp.float64, rngs=rngs)
        self.h = nnx.List([NNXBlock(rngs, first, True), NNXBlock(rngs, 1e-5, own)])
        self.ln_f = nnx.LayerNorm(WIDTH, epsilon=epsilon, rngs=rngs)
        self.gain = gain

    def __call__(self, ids):
        x = self.wte(ids) + self.wpe(jnp.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.wte.attend(self.ln_f(x)) * self.gain


def nnx_gpt2(epsilon=1e-5, first=1e-5, gain=1.0, own=True, kind=jnp.float64) -> Port:
    module = randomized(GPT2(), 2)
    state = arrays(module)
    values = {f"{n}.embedding": state[f"{n}.weight"] for n in ("wte", "wpe")}
    values |= {f"ln_f.{part}": x for part, x in norm(state, "ln_f").items()}
    names = {"c_attn": "attn.c_attn", "c_proj": "attn.c_proj", "fc": "mlp.c_fc"}
    for i in range(2):
        for mine, theirs in (names | {"proj": "mlp.c_proj"}).items():
            found = flax_names(state, f"h.{i}.{theirs}")
            values |= {n.replace(theirs, mine): x for n, x in found.items()}
        for ln in ("ln_1", "ln_2"):
            values |= {f"h.{i}.{ln}.{k}": x for k, x in norm(state, f"h.{i}.{ln}").items()}
    graph, params = nnx_with(NNXGPT2(nnx.Rngs(0), epsilon, first, gain, own, kind), values)
    return Port(lambda p, ids: nnx.merge(graph, p)(ids), params, module, tokens(VOCABULARY, 2, 6))


faults = Faults("GPT-2", "Linen", linen)
plain_faults = Faults("GPT-2", "function", plain)
nnx_faults = Faults("GPT-2", "NNX", nnx_gpt2)
SUM = "the forward's own sum of the two embeddings reads it"
OWN = "the forward scales it, after the embedding"

CASES = [
    right("GPT-2", "Linen", "attend with the embedding", linen),
    right("GPT-2", "function", "queries scaled, mask added", plain),
    right("GPT-2", "function", "blocks in a scan", plain, scanned=True),
    right("GPT-2", "NNX", "attention by einsum", nnx_gpt2),
    faults("GELU by erf", "h.1.mlp.act", "gelu", second=(("tanh", False),)),
    faults("mask that lets the next token through", "h.1.attn", "mask", second=(("shift", 1),)),
    faults("scaled by the whole width", "h.1.attn", "scale", second=(("scale", WIDTH**-0.5),)),
    faults("keys and queries swapped", "h.1.attn", ("swapped", "transposed", "order"),
           second=(("order", (1, 0, 2)),)),
    faults("values first", "h.1.attn", ("swapped", "order", "operand"),
           second=(("order", (2, 0, 1)),)),
    faults("no bias in a projection", "h.1.mlp.c_proj", "bias", second=(("bias", False),)),
    faults("residual from the norm", ("h.1", "h.1.attn"), ("residual", "operand"),
           second=(("normed_skip", True),), why="the sum is the block's, attention is its term"),
    faults("epsilon 1e-6 for 1e-5", "h.1.ln_2", "epsilon", second=(("epsilon", 1e-6),)),
    faults("scores in bfloat16", "h.1.attn", ("bfloat16", "product"),
           second=(("dtype", jnp.bfloat16),)),
    faults("positions from 1", ("wpe", ""), ("offset", "shift", "index"), offset=1, why=SUM),
    faults("embedding scaled by the root of its width", ("wte", ""), "scale",
           embedding_scale=WIDTH**0.5, why=OWN),
    faults("no last norm", "ln_f", ("missing", "normal"), final_norm=False),
    faults("no gradient of the output embedding", ("lm_head", "wte"), "gradient", stop=True,
           why="they have one weight"),
    faults("the blocks' weights swapped", "h.0.ln_1", "weight", change=blocks_swapped),
    plain_faults("blocks in the other order", "h.0.ln_1", ("weight", "order"), order=(1, 0)),
    plain_faults("a block used twice", "h.1.ln_1", ("weight", "reused"), order=(0, 0)),
    plain_faults("a block missing", "h.1.ln_1", ("missing", "extra", "weight"), order=(0,)),
    plain_faults("positions in bfloat16", ("wpe", ""), "bfloat16", dtype=jnp.bfloat16, why=SUM),
    plain_faults("heads merged untransposed", ("h.0.attn", "h.0.attn.c_proj"),
                 ("order", "head", "transpose"), untransposed=True,
                 why="the merge is attention's own, its result is read by the layer"),
    nnx_faults("epsilon 1e-6, NNX's default, in the last norm", "ln_f", "epsilon", epsilon=1e-6),
    nnx_faults("jax.nn.dot_product_attention, float32 inside", "h.1.attn", "float32", FLOAT64,
               own=False),
    nnx_faults("embedding made in float32", "wte", "float32", FLOAT64, kind=jnp.float32),
    nnx_faults("epsilon 1e-3 in a block", "h.0.ln_1", "epsilon", first=1e-3),
    nnx_faults("logits scaled by the root of the width", ("lm_head", ""), "scale",
               gain=WIDTH**-0.5, why="after the last layer"),
]  # fmt: skip
