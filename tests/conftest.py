"""Settings for every test: nothing broadcasts across ranks or promotes dtypes silently."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

import jaxmnist as jm
from jaxmnist import interop
from jaxmnist.data import catalogue, prepare
from jaxmnist.data.catalogue import StandardSet
from jaxmnist.data.idx import FILE_NAMES

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def sequential() -> Callable[[Any], torch.nn.Sequential]:
    """A function from an MLP's parameters to the tutorial's `nn.Sequential`, in float64."""

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
def refused() -> Callable[..., Any]:
    """A function from words to the expectation of an InputError of one line that has them all."""

    def expect(*words: object) -> Any:
        def says(error: jm.InputError) -> bool:
            # The message itself, without the notes that JAX and Grain add to exceptions.
            return "\n" not in str(error) and all(str(word) in str(error) for word in words)

        return pytest.raises(jm.InputError, check=says)

    return expect


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """A function from a folder to its files' contents."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return read


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


@pytest.fixture(scope="session")
def prepared_kmnist(first_digits, tmp_path_factory) -> Path:
    """A TFDS data directory: `kmnist` of 650 and 245 real digits, and in `idx` its IDX files."""
    digits = first_digits(650, 245)
    folder = tmp_path_factory.mktemp("prepared")
    arrays = (
        digits.train_images,
        digits.train_labels.astype(np.uint8),
        digits.test_images,
        digits.test_labels.astype(np.uint8),
    )
    (folder / "idx").mkdir()
    for name, array in zip(FILE_NAMES, arrays, strict=True):
        head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (folder / "idx" / f"{name}.gz").write_bytes(gzip.compress(head + array.tobytes()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.STANDARD_SETS, "kmnist", StandardSet("kmnist", 650, 245, range(10)))
        prepare("kmnist", folder / "idx", folder)
    return folder


@pytest.fixture(scope="session")
def kmnist_in_memory(prepared_kmnist, tmp_path_factory) -> jm.Dataset:
    """The set that `prepared_kmnist` has on disk, in its stored order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return jm.load_dataset("kmnist", prepared_kmnist)
