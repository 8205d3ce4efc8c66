"""The parity table's layers with parameters, in Flax Linen."""

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxmnist.parity.table.inputs import SEED, inputs
from jaxmnist.parity.table.row import DIFFERS, Kind, Row
from jaxmnist.verify.compare import Comparisons
from jaxmnist.verify.model import model


def rows() -> list[Row]:
    """Return the rows."""
    from torch import nn as tnn

    return [
        Row(lambda: tnn.Linear(3, 5), lambda: nn.Dense(5)),
        Row(lambda: tnn.Linear(3, 5, bias=False), lambda: nn.Dense(5, use_bias=False)),
        Row(
            lambda: tnn.Conv1d(3, 4, 3),
            lambda: nn.Conv(4, (3,)),
            DIFFERS,
            "Flax pads by default (SAME), PyTorch does not.",
            lambda: nn.Conv(4, (3,), padding="VALID"),
            "shape",
            on="series_last",
        ),
        Row(
            lambda: tnn.Conv2d(3, 4, 3),
            lambda: nn.Conv(4, (3, 3), padding="VALID"),
            on="image_last",
        ),
        Row(
            lambda: tnn.Conv2d(3, 4, 3, padding=1),
            lambda: nn.Conv(4, (3, 3)),
            on="image_last",
        ),
        Row(
            lambda: tnn.Conv2d(3, 4, 3, stride=2, padding=1),
            lambda: nn.Conv(4, (3, 3), strides=2),
            DIFFERS,
            "With a stride SAME pads at the end first, padding=1 on both sides.",
            lambda: nn.Conv(4, (3, 3), strides=2, padding=1),
            "padding",
            on="image_last",
        ),
        Row(
            lambda: tnn.Conv2d(3, 4, 3, padding=2, dilation=2),
            lambda: nn.Conv(4, (3, 3), kernel_dilation=2),
            on="image_last",
        ),
        Row(
            lambda: tnn.Conv2d(3, 6, 3, groups=3),
            lambda: nn.Conv(6, (3, 3), feature_group_count=3, padding="VALID"),
            on="image_last",
        ),
        Row(
            lambda: tnn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
            lambda: nn.Conv(4, (3, 3), padding="CIRCULAR"),
            on="image_last",
        ),
        Row(
            lambda: tnn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
            lambda: nn.Conv(4, (3, 3), padding="REFLECT"),
            on="image_last",
        ),
        Row(
            lambda: tnn.Conv3d(2, 3, 2, bias=False),
            lambda: nn.Conv(3, (2, 2, 2), padding="VALID", use_bias=False),
            on="volume_last",
        ),
        Row(
            lambda: tnn.ConvTranspose2d(3, 4, 2, stride=2),
            lambda: nn.ConvTranspose(4, (2, 2), strides=(2, 2)),
            difference="Flax's kernel is PyTorch's flipped in both axes; interop.match does that.",
            on="image_last",
        ),
        Row(
            lambda: tnn.ConvTranspose2d(3, 4, 2, stride=2),
            lambda: nn.ConvTranspose(4, (2, 2), strides=(2, 2), transpose_kernel=True),
            difference="With transpose_kernel=True nothing is flipped, but in and out are swapped.",
            on="image_last",
        ),
        Row(
            lambda: tnn.ConvTranspose2d(3, 4, 3, stride=2, padding=1),
            lambda: nn.ConvTranspose(
                4, (3, 3), strides=(2, 2), padding="VALID", transpose_kernel=True
            ),
            DIFFERS,
            "Flax's padding is of the stretched input: kernel - 1 - padding on each side.",
            lambda: nn.ConvTranspose(
                4, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)), transpose_kernel=True
            ),
            "shape",
            on="image_last",
        ),
        Row(
            lambda: tnn.BatchNorm1d(6).eval(),
            lambda: nn.BatchNorm(use_running_average=True),
            on="wide",
        ),
        Row(
            lambda: tnn.BatchNorm2d(3).eval(),
            lambda: nn.BatchNorm(use_running_average=True, epsilon=1e-3),
            DIFFERS,
            "Keras's epsilon is 1e-3; PyTorch's and Flax's are 1e-5.",
            lambda: nn.BatchNorm(use_running_average=True),
            "epsilon",
            on="image_last",
        ),
        Row(
            lambda: tnn.BatchNorm1d(6).train(),
            lambda: nn.BatchNorm(use_running_average=False),
            DIFFERS,
            "Flax's momentum 0.99 is what remains, PyTorch's 0.1 what is new; and the running "
            "variance is unbiased in PyTorch. The outputs agree.",
            on="wide",
        ),
        Row(
            lambda: tnn.BatchNorm1d(6).train(),
            lambda: nn.BatchNorm(use_running_average=False, momentum=0.9),
            DIFFERS,
            "The running variance is that of n in Flax and of n - 1 in PyTorch.",
            on="wide",
        ),
        Row(
            lambda: tnn.BatchNorm1d(6, track_running_stats=False),
            lambda: _WithoutStatistics(),
            on="wide",
        ),
        Row(
            lambda: tnn.LayerNorm(6),
            lambda: nn.LayerNorm(),
            DIFFERS,
            "Epsilon is 1e-6 in Flax and 1e-5 in PyTorch.",
            lambda: nn.LayerNorm(epsilon=1e-5),
            "epsilon",
            on="wide",
        ),
        Row(
            lambda: tnn.LayerNorm(6, elementwise_affine=False),
            lambda: nn.LayerNorm(epsilon=1e-5, use_bias=False, use_scale=False),
            on="wide",
        ),
        Row(
            lambda: tnn.LayerNorm(6),
            lambda: nn.LayerNorm(epsilon=1e-5),
            DIFFERS,
            "Far from 0 the variance as E[x²] - E[x]², Flax's default, cancels.",
            lambda: nn.LayerNorm(epsilon=1e-5, use_fast_variance=False),
            on="far",
        ),
        Row(
            lambda: tnn.GroupNorm(2, 6),
            lambda: nn.GroupNorm(2),
            DIFFERS,
            "Epsilon is 1e-6 in Flax and 1e-5 in PyTorch.",
            lambda: nn.GroupNorm(2, epsilon=1e-5),
            "epsilon",
            on="wide",
        ),
        Row(
            lambda: tnn.InstanceNorm2d(3),
            lambda: nn.InstanceNorm(epsilon=1e-5),
            DIFFERS,
            "PyTorch's default has no scale and no bias.",
            lambda: nn.InstanceNorm(epsilon=1e-5, use_scale=False, use_bias=False),
            "the torch module has no 'params/bias'",
            on="image_last",
        ),
        Row(
            lambda: tnn.InstanceNorm2d(3, affine=True),
            lambda: nn.InstanceNorm(epsilon=1e-5),
            on="image_last",
        ),
        Row(
            lambda: tnn.RMSNorm(6),
            lambda: nn.RMSNorm(),
            DIFFERS,
            "PyTorch's default epsilon is the dtype's, 2.2e-16 in float64; Flax's is 1e-6.",
            lambda: nn.RMSNorm(epsilon=2.0**-52),
            on="wide",
        ),
        Row(
            lambda: tnn.RMSNorm(6, eps=1e-6),
            lambda: nn.RMSNorm(),
            on="wide",
        ),
        Row(lambda: tnn.Embedding(6, 4), lambda: nn.Embed(6, 4), on="ids"),
        Row(
            lambda: tnn.Embedding(6, 4, padding_idx=0),
            lambda: nn.Embed(6, 4),
            DIFFERS,
            "The row of padding_idx has no gradient.",
            lambda: _Padded(),
            on="ids",
        ),
        Row(
            lambda: First(tnn.RNN(3, 4, batch_first=True)),
            lambda: nn.RNN(nn.SimpleCell(4, param_dtype=float)),
            on="steps",
            difference="PyTorch has two biases, whose sum is Flax's one.",
        ),
        Row(
            lambda: First(tnn.LSTM(3, 4, batch_first=True)),
            lambda: nn.RNN(nn.OptimizedLSTMCell(4, param_dtype=float)),
            on="steps",
            difference="PyTorch has two biases, whose sum is Flax's, and all gates in one array.",
        ),
        Row(
            lambda: First(tnn.LSTM(3, 4)),
            lambda: nn.RNN(nn.OptimizedLSTMCell(4, param_dtype=float)),
            DIFFERS,
            "PyTorch's first axis is time, unless batch_first=True.",
            lambda: nn.RNN(nn.OptimizedLSTMCell(4, param_dtype=float), time_major=True),
            on="steps",
        ),
        Row(
            lambda: First(tnn.GRU(3, 4, batch_first=True)),
            lambda: nn.RNN(nn.GRUCell(4, param_dtype=float)),
            on="steps",
            difference="Both apply the reset gate after the recurrent product.",
        ),
        Row(
            lambda: Attention(tnn.MultiheadAttention(6, 2, batch_first=True)),
            lambda: nn.MultiHeadDotProductAttention(2),
            on="sequence",
            difference="PyTorch has the queries', keys' and values' weights in one array.",
        ),
        Row(
            lambda: tnn.Dropout(0.5).eval(),
            lambda: nn.Dropout(0.5, deterministic=True),
            on="rows",
        ),
        Row(
            lambda: tnn.PReLU(),
            lambda: nn.PReLU(),
            on="rows",
        ),
    ]


def First(layer: Any) -> Any:  # noqa: N802
    """The layer's first result alone, as Flax's layer returns it."""
    from torch import nn as tnn

    class _First(tnn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return self.layer(x)[0]

    return _First()


def Attention(layer: Any) -> Any:  # noqa: N802
    """Attention of a sequence to itself."""
    from torch import nn as tnn

    class _Attention(tnn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return self.layer(x, x, x, need_weights=False)[0]

    return _Attention()


class _WithoutStatistics(nn.Module):
    """Normalise by the batch's own moments, whatever is stored."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-5) * scale + bias


class _Padded(nn.Module):
    """An embedding whose first row has no gradient."""

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        table = self.param("embedding", nn.initializers.normal(), (6, 4))
        stopped = jax.lax.stop_gradient(table[0])
        return jnp.where((ids == 0)[..., None], stopped, table[ids])


def _compare(row: Row, other: Callable[[], nn.Module]) -> Comparisons:
    name = row.on.removesuffix("_last")
    there = inputs()[name]
    here = np.moveaxis(there, 1, -1) if row.on.endswith("_last") else there
    layer = other()
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        variables = _drawn(jax.eval_shape(layer.init, jax.random.key(SEED), here))
    updates = "batch_stats" in variables and not getattr(layer, "use_running_average", True)

    def apply(variables: Any, x: Any) -> Any:
        return layer.apply(variables, x, mutable=["batch_stats"] if updates else False)

    return model(apply, variables, row.torch(), here, torch_inputs=there)


def _drawn(variables: Any) -> Any:
    """Parameters of which none is zero or one, as many are when they are initialised."""

    def draw(path: Any, leaf: Any) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        rng = np.random.default_rng((SEED, zlib.crc32(name.encode())))
        if "var" in name:
            return rng.uniform(0.5, 2.0, leaf.shape)
        return np.asarray(0.5 * rng.normal(size=leaf.shape))

    return jax.tree_util.tree_map_with_path(draw, variables)


KIND = Kind(
    "Layers with parameters",
    rows,
    _compare,
    "Outputs, gradients in parameters and inputs, and running statistics in float64; the same "
    f"random parameters in both, seed {SEED}. tnn is torch.nn, nn is flax.linen.",
)
