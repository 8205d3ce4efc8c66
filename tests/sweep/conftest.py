"""The sweep that the tests of its runs and of its folder share."""

import pytest

import jaxmnist as jm
from jaxmnist import sweep

CONFIG = jm.Config(hidden=(8,), epochs=2, eval_batch_size=48)
AXES = {"learning_rate": [0.3, 0.03], "optimizer": ["sgd", "momentum"], "seed": [5, 0, 2**32 - 1]}


@pytest.fixture(scope="session")
def dataset(first_digits) -> jm.Dataset:
    """Real digits, in numbers that leave short last batches."""
    return first_digits(300, 100)


@pytest.fixture(scope="session")
def swept(dataset, tmp_path_factory):
    """A sweep with two programs of six cells each, and its folder."""
    out = tmp_path_factory.mktemp("sweep") / "new"
    return sweep.run(CONFIG, AXES, dataset, out=out, command="the command"), out
