"""The first operation of a torch module whose result a JAX function does not compute.

Each value of the torch module is looked for among the JAX function's, by its numbers alone. An
operation whose result is not found is no fault by itself, since the two may compute the same in
different ways: scale the queries or their products, add a bias within a product or after it. It is
harmless if something computed from it is found. The place of the divergence is the first operation
that is neither found nor harmless: all that it read was right, and nothing is after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxmnist.verify.locate.align import Match, Sorted, informative, rearranged, same_elements
from jaxmnist.verify.locate.jax_trace import JaxTrace
from jaxmnist.verify.locate.replay import replayed
from jaxmnist.verify.locate.torch_trace import TorchTrace

CANDIDATES = 12
"""How many values of JAX's an operation is tried on, to see if an extra one came before it."""


@dataclass
class Alignment:
    """Where the values of a torch module are found in a JAX function.

    Attributes:
        theirs: The torch module's trace.
        ours: The JAX function's.
        sorted: Our values, to be searched.
        nearest: For each value of theirs, the nearest of ours, or None.
        allowed: For each value of theirs, the relative error that is rounding.
        found: The numbers of their values that are found.
        harmless: The numbers of their values from which a found one is computed.
    """

    theirs: TorchTrace
    ours: JaxTrace
    sorted: Sorted
    nearest: dict[int, Match | None]
    allowed: Sequence[float]
    found: set[int]
    harmless: set[int]

    def right(self, number: int) -> bool:
        """Whether a value of theirs is found, harmless, or no result of the inputs."""
        value = self.theirs.values[number]
        return not value.data or number in self.found or number in self.harmless

    def in_ours(self, array: np.ndarray, number: int) -> Match | None:
        """Find an array among our values, to the rounding of a value of theirs."""
        match = self.sorted.nearest(array)
        return match if match and match.error <= self.allowed[number] else None


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


def align(theirs: TorchTrace, ours: JaxTrace, allowed: Sequence[float]) -> Alignment:
    """Look for each value of a torch module among those of a JAX function.

    Args:
        theirs: The torch module's trace.
        ours: The JAX function's.
        allowed: The relative error that is rounding, for each value of theirs.

    Returns:
        What was found.
    """
    arrays = [
        value.array if value.data and informative(value.array) else None for value in ours.values
    ]
    searched = Sorted(arrays, [value.steps for value in ours.values])
    nearest: dict[int, Match | None] = {}
    found: set[int] = set()
    for number, value in enumerate(theirs.values):
        if not value.data:
            continue
        array = value.array()
        if not informative(array):
            continue
        nearest[number] = match = searched.nearest(array)
        if match is not None and match.error <= allowed[number]:
            found.add(number)
    consumers = theirs.consumers()
    harmless: set[int] = set()
    for index in reversed(range(len(theirs.operations))):
        for number in theirs.operations[index].outputs:
            later = [
                x
                for i in consumers.get(number, ())
                if i > index
                for x in theirs.operations[i].outputs
            ]
            if any(x in found or x in harmless for x in later):
                harmless.add(number)
    return Alignment(theirs, ours, searched, nearest, allowed, found, harmless)


def first_divergence(alignment: Alignment) -> Place | None:
    """Find the first operation that is neither found nor harmless, of those that matter.

    Args:
        alignment: What `align` found.

    Returns:
        The place; None if every result that the outputs are computed from is found.
    """
    theirs = alignment.theirs
    needed = _needed(theirs)
    for index, operation in enumerate(theirs.operations):
        results = [x for x in operation.outputs if x in needed and x in alignment.nearest]
        if not results or all(alignment.right(x) for x in results):
            continue
        return _before(alignment, index) or Place(operation.module, index)
    return None


def _needed(theirs: TorchTrace) -> set[int]:
    """The values that the outputs are computed from."""
    needed, todo = set(), list(theirs.outputs.values())
    while todo:
        number = todo.pop()
        if number in needed:
            continue
        needed.add(number)
        maker = theirs.values[number].maker
        if maker is not None:
            todo.extend(theirs.operations[maker].inputs)
    return needed


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
            results = replayed(theirs, [index], {number: array})
            result = results.get(operation.outputs[0])
            if result is None or not informative(result) or same_elements(result, array):
                continue
            found = alignment.in_ours(result, operation.outputs[0])
            if found is not None and found.number != candidate:
                return Place(_maker_module(theirs, number), None, candidate)
    return None


def _continuations(alignment: Alignment, number: int) -> list[int]:
    """Values of ours of the same shape that are computed from one, and found nowhere in theirs."""
    ours = alignment.ours
    shape = ours.values[number].array.shape
    known = {match.number for x in alignment.found if (match := alignment.nearest[x])}
    later: set[int] = {number}
    continued = []
    for index in range(number + 1, len(ours.values)):
        value = ours.values[index]
        if later.isdisjoint(value.parents):
            continue
        later.add(index)
        if value.array.shape == shape and index not in known and informative(value.array):
            continued.append(index)
    return continued


def _maker_module(theirs: TorchTrace, number: int) -> str:
    """The submodule whose operation made a value's numbers."""
    maker = theirs.values[number].maker
    while maker is not None and theirs.operations[maker].name in VIEWS:
        (number, *_) = theirs.operations[maker].inputs
        maker = theirs.values[number].maker
    return "" if maker is None else theirs.operations[maker].module


VIEWS = frozenset(
    (
        *("view", "_unsafe_view", "reshape", "t", "transpose", "permute", "expand", "unsqueeze"),
        *("squeeze", "detach", "alias", "clone", "contiguous", "_reshape_alias", "flatten"),
    )
)
"""Operations that leave the numbers what they are."""
