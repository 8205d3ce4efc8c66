"""Random weights for torch modules, and their conversion by hand to JAX's libraries' layouts."""

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

Arrays = dict[str, np.ndarray]


def randomized(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give a module random weights, scales, biases and running statistics, in float64.

    Args:
        module: Changed in place.
        seed: Of the numbers.

    Returns:
        The module.
    """
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            normal = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.ndim == 1:
                scale = name.endswith("weight")
                parameter.copy_(1 + 0.3 * normal if scale else 0.3 * normal)
            else:
                parameter.copy_(normal / parameter[0].numel() ** 0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.5 * torch.randn(buffer.shape, generator=generator))
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
        for layer in module.modules():
            if isinstance(layer, torch.nn.Embedding) and layer.padding_idx is not None:
                layer.weight[layer.padding_idx] = 0
    return module


def arrays(module: torch.nn.Module) -> Arrays:
    """Return a module's state in NumPy."""
    return {name: x.detach().numpy() for name, x in module.state_dict().items()}


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    """Draw an input."""
    return np.random.default_rng(seed).normal(size=shape)


def tokens(high: int, *shape: int, seed: int = 1) -> np.ndarray:
    """Draw whole numbers from 0 to below `high`."""
    return np.random.default_rng(seed).integers(0, high, size=shape).astype(np.int32)


def dense(state: Arrays, name: str) -> dict[str, np.ndarray]:
    """A Linear layer in Flax's layout."""
    return kernel(state, name, state[f"{name}.weight"].T)


def conv(state: Arrays, name: str) -> dict[str, np.ndarray]:
    """A convolution in Flax's layout: (spatial ..., in, out)."""
    weight = state[f"{name}.weight"]
    return kernel(state, name, weight.transpose(*range(2, weight.ndim), 1, 0))


def kernel(state: Arrays, name: str, weight: np.ndarray) -> dict[str, np.ndarray]:
    """A kernel, and the bias if the module has one."""
    bias = state.get(f"{name}.bias")
    return {"kernel": weight} | ({} if bias is None else {"bias": bias})


def norm(state: Arrays, name: str) -> dict[str, np.ndarray]:
    """A normalization in Flax's words."""
    bias = state.get(f"{name}.bias")
    scale = {"scale": state[f"{name}.weight"]}
    return scale if bias is None else scale | {"bias": bias}


def running(state: Arrays, name: str) -> dict[str, np.ndarray]:
    """BatchNorm's statistics in Flax's words."""
    return {"mean": state[f"{name}.running_mean"], "var": state[f"{name}.running_var"]}


def attention(state: Arrays, name: str, heads: int) -> dict[str, dict[str, np.ndarray]]:
    """``nn.MultiheadAttention`` as Flax's four DenseGeneral layers."""
    weight, bias = state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"]
    width = weight.shape[1]
    found = {}
    parts = ("query", "key", "value")
    for part, w, b in zip(parts, np.split(weight, 3), np.split(bias, 3), strict=True):
        found[part] = {
            "kernel": w.T.reshape(width, heads, -1),
            "bias": b.reshape(heads, -1),
        }
    out = state[f"{name}.out_proj.weight"].T.reshape(heads, -1, width)
    found["out"] = {"kernel": out, "bias": state[f"{name}.out_proj.bias"]}
    return found


def nnx_with(model: Any, values: Mapping[str, Any]) -> tuple[Any, Any]:
    """Split an NNX module, and put arrays in the place of its own by dotted path.

    Args:
        model: The module.
        values: Arrays by path; every array of the model must be among them.

    Returns:
        The graph definition and the state.
    """
    from flax import nnx

    graph, state = nnx.split(model)
    flat = dict(nnx.to_flat_state(state))
    given = dict(values)
    for path, variable in flat.items():
        name = ".".join(map(str, path))
        array = given.pop(name)
        if array.shape != variable.get_value().shape:
            raise ValueError(f"{name} has shape {array.shape}, not {variable.get_value().shape}")
        flat[path] = variable.replace(np.asarray(array))
    if given:
        raise ValueError(f"the model has no {', '.join(given)}")
    return graph, nnx.from_flat_state(flat)


def equinox_with(model: Any, values: Mapping[str, Any]) -> Any:
    """Put arrays in the place of an Equinox module's, by dotted path; numbers are positions."""
    import equinox as eqx

    for path, array in values.items():
        if _at(model, path).shape != array.shape:
            raise ValueError(f"{path} has shape {array.shape}, not {_at(model, path).shape}")
        model = eqx.tree_at(lambda m, path=path: _at(m, path), model, np.asarray(array))
    return model


def _at(model: Any, path: str) -> Any:
    for part in path.split("."):
        model = model[int(part)] if part.isdigit() else operator.attrgetter(part)(model)
    return model


def flax_names(state: Arrays, *dense_names: str) -> Arrays:
    """Dense layers of the same names by dotted path, as NNX has them."""
    return {
        f"{name}.{part}": array
        for name in dense_names
        for part, array in dense(state, name).items()
    }
