"""One way in: a name or a path becomes a `Dataset`."""

import os

from jaxmnist.data.bundled import load_bundled
from jaxmnist.data.catalogue import STANDARD_SETS
from jaxmnist.data.dataset import Dataset
from jaxmnist.data.idx import load_idx
from jaxmnist.data.npz import load_npz
from jaxmnist.data.tfds import load_tfds
from jaxmnist.errors import InputError, nearest
from jaxmnist.reading import expanded


def load_dataset(
    name: str | os.PathLike[str] = "mnist",
    data_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load a data set by name or by path (tutorial row D4).

    Args:
        name: One of

            - `"mnist"`: the copy in the package;
            - `"fashion_mnist"`, `"kmnist"`, `"emnist/digits"` and EMNIST's other parts, or
              `"tfds:NAME"` for any TFDS set of 28x28 grey images: as prepared by
              `jaxmnist data prepare` or by TFDS, in TFDS's order; EMNIST upright;
            - a path that ends in `.npz`: Keras-style, `x_train`, `y_train`, `x_test`, `y_test`, or
              as MedMNIST has it, `train_images` … `test_labels`, where `val_images` is not used;
            - a path to a folder of IDX files, or to one up to two levels above it.

            A known name wins over a folder of that name; write `./kmnist` for the folder.
        data_dir: TFDS's data directory. By default `TFDS_DATA_DIR` from the environment, then
            `~/tensorflow_datasets`.

    Returns:
        The set, checked: uint8 images of 28x28, int32 labels below `num_classes`.

    Raises:
        InputError: The name is unknown, the set is not prepared, or the data are not usable.

    >>> load_dataset("mnist")
    Dataset(num_classes=10, name='mnist')
    """
    text = os.fspath(name)
    if text == "mnist":
        return load_bundled()
    if text.startswith("tfds:") or text in STANDARD_SETS:
        return load_tfds(text.removeprefix("tfds:"), data_dir)
    path = expanded(text)
    try:
        if path.suffix == ".npz":
            return load_npz(path)
        if path.is_dir():
            return load_idx(path)
        if path.exists():
            raise InputError(f"{text}: a folder of IDX files or a file .npz is needed")
    except OSError as error:  # Such as a parent folder that may not be searched.
        raise InputError(f"{text}: cannot be read: {error.strerror}") from error
    raise InputError(
        f"{text!r}: no such data set, folder or file; give one "
        f"of {', '.join(STANDARD_SETS)}, tfds:NAME, a folder of IDX files, or a file .npz"
        f"{nearest(text, STANDARD_SETS)}"
    )
