"""A function in both frameworks, such as a loss: whether values and gradients agree, and why."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.verify.function_runs.causes import find_cause
from jaxmnist.verify.function_runs.pair import Pair
from jaxmnist.verify.function_runs.result import FunctionResult
from jaxmnist.verify.precision import check_dtype


def function(
    f: Callable[..., Any],
    torch_f: Callable[..., Any],
    args: Any,
    *,
    torch_args: Any = None,
    wrt: int | str | Sequence[int | str] | None = None,
    dtype: str = "float64",
    tolerance: float | None = None,
) -> FunctionResult:
    """Compare any JAX function with one in PyTorch: a loss, an activation, a pooling.

    Values are compared, and the gradients of ``Σ c·values`` in every float argument. The c are
    normal random numbers seeded by the arguments, so that every value has a part in it.

    Errors are relative to the largest value of the array they are in. The default tolerance is
    ``eps`` for every operation of the JAX function, there and back, and for every term of its
    longest sum, on both sides (`jaxmnist.verify.rounding`). What cancels may be wrong by ten times
    its noise, as in `verify.model`: how far it moves when every intermediate value here, or every
    argument there, is perturbed by one unit in the last place, up to half of the digits.

    Args:
        f: ``f(*args)``, to an array or any tree of arrays.
        torch_f: The same of tensors, to the same tree; a ``torch.nn.Module`` is copied first. It
            is seeded before every run.
        args: A tuple of arguments, a mapping of keyword arguments, or the only one: arrays, or
            trees of them. Floats are converted to `dtype`. Options that are no arrays belong into
            the functions: ``lambda p, t: optax.huber_loss(p, t, delta=2.0)``.
        torch_args: What `torch_f` takes where that has another layout, such as NCHW for NHWC.
            Where each array is one of `args` transposed, the gradients are compared too.
        wrt: Positions or names of the arguments to differentiate in; None for all that are floats,
            and ``()`` for none, where one of the two cannot be differentiated.
        dtype: float64 or float32: of the floats and of the arithmetic.
        tolerance: The relative error allowed; None derives it from the arithmetic.

    Returns:
        The comparisons "values" and "gradients", and `.cause`: a constant factor or a reduction, a
        constant, a narrower dtype inside, a gradient that is missing or is another choice where
        the function has a kink, an argument in another form. It prints as a table.

    Raises:
        InputError: PyTorch is not installed; an argument holds no finite numbers; one of the two
            raises; the values have other names or shapes, or are NaN on both sides; or `wrt` names
            no argument.

    >>> import numpy as np, optax
    >>> from torch.nn.functional import mse_loss
    >>> p, t = np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 1.0])
    >>> function(lambda p, t: 2 * optax.l2_loss(p, t).mean(), mse_loss, (p, t)).passed
    True
    >>> function(lambda p, t: optax.l2_loss(p, t).mean(), mse_loss, (p, t)).cause
    "a factor: f is 0.5 times torch_f's"
    """
    torch = require_torch()
    check_dtype(dtype)
    if tolerance is not None and not tolerance >= 0:
        raise InputError(f"tolerance is {tolerance}; it must be at least 0")
    pair = Pair(torch, f, torch_f, args, torch_args, wrt, dtype)
    outcome = pair.outcome(tolerance)
    name = f"the function in JAX and in PyTorch, {dtype}"
    return FunctionResult(name, tuple(outcome.parts), lambda: find_cause(pair, outcome))
