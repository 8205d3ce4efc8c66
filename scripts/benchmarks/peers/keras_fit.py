"""Keras 3 on JAX: ``model.fit`` and ``model.evaluate``."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # Keras reads it when it is loaded.

import keras  # pyright: ignore[reportMissingImports]
import numpy as np

from benchmarks.problem import Peer, Problem, batches, normalized


def keras_on_jax(problem: Problem) -> Peer:
    """A `keras.Sequential` compiled with SGD."""
    if keras.backend.backend() != "jax":
        raise RuntimeError(
            f"Keras runs on {keras.backend.backend()}; it must run on jax: unset KERAS_BACKEND"
        )
    sizes = [len(bias) for _, bias in problem.weights]
    model = keras.Sequential(
        [
            keras.layers.Input((problem.weights[0][0].shape[1],)),
            *(keras.layers.Dense(size, activation="relu") for size in sizes[:-1]),
            keras.layers.Dense(sizes[-1]),
        ]
    )
    model.set_weights([array for weight, bias in problem.weights for array in (weight.T, bias)])
    model.compile(
        keras.optimizers.SGD(problem.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    train_x, train_y = normalized(problem.train_images), problem.train_labels
    test_x, test_y = normalized(problem.test_images), problem.test_labels

    def fit(x: np.ndarray, y: np.ndarray, shuffle: bool) -> float:
        history = model.fit(x, y, problem.batch_size, shuffle=shuffle, verbose=0)  # pyright: ignore[reportArgumentType]
        return history.history["loss"][0]

    def train(order: np.ndarray | None) -> np.ndarray:
        if order is None:
            return np.array([fit(train_x, train_y, shuffle=True)])
        # Keras shows a running mean, so that each batch's own loss needs a call of its own.
        rows = batches(order, problem.batch_size)
        return np.array([fit(train_x[batch], train_y[batch], shuffle=False) for batch in rows])

    def evaluate() -> tuple[float, float]:
        loss, accuracy = model.evaluate(test_x, test_y, problem.eval_batch_size, verbose=0)  # pyright: ignore[reportArgumentType]
        return float(loss), float(accuracy)

    return Peer(train, evaluate)
