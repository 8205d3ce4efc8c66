"""Prepared sets that were decoded before, as files in the user's cache folder."""

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxmnist.data.dataset import Dataset
from jaxmnist.data.npz import read_arrays
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
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache.parent, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            try:
                np.savez(file, fingerprint=np.array(fingerprint), **arrays)
                file.close()
                temporary.replace(cache)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
