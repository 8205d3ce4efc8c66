"""A line through noisy points, as a task and as data."""

import inspect
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxmnist as jm


@pytest.fixture(autouse=True)
def _promotion():
    """Optax promotes dtypes itself."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="session")
def line():
    """The arguments of `jm.task` for a line, 10 and 5 samples, and the model's two functions."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(15, 3))
    y = x @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=15)

    def init(key):
        return {"w": jax.random.normal(key, (3,), float), "b": jnp.zeros((), float)}

    def apply(params, x):
        return x @ params["w"] + params["b"]

    arguments = {
        "model": (init, apply),
        "optimizer": lambda hyper: optax.adamw(
            hyper["learning_rate"], weight_decay=hyper["weight_decay"]
        ),
        "loss": lambda outputs, targets: (outputs - targets) ** 2,
        "hyper": {"learning_rate": 0.05, "weight_decay": 0.01},
    }

    def task(**others):
        # Without the tests' check of types, which would come before the function's own.
        return inspect.unwrap(jm.task)(**{**arguments, **others})

    return SimpleNamespace(task=task, data=((x[:10], y[:10]), (x[10:], y[10:])), apply=apply)
