"""The submodule where a torch module and a JAX function diverge first."""

from dataclasses import dataclass

import numpy as np

from jaxmnist.verify.locate.align import informative, magnitude, ordered, rearranged, same_elements
from jaxmnist.verify.locate.forward import Alignment, first_divergence, maker_of
from jaxmnist.verify.locate.replay import replayed
from jaxmnist.verify.locate.torch_trace import TorchTrace
from jaxmnist.verify.locate.trial import Hypothesis, holds

CANDIDATES = 12
"""How many values of JAX's an operation is tried on, to see if an extra one came before it."""


@dataclass(frozen=True)
class Place:
    """Where two programs diverge.

    Attributes:
        module: The dotted name of the torch submodule.
        operation: The operation of the torch trace, by its position, or None.
        extra: Where the JAX function computes something else in between, the number of that value.
    """

    module: str
    operation: int | None
    extra: int | None = None


def place(alignment: Alignment) -> Place | None:
    """Find where a JAX function diverges from a torch module.

    Args:
        alignment: What is found of one in the other.

    Returns:
        The place; None if every result that the outputs are computed from is found, and the
        outputs are those of the JAX function too.
    """
    index = first_divergence(alignment)
    if index is None:
        return _after(alignment)
    return _before(alignment, index) or Place(alignment.theirs.operations[index].module, index)


def _after(alignment: Alignment) -> Place | None:
    """The place where the JAX function does something more to an output than the module."""
    theirs, ours = alignment.theirs, alignment.ours
    single = len(theirs.outputs) == len(ours.outputs) == 1
    for name, number in theirs.outputs.items():
        other = next(iter(ours.outputs.values())) if single else ours.outputs.get(name)
        if other is None or number not in alignment.found:
            continue
        array, mine = theirs.values[number].array(), ours.values[other].array
        if array.size != mine.size:
            continue
        error = np.abs(ordered(array) - ordered(mine)).max() / magnitude(array)
        if error > alignment.allowed[number]:
            return Place(_maker_module(theirs, number), None, other)
    return None


def _before(alignment: Alignment, index: int) -> Place | None:
    """The place where the JAX function does something more before it does what the operation does.

    That is so if the operation, given a value of ours in the place of what it read, computes
    another value of ours.
    """
    theirs, ours = alignment.theirs, alignment.ours
    operation = theirs.operations[index]
    for number in operation.inputs:
        match = alignment.nearest.get(number)
        value = theirs.values[number]
        if not value.data or match is None or match.step is not None:
            continue
        if number not in alignment.found:
            continue
        like = ours.values[match.number].array
        taken = value.array()
        for candidate in _continuations(alignment, match.number)[:CANDIDATES]:
            array = rearranged(ours.values[candidate].array, like, taken)
            result = replayed(theirs, [index], {number: array}).get(operation.outputs[0])
            if result is None or same_elements(result, array):
                continue
            if holds(alignment, index, Hypothesis("", given={number: array})):
                rounds = ours.values[candidate].primitive == "convert_element_type"
                module = operation.module if rounds else _maker_module(theirs, number)
                return Place(module, None, candidate)
    return None


def _continuations(alignment: Alignment, number: int) -> list[int]:
    """Values of ours of the same shape that are computed from one, and found nowhere in theirs."""
    ours = alignment.ours
    shape = ours.values[number].array.shape
    later: set[int] = {number}
    continued = []
    for index in range(number + 1, len(ours.values)):
        value = ours.values[index]
        if later.isdisjoint(value.parents):
            continue
        later.add(index)
        if value.array.shape == shape and index not in alignment.taken and informative(value.array):
            continued.append(index)
    return continued


def _maker_module(theirs: TorchTrace, number: int) -> str:
    """The submodule whose operation made a value's numbers."""
    maker = maker_of(theirs, number)
    return "" if maker is None else theirs.operations[maker].module
