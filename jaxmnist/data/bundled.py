"""MNIST itself, carried in the package and checked against its checksum on every load.

The data: Yann LeCun, Corinna Cortes, Christopher J. C. Burges; Creative Commons
Attribution-Share Alike 3.0. The arrays are bit-identical to the original IDX files.
"""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxmnist.data.dataset import Dataset
from jaxmnist.data.npz import KEYS, read_arrays
from jaxmnist.errors import InputError

PATH = Path(__file__).with_name("mnist.npz")
SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"


def load_bundled() -> Dataset:
    """Load the bundled MNIST: 60,000 training and 10,000 test images (tutorial row D4).

    Raises:
        InputError: The file is missing, or its SHA-256 is not the one it was published with.

    >>> mnist = load_bundled()
    >>> len(mnist.train_images), len(mnist.test_images), mnist.train_labels[:5].tolist()
    (60000, 10000, [5, 0, 4, 1, 9])
    """
    try:
        content = PATH.read_bytes()
    except OSError as error:
        raise InputError(
            f"{PATH}: the bundled MNIST cannot be read ({error.strerror}); reinstall jaxmnist"
        ) from error
    # Hashing and inflating release the interpreter's lock, so they share the time of the largest.
    with ThreadPoolExecutor(2) as pool:
        members = [pool.submit(read_arrays, io.BytesIO(content), (key,), str(PATH)) for key in KEYS]
        digest = hashlib.sha256(content).hexdigest()
        if digest != SHA256:
            raise InputError(
                f"{PATH}: the bundled MNIST is damaged: its SHA-256 is {digest}, not {SHA256}; "
                "reinstall jaxmnist"
            )
        (x_train,), (y_train,), (x_test,), (y_test,) = (member.result() for member in members)
    return Dataset(x_train, y_train, x_test, y_test, num_classes=10, name="mnist")
