"""All normalizations in a row, with 1×1 convolutions between them; NNX, functions and Equinox."""

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.weights import arrays, conv, equinox_with, nnx_with, norm, normal, randomized, running


class Norms(tnn.Module):
    def __init__(self):
        super().__init__()
        self.gn = tnn.GroupNorm(4, 8)
        self.mix1 = tnn.Conv2d(8, 8, 1)
        self.inorm = tnn.InstanceNorm2d(8, affine=True)
        self.mix2 = tnn.Conv2d(8, 8, 1)
        self.bn = tnn.BatchNorm2d(8)
        self.ln = tnn.LayerNorm(6)
        self.rms = tnn.RMSNorm(6)
        self.act = tnn.Softplus()

    def forward(self, x):
        x = self.mix1(self.gn(x))
        x = self.bn(self.mix2(self.inorm(x)))
        x = self.rms(x + self.ln(x))
        return self.act(x)


def plain(wrong="", gn=1e-5, inorm=1e-5, rms=2.0**-52, axis=-1, seed=0) -> Port:
    module = randomized(Norms(), seed).eval()
    state = {n: x for n, x in arrays(module).items() if "num_batches" not in n}

    def wide(v):
        return v[:, None, None]

    def normed(x, axes, epsilon, unbiased=False):
        centred = x - x.mean(axes, keepdims=True)
        return centred / jnp.sqrt(x.var(axes, keepdims=True, ddof=int(unbiased)) + epsilon)

    def mix(p, name, x):
        w = p[f"{name}.weight"][:, :, 0, 0]
        return jnp.einsum("oi,bihw->bohw", w, x) + wide(p[f"{name}.bias"])

    def apply(p, x):
        groups = {"groups": 2, "interleaved": 4}.get(wrong, 4)
        if wrong == "interleaved":
            y = x.reshape(x.shape[0], 2, groups, *x.shape[2:])
            y = normed(y, (1, 3, 4), gn)
        else:
            y = normed(x.reshape(x.shape[0], groups, -1), -1, gn)
        x = y.reshape(x.shape) * wide(p["gn.weight"]) + wide(p["gn.bias"])
        x = normed(mix(p, "mix1", x), (2, 3), inorm, wrong == "unbiased")
        if wrong != "no affine":
            x = x * wide(p["inorm.weight"]) + wide(p["inorm.bias"])
        x = mix(p, "mix2", x) - wide(p["bn.running_mean"])
        scale = p["bn.running_var"] if wrong == "no root" else jnp.sqrt(p["bn.running_var"] + 1e-5)
        x = x / wide(scale) * wide(p["bn.weight"]) + wide(p["bn.bias"])
        shift = 0 if wrong == "no shift" else p["ln.bias"]
        x = x + (normed(x, axis, 1e-5) * p["ln.weight"] + shift)
        if wrong == "centred":
            x = x - x.mean(-1, keepdims=True)
        square = jnp.square(x).sum(-1, keepdims=True)
        square = square if wrong == "summed" else square / x.shape[-1]
        root = jnp.sqrt(square) + 1e-3 if wrong == "outside" else jnp.sqrt(square + rms)
        scale = 1 + p["rms.weight"] if wrong == "one more" else p["rms.weight"]
        x = x / root * scale
        return jnp.log1p(jnp.exp(x))

    return Port(apply, state, module, normal(3, 8, 4, 6))


class NNXNorms(nnx.Module):
    def __init__(self, rngs, epsilon, groups):
        exact = {"use_fast_variance": False, "rngs": rngs}
        self.gn = nnx.GroupNorm(8, groups, epsilon=epsilon, **exact)
        self.mix1 = nnx.Conv(8, 8, (1, 1), rngs=rngs)
        self.inorm = nnx.InstanceNorm(8, epsilon=1e-5, **exact)
        self.mix2 = nnx.Conv(8, 8, (1, 1), rngs=rngs)
        self.bn = nnx.BatchNorm(8, use_running_average=True, epsilon=1e-5, rngs=rngs)
        self.ln = nnx.LayerNorm(6, epsilon=1e-5, **exact)
        self.rms = nnx.RMSNorm(6, epsilon=2.220446049250313e-16, rngs=rngs)

    def __call__(self, x):
        x = self.mix1(self.gn(x))
        x = self.bn(self.mix2(self.inorm(x))).transpose(0, 3, 1, 2)
        return jax.nn.softplus(self.rms(x + self.ln(x)))


def nnx_norms(epsilon=1e-5, groups=4, activation=None) -> Port:
    module = randomized(Norms(), 1).eval()
    state = arrays(module)
    values = {}
    for name in ("gn", "inorm", "bn", "ln", "rms"):
        values |= {f"{name}.{part}": x for part, x in norm(state, name).items()}
    values |= {f"bn.{part}": x for part, x in running(state, "bn").items()}
    for name in ("mix1", "mix2"):
        values |= {f"{name}.{part}": x for part, x in conv(state, name).items()}
    graph, params = nnx_with(NNXNorms(nnx.Rngs(0), epsilon, groups), values)
    x = normal(3, 8, 4, 6)
    return Port(lambda p, x: nnx.merge(graph, p)(x), params, module, x.transpose(0, 2, 3, 1), x)


def equinox(epsilon=1e-5, channelwise=True) -> Port:
    """The first two norms."""

    class Two(tnn.Module):
        def __init__(self):
            super().__init__()
            self.first = tnn.GroupNorm(2, 8)
            self.act = tnn.ELU()
            self.second = tnn.LayerNorm([8, 4, 6])

        def forward(self, x):
            return self.second(self.act(self.first(x)))

    class Model(eqx.Module):
        first: eqx.nn.GroupNorm
        second: eqx.nn.LayerNorm

        def __call__(self, x):
            return self.second(jax.nn.elu(self.first(x)))

    module = randomized(Two(), 2)
    model = Model(
        eqx.nn.GroupNorm(2, 8, channelwise_affine=channelwise), eqx.nn.LayerNorm((8, 4, 6), epsilon)
    )
    values = arrays(module)
    if not channelwise:
        values = {n: x for n, x in values.items() if "first" not in n}
    model = equinox_with(model, values)
    return Port(lambda m, x: jax.vmap(m)(x), model, module, normal(2, 8, 4, 6))


faults = Faults("norms", "function", plain)
nnx_faults = Faults("norms", "NNX", nnx_norms)
equinox_faults = Faults("norms", "Equinox", equinox)

CASES = [
    right("norms", "function", "each written out", plain),
    right("norms", "NNX", "channels last, then first", nnx_norms),
    right("norms", "Equinox", "under vmap", equinox),
    faults("GroupNorm's epsilon 1e-6 for 1e-5", "gn", "epsilon", gn=1e-6),
    faults("GroupNorm of 2 groups for 4", "gn", "group", wrong="groups"),
    faults("GroupNorm of interleaved channels", "gn", ("group", "order"), wrong="interleaved"),
    faults("InstanceNorm's variance unbiased", "inorm", ("variance", "biased"), wrong="unbiased"),
    faults("InstanceNorm's epsilon 1e-3", "inorm", "epsilon", inorm=1e-3),
    faults("InstanceNorm without scale and bias", "inorm", ("scale", "bias", "missing"),
           wrong="no affine"),
    faults("BatchNorm divided by the variance", "bn", ("variance", "root", "scale"),
           wrong="no root"),
    faults("LayerNorm over another axis", "ln", "axis", axis=-2),
    faults("LayerNorm without its bias", "ln", "bias", wrong="no shift"),
    faults("RMSNorm's epsilon 1e-6", "rms", "epsilon", rms=1e-6),
    faults("RMSNorm's epsilon outside the root", "rms", "epsilon", wrong="outside"),
    faults("RMSNorm of what is centred", ("rms", ""), ("mean", "centred", "LayerNorm"),
           wrong="centred", why="the mean is subtracted between the two"),
    faults("RMSNorm's scale 1 + weight", "rms", "scale", wrong="one more"),
    faults("RMSNorm by the sum of squares", "rms", ("scale", "reduction", "sum"), wrong="summed"),
    nnx_faults("epsilon 1e-6, NNX's default", "gn", "epsilon", epsilon=1e-6),
    nnx_faults("8 groups for 4", "gn", "group", groups=8),
    equinox_faults("epsilon 1e-4", "second", "epsilon", epsilon=1e-4),
    equinox_faults("GroupNorm without scale and bias", "first", ("scale", "bias", "missing"),
                   channelwise=False),
]  # fmt: skip
