"""Causes that are a narrower dtype: a scalar, a table or a product in fewer digits."""

from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from jaxmnist.verify.locate.align import magnitude, ordered
from jaxmnist.verify.locate.forward import Alignment
from jaxmnist.verify.locate.place import Place
from jaxmnist.verify.locate.replay import replayed
from jaxmnist.verify.locate.trial import counterparts

DIGITS: Final = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23}
"""The relative error of one rounding to each dtype, twice over."""
ROUNDINGS: Final = 300
"""How many of those an error may come to and still be called so."""


def cause(alignment: Alignment, place: Place) -> str | None:
    """Name a narrower dtype, if there is one on the way and the error is of its size.

    Args:
        alignment: Of the two programs, in float64.
        place: Where they diverge.

    Returns:
        The cause in short words, or None.
    """
    if place.operation is None:
        return None
    theirs, ours = alignment.theirs, alignment.ours
    operation = theirs.operations[place.operation]
    result = ordered(theirs.values[operation.outputs[0]].array())
    before: set[int] = set()
    for number in operation.inputs:
        match = alignment.nearest.get(number)
        if number in alignment.found and match is not None:
            before |= ours.ancestors(match.number)
    for number in counterparts(alignment, place.operation, 3):
        error = float(np.abs(ordered(ours.values[number].array) - result).max()) / magnitude(result)
        between = ours.ancestors(number) - before
        for dtype, digits in DIGITS.items():
            narrow = [ours.values[n] for n in sorted(between) if _narrow(ours.values[n], dtype)]
            if narrow and error <= ROUNDINGS * digits:
                return f"{dtype}: {_what(narrow)} in JAX"
        if error <= 64 * DIGITS["float32"] and (rounded := _rounded(alignment, place)):
            return rounded
    narrower = [theirs.values[n].tensor.dtype for n in (*operation.inputs, *operation.outputs)]
    for dtype in DIGITS:
        if any(str(d) == f"torch.{dtype}" for d in narrower):
            return f"{dtype}: a value in PyTorch"
    return None


def rounded_to(ours: np.ndarray, theirs: np.ndarray) -> str | None:
    """Return the narrow dtype to which an array is another, rounded, or None."""
    for name in DIGITS:
        dtype = jnp.dtype(name)
        with np.errstate(over="ignore"):
            if np.array_equal(theirs.astype(dtype).astype(ours.dtype), ours):
                return name
    return None


def _narrow(value: Any, dtype: str) -> bool:
    if value.dtype == jnp.dtype(dtype):
        return True
    wanted = value.params.get("preferred_element_type") or value.params.get("accum_dtype")
    return wanted is not None and jnp.dtype(wanted) == jnp.dtype(dtype)


def _what(values: list[Any]) -> str:
    products = ("dot_general", "conv_general_dilated")
    if any(value.primitive in products for value in values):
        return "dtype of a product"
    if all(not value.data for value in values):
        return "a scalar" if all(np.size(value.array) == 1 for value in values) else "a table"
    return f"dtype of {values[-1].primitive or 'a value'}"


def _rounded(alignment: Alignment, place: Place) -> str | None:
    """A parameter, buffer or constant of theirs that is rounded to float32 in ours."""
    assert place.operation is not None
    theirs = alignment.theirs
    operation = theirs.operations[place.operation]
    own = operation.outputs[0]
    for x in operation.inputs:
        value = theirs.values[x]
        if value.data or not value.tensor.is_floating_point():
            continue
        with np.errstate(over="ignore"):
            table = value.array().astype(np.float32).astype(value.array().dtype)
        made = replayed(theirs, [place.operation], {x: table}).get(own)
        if made is not None and alignment.in_ours(made, own) is not None:
            return f"float32: a {'scalar' if table.size == 1 else 'table'} in JAX"
    return None
