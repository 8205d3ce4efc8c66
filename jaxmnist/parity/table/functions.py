"""The parity table's layers without parameters: pooling, resizing, padding, attention."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen

from jaxmnist.parity.table.inputs import SEED, compare_functions
from jaxmnist.parity.table.row import DIFFERS, FLOAT32, Kind, Row

nn: Any = linen  # Its annotations allow no padding by numbers.


def rows() -> list[Row]:
    """Return the rows."""
    return [*_pooling(), *_others()]


def _pooling() -> list[Row]:
    import torch.nn.functional as F  # noqa: N812

    return [
        Row(
            lambda image: F.max_pool2d(image, 2),
            lambda image_last: nn.max_pool(image_last, (2, 2), (2, 2)),
        ),
        Row(
            lambda image: F.max_pool2d(image, 2),
            lambda image_last: nn.max_pool(image_last, (2, 2)),
            DIFFERS,
            "Flax's default stride is 1, and PyTorch's the window; their outputs differ in shape.",
            lambda image_last: nn.max_pool(image_last, (2, 2), (2, 2)),
            "shape",
        ),
        Row(
            lambda image: F.max_pool2d(image, 3, stride=2, padding=1),
            lambda image_last: nn.max_pool(image_last, (3, 3), (2, 2), "SAME"),
            DIFFERS,
            "With a stride SAME pads at the end first, padding=1 on both sides.",
            lambda image_last: nn.max_pool(image_last, (3, 3), (2, 2), ((1, 1), (1, 1))),
        ),
        Row(
            lambda image: F.max_pool2d(image, 3, stride=2, ceil_mode=True),
            lambda image_last: nn.max_pool(image_last, (3, 3), (2, 2)),
            DIFFERS,
            "ceil_mode takes a last window that is not whole; the outputs differ in shape.",
            lambda image_last: nn.max_pool(image_last, (3, 3), (2, 2), ((0, 1), (0, 1))),
            "shape",
        ),
        Row(
            lambda image: F.avg_pool2d(image, 2),
            lambda image_last: nn.avg_pool(image_last, (2, 2), (2, 2)),
        ),
        Row(
            lambda image: F.avg_pool2d(image, 3, stride=1, padding=1),
            lambda image_last: nn.avg_pool(image_last, (3, 3), padding="SAME"),
            difference="Both count the padding, by count_include_pad=True.",
        ),
        Row(
            lambda image: F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False),
            lambda image_last: nn.avg_pool(image_last, (3, 3), padding="SAME"),
            DIFFERS,
            "Flax counts the padding unless count_include_pad=False.",
            lambda image_last: nn.avg_pool(
                image_last, (3, 3), padding="SAME", count_include_pad=False
            ),
        ),
        Row(
            lambda image: F.avg_pool2d(image, 3, stride=2, ceil_mode=True),
            lambda image_last: nn.avg_pool(image_last, (3, 3), (2, 2), ((0, 1), (0, 1))),
            DIFFERS,
            "A window that ceil_mode adds is averaged over its own elements.",
            lambda image_last: nn.avg_pool(
                image_last, (3, 3), (2, 2), ((0, 1), (0, 1)), count_include_pad=False
            ),
        ),
        Row(
            lambda image: F.adaptive_avg_pool2d(image, 1),
            lambda image_last: image_last.mean((1, 2), keepdims=True),
        ),
        Row(
            lambda image: F.lp_pool2d(image.abs(), 2, 2),
            lambda image_last: jnp.sqrt(4 * nn.avg_pool(image_last**2, (2, 2), (2, 2))),
            difference="PyTorch takes the root of the sum, not of the mean.",
        ),
        Row(
            lambda image: F.adaptive_max_pool2d(image, 2),
            lambda image_last: nn.max_pool(image_last, (4, 4), (4, 4)),
        ),
    ]


def _others() -> list[Row]:
    import torch
    import torch.nn.functional as F  # noqa: N812

    return [
        Row(
            lambda with_zeros: F.normalize(with_zeros, dim=-1),
            lambda with_zeros: with_zeros / jnp.linalg.norm(with_zeros, axis=-1, keepdims=True),
            DIFFERS,
            "PyTorch bounds the norm below by 1e-12, so that zeros stay zeros.",
            lambda with_zeros: (
                with_zeros / optax.safe_norm(with_zeros, 1e-12, axis=-1, keepdims=True)
            ),
            "a bound",
        ),
        Row(
            lambda image: F.interpolate(image, scale_factor=2, mode="nearest"),
            lambda image_last: jax.image.resize(image_last, (2, 16, 16, 3), "nearest"),
        ),
        Row(
            lambda image: F.interpolate(image, size=(3, 5), mode="nearest"),
            lambda image_last: jax.image.resize(image_last, (2, 3, 5, 3), "nearest"),
            DIFFERS,
            "JAX takes the pixel nearest to each one's middle; that is PyTorch's nearest-exact.",
            lambda image_last: image_last[:, jnp.arange(3) * 8 // 3][:, :, jnp.arange(5) * 8 // 5],
        ),
        Row(
            lambda image: F.interpolate(image, size=(3, 5), mode="nearest-exact"),
            lambda image_last: jax.image.resize(image_last, (2, 3, 5, 3), "nearest"),
        ),
        Row(
            lambda image: F.interpolate(image, scale_factor=2, mode="bilinear"),
            lambda image_last: jax.image.resize(image_last, (2, 16, 16, 3), "bilinear"),
            difference="With align_corners=False, PyTorch's default.",
        ),
        Row(
            lambda image: F.interpolate(image, scale_factor=0.5, mode="bilinear"),
            lambda image_last: jax.image.resize(image_last, (2, 4, 4, 3), "bilinear"),
            DIFFERS,
            "To a smaller size JAX smooths first, unless antialias=False.",
            lambda image_last: jax.image.resize(
                image_last, (2, 4, 4, 3), "bilinear", antialias=False
            ),
        ),
        Row(
            lambda image: F.interpolate(image, scale_factor=0.5, mode="bilinear", antialias=True),
            lambda image_last: jax.image.resize(image_last, (2, 4, 4, 3), "bilinear"),
        ),
        Row(
            lambda image: F.interpolate(image, scale_factor=2, mode="bicubic"),
            lambda image_last: jax.image.resize(image_last, (2, 16, 16, 3), "bicubic"),
            DIFFERS,
            "PyTorch's cubic has a = -0.75, and JAX's a = -0.5.",
        ),
        Row(
            lambda image: F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=True),
            lambda image_last: jax.image.resize(image_last, (2, 16, 16, 3), "bilinear"),
            DIFFERS,
            "align_corners=True puts the corner pixels' middles at the corners.",
            lambda image_last: jax.image.scale_and_translate(
                image_last,
                (2, 16, 16, 3),
                (1, 2),
                jnp.array([15 / 7, 15 / 7]),
                jnp.array([0.5 - 15 / 14, 0.5 - 15 / 14]),
                "linear",
                antialias=False,
            ),
        ),
        Row(
            lambda image: F.pad(image, (1, 2, 1, 1), mode="reflect"),
            lambda image_last: jnp.pad(image_last, ((0, 0), (1, 1), (1, 2), (0, 0)), "reflect"),
            difference="PyTorch's pairs begin at the last axis.",
        ),
        Row(
            lambda image: F.pad(image, (1, 2, 1, 1), mode="replicate"),
            lambda image_last: jnp.pad(image_last, ((0, 0), (1, 1), (1, 2), (0, 0)), "edge"),
        ),
        Row(
            lambda image: torch.flatten(image, 1),
            lambda image_last: image_last.reshape(2, -1),
            DIFFERS,
            "Channels come first in PyTorch's order, and last in Flax's.",
            lambda image_last: jnp.moveaxis(image_last, -1, 1).reshape(2, -1),
        ),
        Row(lambda x: torch.std(x, -1), lambda x: jnp.std(x, -1), **_UNBIASED),
        Row(
            lambda x: torch.var(x, -1),
            lambda x: jnp.var(x, -1),
            DIFFERS,
            "PyTorch divides by n - 1, unless correction=0.",
            lambda x: jnp.var(x, -1, ddof=1),
            "a factor: f is 0.9 times",
        ),
        Row(
            lambda queries, keys, values: F.scaled_dot_product_attention(queries, keys, values),
            lambda queries, keys, values: jax.nn.dot_product_attention(queries, keys, values),
            DIFFERS,
            "PyTorch's axes are (batch, heads, time, width), JAX's (batch, time, heads, width).",
            lambda queries, keys, values: _heads_second(
                nn.dot_product_attention, queries, keys, values
            ),
        ),
        Row(
            lambda queries, keys, values: F.scaled_dot_product_attention(queries, keys, values),
            lambda queries, keys, values: _heads_second(
                jax.nn.dot_product_attention, queries, keys, values
            ),
            FLOAT32,
            "jax.nn's computes its logits in float32, also from float64; Flax's does not.",
            lambda queries, keys, values: _heads_second(
                nn.dot_product_attention, queries, keys, values
            ),
            "float32 inside: intermediate values are narrower than float64 in JAX",
        ),
        Row(
            lambda queries, keys, values: F.scaled_dot_product_attention(
                queries, keys, values, is_causal=True
            ),
            lambda queries, keys, values: _heads_second(
                nn.dot_product_attention, queries, keys, values
            ),
            DIFFERS,
            "Flax takes a mask where PyTorch takes is_causal.",
            lambda queries, keys, values: _heads_second(
                nn.dot_product_attention,
                queries,
                keys,
                values,
                mask=nn.make_causal_mask(queries[..., 0][:, 0])[:, None, 0],
            ),
        ),
        Row(
            lambda ids: F.one_hot(ids, 6),
            lambda ids: jax.nn.one_hot(ids, 6),
            difference="PyTorch's are integers, and JAX's floats.",
        ),
        Row(
            lambda ids, table: F.embedding(ids, table),
            lambda ids, table: jnp.take(table, ids, axis=0),
        ),
        Row(
            lambda ids, table: F.embedding(ids, table, padding_idx=0),
            lambda ids, table: jnp.take(table, ids, axis=0),
            DIFFERS,
            "The row of padding_idx has no gradient.",
            lambda ids, table: jnp.where(
                (ids == 0)[..., None], jax.lax.stop_gradient(table[0]), table[ids]
            ),
        ),
        Row(
            lambda image: F.pixel_shuffle(image.tile(1, 4, 1, 1), 2),
            lambda image_last: _pixel_shuffle(jnp.tile(image_last, 4), 2),
            difference="JAX has no function for it.",
        ),
        Row(
            lambda x: torch.exp(-720 - x.abs()) * 1e300,
            lambda x: jnp.exp(-720 - jnp.abs(x)) * 1e300,
            DIFFERS,
            "On a CPU XLA takes subnormal numbers for 0: those below 2.2e-308 in float64, 1.2e-38 "
            "in float32. PyTorch does after torch.set_flush_denormal(True).",
        ),
        Row(
            lambda image: F.local_response_norm(image, 3, alpha=0.1),
            lambda image_last: _local_response_norm(image_last, 3, 0.1),
            difference="JAX has no function for it; zeros beyond the channels count.",
        ),
    ]


_UNBIASED: dict[str, Any] = {
    "verdict": DIFFERS,
    "difference": "PyTorch divides by n - 1, unless correction=0.",
    "equal": lambda x: jnp.std(x, -1, ddof=1),
    "cause": "a factor: f is 0.948683 times",
}


def _heads_second(attention: Callable[..., Any], *arrays: jax.Array, **options: Any) -> jax.Array:
    """Attention of (batch, heads, time, width)."""
    return jnp.swapaxes(attention(*(jnp.swapaxes(x, 1, 2) for x in arrays), **options), 1, 2)


def _pixel_shuffle(image: jax.Array, times: int) -> jax.Array:
    batch, height, width, channels = image.shape
    apart = image.reshape(batch, height, width, channels // times**2, times, times)
    moved = apart.transpose(0, 1, 4, 2, 5, 3)
    return moved.reshape(batch, height * times, width * times, -1)


def _local_response_norm(image: jax.Array, size: int, alpha: float) -> jax.Array:
    before = size // 2
    padded: Sequence[tuple[int, int]] = ((0, 0), (0, 0), (0, 0), (before, size - 1 - before))
    squares = jnp.pad(image**2, padded)
    channels = image.shape[-1]
    means = sum(squares[..., i : i + channels] for i in range(size)) / size
    return image / (1 + alpha * means) ** 0.75


KIND = Kind(
    "Pooling, resizing and other functions",
    rows,
    compare_functions,
    f"Values and all gradients in float64, seed {SEED}; images are 2 × 3 × 8 × 8 in PyTorch and "
    "have their channels last in JAX.",
)
