"""``nn.TransformerEncoder`` of two layers, with a padding mask; functions and Linen."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn
from torch import nn as tnn

from planted.case import BOTH, FLOAT64, Faults, Port, right
from planted.weights import arrays, attention, dense, norm, normal, randomized

PADDED = np.array([[False, False, False, False, False], [False, False, False, True, True]])
"""The positions that are no tokens, in a batch of two."""


class Encoder(tnn.Module):
    def __init__(self, norm_first=False):
        super().__init__()
        layer = tnn.TransformerEncoderLayer(
            8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first
        )
        self.encoder = tnn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = tnn.Linear(8, 3)

    def forward(self, x):
        padded = torch.from_numpy(PADDED)
        return self.head(self.encoder(x, src_key_padding_mask=padded)[:, 0])


def layer_norm(p, name, x, epsilon=1e-5):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + epsilon) * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(p, name, x):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def self_attention(p, name, x, fault, layer):
    """``fault`` applies to the second layer, so that the first is right."""
    fault = fault if layer == 1 else {}
    w, b = p[f"{name}.in_proj_weight"], p[f"{name}.in_proj_bias"]
    heads, width = 2, x.shape[-1]
    parts = [jnp.split(y, 3, -1) for y in (w.T, b)]
    order = fault.get("order", (0, 1, 2))
    q, k, v = (x @ parts[0][i] + parts[1][i] for i in order)

    def split(y):
        if fault.get("width_first"):
            return y.reshape(*y.shape[:2], width // heads, heads).transpose(0, 3, 1, 2)
        return y.reshape(*y.shape[:2], heads, width // heads).transpose(0, 2, 1, 3)

    q, k, v = split(q), split(k), split(v)
    scale = fault.get("scale", (width // heads) ** -0.5)
    scores = q @ k.swapaxes(-1, -2) * scale
    masked = fault.get("masked", -jnp.inf)
    if masked is not None:
        hidden = ~PADDED if fault.get("inverted") else PADDED
        scores = jnp.where(hidden[:, None, None, :], masked, scores)
    kind = fault.get("dtype", scores.dtype)
    weights = jax.nn.softmax(scores.astype(kind), axis=fault.get("axis", -1)).astype(v.dtype)
    out = (weights @ v).transpose(0, 2, 1, 3)
    if fault.get("merged_wrong"):
        out = out.transpose(0, 1, 3, 2)
    out = out.reshape(x.shape)
    if fault.get("no_out_bias"):
        return out @ p[f"{name}.out_proj.weight"].T
    return linear(p, f"{name}.out_proj", out)


def encoder_layer(p, name, x, fault, layer, norm_first):
    fault = fault if layer == 1 else {}
    source = "encoder.layers.0" if fault.get("reused") else name

    def attend(y):
        return self_attention(p, f"{source}.self_attn", y, fault, layer)

    def forward(y):
        y = jax.nn.gelu(linear(p, f"{name}.linear1", y), approximate=fault.get("tanh", False))
        return linear(p, f"{name}.linear2", y)

    norms = fault.get("norms", ("norm1", "norm2"))
    epsilon = fault.get("epsilon", 1e-5)

    def first(y):
        return layer_norm(p, f"{name}.{norms[0]}", y)

    def second(y):
        return layer_norm(p, f"{name}.{norms[1]}", y, epsilon)

    if norm_first != fault.get("other_order", False):
        x = x + attend(first(x))
        return x + forward(second(x))
    x = first(x + attend(x))
    if fault.get("no_skip"):
        return second(forward(x))
    return second(x + forward(x))


def plain(norm_first=False, last=False, seed=0, **fault) -> Port:
    module = randomized(Encoder(norm_first), seed)

    def apply(p, x):
        for layer in range(2):
            x = encoder_layer(p, f"encoder.layers.{layer}", x, fault, layer, norm_first)
        return linear(p, "head", x[:, -1] if last else x[:, 0])

    return Port(apply, arrays(module), module, normal(2, 5, 8))


class LinenLayer(nn.Module):
    epsilon: float
    tanh: bool
    masked: bool

    @nn.compact
    def __call__(self, x, mask):
        y = nn.MultiHeadDotProductAttention(2, name="self_attn")(
            x, mask=mask if self.masked else None
        )
        x = nn.LayerNorm(1e-5, name="norm1")(x + y)
        y = nn.gelu(nn.Dense(16, name="linear1")(x), approximate=self.tanh)
        x = x + nn.Dense(8, name="linear2")(y)
        return nn.LayerNorm(self.epsilon, name="norm2")(x)


class LinenEncoder(nn.Module):
    epsilon: float = 1e-5
    tanh: bool = False
    masked: bool = True
    layers: int = 2

    @nn.compact
    def __call__(self, x):
        mask = ~PADDED[:, None, None, :]
        for i in range(self.layers):
            last = i == 1
            x = LinenLayer(
                self.epsilon if last else 1e-5,
                self.tanh if last else False,
                self.masked or not last,
                name=f"layers_{i}",
            )(x, mask)
        return nn.Dense(3, name="head")(x[:, 0])


def linen(change=lambda params: params, **options) -> Port:
    module = randomized(Encoder(), 5)
    state = arrays(module)
    params: dict[str, Any] = {"head": dense(state, "head")}
    for i in range(2):
        at = f"encoder.layers.{i}"
        params[f"layers_{i}"] = {
            "self_attn": attention(state, f"{at}.self_attn", 2),
            **{name: dense(state, f"{at}.{name}") for name in ("linear1", "linear2")},
            **{name: norm(state, f"{at}.{name}") for name in ("norm1", "norm2")},
        }
    model = LinenEncoder(**options)
    return Port(model.apply, {"params": change(params)}, module, normal(2, 5, 8))


def layers_swapped(params):
    return params | {"layers_0": params["layers_1"], "layers_1": params["layers_0"]}


def keys_as_values(params):
    layer = params["layers_1"]
    part = layer["self_attn"]
    part = part | {"key": part["value"], "value": part["key"]}
    return params | {"layers_1": layer | {"self_attn": part}}


def query_transposed(params):
    layer = params["layers_0"]
    part = layer["self_attn"]
    query = part["query"]["kernel"]
    query = part["query"] | {"kernel": query.reshape(8, 8).T.reshape(query.shape)}
    return params | {"layers_0": layer | {"self_attn": part | {"query": query}}}


faults = Faults("transformer encoder", "function", plain)
linen_faults = Faults("transformer encoder", "Linen", linen)
AT = "encoder.layers.1"
ATTENTION = f"{AT}.self_attn"

CASES = [
    right("transformer encoder", "function", "norm after", plain),
    right("transformer encoder", "function", "norm first", plain, norm_first=True, seed=1),
    right("transformer encoder", "function", "-1e9 for minus infinity", plain, masked=-1e9),
    right("transformer encoder", "Linen", "Linen's attention, fast variance", linen),
    faults("epsilon 1e-12 for 1e-5", f"{AT}.norm2", "epsilon", epsilon=1e-12),
    faults("scores not scaled", ATTENTION, "scale", scale=1.0),
    faults("scaled by the whole width", ATTENTION, "scale", scale=8**-0.5),
    faults("no padding mask", ATTENTION, "mask", masked=None),
    faults("padding mask inverted", ATTENTION, "mask", inverted=True),
    faults("masked by -1", ATTENTION, "mask", masked=-1.0),
    faults("softmax over the queries", ATTENTION, "axis", axis=-2),
    faults("softmax in float32", ATTENTION, "float32", dtypes=FLOAT64, dtype=jnp.float32),
    faults("softmax in bfloat16", ATTENTION, "bfloat16", dtypes=BOTH, dtype=jnp.bfloat16),
    faults(
        "keys and values swapped", ATTENTION, ("swapped", "order", "weight"), order=(0, 2, 1)
    ),
    faults("heads split the other way", ATTENTION, ("order", "head"), width_first=True),
    faults(
        "heads merged the other way", (ATTENTION, f"{ATTENTION}.out_proj"), ("order", "head"),
        merged_wrong=True, why="the merge is read by the projection",
    ),
    faults(
        "no bias of the output projection", (ATTENTION, f"{ATTENTION}.out_proj"), "bias",
        no_out_bias=True, why="attention applies the projection's weights by itself",
    ),
    faults("GELU by the tanh approximation", AT, "gelu", tanh=True),
    faults("no residual connection around the second half", AT, "residual", no_skip=True),
    faults(
        "normalized before instead of after",
        (AT, ATTENTION, f"{AT}.norm1", "encoder.layers.0.norm2"),
        ("order", "normal", "norm"), other_order=True,
        why="another norm lies between the layer before and the attention",
    ),
    faults(
        "attention with the first layer's weights", ATTENTION, ("weight", "reused"), reused=True
    ),
    faults(
        "the two norms swapped", f"{AT}.norm1", ("weight", "swapped"), norms=("norm2", "norm1")
    ),
    faults("the last position for the first", ("", "head"),
           ("index", "position", "slice", "offset"),
           last=True, why="the forward's own choice, read by the head"),
    linen_faults("epsilon 1e-6 for 1e-5", f"{AT}.norm2", "epsilon", epsilon=1e-6),
    linen_faults("GELU by the tanh approximation", AT, "gelu", tanh=True),
    linen_faults("no padding mask in the second layer", ATTENTION, "mask", masked=False),
    linen_faults(
        "layers swapped", "encoder.layers.0.self_attn", "weight", change=layers_swapped
    ),
    linen_faults("keys' and values' weights swapped", ATTENTION, "weight", change=keys_as_values),
    linen_faults(
        "a query's weight transposed", "encoder.layers.0.self_attn", ("transposed", "order"),
        change=query_transposed,
    ),
]  # fmt: skip
