"""Tensors to NumPy's arrays and back, with the same bits, also in the dtypes that NumPy lacks."""

from typing import Any, Final

import ml_dtypes
import numpy as np

from jaxmnist.errors import InputError

_WORDS: Final = {1: "uint8", 2: "int16"}  # As which 8-bit and bfloat16 numbers change hands.


def to_numpy(value: Any, what: str) -> np.ndarray:
    """Return the numbers of an array or a tensor, whatever its dtype, strides or device.

    Args:
        value: An array of any library, or a tensor of PyTorch; a gradient it records is ignored.
        what: Its name, for the message.

    Returns:
        An array of the same shape, dtype and bits, which may share its memory; bfloat16 is that of
        ml_dtypes, as in JAX.

    Raises:
        InputError: It has no numbers, such as a sparse tensor or one on the device "meta".
    """
    if not hasattr(value, "detach"):
        return np.asarray(value)
    try:
        tensor = value.detach().cpu()
        name = str(tensor.dtype).removeprefix("torch.")
        if not hasattr(ml_dtypes, name):
            return np.asarray(tensor)
        import torch

        words = getattr(torch, _WORDS[tensor.element_size()])
        return tensor.contiguous().view(words).numpy().view(getattr(ml_dtypes, name))
    except (TypeError, RuntimeError, NotImplementedError, KeyError) as error:
        raise InputError(f"{what} cannot be read as an array: {error}") from error


def to_tensor(array: np.ndarray) -> Any:
    """Return a CPU tensor of the same shape, dtype and bits; PyTorch must be installed.

    Args:
        array: Contiguous and writable; the tensor shares its memory.
    """
    import torch

    name = array.dtype.name
    if not hasattr(ml_dtypes, name):
        return torch.from_numpy(array)
    return torch.from_numpy(array.view(_WORDS[array.itemsize])).view(getattr(torch, name))
