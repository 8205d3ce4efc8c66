"""Reading prepared TFDS sets without TensorFlow, and keeping the decoded arrays.

A prepared set has one PNG per image, which takes seconds to decode. The arrays are therefore
stored as a plain `.npz` in the user's cache (`$XDG_CACHE_HOME/jaxmnist`, by default
`~/.cache/jaxmnist`), together with a fingerprint of the files they came from: when those change,
or the cached file is damaged, the set is decoded again; where the cache cannot be written, it is
done without. TFDS is imported only when it is needed, and its messages do not reach the terminal.
"""

import contextlib
import io
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from jaxmnist.data import png
from jaxmnist.data.cache import cache_file, fingerprint_of, read_cache, write_cache
from jaxmnist.data.catalogue import STANDARD_SETS, data_directory, prepared_directory
from jaxmnist.data.class_names import for_classes, of_prepared
from jaxmnist.data.dataset import MAX_CLASSES, Dataset
from jaxmnist.data.idx import upright
from jaxmnist.data.tfds_description import check_description
from jaxmnist.errors import InputError, nearest
from jaxmnist.reading import check_bytes

if TYPE_CHECKING:
    from jaxmnist.data.kept import KeptSamples

# Pillow's name for images of so many channels of 8 bits.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class PreparedSet(NamedTuple):
    """A prepared set that was opened: its records stay on disk until they are read."""

    directory: Path
    """Where its files lie."""
    train: Sequence[bytes]
    """The training records, still encoded."""
    test: Sequence[bytes]
    """The test records."""
    num_classes: int
    """That of TFDS's label feature."""
    name: str
    """TFDS's name for it."""
    image_shape: tuple[int, ...] = (28, 28)
    """Of an image as `read_records` returns it: height, width and, if it is not grey, channels."""
    class_names: tuple[str, ...] = ()
    """A name for each class, or none where they are numbers."""
    kept: "KeptSamples | None" = None
    """What was decoded of it, of a set that is streamed."""


def load_tfds(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a prepared TFDS set, in TFDS's own order; EMNIST's images are set upright.

    Args:
        name: TFDS's name for it, such as `kmnist`, `emnist/digits` or `mnist:3.0.1`.
        data_dir: TFDS's data directory; see `catalogue.data_directory`.

    Returns:
        The set; `num_classes` is that of TFDS's label feature, so `emnist/letters`, whose labels
        are 1 to 26, has 37.

    Raises:
        InputError: The set is not prepared, its files are damaged, or it has no 28x28 grey
            images with one label each.
    """
    directory = _directory(name, data_dir)
    try:
        fingerprint = fingerprint_of(directory)
    except OSError as error:
        raise InputError(f"{directory}: cannot be read: {error.strerror}") from error
    cache = cache_file(directory, name)
    if cache is None:
        return _decode(directory, name)
    dataset = read_cache(cache, fingerprint, name)
    if dataset is None:
        dataset = _decode(directory, name)
        write_cache(cache, fingerprint, dataset)
    return dataset


def open_tfds(name: str, data_dir: str | os.PathLike[str] | None = None) -> PreparedSet:
    """Open a prepared TFDS set and check its description; read none of its records.

    Args:
        name: As `load_tfds` takes it.
        data_dir: TFDS's data directory; see `catalogue.data_directory`.

    Returns:
        The set, to be read by `read_records`.

    Raises:
        InputError: The set is not prepared or not stored as array_record, its description is
            damaged, or it has no 28x28 grey images with one label each.
    """
    return _of_digits(open_images(name, data_dir))


def open_images(name: str, data_dir: str | os.PathLike[str] | None = None) -> PreparedSet:
    """Open a prepared TFDS set of images of any one size as `open_tfds` does.

    Args:
        name: As `load_tfds` takes it.
        data_dir: TFDS's data directory; see `catalogue.data_directory`.

    Returns:
        The set, to be read by `read_records`.

    Raises:
        InputError: As of `open_tfds`, but only images of no fixed size, of other than 8 bits a
            channel, or of other than 1, 3 or 4 channels are refused.
    """
    return _open(_directory(name, data_dir), name)


def read_all(prepared: PreparedSet) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Read and decode a whole set, as `read_records` does.

    Args:
        prepared: The set.

    Returns:
        ``((images, labels), (images, labels))`` of its training and its test split.

    Raises:
        InputError: As of `read_records`, or they need more memory than `reading.max_bytes`.
    """
    train, test = range(len(prepared.train)), range(len(prepared.test))
    # An image's bytes, once as read and once in an array.
    needed = 2 * math.prod(prepared.image_shape) * (len(train) + len(test))
    check_bytes(str(prepared.directory), needed, "or stream them: --stream")
    return read_records(prepared, "train", train), read_records(prepared, "test", test)


def read_records(
    prepared: PreparedSet, split: Literal["train", "test"], keys: Sequence[int]
) -> tuple[UInt8[np.ndarray, "records *shape"], Int64[np.ndarray, " records"]]:
    """Read and decode some records of a set; EMNIST's images are set upright.

    Args:
        prepared: The set.
        split: Either train or test.
        keys: Which records, from 0; at least one.

    Returns:
        Their images and their labels, in the order of `keys`.

    Raises:
        InputError: A record is damaged, has another kind of image, or a label out of range.
    """
    records = prepared.train if split == "train" else prepared.test
    with _reading(prepared.directory):
        encoded = records.__getitems__(keys)  # type: ignore[attr-defined]
        files, labels = zip(*map(_parse, encoded), strict=True)
        images, decoded = png.decode_small(files, prepared.image_shape)
        for row in np.flatnonzero(~decoded):
            images[row] = _decode_image(files[row], prepared)
    labels = np.array(labels, np.int64)
    wrong = (labels < 0) | (labels >= prepared.num_classes)
    if wrong.any():
        first = int(wrong.argmax())
        raise InputError(
            f"{prepared.directory}: {split} record {keys[first]} has the label {labels[first]}; "
            f"with {prepared.num_classes} classes, 0 to {prepared.num_classes - 1} are allowed"
        )
    return upright(images) if prepared.name.startswith("emnist/") else images, labels


def import_tfds() -> ModuleType:
    """Import TensorFlow Datasets; TensorFlow itself stays out.

    Raises:
        InputError: TFDS, or a package that it needs, is not installed.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            import tensorflow_datasets
    except ImportError as error:
        raise InputError(
            f"TensorFlow Datasets cannot be imported ({error}); "
            "run: pip install tensorflow-datasets importlib_resources"
        ) from error
    return tensorflow_datasets


def _directory(name: str, data_dir: str | os.PathLike[str] | None) -> Path:
    directory = prepared_directory(name, data_dir)
    if directory is not None:
        return directory
    root = data_directory(data_dir)
    set_name = name.partition(":")[0]
    if set_name in STANDARD_SETS:
        option = f" --data-dir {root}" if data_dir else ""
        raise InputError(
            f"{name!r}: not prepared in {root}; run: jaxmnist data prepare {set_name}{option}"
        )
    raise InputError(
        f"{name!r}: no such set in {root}; "
        f"jaxmnist data prepare knows {', '.join(STANDARD_SETS)}; prepare others with TFDS, "
        f"as array_record{nearest(name, STANDARD_SETS)}"
    )


def _open(directory: Path, name: str) -> PreparedSet:
    """Open a prepared set whose folder is known."""
    tfds = import_tfds()
    with _reading(directory), warnings.catch_warnings(action="ignore"):
        check_description(directory)
        builder = tfds.builder_from_directory(directory)
        features, splits = builder.info.features, builder.info.splits
        if not {"image", "label"} <= features.keys():
            raise InputError(
                f"{directory}: its features are {', '.join(sorted(features))}; "
                "image and label are needed"
            )
        if not {"train", "test"} <= splits.keys():
            raise InputError(
                f"{directory}: its splits are {', '.join(splits)}; train and test are needed"
            )
        if (stored := builder.info.file_format.value) != "array_record":
            raise InputError(
                f"{directory}: stored as {stored}, and only array_record can be read without "
                f"TensorFlow; prepare it elsewhere: jaxmnist data prepare {name} --data-dir DIR"
            )
        shape, dtype = tuple(features["image"].shape), features["image"].np_dtype
        if len(shape) != 3 or None in shape or shape[2] not in _MODES or dtype != np.uint8:
            raise InputError(
                f"{directory}: its images have shape {shape} and dtype {dtype}; one size for all, "
                "1, 3 or 4 channels and uint8 are needed"
            )
        if not hasattr(features["label"], "num_classes"):
            raise InputError(
                f"{directory}: its label is a {type(features['label']).__name__}; a ClassLabel is "
                "needed"
            )
        as_stored = tfds.decode.DeserializeMethod.RAW_BYTES
        train, test = (
            builder.as_data_source(split, deserialize_method=as_stored)
            for split in ("train", "test")
        )
        classes = features["label"].num_classes
        if type(classes) is not int or not 1 <= classes <= MAX_CLASSES:
            raise InputError(
                f"{directory}: its label feature has {classes} classes; 1 to {MAX_CLASSES} are "
                "allowed"
            )
        image_shape = shape[:2] if shape[2] == 1 else shape
        check_bytes(f"{directory}: an image of shape {shape}", math.prod(shape))
        names = for_classes(of_prepared(directory, name), classes)
        return PreparedSet(directory, train, test, classes, name, image_shape, names)


def _of_digits(prepared: PreparedSet) -> PreparedSet:
    """Return a set of 28x28 grey images, or refuse another."""
    if (shape := prepared.image_shape) != (28, 28):
        stored = shape if len(shape) == 3 else (*shape, 1)
        raise InputError(
            f"{prepared.directory}: its images have shape {stored}; (28, 28, 1) is needed"
        )
    return prepared


def _decode(directory: Path, name: str) -> Dataset:
    """Read a prepared set and decode its images."""
    prepared = _of_digits(_open(directory, name))
    train, test = read_all(prepared)
    try:
        return Dataset(
            *train,
            *test,
            num_classes=prepared.num_classes,
            name=name,
            class_names=prepared.class_names,
        )
    except InputError as error:
        raise InputError(f"{directory}: {error}") from None


def _parse(record: bytes) -> tuple[bytes, int]:
    """A record's image, still encoded, and its label."""
    from tensorflow_datasets.proto import tf_example_pb2

    # TFDS would parse it too, but takes nine times as long for its generality.
    example = tf_example_pb2.Example.FromString(record)  # type: ignore[attr-defined]
    feature = example.features.feature
    return feature["image"].bytes_list.value[0], feature["label"].int64_list.value[0]


def _decode_image(encoded: bytes, prepared: PreparedSet) -> np.ndarray:
    height, width, *channels = prepared.image_shape
    mode = _MODES[channels[0] if channels else 1]
    with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
        if image.mode != mode or image.size != (width, height):
            raise InputError(
                f"{prepared.directory}: has an image of {image.width}x{image.height} pixels in "
                f"mode {image.mode}; {width}x{height} with 8 bits a channel (mode {mode}) is needed"
            )
        return np.asarray(image)


@contextlib.contextmanager
def _reading(directory: Path) -> Iterator[None]:
    """Describe in one line why a set cannot be read."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    # TFDS, array_record, protobuf and Pillow report damage in many types, all the same to the user.
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(
            f"{directory}: cannot be read as a TFDS set: {reason}; "
            "if it is damaged, remove the folder and run jaxmnist data prepare again"
        ) from error
