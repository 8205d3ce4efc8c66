"""Run the whole tutorial in one file, to be copied: MNIST, an MLP, SGD, 20 epochs.

    python minimal.py [mnist.npz]

It needs JAX, Flax and Optax only; NumPy reads the data, a file as Keras distributes it.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

SIZES = (256, 128, 64, 20, 10)
EPOCHS, BATCH, EVAL_BATCH, LEARNING_RATE = 20, 64, 128, 0.1
LINE = "epoch: {}, Train Loss: {:.6f}, Train Acc: {:.6f}, Eval Loss: {:.6f}, Eval Acc: {:.6f}"


def uniform(bound, key, shape, dtype=jnp.float32):
    """Draw weights or biases as PyTorch does by default."""
    return jax.random.uniform(key, shape, dtype, -bound, bound)


class MLP(nn.Module):
    """784-256-128-64-20-10, with ReLU between the layers."""

    @nn.compact
    def __call__(self, x):
        """Map flat images to logits."""
        for index, size in enumerate(SIZES):
            draw = partial(uniform, x.shape[-1] ** -0.5)
            x = nn.Dense(size, kernel_init=draw, bias_init=draw)(nn.relu(x) if index else x)
        return x


model, optimizer = MLP(), optax.sgd(LEARNING_RATE)


def measure(params, images, labels):
    """Return the mean loss of a batch, and the share classified correctly."""
    pixels = images.reshape(len(images), -1).astype(jnp.float32) / 255
    logits: Any = model.apply(params, (pixels - 0.5) / 0.5)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), (logits.argmax(axis=-1) == labels).mean()


def train_step(state, batch):
    """Take one step, and measure the batch before it."""
    params, opt_state = state
    metrics, gradients = jax.value_and_grad(measure, has_aux=True)(params, *batch)
    updates, opt_state = optimizer.update(gradients, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), metrics


def scan_batches(step, state, images, labels, size):
    """Take a step on every full batch and then on the rest; average the batches' metrics."""
    full = len(images) // size * size
    batches = [a[:full].reshape(-1, size, *a.shape[1:]) for a in (images, labels)]
    state, metrics = jax.lax.scan(step, state, batches)
    if full < len(images):
        state, last = step(state, (images[full:], labels[full:]))
        metrics = [jnp.append(a, b) for a, b in zip(metrics, last, strict=True)]
    return state, [a.mean() for a in metrics]


@jax.jit
def run_epoch(state, order, train, test):
    """Train on the images in this order, then test; return the state and the four metrics."""
    images, labels = train
    state, trained = scan_batches(train_step, state, images[order], labels[order], BATCH)
    _, tested = scan_batches(lambda p, xy: (p, measure(p, *xy)), state[0], *test, size=EVAL_BATCH)
    return state, (*trained, *tested)


if __name__ == "__main__":
    bundled = Path(__file__).parent.parent / "jaxmnist/data/mnist.npz"
    data = np.load(sys.argv[1] if len(sys.argv) > 1 else bundled)
    train, test = ((data[f"x_{part}"], np.int32(data[f"y_{part}"])) for part in ("train", "test"))
    key = jax.random.key(0)
    params = model.init(key, jnp.zeros((1, 28 * 28)))
    state = params, optimizer.init(params)
    for epoch in range(EPOCHS):
        order = jax.random.permutation(jax.random.fold_in(key, epoch), len(train[0]))
        state, metrics = run_epoch(state, order, train, test)
        print(LINE.format(epoch, *metrics))
