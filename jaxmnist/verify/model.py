"""One network in both frameworks: logits, loss and every parameter's gradient."""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from jaxmnist import interop
from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.losses import cross_entropy_with_integer_labels
from jaxmnist.verify.compare import Comparer, Comparison, Comparisons, Leaves
from jaxmnist.verify.precision import check_dtype
from jaxmnist.verify.rounding import allowed_by_arithmetic


def model(
    apply_fn: Callable[..., Any],
    params: Any,
    torch_module: Any,
    inputs: Shaped[Any, "batch ..."],
    labels: Any = None,
    *,
    dtype: str = "float64",
    tolerance: float | None = None,
) -> Comparisons:
    """Compare a network, its loss and its gradients with a PyTorch module of the same weights.

    The loss is the mean cross-entropy of the logits, and the gradient is the loss's in every
    parameter. Our parameters are loaded into a copy of the module, so that what is compared is
    the two functions and not the weights that they happen to hold; the module is not changed.

    Errors are relative to the largest value of the array they are in. The default tolerance is
    what the arithmetic's own sums may lose (`jaxmnist.verify.rounding`): ``eps`` times the length
    of all intermediate sums, that is every layer's inputs and outputs, the classes and the batch.

    Args:
        apply_fn: ``apply_fn(params, inputs) -> logits``, such as a Linen module's ``apply``.
        params: Its parameters: the MLP's, or any tree whose paths joined by dots are the module's
            names, such as ``{"0": {"weight": ..., "bias": ...}}``. Shapes are PyTorch's.
        torch_module: Any ``torch.nn.Module`` with parameters of those names and shapes. It runs
            in the mode it is in: call ``eval()`` first where it has dropout.
        inputs: What both take, as they take it; floats are converted to `dtype`.
        labels: Class of each input; None takes 0, 1, 2 ... in turn.
        dtype: float64 or float32: of parameters, inputs and arithmetic, in both frameworks.
        tolerance: The relative error allowed; None derives it from the arithmetic.

    Returns:
        The comparisons "logits", "loss" and "gradients"; prints as a table.

    Raises:
        InputError: PyTorch is not installed; a parameter is missing on one side or has another
            shape there; a parameter or an input is NaN or infinite; the module raises; the logits
            have other shapes; or labels do not fit the logits.

    Source: tutorial rows D7 and D8.

    >>> import jaxmnist as jm, torch
    >>> mlp = jm.MLP(hidden=(16,))
    >>> params = mlp.init(jax.random.key(0), jnp.zeros((1, 784)))
    >>> module = torch.nn.Sequential(
    ...     torch.nn.Linear(784, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10)
    ... )
    >>> images = jm.normalize(jnp.asarray(jm.load_dataset("mnist").test_images[:64]))
    >>> result = model(mlp.apply, params, module, images.reshape(64, 784))
    >>> result.passed, result.max_error < 1e-13
    (True, True)
    """
    torch = require_torch()
    check_dtype(dtype)
    # The parameters' values, in the dtype asked for, before either framework sees them.
    params = jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype), params)
    named = _named(params)
    _check_parameters(named, torch_module)
    x = np.asarray(inputs)
    x = x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
    _check_finite(named | {"inputs": x})

    with jax.enable_x64(dtype == "float64"):
        logits_of = jax.jit(apply_fn)
        logits_shape = jax.eval_shape(logits_of, params, x).shape
        y = _labels(labels, logits_shape)

        def loss_and_logits(params: Any) -> tuple[Any, Any]:
            logits = logits_of(params, jnp.asarray(x))
            return cross_entropy_with_integer_labels(logits, jnp.asarray(y)), logits

        measured = jax.jit(jax.value_and_grad(loss_and_logits, has_aux=True))
        (loss, logits), gradients = jax.device_get(measured(jax.tree.map(jnp.asarray, params)))
    actual = {"logits": logits, "loss": loss, **_named(gradients)}
    expected = _in_torch(torch, torch_module, named, x, y, logits_shape, dtype)

    if tolerance is None:
        tolerance = allowed_by_arithmetic(sum_lengths(named, *logits_shape), dtype)
    return Comparisons(
        f"the model in JAX and in PyTorch, {dtype}",
        tuple(
            _compared(part, leaves, actual, expected, tolerance)
            for part, leaves in (("logits", ["logits"]), ("loss", ["loss"]), ("gradients", named))
        ),
    )


def sum_lengths(weights: Mapping[str, np.ndarray], batch: int, classes: int) -> int:
    """Count the terms of all sums between the inputs and the gradients, one after the other.

    Args:
        weights: Arrays by name; those of two dimensions and more are matrices (out, in ...).
        batch: Inputs.
        classes: Logits of one input.

    Returns:
        Every layer's inputs, which the way there sums over, and its outputs, which the way back
        sums over; the classes, for the loss; and the batch, for its mean.

    >>> sum_lengths({"w": np.zeros((16, 784)), "b": np.zeros(16)}, batch=64, classes=10)
    874
    """
    matrices = [array.shape for array in weights.values() if array.ndim > 1]
    return batch + classes + sum(shape[0] + int(np.prod(shape[1:])) for shape in matrices)


def _compared(
    name: str, leaves: Iterable[str], actual: Leaves, expected: Leaves, tolerance: float
) -> Comparison:
    comparer = Comparer(name, tolerance, by_leaf=True)
    comparer.add(
        0, {leaf: actual[leaf] for leaf in leaves}, {leaf: expected[leaf] for leaf in leaves}
    )
    return comparer.result()


def _named(params: Any) -> dict[str, Any]:
    """The leaves under PyTorch's names: the MLP's layers renamed, any other tree's paths."""
    if isinstance(params, Mapping) and "dense_0" in params.get("params", ()):
        return interop.flatten(params)
    paths, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}


def _check_parameters(ours: Mapping[str, np.ndarray], torch_module: Any) -> None:
    theirs = {name: tuple(p.shape) for name, p in torch_module.named_parameters()}
    for name, array in ours.items():
        if name not in theirs:
            raise InputError(
                f"the torch module has no parameter {name!r}, which is {array.shape} here; "
                f"it has {_listed(theirs)}, and both must have the same names"
            )
        if theirs[name] != array.shape:
            raise InputError(
                f"{name} has shape {array.shape} here and {theirs[name]} in the torch module; "
                "both must have the same shape"
            )
    for name, shape in theirs.items():
        if name not in ours:
            raise InputError(
                f"the params have no {name!r}, which is {shape} in the torch module; "
                f"they have {_listed(ours)}, and both must have the same names"
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        bad = np.argwhere(~np.isfinite(array))
        if bad.size:
            position = tuple(int(i) for i in bad[0])
            raise InputError(
                f"{name}{list(position)} is {array[position]}; every number must be finite"
            )


def _labels(labels: Any, logits_shape: tuple[int, ...]) -> np.ndarray:
    if len(logits_shape) != 2:
        raise InputError(f"apply_fn returns shape {logits_shape}; it must be (batch, classes)")
    batch, classes = logits_shape
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


def _in_torch(
    torch: Any,
    torch_module: Any,
    weights: Mapping[str, np.ndarray],
    x: np.ndarray,
    y: np.ndarray,
    logits_shape: tuple[int, ...],
    dtype: str,
) -> dict[str, np.ndarray]:
    """Logits, loss and gradients of a copy of the module with these weights."""
    module = copy.deepcopy(torch_module).to("cpu", getattr(torch, dtype))
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, array in weights.items():
            parameters[name].requires_grad_(True).copy_(torch.from_numpy(array))
    module.zero_grad()
    try:
        logits = module(torch.from_numpy(np.array(x)))
    except Exception as error:
        raise InputError(
            f"the torch module raised on {x.dtype} inputs of shape {x.shape}: {error}"
        ) from error
    if tuple(logits.shape) != logits_shape:
        raise InputError(
            f"the logits have shape {logits_shape} here and {tuple(logits.shape)} in the torch "
            "module; both must have the same shape"
        )
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y).long())
    loss.backward()
    gradients = {
        name: np.zeros(p.shape, dtype) if p.grad is None else p.grad.numpy()
        for name, p in parameters.items()
    }
    return {"logits": logits.detach().numpy(), "loss": loss.detach().numpy(), **gradients}
