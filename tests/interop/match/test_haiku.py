"""Haiku's dicts of parameters, its LSTM with other gates' order among them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn as tnn

hk = pytest.importorskip("haiku")


def transformed(call, *inputs):
    model = hk.without_apply_rng(hk.transform(call))
    return model, jax.eval_shape(model.init, jax.random.key(0), *inputs)


def test_lstm(random_weights, inputs, there_and_back, close):
    def call(x):
        cell = hk.LSTM(4)
        return hk.dynamic_unroll(cell, x, cell.initial_state(2), time_major=False)[0]

    x = inputs(2, 5, 3)
    model, params = transformed(call, x)
    module = random_weights(tnn.LSTM(3, 4, batch_first=True))
    params, _ = there_and_back(params, module, same=False)
    close(model.apply(params, x), module(torch.from_numpy(x))[0])


def test_mlp_with_square_matrices(random_weights, inputs, there_and_back, close):
    x = inputs(2, 4)
    model, params = transformed(lambda x: hk.nets.MLP([4, 4, 4])(x), x)
    module = random_weights(
        tnn.Sequential(tnn.Linear(4, 4), tnn.ReLU(), tnn.Linear(4, 4), tnn.ReLU(), tnn.Linear(4, 4))
    )
    params, _ = there_and_back(params, module)
    close(model.apply(params, x), module(torch.from_numpy(x)))


def test_convolutions_and_norm(random_weights, inputs, there_and_back, close):
    def call(x):
        x = hk.Conv2D(3, 3, padding="VALID")(x)
        x = hk.LayerNorm(-1, True, True)(x)
        return hk.Conv2DTranspose(3, 3, padding="VALID")(x)

    class Torch(tnn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = tnn.Conv2d(3, 3, 3), tnn.LayerNorm(3)
            self.up = tnn.ConvTranspose2d(3, 3, 3)

        def forward(self, x):
            return self.up(self.norm(self.conv(x).movedim(1, -1)).movedim(-1, 1))

    x = inputs(2, 3, 5, 6)
    model, params = transformed(call, np.moveaxis(x, 1, -1))
    module = random_weights(Torch())
    params, _ = there_and_back(params, module)
    ours = model.apply(params, np.moveaxis(x, 1, -1))
    close(jnp.moveaxis(ours, -1, 1), module(torch.from_numpy(x)))


def test_attention(random_weights, inputs, there_and_back, close):
    x = inputs(2, 3, 6)
    attention = lambda x: hk.MultiHeadAttention(2, 3, w_init=hk.initializers.Constant(0.1))(x, x, x)  # noqa: E731
    model, params = transformed(attention, x)
    module = random_weights(tnn.MultiheadAttention(6, 2, batch_first=True))
    params, _ = there_and_back(params, module)
    y = torch.from_numpy(x)
    close(model.apply(params, x), module(y, y, y)[0])
