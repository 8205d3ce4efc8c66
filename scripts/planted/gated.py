"""A gated MLP (SwiGLU) with RMSNorm, as LLaMA has it; Equinox, NNX and functions."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.weights import arrays, equinox_with, flax_names, nnx_with, normal, randomized

PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


class Gated(tnn.Module):
    def __init__(self):
        super().__init__()
        self.norm = tnn.RMSNorm(8, eps=1e-6)
        self.gate_proj = tnn.Linear(8, 12, bias=False)
        self.up_proj = tnn.Linear(8, 12, bias=False)
        self.act_fn = tnn.SiLU()
        self.down_proj = tnn.Linear(12, 8, bias=False)
        self.last_norm = tnn.RMSNorm(8, eps=1e-6)

    def forward(self, x):
        y = self.norm(x)
        y = self.down_proj(self.act_fn(self.gate_proj(y)) * self.up_proj(y))
        return self.last_norm(x + y)


class EquinoxGated(eqx.Module):
    norm: eqx.nn.RMSNorm
    gate_proj: eqx.nn.Linear
    up_proj: eqx.nn.Linear
    down_proj: eqx.nn.Linear
    last_norm: eqx.nn.RMSNorm
    act: Any = eqx.field(static=True)
    gated: str = eqx.field(static=True)
    gain: float = eqx.field(static=True)

    def __init__(self, epsilon, act, gated, gain):
        keys = jax.random.split(jax.random.key(0), 3)
        self.norm = eqx.nn.RMSNorm(8, epsilon, use_bias=False)
        self.gate_proj = eqx.nn.Linear(8, 12, use_bias=False, key=keys[0])
        self.up_proj = eqx.nn.Linear(8, 12, use_bias=False, key=keys[1])
        self.down_proj = eqx.nn.Linear(12, 8, use_bias=False, key=keys[2])
        self.last_norm = eqx.nn.RMSNorm(8, 1e-6, use_bias=False)
        self.act, self.gated, self.gain = act, gated, gain

    def __call__(self, x):
        y = self.norm(x)
        gate, up = self.gate_proj(y), self.up_proj(y)
        if self.gated == "up":
            gate, up = up, gate
        y = self.act(gate) + up if self.gated == "sum" else self.act(gate) * up
        return self.last_norm(x + self.gain * self.down_proj(y))


def equinox(epsilon=1e-6, act=jax.nn.silu, gated="gate", gain=1.0) -> Port:
    module = randomized(Gated())
    model = equinox_with(EquinoxGated(epsilon, act, gated, gain), arrays(module))
    return Port(lambda m, x: jax.vmap(jax.vmap(m))(x), model, module, normal(2, 4, 8))


class NNXGated(nnx.Module):
    def __init__(self, rngs, last, stop):
        self.norm = nnx.RMSNorm(8, epsilon=1e-6, rngs=rngs)
        self.gate_proj = nnx.Linear(8, 12, use_bias=False, rngs=rngs)
        self.up_proj = nnx.Linear(8, 12, use_bias=False, rngs=rngs)
        self.down_proj = nnx.Linear(12, 8, use_bias=False, rngs=rngs)
        self.last_norm = nnx.RMSNorm(8, epsilon=last, rngs=rngs)
        self.stop = stop

    def __call__(self, x):
        y = self.norm(x)
        gate = nnx.silu(self.gate_proj(y))
        gate = jax.lax.stop_gradient(gate) if self.stop else gate
        return self.last_norm(x + self.down_proj(gate * self.up_proj(y)))


def nnx_gated(last=1e-6, stop=False) -> Port:
    module = randomized(Gated(), 1)
    state = arrays(module)
    values = flax_names(state, *PROJECTIONS)
    values |= {f"{name}.scale": state[f"{name}.weight"] for name in ("norm", "last_norm")}
    graph, params = nnx_with(NNXGated(nnx.Rngs(0), last, stop), values)
    return Port(lambda p, x: nnx.merge(graph, p)(x), params, module, normal(2, 4, 8))


def plain(wrong="", dtype=None) -> Port:
    """Gate and up projections in one product."""
    module = randomized(Gated(), 2)
    state = arrays(module)
    # As it is written for speed; the module's own names are kept.

    def normed(x, scale, epsilon=1e-6):
        kind = x.dtype if dtype is None else dtype
        y = x.astype(kind)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, -1, keepdims=True) + epsilon)
        y = y.astype(x.dtype)
        return y if wrong == "no scale" else y * scale

    def apply(p, x):
        skip = x if wrong != "skip after" else normed(x, p["norm.weight"])
        y = normed(x, p["norm.weight"]) if wrong != "no norm" else x
        both = jnp.concatenate((p["gate_proj.weight"], p["up_proj.weight"])) @ y[..., None]
        gate, up = jnp.split(both[..., 0], 2, -1)
        if wrong == "halves":
            gate, up = up, gate
        y = jax.nn.silu(gate) * up @ p["down_proj.weight"].T
        x = y if wrong == "no skip" else skip + y
        mean = jnp.mean(jnp.square(x), -1, keepdims=True)
        scale = p["norm.weight"] if wrong == "one norm" else p["last_norm.weight"]
        return x * jax.lax.rsqrt(mean + 1e-6) * scale

    return Port(apply, state, module, normal(2, 4, 8))


faults = Faults("gated MLP", "Equinox", equinox)
nnx_faults = Faults("gated MLP", "NNX", nnx_gated)
plain_faults = Faults("gated MLP", "function", plain)

CASES = [
    right("gated MLP", "Equinox", "vmapped twice", equinox),
    right("gated MLP", "NNX", "as it is", nnx_gated),
    right("gated MLP", "function", "both projections in one product", plain),
    faults("epsilon 1e-5 for 1e-6", "norm", "epsilon", epsilon=1e-5),
    faults("GELU for SiLU", "act_fn", ("gelu", "activation"), act=jax.nn.gelu),
    faults("tanh for SiLU", "act_fn", "activation", act=jnp.tanh),
    faults("the up projection gates", ("act_fn", ""), ("swapped", "operand", "gate"), gated="up",
           why="the activation is applied to the other projection"),
    faults("sum for product", "", ("sum", "add", "operation", "product"), gated="sum"),
    faults("branch scaled by 0.5", ("", "down_proj"), "scale", gain=0.5,
           why="it lies between the two"),
    nnx_faults("epsilon 1e-12 for 1e-6", "last_norm", "epsilon", last=1e-12),
    nnx_faults("no gradient through the gate", ("act_fn", ""), "gradient", stop=True,
               why="the stop is after the activation, before the product"),
    plain_faults("RMSNorm in float16", ("norm",), "float16", dtype=jnp.float16),
    plain_faults("RMSNorm without its scale", "norm", ("scale", "missing"), wrong="no scale"),
    plain_faults("no first norm", "norm", ("missing", "norm"), wrong="no norm"),
    plain_faults("no residual connection", "", "residual", wrong="no skip"),
    plain_faults("residual from the norm", "", ("residual", "operand"), wrong="skip after"),
    plain_faults("halves of the product swapped", ("act_fn", ""), ("swapped", "operand", "gate"),
                 wrong="halves", why="the activation is applied to the other projection"),
    plain_faults("the first norm's scale in the last", "last_norm", ("weight", "scale"),
                 wrong="one norm"),
]  # fmt: skip
