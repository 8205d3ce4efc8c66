"""Data read piece by piece through Grain, for data that do not fit in memory (row D6).

Grain plans the reads, and its threads read and decode ahead of the consumer. One element of its
pipeline is a whole piece of several batches: its bookkeeping for an element costs more than
decoding a digit does, and the device runs a piece as one program.

Threads rather than processes: they start at once, need no guard in the script that uses them,
and propagate errors unchanged. What they share is the interpreter's lock, which reading a record
holds and decompressing it does not. A record is decoded once: `jaxmnist.data.kept` has it from then
on.
"""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import PyTree

from jaxmnist.data.catalogue import STANDARD_SETS
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.kept import KeptSamples
from jaxmnist.data.stored import StoredSet, open_path
from jaxmnist.data.tfds import PreparedSet, open_images, open_tfds, read_records
from jaxmnist.errors import InputError, nearest

if TYPE_CHECKING:
    from grain import DatasetIterator

Stream = PreparedSet | StoredSet
"""Data of which some samples at a time are read."""
Split = Literal["train", "test"]
LARGEST = 2**24 - 1
"""The most images an epoch can shuffle: the limit of `batches.permutation`."""

# While one thread waits for the disk, the other decodes.
_THREADS = 2
# Pieces that are read ahead of the one in use.
_AHEAD = 2


def open_stream(name: str, data_dir: str | os.PathLike[str] | None = None) -> PreparedSet:
    """Open a prepared set for training with only a few batches of it in memory.

    What a first epoch decodes is kept as a file in the user's cache folder, where the set takes at
    most `jaxmnist.reading.max_bytes` decoded and a quarter of the disk's free space; later epochs
    and runs read that.

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
    return _open_prepared(name, data_dir, open_tfds)


def open_arrays(
    name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None
) -> Stream:
    """Open the data of a task for training with only a few batches of them in memory.

    Args:
        name: A path that ends in ``.npz``, written by `numpy.savez`; a path to a folder of
            class-named folders of images; or a prepared set as `open_stream` takes it, but with
            images of any one size.
        data_dir: As in `open_stream`.

    Returns:
        The data, for `jaxmnist.fit`; their samples are those of `load_arrays`.

    Raises:
        InputError: The name means something else, or the data are not usable.

    Source: tutorial row D6.
    """
    text = os.fspath(name)
    stored = None if text in STANDARD_SETS else open_path(text)
    if stored is not None:
        return _shuffleable(stored, text)
    return _open_prepared(text, data_dir, open_images, "an .npz, a folder of images or ")


def read_rows(data: Stream, split: Split, rows: Sequence[int]) -> PyTree:
    """Read some samples into memory.

    Args:
        data: What to read from.
        split: Either train or test.
        rows: Which samples, from 0; at least one.

    Returns:
        A batch of them, in this order: a pair of images and int32 labels of a prepared set.

    Raises:
        InputError: A record is damaged or of another kind.
    """
    if isinstance(data, PreparedSet):

        def decode() -> tuple[np.ndarray, np.ndarray]:
            images, labels = read_records(data, split, rows)
            return images, labels.astype(np.int32)

        return decode() if data.kept is None else data.kept.read(split, rows, decode)
    part = data.train if split == "train" else data.test
    return part.read(rows)


def sample(data: Stream) -> PyTree:
    """Return a batch of one sample of the training data, for its shapes.

    Args:
        data: What to read from.

    Returns:
        The first sample; of a prepared set, whose shapes are known, zeros.

    Raises:
        InputError: It cannot be read.
    """
    if isinstance(data, PreparedSet):
        return np.zeros((1, *data.image_shape), np.uint8), np.zeros(1, np.int32)
    return read_rows(data, "train", [0])


def pieces(
    data: Stream, split: Split, order: np.ndarray | range, size: int
) -> "DatasetIterator[PyTree]":
    """Read a split in a given order, some samples at a time, ahead of whoever consumes them.

    Args:
        data: What to read from.
        split: Either train or test.
        order: Which samples, in which order: a permutation as an integer array (4 bytes a sample
            are all that stays in memory), or a `range`.
        size: Samples in a piece; the last piece has what is left.

    Returns:
        Grain's iterator over batches, as `read_rows` returns them: of a prepared set, pairs of
        uint8 images and int32 labels. Its `get_state()` is a small dict of JSON's types; a new
        iterator of the same arguments resumes from there after `set_state(state)`. `close()` ends
        its threads.

    Raises:
        InputError: While iterating, if a record is damaged or of another kind.
    """
    import grain

    def read(start: int) -> PyTree:
        return read_rows(data, split, [int(row) for row in order[start : start + size]])

    starts = grain.MapDataset.range(0, len(order), size)
    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
    return iter(starts.map(read).to_iter_dataset(options))


def head(prepared: PreparedSet, count: int) -> Dataset:
    """Read the first images of both splits of a set of the tutorial's form into memory.

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
    return Dataset(
        *train,
        *test,
        num_classes=prepared.num_classes,
        name=prepared.name,
        class_names=prepared.class_names,
    )


def _open_prepared(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    opened: Callable[..., PreparedSet],
    others: str = "",
) -> PreparedSet:
    if name == "mnist":
        raise InputError(
            "'mnist' is the copy in the package, which is read into memory; to stream it, run: "
            "jaxmnist data prepare mnist, and give tfds:mnist"
        )
    if not name.startswith("tfds:") and name not in STANDARD_SETS:
        raise InputError(
            f"{name!r}: only {others}a prepared set can be streamed; "
            "IDX files are prepared by: jaxmnist data prepare NAME --from DIR, where NAME is one "
            f"of {', '.join(STANDARD_SETS)}; any other set by TFDS, and named tfds:NAME"
            f"{nearest(name, STANDARD_SETS)}"
        )
    prepared = opened(name.removeprefix("tfds:"), data_dir)
    source = str(prepared.directory)
    try:
        return _shuffleable(prepared._replace(kept=KeptSamples(prepared)), source)
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from error


def _shuffleable(data: Any, source: str) -> Any:
    if len(data.train) > LARGEST:
        raise InputError(
            f"{source}: has {len(data.train)} training images; at most {LARGEST} "
            "can be shuffled; prepare a smaller split"
        )
    return data
