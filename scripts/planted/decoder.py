"""``nn.TransformerDecoderLayer`` with a causal mask and a memory; Linen and functions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.encoder import layer_norm, linear
from planted.weights import arrays, attention, dense, norm, normal, randomized

HEADS = 2


class Decoder(tnn.Module):
    def __init__(self):
        super().__init__()
        self.layer = tnn.TransformerDecoderLayer(
            8, HEADS, 16, dropout=0.0, activation="relu", batch_first=True
        )
        self.out = tnn.Linear(8, 6)

    def forward(self, target, memory):
        mask = tnn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=target.dtype)
        return self.out(self.layer(target, memory, tgt_mask=mask))


class LinenDecoder(nn.Module):
    shift: int | None = 0
    epsilon: float = 1e-5
    activation: Any = nn.relu
    cross_skip: bool = True
    cross_causal: bool = False
    cross_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x, memory):
        n = x.shape[1]
        mask = None if self.shift is None else jnp.tril(jnp.ones((n, n), bool), self.shift)
        y = nn.MultiHeadDotProductAttention(HEADS, name="self_attn")(x, mask=mask)
        x = nn.LayerNorm(1e-5, name="norm1")(x + y)
        mask = jnp.tril(jnp.ones((n, memory.shape[1]), bool)) if self.cross_causal else None
        y = nn.MultiHeadDotProductAttention(HEADS, use_bias=self.cross_bias, name="multihead_attn")(
            x, memory, mask=mask
        )
        x = nn.LayerNorm(self.epsilon, name="norm2")(x + y if self.cross_skip else y)
        y = self.activation(nn.Dense(16, dtype=self.dtype, name="linear1")(x))
        x = nn.LayerNorm(1e-5, name="norm3")(x + nn.Dense(8, name="linear2")(y))
        return nn.Dense(6, name="out")(x)


def linen(**options) -> Port:
    module = randomized(Decoder())
    state = arrays(module)
    params: dict[str, Any] = {"out": dense(state, "out")}
    params |= {n: attention(state, f"layer.{n}", HEADS) for n in ("self_attn", "multihead_attn")}
    params |= {n: dense(state, f"layer.{n}") for n in ("linear1", "linear2")}
    params |= {n: norm(state, f"layer.{n}") for n in ("norm1", "norm2", "norm3")}
    if not options.get("cross_bias", True):
        for part in params["multihead_attn"].values():
            del part["bias"]
    model = LinenDecoder(**options)
    return Port(model.apply, {"params": params}, module, (normal(2, 4, 8), normal(2, 6, 8, seed=2)))


def plain(wrong="", seed=1) -> Port:
    module = randomized(Decoder(), seed)

    def attend(p, name, x, source, mask):
        w, b = p[f"{name}.in_proj_weight"], p[f"{name}.in_proj_bias"]
        wq, wk, wv = w.reshape(3, 8, 8)
        bq, bk, bv = b.reshape(3, 8)
        values = x if wrong == "values from the target" and "multihead" in name else source
        q, k, v = x @ wq.T + bq, source @ wk.T + bk, values @ wv.T + bv
        q, k, v = (y.reshape(y.shape[0], y.shape[1], HEADS, -1) for y in (q, k, v))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        scores /= np.sqrt(q.shape[-1]) if wrong != "unscaled" or "self" not in name else 1
        weights = jax.nn.softmax(scores + mask, -1)
        if wrong == "no gradient of the weights" and "multihead" in name:
            weights = jax.lax.stop_gradient(weights)
        out = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
        return linear(p, f"{name}.out_proj", out.reshape(x.shape))

    def apply(p, x, memory):
        n = x.shape[1]
        mask = jnp.where(jnp.tril(jnp.ones((n, n), bool)), 0, -jnp.inf)
        if wrong == "masked by -2":
            mask = jnp.where(mask < 0, -2.0, 0.0)
        x = layer_norm(p, "layer.norm1", x + attend(p, "layer.self_attn", x, x, mask))
        source = jnp.flip(memory, 1) if wrong == "memory reversed" else memory
        name = "layer.self_attn" if wrong == "one attention for both" else "layer.multihead_attn"
        x = layer_norm(p, "layer.norm2", x + attend(p, name, x, source, 0.0))
        y = jax.nn.relu(linear(p, "layer.linear1", x))
        x = x + linear(p, "layer.linear2", y)
        if wrong != "no last norm":
            x = layer_norm(p, "layer.norm3", x)
        return linear(p, "out", x)

    inputs = (normal(2, 4, 8), normal(2, 4, 8, seed=2))
    return Port(apply, arrays(module), module, inputs)


def one_argument() -> Port:
    """As keyword arguments."""
    port = linen()
    x, memory = port.inputs

    def apply(params, *, target, memory):
        return port.apply(params, target, memory)

    return port._replace(apply=apply, inputs={"target": x, "memory": memory})


faults = Faults("transformer decoder", "Linen", linen)
plain_faults = Faults("transformer decoder", "function", plain)
CROSS = "layer.multihead_attn"

CASES = [
    right("transformer decoder", "Linen", "Linen's attention", linen),
    right("transformer decoder", "Linen", "keyword arguments", one_argument),
    right("transformer decoder", "function", "by einsum", plain),
    faults("no causal mask", "layer.self_attn", "mask", shift=None),
    faults("causal mask shifted by one", "layer.self_attn", "mask", shift=1),
    faults("epsilon 1e-6 for 1e-5", "layer.norm2", "epsilon", epsilon=1e-6),
    faults("GELU for ReLU", "layer", ("activation", "gelu"), activation=nn.gelu),
    faults("no residual connection around the memory's", "layer", "residual", cross_skip=False),
    faults("causal mask over the memory", CROSS, "mask", cross_causal=True),
    faults("no biases in an attention", CROSS, "bias", cross_bias=False),
    faults("a layer in float16", "layer.linear1", ("float16", "product"), dtype=jnp.float16),
    plain_faults("values from the target", CROSS, ("operand", "input", "value"),
                 wrong="values from the target"),
    plain_faults("scores not scaled", "layer.self_attn", "scale", wrong="unscaled"),
    plain_faults("masked by -2", "layer.self_attn", "mask", wrong="masked by -2"),
    plain_faults("one attention's weights for both", CROSS, "weight",
                 wrong="one attention for both"),
    plain_faults("no last norm", "layer.norm3", ("missing", "normal"), wrong="no last norm"),
    plain_faults("no gradient through the weights", CROSS, "gradient",
                 wrong="no gradient of the weights"),
    right("transformer decoder", "function", "memory reversed, which changes nothing", plain,
          wrong="memory reversed"),
]  # fmt: skip
