"""Regression in float64: the period of a pendulum from its amplitude and its length.

Run it with `python scripts/tasks/pendulum.py`. The model is a pair of plain functions. It learns
the logarithm of the period, ``T = 2 pi sqrt(l / g) / agm(1, cos(amplitude / 2))``, which is exact.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxmnist as jm


@dataclass(frozen=True)
class Config:
    """What the network, its optimizer and its data are.

    Attributes:
        learning_rate: Adam's first; it falls to 0 on a cosine.
        steps: The length of that schedule.
        hidden: Units of the hidden layer.
        samples: Pendulums to train on; a quarter as many are for the test.
        dtype: Of the parameters; `jaxmnist train` turns 64-bit numbers on for float64.
    """

    learning_rate: float = 1e-2
    steps: int = 3200
    hidden: int = 32
    samples: int = 1024
    dtype: str = "float64"


def log_period(amplitude: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the logarithm of the period in seconds, of radians below pi and metres."""
    a, b = np.ones_like(amplitude), np.cos(amplitude / 2)
    for _ in range(8):  # The arithmetic-geometric mean doubles its correct digits.
        a, b = (a + b) / 2, np.sqrt(a * b)
    return np.log(2 * np.pi * np.sqrt(length / 9.80665) / a)


def data(config: Config) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Draw the training and the test pendulums."""
    rng = np.random.default_rng(0)
    parts = []
    for samples in (config.samples, config.samples // 4):
        x = rng.uniform((0.1, 0.1), (3.0, 2.0), (samples, 2))
        parts.append((x, log_period(*x.T)))
    return parts[0], parts[1]


def task(config: Config) -> jm.Task:
    """Return the task; the schedule's peak is a hyperparameter."""

    def init(key):
        first, last = jax.random.split(key)
        scale = config.hidden**-0.5
        w1 = jax.random.normal(first, (2, config.hidden), config.dtype)
        w2 = scale * jax.random.normal(last, (config.hidden,), config.dtype)
        return {"w1": w1, "b1": jnp.zeros(config.hidden), "w2": w2, "b2": jnp.zeros(())}

    def apply(params, x):
        return jnp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]

    return jm.task(
        (init, apply),
        lambda hyper: optax.adam(optax.cosine_decay_schedule(hyper["learning_rate"], config.steps)),
        lambda outputs, targets: (outputs - targets) ** 2,
        hyper={"learning_rate": config.learning_rate},
    )


if __name__ == "__main__":
    with jax.enable_x64(True):
        state, history = jm.fit(task(Config()), data(Config()), epochs=100, batch_size=32)
    print(f"relative error of the period: {history['eval_loss_per_sample'][-1] ** 0.5:.1e}")
