"""Prepared sets that were decoded before, as files in the user's cache folder.

Two write them: `jaxmnist.data.tfds` a set that it has in memory, `jaxmnist.data.kept` one that is
streamed. Each reads what the other wrote.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxmnist.atomic import replacing
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.npz import read_arrays
from jaxmnist.errors import InputError
from jaxmnist.reading import parse_json

_CACHED = ("train_images", "train_labels", "test_images", "test_labels", "num_classes")
# Part of every fingerprint: change it when the same files should decode to other arrays.
_CACHE_FORMAT = 2


def cache_directory() -> Path:
    """Return the folder of decoded sets: `$XDG_CACHE_HOME/jaxmnist` or `~/.cache/jaxmnist`.

    Raises:
        RuntimeError: The user has no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxmnist"


def cache_file(directory: Path, name: str) -> Path | None:
    """Return where a decoded set is kept.

    Args:
        directory: The prepared set's folder. Each has a file of its own, so that a set which
            changed replaces its outdated arrays.
        name: The set's.

    Returns:
        The file, which need not exist; None if the user has no home.
    """
    place = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
    try:
        return cache_directory() / f"{name.replace('/', '-').replace(':', '-')}-{place}.npz"
    except RuntimeError:
        return None


def fingerprint_of(directory: Path) -> str:
    """Digest the name, size and time of every file of a prepared set.

    Args:
        directory: The set's folder.

    Returns:
        A SHA-256.
    """
    files = sorted(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in directory.iterdir()
    )
    return hashlib.sha256(json.dumps([_CACHE_FORMAT, files]).encode()).hexdigest()


def read_cache(cache: Path, fingerprint: str, name: str) -> Dataset | None:
    """Read a set that was decoded before.

    Args:
        cache: The file, which need not exist.
        fingerprint: Of the set's files now.
        name: The set's.

    Returns:
        The set; None if there is none, or one of other files, or a damaged one.
    """
    try:
        keys = ("fingerprint", *_CACHED, "class_names")
        stored, *arrays, num_classes, names = read_arrays(cache, keys, str(cache))
        if str(stored) != fingerprint:
            return None
        class_names = tuple(map(str, parse_json(str(names))))
        return Dataset(*arrays, num_classes=int(num_classes), name=name, class_names=class_names)
    except (ValueError, TypeError):  # InputError is a ValueError.
        return None


def write_cache(cache: Path, fingerprint: str, dataset: Dataset) -> None:
    """Keep a decoded set, where that is possible.

    Args:
        cache: The file to write.
        fingerprint: Of the set's files.
        dataset: The set.
    """
    arrays: dict[str, Any] = {field: getattr(dataset, field) for field in _CACHED}
    arrays["class_names"] = np.array(json.dumps(dataset.class_names))
    with contextlib.suppress(OSError, InputError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with replacing(cache) as file:
            np.savez(file, fingerprint=np.array(fingerprint), **arrays)
