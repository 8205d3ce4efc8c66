"""Settings for every test: nothing broadcasts across ranks or promotes dtypes silently."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

import jaxmnist as jm
from jaxmnist import interop

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def sequential() -> Callable[[Any], torch.nn.Sequential]:
    """A function from an MLP's parameters to the document's `nn.Sequential`, in float64."""

    def build(params: Any) -> torch.nn.Sequential:
        state_dict = interop.params_to_state_dict(params)
        modules: list[torch.nn.Module] = []
        for index in range(0, len(state_dict), 2):
            outputs, inputs = state_dict[f"{index}.weight"].shape
            modules += [torch.nn.Linear(inputs, outputs, dtype=torch.float64), torch.nn.ReLU()]
        module = torch.nn.Sequential(*modules[:-1])
        module.load_state_dict({name: torch.from_numpy(a) for name, a in state_dict.items()})
        return module

    return build


@pytest.fixture(scope="session")
def first_digits() -> Callable[[int, int], jm.Dataset]:
    """A function from two numbers to a data set of MNIST's first training and test images."""
    mnist = jm.load_dataset("mnist")

    def take(train: int, test: int) -> jm.Dataset:
        return jm.Dataset(
            mnist.train_images[:train],
            mnist.train_labels[:train],
            mnist.test_images[:test],
            mnist.test_labels[:test],
            num_classes=10,
            name="mnist, some",
        )

    return take


@pytest.fixture(scope="session")
def first_digits_npz(first_digits, tmp_path_factory) -> Callable[[int, int], Path]:
    """The same as a Keras-style file."""

    def write(train: int, test: int) -> Path:
        digits = first_digits(train, test)
        path = tmp_path_factory.mktemp("data") / "few.npz"
        np.savez(
            path,
            x_train=digits.train_images,
            y_train=digits.train_labels,
            x_test=digits.test_images,
            y_test=digits.test_labels,
        )
        return path

    return write
