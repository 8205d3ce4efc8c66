"""The mean cross-entropy of logits, where a model returns some."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.losses import cross_entropy_with_integer_labels


def loss_in_jax(logits: np.ndarray, labels: np.ndarray, dtype: str) -> np.ndarray:
    """Compute the loss by this package.

    Args:
        logits: (batch, classes).
        labels: (batch,).
        dtype: float64 or float32.

    Returns:
        The loss.
    """
    with jax.enable_x64(dtype == "float64"):
        return np.asarray(
            cross_entropy_with_integer_labels(jnp.asarray(logits), jnp.asarray(labels))
        )


def loss_in_torch(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute the loss by PyTorch.

    Args:
        logits: (batch, classes).
        labels: (batch,).

    Returns:
        The loss.
    """
    torch = require_torch()
    loss = torch.nn.functional.cross_entropy(
        torch.from_numpy(np.array(logits)), torch.from_numpy(labels).long()
    )
    return loss.numpy()


def labels_of(labels: Any, shapes: Mapping[str, tuple[int, ...]]) -> np.ndarray | None:
    """Return the class of each row of logits.

    Args:
        labels: Given ones, or None for 0, 1, 2 ... in turn.
        shapes: Of the outputs by name.

    Returns:
        Whole numbers, or None where there are no logits.

    Raises:
        InputError: Given labels do not fit.
    """
    if len(shapes) != 1 or len(shape := next(iter(shapes.values()))) != 2 or shape[1] < 2:
        if labels is None:
            return None
        returned = ", ".join(f"{name} {shape}".strip() for name, shape in shapes.items())
        raise InputError(
            f"apply_fn returns shape {returned}; where labels are given it must be "
            "(batch, classes), of at least 2 classes"
        )
    batch, classes = shape
    y = np.arange(batch) % classes if labels is None else np.asarray(labels)
    if y.shape != (batch,) or not np.issubdtype(y.dtype, np.integer):
        raise InputError(
            f"labels are {y.dtype} of shape {y.shape}; they must be {batch} whole numbers, one for "
            "each row of logits"
        )
    outside = (y < 0) | (y >= classes)
    if outside.any():
        first = int(outside.argmax())
        raise InputError(
            f"labels[{first}] is {y[first]}; with {classes} logits it must be 0 to {classes - 1}"
        )
    return y.astype(np.int32)
