"""One network in both frameworks: its outputs, loss and every gradient."""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from jaxmnist import interop
from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.losses import cross_entropy_with_integer_labels
from jaxmnist.verify.compare import Comparer, Comparisons, Leaves, distance
from jaxmnist.verify.model_runs.jax_model import JaxModel, Shapes
from jaxmnist.verify.model_runs.leaves import Arguments, call_arguments, converted, paired_names
from jaxmnist.verify.model_runs.noise import perturbed
from jaxmnist.verify.model_runs.torch_model import Measured, parameter_shapes, run_torch
from jaxmnist.verify.precision import check_dtype
from jaxmnist.verify.rounding import (
    PERTURBATIONS,
    allowed_by_arithmetic,
    allowed_by_growth,
    allowed_without_growth,
)

Parts = dict[str, Leaves]
"""What is compared with what -> leaf -> its array."""


def model(
    apply_fn: Callable[..., Any],
    params: Any,
    torch_module: Any,
    inputs: Any,
    labels: Any = None,
    *,
    dtype: str = "float64",
    tolerance: float | None = None,
) -> Comparisons:
    """Compare a network's outputs and gradients with those of a PyTorch module of the same weights.

    The gradient is that of ``Σ c·outputs`` in every parameter and every float input, where the c
    are normal random numbers seeded by the inputs. So every output has a part in it, a single one
    and one that is no logit too. Where the only output is (batch, classes), classes ≥ 2, the mean
    cross-entropy of the labels is compared as well. Our parameters are loaded into a copy of the
    module, so that what is compared is the two functions and not the weights that they happen to
    hold; the module is not changed.

    Errors are relative to the largest value of the array they are in. The default tolerance is
    what the arithmetic's own sums may lose (`jaxmnist.verify.rounding`): ``eps`` times the length
    of all intermediate sums, that is every layer's inputs and outputs, the classes and the batch.

    An array that is zero on paper, such as the gradient of a bias before a normalisation, is only
    rounding on both sides and has no such size. So an error may also be ten times the noise of
    the sums behind the array, whatever its size: how far the array moves when every intermediate
    value here, or every weight and input of the module, is perturbed by one unit in the last
    place. That is never more than half the digits of the largest array.

    Args:
        apply_fn: ``apply_fn(params, inputs) -> outputs``, such as a Linen module's ``apply``.
        params: Its parameters: the MLP's, or any tree whose paths joined by dots are the module's
            names, such as ``{"0": {"weight": ..., "bias": ...}}``. Shapes are PyTorch's.
        torch_module: Any ``torch.nn.Module`` with parameters of those names and shapes. It runs
            in the mode it is in: call ``eval()`` first where it has dropout. Both may return an
            array or any tuple, mapping or dataclass of arrays, with the same names.
        inputs: What both take, as they take it; a tuple for several arguments, a mapping for
            keyword arguments. Floats are converted to `dtype`.
        labels: Class of each input; None takes 0, 1, 2 ... in turn.
        dtype: float64 or float32: of parameters, inputs and arithmetic, in both frameworks.
        tolerance: The relative error allowed; None derives it from the arithmetic.

    Returns:
        The comparisons "logits", "loss" and "gradients", or "outputs" and "gradients" of what are
        no logits; prints as a table. Arrays that are zero on both sides are listed as not tested.

    Raises:
        InputError: PyTorch is not installed; a parameter is missing or has another shape in one of
            the two; a parameter or an input is NaN or infinite, or an output NaN on both sides;
            one of the two raises; the outputs have other names or shapes; or labels do not fit.

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
    params = _converted_params(params, dtype)
    weights = _in_order(_named(params), parameter_shapes(torch_module))
    inputs, names = _converted_inputs(inputs, dtype)

    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("standard"):
        ours = JaxModel(apply_fn, params, inputs, names, _named)
        shapes = {name: x.shape for name, x in ours.shapes.items()}
        y = _labels(labels, shapes)
        drawn = _cotangents(ours.shapes, inputs, dtype)
        here = ours.run(drawn, dtype)

    pairs: dict[str, tuple[str, str]] = {}

    def cotangents(outputs: dict[str, np.ndarray]) -> dict[str, Any]:
        pairs.update(paired_names(shapes, {name: x.shape for name, x in outputs.items()}))
        return {there: drawn[name] for name, there in pairs.values() if name in drawn}

    def in_torch(weights: dict[str, np.ndarray], inputs: Arguments) -> Measured:
        return run_torch(torch, torch_module, weights, inputs, names, cotangents, dtype)

    def parts(measured: Measured, side: int) -> Parts:
        whole = "outputs" if y is None else "logits"
        outputs = {name or whole: measured.outputs[pair[side]] for name, pair in pairs.items()}
        found: Parts = {whole: outputs}
        if y is not None:
            (logits,) = outputs.values()
            found["loss"] = {"loss": (_loss_in_jax, _loss_in_torch)[side](logits, y, dtype)}
        gradients = {leaf: measured.gradients[leaf] for leaf in (*weights, *names.values())}
        return found | ({"gradients": gradients} if gradients else {})

    there = in_torch(weights, inputs)
    actual, expected = parts(here, 0), parts(there, 1)
    _check_not_nan(actual, expected)
    lengths = max(sum_lengths(weights, *_rows(shape)) for shape in shapes.values())
    derived = allowed_by_arithmetic(lengths, dtype)
    allowed = derived if tolerance is None else tolerance
    result = _compared(actual, expected, None, allowed, dtype)
    if result.first_divergence is None:
        return result
    # It is only now worth the time to find out which arrays are zero on paper.
    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("standard"):
        nearby = [parts(m, 0) for m in ours.perturbed(drawn, dtype, PERTURBATIONS)]
    nearby_there = [parts(in_torch(*m), 1) for m in _perturbations(weights, inputs, dtype)]
    scales = _scales((actual, nearby), (expected, nearby_there), derived, dtype)
    return _compared(actual, expected, scales, allowed, dtype)


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


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    """Of an output, the number of rows and their length."""
    return (math.prod(shape[:-1]), shape[-1]) if shape else (1, 1)


def _perturbations(
    weights: dict[str, np.ndarray], inputs: Arguments, dtype: str
) -> Iterator[tuple[dict[str, np.ndarray], Arguments]]:
    """Weights and inputs, moved by one unit in the last place."""
    for seed in range(PERTURBATIONS):
        move = partial(perturbed, dtype=dtype, seed=seed)
        yield {name: move(w) for name, w in weights.items()}, jax.tree.map(move, inputs)


def _scales(
    ours: tuple[Parts, list[Parts]], theirs: tuple[Parts, list[Parts]], tolerance: float, dtype: str
) -> Parts:
    """The size of every array's terms, by its noise: an error of `tolerance` of it is allowed.

    The noise is the largest distance of the perturbed runs from the plain one, on either side.
    """
    arrays = [array for part in theirs[0].values() for array in part.values() if array.size]
    limit = allowed_without_growth(dtype) * max(np.abs(array).max() for array in arrays)
    scales: Parts = {}
    for part, leaves in theirs[0].items():
        sizes = {}
        for leaf, array in leaves.items():
            noise = max(
                float(distance(run[part][leaf], plain[part][leaf]).max(initial=0.0))
                for plain, runs in (ours, theirs)
                for run in runs
            )
            sizes[leaf] = np.full(array.shape, min(allowed_by_growth(noise), limit) / tolerance)
        scales[part] = sizes
    return scales


def _compared(
    actual: Parts, expected: Parts, scales: Parts | None, tolerance: float, dtype: str
) -> Comparisons:
    compared = []
    for part, leaves in actual.items():
        comparer = Comparer(part, tolerance, by_leaf=True)
        comparer.add(0, leaves, expected[part], scale=None if scales is None else scales[part])
        compared.append(comparer.result())
    return Comparisons(f"the model in JAX and in PyTorch, {dtype}", tuple(compared))


def _loss_in_jax(logits: np.ndarray, labels: np.ndarray, dtype: str) -> np.ndarray:
    with jax.enable_x64(dtype == "float64"):
        return np.asarray(
            cross_entropy_with_integer_labels(jnp.asarray(logits), jnp.asarray(labels))
        )


def _loss_in_torch(logits: np.ndarray, labels: np.ndarray, dtype: str) -> np.ndarray:
    del dtype
    torch = require_torch()
    loss = torch.nn.functional.cross_entropy(
        torch.from_numpy(np.array(logits)), torch.from_numpy(labels).long()
    )
    return loss.numpy()


def _cotangents(
    shapes: Shapes, inputs: Arguments, dtype: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Normal weights of the real and the imaginary parts of all outputs that are no integers."""
    seed = zlib.crc32(b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(inputs)))
    rng = np.random.default_rng(seed)
    return {
        name: (
            np.asarray(rng.normal(size=output.shape), dtype),
            np.asarray(rng.normal(size=output.shape), dtype),
        )
        for name, output in shapes.items()
        if jnp.issubdtype(output.dtype, jnp.inexact)
    }


def _converted_inputs(inputs: Any, dtype: str) -> tuple[Arguments, dict[int, str]]:
    """The arguments in NumPy, and the names of those that are floats by their position."""
    arguments = call_arguments(inputs)
    leaves, structure = jax.tree_util.tree_flatten_with_path(
        arguments, is_leaf=lambda x: isinstance(x, list)
    )
    single = len(leaves) == 1 and len(leaves[0][0]) == 2 and not arguments[1]
    labels = ["inputs" + ("" if single else keystr(path[1:])) for path, _ in leaves]
    arrays = [
        converted(leaf, dtype, label) for label, (_, leaf) in zip(labels, leaves, strict=True)
    ]
    floats = {
        index: f"the {label}"
        for index, (label, array) in enumerate(zip(labels, arrays, strict=True))
        if array.dtype == np.dtype(dtype)
    }
    return structure.unflatten(arrays), floats


def _converted_params(params: Any, dtype: str) -> Any:
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    arrays = []
    for path, leaf in leaves:
        name = keystr(path, simple=True, separator=".") or "params"
        array = converted(leaf, dtype, name)
        if array.dtype.kind == "c":
            raise InputError(f"{name} is complex; parameters must be real")
        arrays.append(array.astype(dtype))
    return structure.unflatten(arrays)


def _named(params: Any) -> dict[str, Any]:
    """The leaves under PyTorch's names: the MLP's layers renamed, any other tree's paths."""
    if isinstance(params, Mapping) and "dense_0" in params.get("params", ()):
        return interop.flatten(params)
    paths, _ = jax.tree_util.tree_flatten_with_path(params)
    return {keystr(path, simple=True, separator="."): leaf for path, leaf in paths}


def _in_order(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Our parameters in the module's order, if the names and the shapes are the same."""
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
    return {name: ours[name] for name in theirs}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _check_not_nan(ours: Parts, theirs: Parts) -> None:
    for part, leaves in ours.items():
        for leaf, array in leaves.items():
            bad = np.argwhere(np.isnan(array) & np.isnan(theirs[part][leaf]))
            if bad.size:
                position = str([int(i) for i in bad[0]]) if array.ndim else ""
                raise InputError(
                    f"{part}: {leaf}{position} is nan here and in the torch module; it must be a "
                    "number on one side at least to be compared"
                )


def _labels(labels: Any, shapes: Mapping[str, tuple[int, ...]]) -> np.ndarray | None:
    """The class of each row of logits, or None where there are no logits."""
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
