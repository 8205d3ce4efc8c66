"""A convolutional autoencoder with transposed convolutions; Linen, Equinox and functions."""

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import linen as nn
from torch import nn as tnn

from planted.case import Faults, Port, right
from planted.weights import arrays, conv, equinox_with, kernel, normal, randomized


class Autoencoder(tnn.Module):
    def __init__(self):
        super().__init__()
        self.enc = tnn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.act1 = tnn.ELU(alpha=0.5)
        self.dec1 = tnn.ConvTranspose2d(8, 8, 4, stride=2, padding=1)
        self.act2 = tnn.Tanh()
        self.dec2 = tnn.ConvTranspose2d(8, 3, 3, padding=1)
        self.out = tnn.Sigmoid()

    def forward(self, x):
        x = self.act1(self.enc(x))
        return self.out(self.dec2(self.act2(self.dec1(x))))


class LinenAutoencoder(nn.Module):
    alpha: float = 0.5
    pads: tuple = ((2, 2), (2, 2))
    bias: bool = True
    same: bool = False
    nearest: bool = False

    @nn.compact
    def __call__(self, x):
        pads = "SAME" if self.same else 1
        x = nn.Conv(8, (3, 3), strides=2, padding=pads, name="enc")(x)
        x = nn.elu(x, self.alpha)
        x = nn.ConvTranspose(
            8, (4, 4), strides=(2, 2), padding=self.pads, use_bias=self.bias, name="dec1"
        )(x)
        x = nn.tanh(x)
        x = nn.ConvTranspose(3, (3, 3), padding="SAME", name="dec2")(x)
        return nn.sigmoid(x)


def transposed(state, name, flipped=True, swapped=False):
    weight = state[f"{name}.weight"]
    weight = weight.swapaxes(0, 1) if swapped else weight
    weight = weight[:, :, ::-1, ::-1] if flipped else weight
    return kernel(state, name, weight.transpose(2, 3, 0, 1))


def linen(flipped=True, swapped=False, **options) -> Port:
    module = randomized(Autoencoder())
    state = arrays(module)
    params = {
        "enc": conv(state, "enc"),
        "dec1": transposed(state, "dec1", flipped, swapped),
        "dec2": transposed(state, "dec2"),
    }
    if not options.get("bias", True):
        del params["dec1"]["bias"]
    x = normal(2, 3, 6, 8)
    model = LinenAutoencoder(**options)
    return Port(model.apply, {"params": params}, module, x.transpose(0, 2, 3, 1), x)


def equinox() -> Port:
    class Model(eqx.Module):
        enc: eqx.nn.Conv2d
        dec1: eqx.nn.ConvTranspose2d
        dec2: eqx.nn.ConvTranspose2d

        def __call__(self, x):
            x = jax.nn.elu(self.enc(x), 0.5)
            x = jnp.tanh(self.dec1(x))
            return jax.nn.sigmoid(self.dec2(x))

    module = randomized(Autoencoder(), 1)
    state = arrays(module)
    keys = jax.random.split(jax.random.key(0), 3)
    make = eqx.nn.ConvTranspose2d
    model = Model(
        eqx.nn.Conv2d(3, 8, 3, 2, 1, key=keys[0]),
        make(8, 8, 4, 2, padding=1, key=keys[1]),
        make(8, 3, 3, padding=1, key=keys[2]),
    )
    values = {n: x[:, None, None] if x.ndim == 1 else x for n, x in state.items()}
    for name in ("dec1", "dec2"):
        values[f"{name}.weight"] = state[f"{name}.weight"].swapaxes(0, 1)[:, :, ::-1, ::-1]
    model = equinox_with(model, values)
    return Port(lambda m, x: jax.vmap(m)(x), model, module, normal(2, 3, 6, 8))


def plain(wrong="") -> Port:
    """`jax.lax` with a dilated input."""
    module = randomized(Autoencoder(), 2)
    names = ("NCHW", "OIHW", "NCHW")

    def up(p, name, x, stride, padding):
        w = p[f"{name}.weight"].swapaxes(0, 1)
        if wrong != "not flipped" or name != "dec2":
            w = w[:, :, ::-1, ::-1]
        size = w.shape[-1]
        low, high = size - 1 - padding, size - 1 - padding
        if wrong == "shifted" and name == "dec1":
            low, high = low + 1, high - 1
        y = jax.lax.conv_general_dilated(
            x, w, (1, 1), [(low, high)] * 2, (stride, stride), dimension_numbers=names
        )
        return y + p[f"{name}.bias"][:, None, None]

    def apply(p, x):
        x = jax.lax.conv_general_dilated(
            x, p["enc.weight"], (2, 2), [(1, 1)] * 2, dimension_numbers=names
        )
        x = jax.nn.elu(x + p["enc.bias"][:, None, None], 0.5)
        x = up(p, "dec1", x, 2, 1)
        x = jax.nn.hard_tanh(x) if wrong == "hard" else jnp.tanh(x)
        x = up(p, "dec2", x, 1, 1)
        return x if wrong == "logits" else jax.nn.sigmoid(x)

    return Port(apply, arrays(module), module, normal(2, 3, 6, 8))


faults = Faults("transposed convolution", "Linen", linen)
plain_faults = Faults("transposed convolution", "function", plain)

CASES = [
    right("transposed convolution", "Linen", "kernels flipped", linen),
    right("transposed convolution", "Equinox", "under vmap", equinox),
    right("transposed convolution", "function", "a dilated input", plain),
    faults("kernel not flipped", "dec1", "flip", flipped=False),
    faults("kernel's inputs and outputs swapped", "dec1", "transposed", swapped=True),
    faults("output one row and column off", "dec1", ("padding", "shift"), pads=((1, 3), (1, 3))),
    faults("'SAME' with stride 2 in the encoder", "enc", ("stride", "padding"), same=True),
    faults("ELU of alpha 1 for 0.5", "act1", ("activation", "alpha", "ELU"), alpha=1.0),
    faults("no bias in a transposed convolution", "dec1", "bias", bias=False),
    plain_faults("kernel not flipped", "dec2", "flip", wrong="not flipped"),
    plain_faults("padding on the other side", "dec1", ("padding", "shift"), wrong="shifted"),
    plain_faults("hard tanh", "act2", ("activation", "tanh"), wrong="hard"),
    plain_faults("logits returned", "out", ("missing", "sigmoid"), wrong="logits"),
]  # fmt: skip
