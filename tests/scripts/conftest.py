"""The worked tasks with small data, and a run of each that several tests look at."""

import functools
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

import jaxmnist as jm

FOLDER = Path(__file__).parents[2] / "scripts" / "tasks"
sys.path.insert(0, str(FOLDER))
SMALL = {
    "linen_cnn": {"channels": 2, "steps_per_epoch": 3, "epochs": 1},
    "nnx_mlp": {"hidden": 8},
    "equinox_mlp": {"hidden": 8, "clip": 0.5},
    "pendulum": {"hidden": 8, "samples": 20, "steps": 3},
    "autoencoder": {"hidden": 8, "code": 3, "samples": 20},
}


@pytest.fixture(scope="session")
def example() -> Callable[[str], SimpleNamespace]:
    """A function from a file's name to its task on 20 samples: an epoch of 8, 8 and 4 of them."""

    @functools.cache
    def build(name: str) -> SimpleNamespace:
        module = import_module(name)
        config = module.Config(**SMALL[name])
        if hasattr(module, "data"):
            data = module.data(config)
        else:
            mnist = jm.load_dataset("mnist")
            part = mnist.train_images[:20], mnist.train_labels[:20]
            data = part, part
        sizes = {
            "epochs": 1,
            "batch_size": 8,
            "eval_batch_size": len(jax.tree.leaves(data[1])[0]),
        }
        return SimpleNamespace(
            module=module, config=config, task=module.task(config), data=data, sizes=sizes
        )

    return build


@pytest.fixture(scope="session")
def fitted(example) -> Callable[[str], tuple]:
    """A function from a file's name to what `jm.fit` makes of its task with the seed 0."""

    @functools.cache
    def fit(name: str) -> tuple:
        one = example(name)
        with jax.enable_x64(name == "pendulum"):
            return jm.fit(one.task, one.data, **one.sizes)

    return fit
