"""A PyTorch module on given weights and inputs: its outputs and its gradients."""

import contextlib
import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.blame import blamed, blamed_on
from jaxmnist.verify.model_runs.leaves import Arguments, leaves_by_name

WHO = "the torch module"


class Measured(NamedTuple):
    """What a model computed."""

    outputs: dict[str, np.ndarray]
    """By name."""
    gradients: dict[str, np.ndarray]
    """Of the weighted sum of the outputs, by parameter and then by input."""
    state: dict[str, np.ndarray]
    """What is no parameter and may have changed, such as running statistics, after the run."""


Cotangents = Mapping[str, tuple[np.ndarray, ...]]
"""The weights of the real and the imaginary parts of outputs, by name."""


def check_module(module: Any) -> None:
    """Refuse what is no ``torch.nn.Module``, or one that is not initialised.

    Raises:
        InputError: It is not.
    """
    if not hasattr(module, "named_parameters"):
        raise InputError(f"{WHO} is a {type(module).__name__}; it must be a torch.nn.Module")
    with blamed(WHO, "when asked for its parameters"):
        _ = [tuple(p.shape) for _, p in module.named_parameters()]


class Prepared(NamedTuple):
    """A copy of a module, and what it is to be called with."""

    module: Any
    positional: tuple[Any, ...]
    keyword: dict[str, Any]
    wanted: dict[str, Any]
    """The parameters and inputs to differentiate in, by name."""
    buffers: dict[str, Any]
    flat: list[np.ndarray]
    masks: Callable[[], Any] = contextlib.nullcontext
    """Makes the context in which it draws the masks of dropout."""
    who: str = WHO
    """For messages."""

    def call(self) -> Any:
        """Run it.

        Raises:
            InputError: It raises.
        """
        with blamed_on(self.who, self.flat), self.masks():
            return self.module(*self.positional, **self.keyword)


def prepared(
    torch: Any,
    module: Any,
    weights: Mapping[str, np.ndarray],
    inputs: Arguments,
    names: Mapping[int, str],
    dtype: str,
    masks: Callable[[], Any] = contextlib.nullcontext,
) -> Prepared:
    """Copy a module, with these weights, and its inputs.

    Args:
        torch: The library.
        module: The module, which is not changed.
        weights: Parameters and buffers by name; what is not among them stays.
        inputs: Positional and keyword arguments, trees of NumPy arrays.
        names: Of the inputs to differentiate in, by their position among all leaves.
        dtype: float64 or float32.
        masks: Makes the context in which it draws the masks of dropout.

    Returns:
        The copy and its arguments.

    Raises:
        InputError: The module cannot be copied.
    """
    flat, structure = jax.tree.flatten(inputs)
    with blamed(WHO, "when it was copied"):
        module = copy.deepcopy(module).to("cpu", getattr(torch, dtype))
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    tied = dict(module.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.requires_grad_(parameter.is_floating_point())
        for name, array in weights.items():
            ({**tied, **buffers})[name].copy_(torch.from_numpy(np.array(array)))
    module.zero_grad()
    tensors = [torch.from_numpy(np.array(x)) for x in flat]
    wanted = {name: tensors[i].requires_grad_(True) for i, name in names.items()}
    # A module that changes its input in place must not change a leaf of the graph.
    given = [x.clone() if x.requires_grad else x for x in tensors]
    positional, keyword = structure.unflatten(given)
    return Prepared(module, positional, keyword, {**parameters, **wanted}, buffers, flat, masks)


def run_torch(
    torch: Any,
    ready: Prepared,
    cotangents: Callable[[dict[str, np.ndarray]], Cotangents],
    dtype: str,
    call: Callable[[], Any] | None = None,
) -> Measured:
    """Run a module, and differentiate a weighted sum of its outputs.

    Args:
        torch: The library.
        ready: The module and its arguments.
        cotangents: From the outputs to the weights of the real and imaginary parts of the sum.
        dtype: float64 or float32.
        call: Runs it; None just calls it.

    Returns:
        What it computed.

    Raises:
        InputError: The module raises.
    """
    # The same masks and samples in every run, so that a perturbed one differs by rounding alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = leaves_by_name((call or ready.call)(), ready.who)
        outputs = {name: _to_numpy(torch, x) for name, x in found.items()}
        terms = []
        for name, pair in cotangents(outputs).items():
            tensor = torch.as_tensor(found[name])
            halves = torch.view_as_real(tensor).unbind(-1) if tensor.is_complex() else (tensor,)
            for half, weight in zip(halves, pair, strict=False):
                if half.requires_grad:
                    terms.append((half * torch.from_numpy(weight).to(half.dtype)).sum())
        if terms:
            with blamed(ready.who, "on backward"):
                functools.reduce(torch.add, terms).backward()
    gradients = {
        name: np.zeros(tuple(x.shape), dtype) if x.grad is None else _to_numpy(torch, x.grad)
        for name, x in ready.wanted.items()
    }
    state = {name: _to_numpy(torch, x) for name, x in ready.buffers.items()}
    return Measured(outputs, gradients, state)


def _to_numpy(torch: Any, value: Any) -> np.ndarray:
    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    tensor = value.detach().resolve_conj().resolve_neg().cpu()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return tensor.numpy().copy()
