"""Parameters to and from PyTorch's names, in memory and as safetensors files.

PyTorch's ``nn.Sequential`` numbers its modules, and the tutorial's has a ReLU after every hidden
layer: the affine layers are the even ones, ``0.weight``, ``0.bias``, ``2.weight`` ... Both
store a weight as (out, in), so the arrays are not transposed.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as save_bytes

from jaxmnist.atomic import write_whole
from jaxmnist.errors import InputError
from jaxmnist.interop.names import expected_names, standard_names, warn_renamed
from jaxmnist.interop.tensors import to_numpy, to_tensor
from jaxmnist.mistaken_files import mistaken_file
from jaxmnist.reading import read_bytes

_DTYPES: Final = {
    **{f"F{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    **{f"I{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    "BF16": np.dtype(jnp.bfloat16),
    "BOOL": np.dtype(bool),
}
"""Those of a safetensors file."""


def params_to_state_dict(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Name the MLP's parameters as ``nn.Sequential(Linear, ReLU, Linear, ...)`` does.

    Args:
        params: What ``MLP.init`` returned.

    Returns:
        NumPy arrays of their dtypes under ``0.weight``, ``0.bias``, ``2.weight`` ...; PyTorch loads
        them with ``load_state_dict`` once each is wrapped by ``torch.from_numpy``. It refuses
        bfloat16: there, `params_to_module` has the tensors.

    Source: tutorial row D7.

    >>> import jax, jaxmnist as jm
    >>> params = jm.MLP(hidden=(5,)).init(jax.random.key(0), jnp.zeros((1, 784)))
    >>> {name: array.shape for name, array in params_to_state_dict(params).items()}
    {'0.weight': (5, 784), '0.bias': (5,), '2.weight': (10, 5), '2.bias': (10,)}
    """
    return {
        name: np.array(to_numpy(leaf, name), order="C") for name, leaf in flatten(params).items()
    }


def flatten(params: Mapping[str, Any]) -> dict[str, Any]:
    """Put the leaves of the MLP's parameters, whatever they are, under PyTorch's names.

    Args:
        params: What ``MLP.init`` returned, or a tree of its structure.

    Returns:
        The leaves in PyTorch's order.
    """
    layers = params["params"]
    return {
        f"{2 * index}.{name}": layers[f"dense_{index}"][name]
        for index in range(len(layers))
        for name in ("weight", "bias")
    }


def params_from_state_dict(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the ``state_dict`` of such an ``nn.Sequential`` into the MLP's parameters.

    Names with a prefix that all share (``module.``, ``_orig_mod.``) or with other numbers
    (``nn.Flatten`` first, dropout between) are read as those of the tutorial, with a warning that
    says which as which, where the layers' shapes follow one another.

    Args:
        state_dict: Arrays or tensors under ``0.weight``, ``0.bias``, ``2.weight`` ...

    Returns:
        Parameters for ``MLP.apply``; dtypes are kept.

    Raises:
        InputError: A missing or unexpected key, shapes that do not follow one another, or
            numbers that are not floating-point.

    >>> layer = {"0.weight": np.ones((10, 784)), "0.bias": np.zeros(10)}
    >>> sorted(params_from_state_dict(layer)["params"]["dense_0"])
    ['bias', 'weight']
    """
    return _params(state_dict, stacklevel=3)


def _params(state_dict: Mapping[str, Any], stacklevel: int) -> dict[str, Any]:
    count = max(1, (len(state_dict) + 1) // 2)
    expected = expected_names(count)
    renamed = {name: name for name in expected}
    if missing := [key for key in expected if key not in state_dict]:
        # torch.optim.swa_utils.AveragedModel counts next to the module's own entries.
        names = standard_names([name for name in state_dict if name != "n_averaged"])
        at = (
            {}
            if names is None
            else {ours: np.shape(state_dict[name]) for name, ours in names.items()}
        )
        if names is None or not _follow_one_another(at):
            raise InputError(
                f"the state_dict has no {missing[0]!r}; it has {sorted(state_dict)}, and the keys "
                f"of Linear and ReLU in turn are {expected}"
            )
        renamed = {ours: name for name, ours in names.items()}
        warn_renamed(names, stacklevel)
        count = len(names) // 2
    arrays = {key: jnp.asarray(to_numpy(state_dict[name], name)) for key, name in renamed.items()}
    for index in range(count):
        weight, bias = arrays[f"{2 * index}.weight"], arrays[f"{2 * index}.bias"]
        for name, array in (("weight", weight), ("bias", bias)):
            if not jnp.issubdtype(array.dtype, jnp.floating):
                raise InputError(
                    f"{2 * index}.{name} has dtype {array.dtype}; a floating-point one is needed"
                )
    _check_shapes({name: np.shape(array) for name, array in arrays.items()})
    return {
        "params": {
            f"dense_{index}": {name: arrays[f"{2 * index}.{name}"] for name in ("weight", "bias")}
            for index in range(count)
        }
    }


def _check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse layers that are not (out, in) and (out,), or do not follow one another."""
    for index in range(len(shapes) // 2):
        weight, bias = shapes[f"{2 * index}.weight"], shapes[f"{2 * index}.bias"]
        inputs = shapes[f"{2 * index - 2}.weight"][:1] if index else weight[1:2]
        if len(weight) != 2 or weight[1:] != inputs or bias != weight[:1]:
            raise InputError(
                f"{2 * index}.weight has shape {weight} and {2 * index}.bias {bias}; "
                f"a layer here is (out, {inputs[0] if index else 'in'}) and (out,)"
            )


def _follow_one_another(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether these are affine layers, each of which takes what the one before it returns."""
    weights = [shapes[f"{2 * index}.weight"] for index in range(len(shapes) // 2)]
    return all(len(shape) == 2 for shape in weights) and all(
        after[1] == before[0] for before, after in itertools.pairwise(weights)
    )


def params_to_module(params: Mapping[str, Any]) -> Any:
    """Build the tutorial's ``nn.Sequential`` with the MLP's weights, in their dtype.

    Args:
        params: What ``MLP.init`` returned.

    Returns:
        A ``torch.nn.Sequential`` of Linear and ReLU in turn, on the CPU.

    Raises:
        InputError: PyTorch is not installed, or the layers' shapes do not follow one another.

    Source: tutorial row D7.

    >>> import jax, jaxmnist as jm
    >>> params_to_module(jm.MLP(hidden=(5,)).init(jax.random.key(0), jnp.zeros((1, 784))))
    Sequential(
      (0): Linear(in_features=784, out_features=5, bias=True)
      (1): ReLU()
      (2): Linear(in_features=5, out_features=10, bias=True)
    )
    """
    torch = require_torch()
    tensors = {name: to_tensor(a) for name, a in params_to_state_dict(params).items()}
    _check_shapes({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    modules = []
    for weight in (tensor for tensor in tensors.values() if tensor.ndim == 2):
        outputs, inputs = weight.shape
        modules += [torch.nn.Linear(inputs, outputs, dtype=weight.dtype), torch.nn.ReLU()]
    module = torch.nn.Sequential(*modules[:-1])
    module.load_state_dict(tensors)
    return module


def require_torch() -> Any:
    """Return the module torch.

    Raises:
        InputError: It is not installed; the message says what installs it.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError(
            "PyTorch is not installed; this installs it: pip install 'jaxmnist[torch]'"
        ) from error
    return torch


def save_safetensors(params: Mapping[str, Any], path: str | Path) -> None:
    """Write the MLP's parameters as a safetensors file under PyTorch's names.

    Args:
        params: What ``MLP.init`` returned.
        path: The file to write; it is replaced only when the new one is whole.

    Raises:
        InputError: The file cannot be written.
    """
    write_whole(Path(path), save_bytes(params_to_state_dict(params)))


def load_safetensors(path: str | Path) -> dict[str, Any]:
    """Read the MLP's parameters from a safetensors file with PyTorch's names.

    Args:
        path: The file.

    Returns:
        Parameters for ``MLP.apply``.

    Raises:
        InputError: The file is not readable, not safetensors, or of another model.
    """
    arrays = read_safetensors(path)
    try:
        return _params(arrays, stacklevel=3)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a safetensors file, whatever model they are of.

    Args:
        path: The file.

    Returns:
        Arrays by name, bfloat16 among them.

    Raises:
        InputError: The file is not readable, not safetensors, or has numbers that NumPy lacks.
    """
    try:
        content = read_bytes(Path(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if mistake := mistaken_file(content):
        raise InputError(f"{path} is not a whole safetensors file: it {mistake}")
    try:
        entries = deserialize(content)
    except SafetensorError as error:
        raise InputError(f"{path} is not a whole safetensors file: {error}") from error
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in _DTYPES:
            raise InputError(
                f"{path}: {name} has numbers of type {entry['dtype']}; it must be one of "
                f"{', '.join(_DTYPES)}"
            )
        numbers = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]])
        arrays[name] = numbers.reshape(entry["shape"])
    return arrays
