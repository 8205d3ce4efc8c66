"""What a prepared TFDS set says of itself, checked before TFDS acts on it.

`features.json` names the Python class of each feature, and TFDS imports the module of any that it
does not know: a file of data would choose what code is run. `dataset_info.json` says how many
records each file has, and lists of that length are made before a file is opened.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from jaxmnist.errors import InputError
from jaxmnist.reading import check_regular, parse_json, read_json

_CLASS_NAMES: Final = ("pythonClassName", "python_class_name", "type")
"""The entries that name a class: as protobuf writes them, as it also reads them, and as TFDS did
before."""
_OWN: Final = re.compile(r"tensorflow_datasets(\.[A-Za-z_]\w*)+", re.ASCII)


def check_description(directory: Path) -> None:
    """Refuse a prepared set whose description TFDS must not follow.

    Args:
        directory: The set's folder.

    Raises:
        InputError: A feature, at whatever depth, has a class outside of `tensorflow_datasets`; a
            file is said to have more records than bytes; or a description is no JSON.
        OSError: A file cannot be read.
    """
    for file, check in (("features.json", _check_features), ("dataset_info.json", _check_splits)):
        try:
            check(read_json(directory / file), directory)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(
                f"{directory}: cannot be read as a TFDS set: {file}: {error}; if it is damaged, "
                "remove the folder and run jaxmnist data prepare again"
            ) from error


def _check_features(features: Any, directory: Path) -> None:
    for name in _class_names(features):
        if not isinstance(name, str) or not _OWN.fullmatch(name):
            raise InputError(
                f"{directory}: features.json has the class {str(name)[:100]!r}; only classes of "
                "tensorflow_datasets are imported"
            )


def _check_splits(about: Any, directory: Path) -> None:
    splits = about.get("splits", []) if isinstance(about, dict) else None
    if not isinstance(splits, list) or not all(isinstance(split, dict) for split in splits):
        raise ValueError("it has no list of splits")
    size = sum(check_regular(path) for path in directory.iterdir())
    for split in splits:
        lengths = split.get("shardLengths", split.get("shard_lengths", []))
        if not isinstance(lengths, list):
            raise ValueError("it has no list of shardLengths")
        for length in lengths:
            if not re.fullmatch(r"\d{1,18}", str(length), re.ASCII):
                raise ValueError(f"shardLengths has {str(length)[:40]!r}; it must be a number")
        if (records := sum(map(int, lengths))) > size:
            raise ValueError(
                f"it has {records:,} records for the split {str(split.get('name'))[:40]!r}, and "
                f"all files together have {size:,} bytes"
            )


def _class_names(value: Any) -> Iterator[Any]:
    """Yield the classes that a description names, those in JSON within its strings too."""
    if isinstance(value, dict):
        for name, inner in value.items():
            # A feature may itself be called "type": then it is an object.
            if name in _CLASS_NAMES and not isinstance(inner, dict | list):
                yield inner
            else:
                yield from _class_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _class_names(inner)
    elif isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            inner = parse_json(value)
        except json.JSONDecodeError:
            return  # Text that only begins like JSON.
        yield from _class_names(inner)
