"""Which data sets are known by name, and where TFDS stores the prepared ones.

Everything here looks at names and folders only; TFDS itself is not imported.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from jaxmnist.data import bundled
from jaxmnist.errors import InputError, nearest
from jaxmnist.reading import expanded


class StandardSet(NamedTuple):
    """A set that TFDS defines and `prepare` can write."""

    name: str
    train: int  # How many training images it has.
    test: int
    labels: range  # The labels that occur.
    train_labels_sha256: str | None = None  # Of the training labels' bytes, where it is known.


STANDARD_SETS = {
    standard.name: standard
    for standard in (
        StandardSet(
            "mnist",
            60_000,
            10_000,
            range(10),
            "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        ),
        StandardSet(
            "fashion_mnist",
            60_000,
            10_000,
            range(10),
            "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
        ),
        StandardSet("kmnist", 60_000, 10_000, range(10)),
        StandardSet("emnist/balanced", 112_800, 18_800, range(47)),
        StandardSet("emnist/byclass", 697_932, 116_323, range(62)),
        StandardSet("emnist/bymerge", 697_932, 116_323, range(47)),
        StandardSet("emnist/digits", 240_000, 40_000, range(10)),
        # The published labels begin at 1; TFDS allows for 0 too and counts 37 classes.
        StandardSet("emnist/letters", 88_800, 14_800, range(1, 27)),
        StandardSet("emnist/mnist", 60_000, 10_000, range(10)),
    )
}

_TFDS_NAME = re.compile(r"(?P<set>\w+(/[\w-][\w.-]*)?)(:(?P<version>\d+\.\d+\.\d+))?", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)


class Available(NamedTuple):
    """One row of `available`."""

    name: str  # The argument of `load_dataset`.
    source: str  # "bundled" or "tfds".
    path: Path | None  # Its location, or None while it is not prepared.


def available(data_dir: str | os.PathLike[str] | None = None) -> list[Available]:
    """List the sets known by name, and the location of each.

    Args:
        data_dir: TFDS's data directory; see `data_directory`.

    Returns:
        The bundled MNIST, then TFDS's sets; `path` is None for those still to be prepared.

    >>> [row.name for row in available()][:4]
    ['mnist', 'tfds:mnist', 'fashion_mnist', 'kmnist']
    """
    rows = [Available("mnist", "bundled", bundled.PATH)]
    for name in STANDARD_SETS:
        path = prepared_directory(name, data_dir)
        rows.append(Available("tfds:mnist" if name == "mnist" else name, "tfds", path))
    return rows


def data_directory(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return TFDS's data directory: `data_dir`, or `TFDS_DATA_DIR`, or `~/tensorflow_datasets`."""
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return expanded(chosen)


def prepared_directory(name: str, data_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the folder of a prepared TFDS set, or None where there is none.

    Args:
        name: TFDS's name for it, `set`, `set/config`, or either with `:version`; without a
            version, the newest one present.
        data_dir: TFDS's data directory; see `data_directory`.

    Raises:
        InputError: The name has another form, or the data directory may not be read.
    """
    match = _TFDS_NAME.fullmatch(name.removeprefix("tfds:"))
    if not match:
        raise InputError(
            f"{name!r}: not a TFDS name; they look like mnist, emnist/digits or mnist:3.0.1"
            f"{nearest(name, STANDARD_SETS)}"
        )
    folder = data_directory(data_dir) / match["set"]
    try:
        versions = [path for path in folder.iterdir() if _VERSION.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from error
    if match["version"]:
        versions = [path for path in versions if path.name == match["version"]]
    versions.sort(key=lambda path: [int(part) for part in path.name.split(".")])
    prepared = [path for path in versions if (path / "dataset_info.json").is_file()]
    return prepared[-1] if prepared else None
