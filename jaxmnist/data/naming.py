"""The names of a data set's classes by the set's name or path, without its images."""

import contextlib
import os

from jaxmnist.data.catalogue import STANDARD_SETS, prepared_directory
from jaxmnist.data.class_names import of_labels, of_prepared
from jaxmnist.data.idx import find_idx_files, read_idx
from jaxmnist.data.image_folder import class_folders, is_image_folder
from jaxmnist.data.npz import KEYS, read_arrays
from jaxmnist.errors import InputError
from jaxmnist.reading import expanded


def class_names(
    name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None
) -> tuple[str, ...]:
    """Return the names of a data set's classes; read no images.

    Args:
        name: As `jaxmnist.data.load_dataset` or `load_arrays` takes it.
        data_dir: TFDS's data directory, as there.

    Returns:
        A name for each class by its number; none where the classes are numbers, or not known.

    >>> class_names("mnist")
    ()
    """
    text = os.fspath(name)
    path = expanded(text)
    with contextlib.suppress(InputError, OSError):
        if text == "mnist":
            return ()
        if text.startswith("tfds:") or text in STANDARD_SETS:
            directory = prepared_directory(text, data_dir)
            return () if directory is None else of_prepared(directory, text)
        if path.suffix == ".npz":
            (labels,) = read_arrays(path, KEYS[1:2], str(path))
            return of_labels(labels)
        if is_image_folder(path):
            return class_folders(path)
        [(prefix, files)] = find_idx_files(path).items()
        return of_labels(read_idx(files.train_labels, ndim=1), prefix)
    return ()
