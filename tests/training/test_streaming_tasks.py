"""A task's data read from disk: the bits of the run in memory, whatever the samples are."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jaxmnist as jm
from jaxmnist.data import load_arrays, open_arrays, stored_arrays
from jaxmnist.training import streaming

# 300 and 130 samples in pieces of 128 and 96: short last batches, and short last pieces.
SIZES: Any = {"epochs": 2, "batch_size": 64, "eval_batch_size": 48}


@pytest.fixture(autouse=True)
def _promotion():
    """The libraries of the models promote ranks and dtypes themselves."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "_PIECE", 128)


class CNN(nn.Module):
    """A convolution with batch normalisation, and dropout."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(2, (3, 3), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.Dropout(0.2, deterministic=not train)(x.reshape(x.shape[0], -1))
        return nn.Dense(10)(x)


def assert_same_run(streamed, in_memory, assert_same_arrays) -> None:
    """The states to the last bit; an epoch's means to what another order of their sums rounds."""
    assert_same_arrays(streamed[0], in_memory[0])
    assert streamed[1].keys() == in_memory[1].keys()
    for name, values in in_memory[1].items():
        np.testing.assert_allclose(streamed[1][name], values, rtol=5 * 2**-24)


@pytest.mark.slow
def test_images_in_colour_with_batch_statistics_and_dropout(prepared_colours, assert_same_arrays):
    def transform(batch, key, training):
        images = jm.normalize(batch[0])
        noise = 0.1 * jax.random.normal(key, images.shape) if training else 0
        return images + noise, batch[1]

    task = jm.task(
        CNN(),
        optax.adam(1e-2),
        optax.softmax_cross_entropy_with_integer_labels,
        metrics={"accuracy": lambda logits, labels: logits.argmax(-1) == labels},
        transform=transform,
    )
    where = "tfds:colours", prepared_colours
    in_memory = jm.fit(task, load_arrays(*where), **SIZES)
    assert_same_run(jm.fit(task, open_arrays(*where), **SIZES), in_memory, assert_same_arrays)
    assert in_memory[1]["train_accuracy"][-1] > 0.1


@pytest.mark.slow
def test_trees_of_floats_in_float64(tmp_path, assert_same_arrays):
    """Memory-mapped features in a dict, and no targets."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(430, 3)))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    train, test = {"x": mapped[:300]}, {"x": mapped[300:]}
    task = jm.task(
        (lambda key, x: jax.random.normal(key, (3, 2), float), lambda params, x: x @ params),
        lambda hyper: optax.sgd(hyper["learning_rate"]),
        lambda code, x: ((code @ jnp.ones((2, 3)) - x) ** 2).sum(-1),
        hyper={"learning_rate": 0.01},
        transform=lambda batch, key, training: (batch["x"], batch["x"]),
    )
    with jax.enable_x64(True):
        in_memory = jm.fit(task, (train, test), **SIZES)
        streamed = jm.fit(task, stored_arrays(train, test), **SIZES)
    assert_same_run(streamed, in_memory, assert_same_arrays)
    assert streamed[0].params.dtype == np.float64
    # Where 64-bit numbers are off, JAX rounds both the same.
    in_memory = jm.fit(task, (train, test), **SIZES)
    streamed = jm.fit(task, stored_arrays(train, test), **SIZES)
    assert_same_run(streamed, in_memory, assert_same_arrays)


@pytest.mark.slow
def test_piece_of_large_samples_has_fewer_of_them(monkeypatch):
    monkeypatch.setattr(streaming, "_PIECE_BYTES", 64 * 1000)
    sizes = [streaming._piece_size(16, width) for width in (1, 500, 1000, 2000, 10**6)]
    assert sizes == [128, 128, 64, 32, 16]
