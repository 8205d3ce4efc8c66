"""The SHA-256 of a run's arrays, model and data, to know whether they are what was written."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmnist.data.catalogue import STANDARD_SETS, prepared_directory
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.tfds import PreparedSet
from jaxmnist.errors import InputError
from jaxmnist.runs.named_arrays import named_arrays
from jaxmnist.runs.run import Run
from jaxmnist.training import split_pair

_CHUNK = 1 << 20


def of_bytes(content: bytes) -> str:
    """Return the SHA-256 of some bytes, in hexadecimal.

    Args:
        content: The bytes.

    Returns:
        64 digits.

    >>> of_bytes(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def of_arrays(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each array's dtype, shape and numbers, in C order.

    Args:
        arrays: Arrays by name.

    Returns:
        Digests by name.

    >>> found = of_arrays({"a": np.zeros(2), "b": np.zeros((2, 1)), "c": -np.zeros(2)})
    >>> len(set(found.values()))
    3
    """
    return {name: _of_array(np.asarray(array)) for name, array in arrays.items()}


def _of_array(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype}{list(array.shape)}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def of_data(data: Any, run: Run) -> str:
    """Return the SHA-256 of what a run is trained on.

    Of a prepared set (TFDS) it is that of the shards of its records, as they are stored, whether
    they are read into memory or streamed: another preparation of the same images may have another.
    A streamed set is read once for it. Of all other data it is that of the arrays themselves;
    MNIST's 55 MB take about a tenth of a second.

    Args:
        data: As `Run.data` returned them.
        run: The run, which knows where they are from.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: The shards cannot be read.
    """
    directory = data.directory if isinstance(data, PreparedSet) else _prepared(run)
    if directory is not None:
        return _of_shards(directory)
    if isinstance(data, Dataset):
        named = ("train_images", "train_labels", "test_images", "test_labels")
        arrays: Mapping[str, Any] = {name: getattr(data, name) for name in named}
    else:
        arrays = named_arrays(dict(zip(("train", "test"), split_pair(data), strict=True)))
    digests = of_arrays(arrays)
    return of_bytes("".join(f"{name} {digests[name]}\n" for name in sorted(digests)).encode())


def _prepared(run: Run) -> Path | None:
    """Return the folder of the prepared set that a run's data were read from, if they were."""
    name = run.dataset or "mnist"
    if name == "mnist" or not (name.startswith("tfds:") or name in STANDARD_SETS):
        return None
    return prepared_directory(name.removeprefix("tfds:"), run.data_dir)


def _of_shards(directory: Path) -> str:
    digest = hashlib.sha256()
    try:
        for path in sorted(directory.glob("*array_record*")):
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    except OSError as error:
        raise InputError(f"{directory}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def check_arrays(found: Mapping[str, Any], expected: Mapping[str, str], source: str) -> None:
    """Refuse arrays that are not those that were written.

    Args:
        found: Arrays by name.
        expected: What `of_arrays` returned of those that were written.
        source: What the error message calls them.

    Raises:
        InputError: An array has another digest, is missing, or was not written.
    """
    digests = of_arrays(jax.device_get(dict(found)))
    for name in sorted(digests.keys() | expected.keys()):
        if digests.get(name) != expected.get(name):
            raise InputError(f"{source}: {name} is not what was written: its SHA-256 differs")
