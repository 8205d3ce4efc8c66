"""Whether data of any form are images like the tutorial's."""

from typing import Any

import numpy as np


def is_digits(part: Any) -> bool:
    """Return whether a part of the data are images of 28x28 bytes with a class each.

    Args:
        part: Arrays with a leading sample axis.
    """
    if not (isinstance(part, tuple | list) and len(part) == 2):
        return False
    if any(not hasattr(each, "dtype") for each in part):
        return False
    images, labels = part
    return (
        images.dtype == np.uint8
        and images.shape[1:] == (28, 28)
        and labels.ndim == 1
        and np.issubdtype(labels.dtype, np.integer)
    )
