"""The parity table's initializers: those of torch.nn.init, and the defaults of PyTorch's layers."""

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxmnist.parity.table.row import DIFFERS, Kind, Row
from jaxmnist.verify.compare import Comparisons
from jaxmnist.verify.initializer import initializer

SHAPE: Final = (32, 48)
"""(in, out); PyTorch's weights are (out, in)."""
DRAWS: Final = 10_000
SEED: Final = 0

_CONV = (3, 3, 4, 8)
_CONV_TORCH = (8, 4, 3, 3)


def rows() -> list[Row]:
    """Return the rows."""
    import torch
    from torch.nn import init

    jn = jax.nn.initializers
    return [
        Row(
            lambda weight: torch.nn.Linear(32, 48).weight,
            lambda: jn.lecun_normal(),
            DIFFERS,
            "PyTorch's Linear is uniform ± 1/√fan_in (kaiming_uniform with a = √5); Flax's Dense "
            "is a truncated normal of variance 1/fan_in.",
            lambda: jn.variance_scaling(1 / 3, "fan_in", "uniform"),
            "the distribution: normal truncated",
        ),
        Row(
            lambda bias: torch.nn.Linear(32, 48).bias,
            lambda: jn.zeros,
            DIFFERS,
            "PyTorch's biases are uniform ± 1/√fan_in too; Flax's are 0.",
            lambda: (
                lambda key, shape, dtype: jax.random.uniform(
                    key, shape, dtype, -(32**-0.5), 32**-0.5
                )
            ),
            "the distribution: 0 here, uniform",
        ),
        Row(
            lambda kernel: torch.nn.Conv2d(4, 8, 3).weight,
            lambda: jn.lecun_normal(),
            DIFFERS,
            "PyTorch's Conv2d is uniform ± 1/√(channels · kernel), Flax's a truncated normal.",
            lambda: jn.variance_scaling(1 / 3, "fan_in", "uniform"),
            "the distribution: normal truncated",
        ),
        Row(
            lambda weight: torch.nn.Embedding(48, 32).weight,
            lambda: nn.linear.default_embed_init,
            DIFFERS,
            "PyTorch's embedding is N(0, 1); Flax's has the variance 1/features.",
            lambda: jn.normal(1.0),
        ),
        Row(
            lambda weight: torch.nn.LSTM(32, 12).weight_ih_l0,
            lambda: jn.lecun_normal(),
            DIFFERS,
            "PyTorch's recurrent layers are uniform ± 1/√hidden in all weights and biases.",
            lambda: (
                lambda key, shape, dtype: jax.random.uniform(
                    key, shape, dtype, -(12**-0.5), 12**-0.5
                )
            ),
            "the distribution: normal truncated",
        ),
        Row(
            lambda square: torch.nn.LSTMCell(16, 16).weight_hh[:16],
            lambda: jn.orthogonal(),
            DIFFERS,
            "Flax's recurrent kernels are orthogonal, PyTorch's uniform ± 1/√hidden.",
            lambda: lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -0.25, 0.25),
        ),
        Row(
            lambda weight: torch.nn.MultiheadAttention(32, 2).in_proj_weight[:48],
            lambda: jn.xavier_uniform(),
            DIFFERS,
            "PyTorch's attention takes its three projections as one matrix, whose fan_out is "
            "three times as large.",
            lambda: (
                lambda key, shape, dtype: jax.random.uniform(
                    key, shape, dtype, -((6 / 128) ** 0.5), (6 / 128) ** 0.5
                )
            ),
            "the scale",
        ),
        Row(lambda weight: init.xavier_uniform_(weight), lambda: jn.xavier_uniform()),
        Row(
            lambda weight: init.xavier_normal_(weight),
            lambda: jn.xavier_normal(),
            DIFFERS,
            "JAX truncates its normals at two deviations, and scales them to the same variance.",
            lambda: jn.variance_scaling(1.0, "fan_avg", "normal"),
            "the distribution: normal truncated",
        ),
        Row(
            lambda weight: init.xavier_uniform_(weight, gain=2.0),
            lambda: jn.xavier_uniform(),
            DIFFERS,
            "A gain g is the scale g² of variance_scaling.",
            lambda: jn.variance_scaling(4.0, "fan_avg", "uniform"),
            "the scale",
        ),
        Row(lambda weight: init.kaiming_uniform_(weight), lambda: jn.he_uniform()),
        Row(
            lambda weight: init.kaiming_normal_(weight),
            lambda: jn.he_normal(),
            DIFFERS,
            "JAX truncates its normals at two deviations, and scales them to the same variance.",
            lambda: jn.variance_scaling(2.0, "fan_in", "normal"),
            "the distribution: normal truncated",
        ),
        Row(
            lambda weight: init.kaiming_uniform_(weight, a=5**0.5),
            lambda: jn.he_uniform(),
            DIFFERS,
            "With the slope a the scale is 2 / (1 + a²), here 1/3.",
            lambda: jn.variance_scaling(1 / 3, "fan_in", "uniform"),
            "the scale",
        ),
        Row(
            lambda weight: init.kaiming_normal_(weight, mode="fan_out"),
            lambda: jn.variance_scaling(2.0, "fan_in", "normal"),
            DIFFERS,
            "Fan-out is of the weight's first axis in PyTorch, of the last in JAX.",
            lambda: jn.variance_scaling(2.0, "fan_out", "normal"),
            "the scale",
        ),
        Row(
            lambda kernel: init.kaiming_uniform_(kernel, nonlinearity="relu"),
            lambda: jn.he_uniform(),
            difference="A convolution's fan-in is channels times kernel in both layouts.",
        ),
        Row(
            lambda weight: init.kaiming_normal_(weight, nonlinearity="linear"),
            lambda: jn.variance_scaling(1.0, "fan_in", "normal"),
        ),
        Row(lambda weight: init.normal_(weight, std=0.02), lambda: jn.normal(0.02)),
        Row(
            lambda weight: init.normal_(weight, mean=0.5, std=0.1),
            lambda: jn.normal(0.1),
            DIFFERS,
            "JAX's normal has no mean.",
            lambda: lambda key, shape, dtype: 0.5 + jn.normal(0.1)(key, shape, dtype),
            "the mean",
        ),
        Row(
            lambda weight: init.normal_(weight),
            lambda: jn.normal(),
            DIFFERS,
            "The default deviation is 1 in PyTorch, and 0.01 in JAX.",
            lambda: jn.normal(1.0),
            "the scale",
        ),
        Row(
            lambda weight: init.uniform_(weight, -0.1, 0.1),
            lambda: jn.uniform(0.1),
            DIFFERS,
            "JAX's uniform begins at 0.",
            lambda: lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -0.1, 0.1),
        ),
        Row(
            lambda weight: init.uniform_(weight),
            lambda: jn.uniform(),
            DIFFERS,
            "The default is [0, 1) in PyTorch, and [0, 0.01) in JAX.",
            lambda: jn.uniform(1.0),
            "the scale: 0.01 times",
        ),
        Row(
            lambda weight: init.trunc_normal_(weight, std=0.02),
            lambda: jn.truncated_normal(0.02),
            DIFFERS,
            "PyTorch's bounds are ±2, not two deviations: at 0.02 it truncates nothing.",
            lambda: jn.normal(0.02),
            "the distribution: normal truncated",
        ),
        Row(
            lambda weight: init.trunc_normal_(weight),
            lambda: jn.truncated_normal(1.0),
            difference="Neither rescales, so that the deviation is 0.88; variance_scaling does.",
        ),
        Row(
            lambda weight: init.trunc_normal_(weight, std=0.02, a=-0.04, b=0.04),
            lambda: jn.truncated_normal(0.02),
        ),
        Row(
            lambda square: init.orthogonal_(square),
            lambda: jn.orthogonal(),
        ),
        Row(
            lambda square: init.orthogonal_(square, gain=2.0),
            lambda: jn.orthogonal(),
            DIFFERS,
            "JAX's scale is PyTorch's gain.",
            lambda: jn.orthogonal(2.0),
            "the scale: 0.5 times",
        ),
        Row(
            lambda square: init.orthogonal_(square),
            lambda: jn.variance_scaling(1.0, "fan_in", "normal"),
            DIFFERS,
            "Normal elements of the same variance are not orthogonal.",
            lambda: jn.orthogonal(),
        ),
        Row(lambda weight: init.zeros_(weight), lambda: jn.zeros),
        Row(lambda weight: init.ones_(weight), lambda: jn.ones),
        Row(lambda weight: init.constant_(weight, 0.3), lambda: jn.constant(0.3)),
        Row(
            lambda square: init.eye_(square),
            lambda: lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype),
        ),
        Row(
            lambda kernel: init.dirac_(kernel),
            lambda: jn.delta_orthogonal(),
            DIFFERS,
            "delta_orthogonal has a random orthogonal matrix in the middle, dirac_ the identity.",
            lambda: _dirac,
        ),
        Row(
            lambda square: init.sparse_(square, 0.5, std=0.1),
            lambda: jn.normal(0.1),
            DIFFERS,
            "Half of each column is 0; JAX has no function for it.",
            lambda: _sparse,
        ),
    ]


def _dirac(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    del key
    middle = tuple(size // 2 for size in shape[:-2])
    return jnp.zeros(shape, dtype).at[middle].set(jnp.eye(*shape[-2:], dtype=dtype))


def _sparse(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    one, other = jax.random.split(key)
    order = jnp.argsort(jax.random.uniform(one, shape), axis=0)
    values = 0.1 * jax.random.normal(other, shape, dtype)
    return jnp.where(order < shape[0] // 2, 0, values)


_SHAPES: Final = {
    "weight": (SHAPE, SHAPE[::-1]),
    "bias": ((48,), (48,)),
    "kernel": (_CONV, _CONV_TORCH),
    "square": ((16, 16), (16, 16)),
}
"""By the name of PyTorch's tensor: the shapes in JAX and in PyTorch."""


def _compare(row: Row, other: Callable[[], Any]) -> Comparisons:
    (name,) = row.torch.__code__.co_varnames[:1]
    here, there = _SHAPES[name]
    return initializer(other(), row.torch, here, torch_shape=there, draws=DRAWS, seed=SEED)


KIND = Kind(
    "Initializers",
    rows,
    _compare,
    f"{DRAWS:,} draws of each, seed {SEED}, compared by mean, deviation, ends, distribution "
    "(Kolmogorov and Smirnov) and norm; an error is a difference over what chance exceeds with "
    "probability 1e-6, so that below 1 is equal.",
)
