"""One network in both frameworks: whether they agree, where they diverge, and why."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.verify.model_runs.arguments import arguments, converted_params
from jaxmnist.verify.model_runs.conclusion import concluded, uses_narrower
from jaxmnist.verify.model_runs.outcome import Outcome, Pairing, outcome
from jaxmnist.verify.model_runs.result import ModelResult
from jaxmnist.verify.model_runs.torch_model import check_module
from jaxmnist.verify.model_runs.weights import matched, weights
from jaxmnist.verify.precision import check_dtype


def model(
    apply_fn: Callable[..., Any],
    params: Any,
    torch_module: Any,
    inputs: Any,
    labels: Any = None,
    *,
    torch_inputs: Any = None,
    names: Mapping[str, str] | None = None,
    dtype: str = "float64",
    tolerance: float | None = None,
) -> ModelResult:
    """Compare any JAX model with any PyTorch module, and find where they diverge, and why.

    Outputs are compared, the gradients of ``Σ c·outputs`` in every parameter and every float
    input, and what the call updates, such as running statistics. The c are normal random numbers
    seeded by the inputs, so that every output has a part in it, a single one and one that is no
    logit too. Where the only output is (batch, classes), classes ≥ 2, the mean cross-entropy of
    the labels is compared as well.

    Parameters are matched by `jaxmnist.interop.match`. Where at least half of them have the same
    elements on both sides, the two have the same weights, run with their own, and one that differs
    is a difference. Otherwise ours are loaded into a copy of the module, so that what is compared
    is the two functions and not the weights that they happen to hold. The module is not changed.

    Errors are relative to the largest value of the array they are in. The default tolerance is
    what the arithmetic's own sums may lose (`jaxmnist.verify.rounding`): ``eps`` times the length
    of all intermediate sums, that is every layer's inputs and outputs, the classes and the batch.

    An array that is zero on paper, such as the gradient of a bias before a normalisation, is only
    rounding on both sides and has no such size. So an error may also be ten times the noise of
    the sums behind the array, whatever its size: how far the array moves when every intermediate
    value here, or every weight and input of the module, is perturbed by one unit in the last
    place. That is never more than half the digits of the largest array.

    In float32 many differences are smaller than the noise. So there the models are compared in
    float64 as well, unless one of them uses a narrower dtype of its own accord.

    Where they differ, all intermediate values of both are recorded in float64 and compared by
    their numbers alone, whatever their order: the first operation of the module whose result the
    JAX function does not compute is the place, and its cause is what makes the two agree again
    when it is substituted.

    Args:
        apply_fn: ``apply_fn(params, inputs) -> outputs``, such as a Linen module's ``apply``; it
            may return ``(outputs, updated)`` where `updated` is a part of the params' tree, such
            as ``{"batch_stats": ...}``, to be compared with the module's buffers.
        params: Its parameters, in its own library's layout: Flax Linen's variables, an NNX state,
            an Equinox module, or any tree whose paths joined by dots are the module's names.
        torch_module: Any ``torch.nn.Module``. It runs in the mode it is in: call ``eval()`` first
            where it has dropout. Both may return an array or any tuple, mapping or dataclass of
            arrays, with the same names.
        inputs: What both take; a tuple for several arguments, a mapping for keyword arguments.
            Floats are converted to `dtype`.
        labels: Class of each input; None takes 0, 1, 2 ... in turn.
        torch_inputs: What the module takes where that has another layout, such as NCHW for NHWC,
            or other names.
        names: PyTorch's names by paths in `params`, where `match` finds none or several.
        dtype: float64 or float32: of parameters, inputs and arithmetic, in both frameworks.
        tolerance: The relative error allowed; None derives it from the arithmetic.

    Returns:
        The comparisons "logits", "loss" and "gradients", or "outputs" and "gradients" of what are
        no logits, and "state"; ``location`` and ``cause`` of the first divergence; prints as a
        table. Arrays that are zero on both sides are listed as not tested.

    Raises:
        InputError: PyTorch is not installed; a parameter has no certain counterpart, is NaN or
            infinite; an input is, or an output NaN on both sides; one of the two raises; the
            outputs have other names or shapes; or labels do not fit.

    Source: tutorial rows D7 and D8.

    >>> import jax, jaxmnist as jm, jax.numpy as jnp, torch
    >>> mlp = jm.MLP(hidden=(16,))
    >>> params = mlp.init(jax.random.key(0), jnp.zeros((1, 784)))
    >>> module = torch.nn.Sequential(
    ...     torch.nn.Linear(784, 16), torch.nn.GELU(), torch.nn.Linear(16, 10)
    ... )
    >>> images = jm.normalize(jnp.asarray(jm.load_dataset("mnist").test_images[:64]))
    >>> result = model(mlp.apply, params, module, images.reshape(64, 784))
    >>> result.passed, result.location, result.cause
    (False, '1', 'activation: ReLU in JAX, GELU in PyTorch')
    """
    torch = require_torch()
    check_dtype(dtype)
    check_module(torch_module)
    found = matched(params, torch_module, names)
    arrays = converted_params(found.named(params), "float64")
    pairing = Pairing(torch, apply_fn, arrays, torch_module, weights(found, arrays, torch_module))

    def at(dtype: str, tolerance: float | None) -> Outcome:
        return outcome(pairing, arguments(inputs, torch_inputs, dtype), labels, dtype, tolerance)

    try:
        first = at(dtype, tolerance)
    except InputError as error:
        missing = [one.missing for one in pairing.weights.left_over if one.missing]
        if not missing:
            raise
        raise InputError(f"{'; '.join(missing)}; {error}") from error
    if dtype == "float64":
        return concluded(pairing, first.parts, first if first.differs else None, dtype)
    if first.differs or (tolerance is None and pairing.weights.left_over):
        wide = at("float64", None)
        cause = None if wide.differs else "rounding in float32: they agree in float64"
        return concluded(pairing, first.parts, wide if wide.differs else None, dtype, cause)
    wide = None if tolerance is not None else at("float64", None)
    if wide is None or not wide.differs or uses_narrower(pairing, wide):
        return concluded(pairing, first.parts, None, dtype)
    parts = [replace(part, name=f"{part.name}, float64") for part in wide.parts]
    return concluded(pairing, [*first.parts, *parts], wide, dtype)
