"""The run that every peer trains: the tutorial's data, first weights and sizes, in NumPy alone.

Nothing here imports JAX or jaxmnist, so that a peer of another framework starts without them.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

LAYERS = (784, 256, 128, 64, 20, 10)
MNIST = Path(__file__).parents[2] / "jaxmnist" / "data" / "mnist.npz"


class Problem(NamedTuple):
    """Data, first weights and sizes of a run."""

    train_images: np.ndarray  # uint8 [samples, 28, 28]
    train_labels: np.ndarray  # int32 [samples]
    test_images: np.ndarray
    test_labels: np.ndarray
    weights: list[tuple[np.ndarray, np.ndarray]]  # of each layer (out, in) and (out,), float32
    batch_size: int = 64
    eval_batch_size: int = 128
    learning_rate: float = 0.1


class Peer(NamedTuple):
    """A program that trains the tutorial's network, as its framework's users would write it."""

    train: Callable[[np.ndarray | None], np.ndarray]
    """Takes an epoch's steps on the images in an order, or in one that it draws itself for None,
    and returns the loss of every batch before its own step. Keras returns their mean alone where
    it draws the order."""
    evaluate: Callable[[], tuple[float, float]]
    """Measures the loss and the accuracy of the test images."""


def load(images: int = 60_000, seed: int = 0) -> Problem:
    """Read the images and draw the first weights as the tutorial's program does (row D7).

    Args:
        images: The first so many training images, and at most as many test images.
        seed: Determines the weights.

    Returns:
        The run.
    """
    with np.load(MNIST) as file:
        parts = [
            (file[f"x_{part}"][:images], file[f"y_{part}"][:images].astype(np.int32))
            for part in ("train", "test")
        ]
    draw = np.random.default_rng(seed)
    weights = []
    for inputs, outputs in itertools.pairwise(LAYERS):
        bound = inputs**-0.5
        weights.append(
            (
                draw.uniform(-bound, bound, (outputs, inputs)).astype(np.float32),
                draw.uniform(-bound, bound, outputs).astype(np.float32),
            )
        )
    return Problem(*parts[0], *parts[1], weights)


def share(problem: Problem, part: float) -> Problem:
    """Return the problem with the first part of its images, at least a batch of each set."""
    train = max(problem.batch_size, round(part * len(problem.train_labels)))
    test = max(problem.eval_batch_size, round(part * len(problem.test_labels)))
    return problem._replace(
        train_images=problem.train_images[:train],
        train_labels=problem.train_labels[:train],
        test_images=problem.test_images[:test],
        test_labels=problem.test_labels[:test],
    )


def normalized(images: np.ndarray) -> np.ndarray:
    """Return images as rows of float32 in -1 ... 1 (row D5).

    >>> normalized(np.array([[[0, 255]]], np.uint8))
    array([[-1.,  1.]], dtype=float32)
    """
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows /= 255
    rows -= 0.5
    rows /= 0.5
    return rows


def batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut an order into batches, the short last one included.

    >>> [batch.tolist() for batch in batches(np.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    return [order[start : start + size] for start in range(0, len(order), size)]
