"""The SHA-256 of a run's arrays, model and data, to know whether they are what was written."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmnist.data.catalogue import STANDARD_SETS, prepared_directory
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.image_folder import image_files, is_image_folder
from jaxmnist.data.stored import StoredPart, StoredSet
from jaxmnist.data.tfds import PreparedSet
from jaxmnist.errors import InputError
from jaxmnist.reading import expanded
from jaxmnist.runs.named_arrays import named_arrays
from jaxmnist.runs.run import Run
from jaxmnist.training import split_pair

_CHUNK = 1 << 20
# Of streamed samples that are read at once.
_PIECE_BYTES = 1 << 25


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
    digest.update(_content(array))
    return digest.hexdigest()


def _content(array: np.ndarray) -> memoryview:
    """Return an array's numbers in C order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def of_data(data: Any, run: Run) -> str:
    """Return the SHA-256 of what a run is trained on.

    Of a prepared set (TFDS) it is that of the shards of its records, and of a folder of images
    that of its files: another preparation of the same images may have another. Of all other data
    it is that of the arrays themselves; MNIST's 55 MB take about a tenth of a second. Data that
    are streamed are read once for it, some at a time, and have the digest that they have in memory.

    Args:
        data: As `Run.data` returned them.
        run: The run, which knows where they are from.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: The files cannot be read.
    """
    directory = data.directory if isinstance(data, PreparedSet) else _prepared(run)
    folder = _image_folder(run)
    try:
        if directory is not None:
            return _of_files(directory, sorted(directory.glob("*array_record*")))
        if folder is not None:
            train, test = image_files(folder)
            return _of_files(folder, [file for file, _ in (*train, *test)])
    except OSError as error:
        raise InputError(f"{directory or folder}: cannot be read: {error.strerror}") from error
    if isinstance(data, Dataset):
        named = ("train_images", "train_labels", "test_images", "test_labels")
        digests = of_arrays({name: getattr(data, name) for name in named})
    elif isinstance(data, StoredSet):
        digests = {**_of_stored("train", data.train), **_of_stored("test", data.test)}
    else:
        parts = dict(zip(("train", "test"), split_pair(data), strict=True))
        digests = of_arrays(named_arrays(parts))
    return of_bytes("".join(f"{name} {digests[name]}\n" for name in sorted(digests)).encode())


def _prepared(run: Run) -> Path | None:
    """Return the folder of the prepared set that a run's data were read from, if they were."""
    name = run.dataset or "mnist"
    if name == "mnist" or not (name.startswith("tfds:") or name in STANDARD_SETS):
        return None
    return prepared_directory(name.removeprefix("tfds:"), run.data_dir)


def _image_folder(run: Run) -> Path | None:
    """Return the folder of images that a run's data were read from, if they were."""
    if run.dataset is None or run.dataset in STANDARD_SETS:
        return None
    path = expanded(run.dataset)
    return path if is_image_folder(path) else None


def _of_stored(name: str, part: StoredPart) -> dict[str, str]:
    """Return the digests that `of_arrays` returns of a part's arrays, of which some are read."""
    digests: dict[str, Any] = {}
    size = sum(array.nbytes for array in named_arrays(part.read([0])).values())
    rows = max(1, _PIECE_BYTES // max(1, size))
    for first in range(0, len(part), rows):
        read = part.read(range(first, min(first + rows, len(part))))
        for key, array in named_arrays({name: read}).items():
            shape = [len(part), *array.shape[1:]]
            digest = digests.setdefault(key, hashlib.sha256(f"{array.dtype}{shape}".encode()))
            digest.update(_content(array))
    return {key: digest.hexdigest() for key, digest in digests.items()}


def _of_files(directory: Path, files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(directory).as_posix()
        digest.update(f"{name} {path.stat().st_size}\n".encode(errors="surrogateescape"))
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
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
