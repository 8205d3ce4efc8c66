"""Causes that the JAX function has and the torch module has not: something computed in between."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxmnist.verify.locate.align import near
from jaxmnist.verify.locate.causes.activations import activations
from jaxmnist.verify.locate.forward import Alignment
from jaxmnist.verify.locate.place import Place

ACTIVATIONS = frozenset(
    ("tanh", "logistic", "exp", "erf", "max", "log1p", "sin", "cos", "square", "integer_pow")
)


def extra(alignment: Alignment, place: Place) -> str | None:
    """Name what the JAX function computes in between.

    Args:
        alignment: Of the two programs.
        place: With the value that is extra.

    Returns:
        In short words; None if the place has none.
    """
    if place.extra is None:
        return None
    ours = alignment.ours
    value = ours.values[place.extra]
    constants = [p for p in value.parents if not ours.values[p].data]
    parameters = [
        ours.values[n].name for p in constants for n in ours.ancestors(p) if ours.values[n].name
    ]
    if parameters:
        what = {"add": "bias", "add_any": "bias", "mul": "scale"}.get(value.primitive)
        return f"extra {what or value.primitive}: {parameters[0]}"
    if (known := _function(alignment, place.extra)) is not None:
        return f"extra {known}"
    several = sum(ours.values[p].data for p in value.parents) > 1
    if value.primitive in ("mul", "div"):
        number = _constant(alignment, place.extra)
        return "extra gate or scale" if several else f"extra scale: {value.primitive} {number}"
    if value.primitive == "convert_element_type":
        narrow = min((value, ours.values[value.parents[0]]), key=lambda v: v.dtype.itemsize)
        return f"{narrow.dtype.name}: a value is rounded in JAX"
    if value.primitive in ("add", "sub"):
        number = _constant(alignment, place.extra)
        if not several and number and 0 < float(number) <= 1e-2:
            return f"extra epsilon: {number} in JAX"
        return "extra residual connection" if several else "extra bias or constant"
    if value.primitive in ACTIVATIONS:
        name = "ReLU" if value.primitive == "max" else value.primitive
        return f"extra activation: {name}"
    return f"extra {value.primitive}"


def _function(alignment: Alignment, number: int) -> str | None:
    """The known function, if there is one, of a value that the torch module has as well."""
    import torch

    values = alignment.ours.values
    mine = values[number].array
    if mine.dtype.kind != "f":
        return None
    before = alignment.ours.ancestors(number) & alignment.taken - {number}
    for other in sorted(before, reverse=True):
        array = values[other].array
        if array.size != mine.size or not array.ndim or array.dtype.kind != "f":
            continue
        # The same elements in the order that they have here: a reshape may lie between.
        given = torch.from_numpy(np.array(array, np.float64)).reshape(mine.shape)
        for words, made in _functions(given):
            if near(made.numpy(), mine):
                return words
    return None


def _functions(x: Any) -> Iterator[tuple[str, Any]]:
    """What is often computed of a value, with the words for it."""
    import torch

    for axis in reversed(range(x.ndim)):
        where = "" if axis == x.ndim - 1 else f" over axis {axis}"
        yield f"softmax{where}", x.softmax(axis)
        yield f"log-softmax{where}", x.log_softmax(axis)
        centred = x - x.mean(axis, keepdim=True)
        yield f"mean: subtracted in JAX{where}", centred
        yield f"normalization to length 1{where}", torch.nn.functional.normalize(x, dim=axis)
        variance = (centred**2).mean(axis, keepdim=True)
        square = (x**2).mean(axis, keepdim=True)
        for epsilon in (0.0, 1e-12, 1e-8, 1e-6, 1e-5, 1e-3):
            end = f" of epsilon {epsilon:g}{where}"
            yield f"normalization by mean and variance{end}", centred / (variance + epsilon).sqrt()
            yield (
                f"normalization by the root of the mean square{end}",
                x / (square + epsilon).sqrt(),
            )
    for words, function in activations(torch).items():
        name = words.replace("GELU's form: erf", "activation: GELU")
        yield name.replace("GELU's form:", "activation: GELU as"), function(x)


def _constant(alignment: Alignment, number: int) -> str:
    value = alignment.ours.values[number]
    numbers = [x for x in value.literals if np.ndim(x) == 0]
    numbers += [
        alignment.ours.values[p].array
        for p in value.parents
        if not alignment.ours.values[p].data and np.size(alignment.ours.values[p].array) == 1
    ]
    return f"{float(np.ravel(numbers[0])[0]):.6g}" if numbers else ""
