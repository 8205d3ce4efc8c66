"""Samples of a prepared set, kept decoded in a file once all of them have been read.

To decode a record takes longer than to train on it. What a first epoch decodes is therefore written
to a file as it is read, each sample to its place. When every sample of both splits was read, the
file becomes the one in the user's cache that `jaxmnist.data.load_dataset` reads too (see
`jaxmnist.data.cache`), and from then on, and in later runs, samples are read from there. It is
mapped into memory, so that the system has of it what is in use.

Nothing depends on it: where the cache cannot be written, has no room, is damaged or is of other
records, samples are decoded from their records.
"""

import json
import shutil
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Callable, Sequence
from typing import IO, Any, Final, Literal

import numpy as np

from jaxmnist.atomic import replacing
from jaxmnist.data.cache import cache_file, fingerprint_of
from jaxmnist.data.npz import map_arrays, read_arrays
from jaxmnist.data.stored import StoredSet, stored_arrays
from jaxmnist.data.tfds import PreparedSet
from jaxmnist.errors import InputError
from jaxmnist.reading import max_bytes

Pair = tuple[np.ndarray, np.ndarray]
Split = Literal["train", "test"]

_SHARE: Final = 1 / 4
"""Of a disk's free space a decoded set may take so much, and twice that while it is written."""
_CHUNK: Final = 2**20
"""Bytes that are copied at once."""


class KeptSamples:
    """What was decoded of a prepared set, in a file of at most `jaxmnist.reading.max_bytes`."""

    def __init__(self, prepared: PreparedSet) -> None:
        """Look at the set's files; neither they nor the cache are read before `read` is called.

        Args:
            prepared: The set.

        Raises:
            OSError: They cannot be looked at.
        """
        self._prepared = prepared
        self._fingerprint = fingerprint_of(prepared.directory)
        self._cache = cache_file(prepared.directory, prepared.name)
        self._counts: dict[Split, int] = {"train": len(prepared.train), "test": len(prepared.test)}
        # A sample's image and label in the file that is filled: one is written at once.
        self._sample = np.dtype([("images", np.uint8, prepared.image_shape), ("labels", np.int32)])
        self._lock = threading.Lock()
        self._begun = False
        self._mapped: StoredSet | None = None
        # It has no name, so that nothing of it outlives the process.
        self._filling: IO[bytes] | None = None
        self._filled: dict[Split, np.ndarray] = {}

    def read(self, split: Split, rows: Sequence[int], decode: Callable[[], Pair]) -> Pair:
        """Return samples as they were decoded before, or decode them and keep them.

        Several threads may call it at once.

        Args:
            split: Either train or test.
            rows: Which samples, from 0; at least one.
            decode: Decodes them: uint8 images and int32 labels. Its errors are passed on.

        Returns:
            Their images and labels, in this order.
        """
        with self._lock:
            if not self._begun:
                self._begun = True
                self._mapped = self._map()
                if self._mapped is None:
                    self._begin_to_fill()
            mapped = self._mapped
        if mapped is not None:
            return (mapped.train if split == "train" else mapped.test).read(rows)
        images, labels = decode()
        with self._lock:
            if self._filling is not None:
                try:
                    self._fill(self._filling, split, rows, images, labels)
                except (OSError, InputError):  # Such as a disk that is full.
                    self._stop_filling()
        return images, labels

    def _map(self) -> StoredSet | None:
        """Map the file in the cache, if it is whole and was made from the set's files."""
        if self._cache is None:
            return None
        expected = {
            f"{split}_{field}": ((count, *self._sample[field].shape), self._sample[field].base)
            for split, count in self._counts.items()
            for field in ("images", "labels")
        }
        try:
            [fingerprint] = read_arrays(self._cache, ["fingerprint"], str(self._cache))
            if str(fingerprint) != self._fingerprint:
                return None
            with zipfile.ZipFile(self._cache) as archive:
                if archive.testzip() is not None:  # It compares every checksum.
                    return None
            arrays = map_arrays(self._cache, expected)
        except Exception:  # What damage makes zipfile raise is of a dozen types.
            return None
        if [(array.shape, array.dtype) for array in arrays] != list(expected.values()):
            return None
        return stored_arrays((arrays[0], arrays[1]), (arrays[2], arrays[3]))

    def _begin_to_fill(self) -> None:
        """Make the file that is filled, where there is room for it."""
        if self._cache is None:
            return
        folder, needed = self._cache.parent, sum(self._counts.values()) * self._sample.itemsize
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if needed > min(max_bytes(), _SHARE * shutil.disk_usage(folder).free):
                return
            self._filling = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError:
            return
        weakref.finalize(self, self._filling.close)
        self._filled = {split: np.zeros(count, bool) for split, count in self._counts.items()}

    def _fill(
        self,
        file: IO[bytes],
        split: Split,
        rows: Sequence[int],
        images: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        """Write samples to their places, and keep the file when no place is empty."""
        samples = np.empty(len(rows), self._sample)
        samples["images"], samples["labels"] = images, labels
        begin, width, content = self._begin(split), self._sample.itemsize, samples.tobytes()
        for index, row in enumerate(rows):
            file.seek(begin + row * width)
            file.write(content[index * width : (index + 1) * width])
        self._filled[split][np.asarray(rows)] = True
        if all(filled.all() for filled in self._filled.values()):
            self._keep(file)
            self._stop_filling()
            self._mapped = self._map()

    def _begin(self, split: Split) -> int:
        return 0 if split == "train" else self._counts["train"] * self._sample.itemsize

    def _keep(self, file: IO[bytes]) -> None:
        """Copy what was filled to the cache, unless the set's files have changed since."""
        prepared = self._prepared
        if self._cache is None or fingerprint_of(prepared.directory) != self._fingerprint:
            return
        about = {
            "fingerprint": self._fingerprint,
            "num_classes": prepared.num_classes,
            "class_names": json.dumps(prepared.class_names),
        }
        with replacing(self._cache) as whole, zipfile.ZipFile(whole, "w") as archive:
            for name, value in about.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.array(value), allow_pickle=False)
            for split, count in self._counts.items():
                for field in ("images", "labels"):
                    with archive.open(f"{split}_{field}.npy", "w", force_zip64=True) as member:
                        self._copy(file, self._begin(split), count, field, member)

    def _copy(self, file: IO[bytes], begin: int, count: int, field: str, member: Any) -> None:
        """Write one field of so many samples as an array, some at a time."""
        about = {
            "descr": np.lib.format.dtype_to_descr(self._sample[field].base),
            "fortran_order": False,
            "shape": (count, *self._sample[field].shape),
        }
        np.lib.format.write_array_header_1_0(member, about)
        at_once = max(1, _CHUNK // self._sample.itemsize)
        file.seek(begin)
        for first in range(0, count, at_once):
            read = file.read(min(at_once, count - first) * self._sample.itemsize)
            member.write(np.frombuffer(read, self._sample)[field].tobytes())

    def _stop_filling(self) -> None:
        if self._filling is not None:
            self._filling.close()
        self._filling, self._filled = None, {}
