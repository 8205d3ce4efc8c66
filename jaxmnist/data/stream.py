"""A prepared set read piece by piece through Grain, for sets that do not fit in memory (row D6).

Grain plans the reads, and its threads read and decode ahead of the consumer. One element of its
pipeline is a whole piece of several batches: its bookkeeping for an element costs more than
decoding a digit does, and the device runs a piece as one program.

Threads rather than processes: they start at once, need no guard in the script that uses them,
and propagate errors unchanged. What they share is the interpreter's lock, so decoding takes one
core however many there are.
"""

import os
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxmnist.data.catalogue import STANDARD_SETS
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.tfds import PreparedSet, open_tfds, read_records
from jaxmnist.errors import InputError, nearest

if TYPE_CHECKING:
    from grain import DatasetIterator

LARGEST = 2**24 - 1
"""The most images an epoch can shuffle: the limit of `batches.permutation`."""

# While one thread waits for the disk, the other decodes.
_THREADS = 2
# Pieces that are read ahead of the one in use.
_AHEAD = 2


def open_stream(name: str, data_dir: str | os.PathLike[str] | None = None) -> PreparedSet:
    """Open a prepared set for training with only a few batches of it in memory.

    Args:
        name: `fashion_mnist`, `kmnist`, `emnist/digits`, ... or `tfds:NAME` for any TFDS set of
            28x28 grey images, as `load_dataset` takes it.
        data_dir: TFDS's data directory. By default `TFDS_DATA_DIR` from the environment, then
            `~/tensorflow_datasets`.

    Returns:
        The set, for `jaxmnist.fit` in place of a `Dataset`.

    Raises:
        InputError: The name means something that is not a prepared set; the set is not prepared,
            damaged, not stored as array_record, no set of 28x28 grey images, or too large to be
            shuffled.

    Source: tutorial row D6: iterators exist because data may not fit in memory.
    """
    if name == "mnist":
        raise InputError(
            "'mnist' is the copy in the package, which is read into memory; to stream it, run: "
            "jaxmnist data prepare mnist, and give tfds:mnist"
        )
    if not name.startswith("tfds:") and name not in STANDARD_SETS:
        raise InputError(
            f"{name!r}: only a prepared set can be streamed; "
            "IDX files are prepared by: jaxmnist data prepare NAME --from DIR, where NAME is one "
            f"of {', '.join(STANDARD_SETS)}; any other set by TFDS, and named tfds:NAME"
            f"{nearest(name, STANDARD_SETS)}"
        )
    prepared = open_tfds(name.removeprefix("tfds:"), data_dir)
    if len(prepared.train) > LARGEST:
        raise InputError(
            f"{prepared.directory}: has {len(prepared.train)} training images; at most {LARGEST} "
            "can be shuffled; prepare a smaller split"
        )
    return prepared


def pieces(
    prepared: PreparedSet, split: Literal["train", "test"], order: np.ndarray | range, size: int
) -> "DatasetIterator[tuple[np.ndarray, np.ndarray]]":
    """Read a split in a given order, some images at a time, ahead of whoever consumes them.

    Args:
        prepared: The set.
        split: Either train or test.
        order: Which records, in which order: a permutation as an integer array (4 bytes an image
            are all that stays in memory), or a `range`.
        size: Images in a piece; the last piece has what is left.

    Returns:
        Grain's iterator over pairs of uint8 `(size, 28, 28)` and int32 `(size,)`. Its
        `get_state()` is a small dict of JSON's types; a new iterator of the same arguments
        resumes from there after `set_state(state)`. `close()` ends its threads.

    Raises:
        InputError: While iterating, if a record is damaged or of another kind.
    """
    import grain

    def read(start: int) -> tuple[np.ndarray, np.ndarray]:
        keys = [int(key) for key in order[start : start + size]]
        images, labels = read_records(prepared, split, keys)
        return images, labels.astype(np.int32)

    starts = grain.MapDataset.range(0, len(order), size)
    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
    return iter(starts.map(read).to_iter_dataset(options))


def head(prepared: PreparedSet, count: int) -> Dataset:
    """Read the first images of both splits into memory.

    Args:
        prepared: The set.
        count: How many of each, at least 1; fewer where a split has fewer.

    Returns:
        A set of them, in stored order.

    Raises:
        InputError: A record is damaged or of another kind.
    """
    train = read_records(prepared, "train", range(min(count, len(prepared.train))))
    test = read_records(prepared, "test", range(min(count, len(prepared.test))))
    return Dataset(*train, *test, num_classes=prepared.num_classes, name=prepared.name)
