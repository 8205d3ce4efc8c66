"""Trace both programs, and find the place and the cause of their first divergence."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmnist.verify.locate import backward, jax_trace, torch_trace
from jaxmnist.verify.locate.align import magnitude, ordered
from jaxmnist.verify.locate.causes import cause, substituted
from jaxmnist.verify.locate.forward import Alignment, align, first_divergence
from jaxmnist.verify.locate.place import Place, place
from jaxmnist.verify.model_runs.leaves import leaves_by_name
from jaxmnist.verify.model_runs.result import Layer, Located
from jaxmnist.verify.model_runs.torch_model import WHO, Cotangents, Prepared, run_torch
from jaxmnist.verify.rounding import allowed_by_growth

DTYPE = "float64"


class JaxSide(NamedTuple):
    """A JAX function, and what it is called with."""

    function: Callable[..., Any]
    """``function(params, inputs)`` to a dict of arrays."""
    params: Any
    inputs: Any
    names: tuple[list[str], list[str]]
    """Of the leaves of both."""
    cotangents: Cotangents


def located(
    torch: Any,
    prepare: Callable[[bool], Prepared],
    theirs: Cotangents,
    ours: JaxSide,
    least: float,
    wrong: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> Located:
    """Find the first place where a torch module and a JAX function diverge, in float64.

    What is rounding is measured for each value: the module runs again with its weights and inputs
    perturbed by one unit in the last place.

    Args:
        torch: The library.
        prepare: Copies the module; perturbed if it is given True.
        theirs: The weights of the module's outputs in the sum that is differentiated.
        ours: The JAX function.
        least: The relative error that the arithmetic may have anywhere.
        wrong: The parameters whose gradients differ, by the module's names: ours and theirs.

    Returns:
        What was found.
    """
    module, trace = _recorded(torch, prepare(False), theirs)
    _, moved = _recorded(torch, prepare(True), theirs)
    record = jax_trace.record(ours.function, ours.params, ours.inputs, ours.names)
    alignment = align(trace, record, _allowed(trace, moved, least))
    found = place(alignment)
    if found is not None:
        # Gradients follow the values that they are taken at: they say nothing more.
        # What is done more than in PyTorch is said only if no change of the operation itself tells.
        index = None if found.extra is None else first_divergence(alignment)
        why = None if index is None else substituted(alignment, index, module)
        if index is not None and why is not None:
            found = Place(trace.operations[index].module, index)
        why = why or cause(alignment, found, module)
        return Located(found.module, why, _layers(alignment, {}, {}))
    numbers = [match.number for match in alignment.nearest.values() if match is not None]
    gradients = backward.gradients_in(ours.function, ours.params, ours.inputs, numbers)(
        {name: pair[0] for name, pair in ours.cotangents.items()}
    )
    noise = {
        number: max(_distance(x, moved.gradients.get(number, x)), least * magnitude(x))
        for number, x in trace.gradients.items()
    }
    back = backward.first_divergence(alignment, gradients, noise, wrong)
    layers = _layers(alignment, gradients, noise)
    return Located(*(back or (None, None)), layers)


def _recorded(
    torch: Any, ready: Prepared, cotangents: Cotangents
) -> tuple[Any, torch_trace.TorchTrace]:
    traces = []

    def call() -> Any:
        given = torch_trace.tensors(torch, (ready.positional, ready.keyword))
        inputs = {f"inputs[{i}]": x for i, x in enumerate(given)}
        traces.append(
            torch_trace.record(
                torch, ready.module, ready.call, inputs, lambda x: leaves_by_name(x, WHO)
            )
        )
        return traces[0].returned

    run_torch(torch, ready, lambda _: cotangents, DTYPE, call)
    return ready.module, traces[0]


def _allowed(
    trace: torch_trace.TorchTrace, moved: torch_trace.TorchTrace, least: float
) -> list[float]:
    allowed = []
    for number, value in enumerate(trace.values):
        other = moved.values[number] if number < len(moved.values) else value
        if not value.data or not value.tensor.is_floating_point():
            allowed.append(least)
            continue
        array = value.array()
        distance = _distance(array, other.array())
        allowed.append(max(least, allowed_by_growth(distance / magnitude(array))))
    return allowed


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return 0.0
    return float(np.abs(ordered(a) - ordered(b)).max(initial=0.0))


def _layers(
    alignment: Alignment, gradients: Mapping[int, np.ndarray], noise: Mapping[int, float]
) -> tuple[Layer, ...]:
    """The errors of every submodule, in the order in which they returned; of calls the worst."""
    layers: dict[str, Layer] = {}
    for call in sorted(alignment.theirs.calls, key=lambda c: c.stop):
        for number in call.outputs[:1]:
            layer = _layer(alignment, call.module, number, gradients, noise)
            known = layers.get(call.module)
            if known is None or (known.passed and not layer.passed):
                layers[call.module] = layer
    return tuple(layers.values())


def _layer(
    alignment: Alignment,
    module: str,
    number: int,
    gradients: Mapping[int, np.ndarray],
    noise: Mapping[int, float],
) -> Layer:
    match = alignment.nearest.get(number)
    found, right = number in alignment.found, alignment.right(number)
    if match is None or (right and not found):
        return Layer(module, None, None, right)
    back = None
    theirs = alignment.theirs.gradients.get(number)
    ours = gradients.get(match.number) if found else None
    same = True
    if theirs is not None and ours is not None and ours.size == theirs.size:
        distance = float(np.abs(ordered(theirs) - ordered(ours)).max(initial=0.0))
        same, back = distance <= noise[number], distance / magnitude(theirs)
    return Layer(module, match.error, back, found and same)
