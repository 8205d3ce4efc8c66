"""The first operation of a torch module whose result a JAX function does not compute.

Each value of the torch module is looked for among the JAX function's, by its numbers alone. An
operation whose result is not found is no fault by itself, since the two may compute the same in
different ways: scale the queries or their products, add a bias within a product or after it. It is
harmless if something computed from it is found. The place of the divergence is the first operation
that is neither found nor harmless: all that it read was right, and nothing is after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxmnist.verify.locate.align import Match, Sorted, informative
from jaxmnist.verify.locate.jax_trace import JaxTrace
from jaxmnist.verify.locate.torch_trace import Operation, TorchTrace

VIEWS = frozenset(
    (
        *("view", "_unsafe_view", "reshape", "t", "transpose", "permute", "expand", "unsqueeze"),
        *("squeeze", "detach", "alias", "clone", "contiguous", "_reshape_alias", "flatten"),
    )
)
"""Operations that leave the numbers what they are."""


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

    def is_new(self, array: np.ndarray, number: int) -> bool:
        """Whether an array is among our values that are none of theirs."""
        match = self.in_ours(array, number)
        return match is not None and (match.number, match.step) not in self._known

    @cached_property
    def taken(self) -> set[int]:
        """The numbers of our values that a value of theirs is found as."""
        return {number for number, _ in self._known}

    @cached_property
    def _known(self) -> set[tuple[int, int | None]]:
        matches = [self.nearest[x] for x in self.found]
        return {(match.number, match.step) for match in matches if match}


def maker_of(theirs: TorchTrace, number: int) -> int | None:
    """Find the operation that made a value's numbers, behind those that leave them what they are.

    Args:
        theirs: The torch module's trace.
        number: The value's.

    Returns:
        Its position; None if they are a parameter's, a buffer's or an input's.
    """
    maker = theirs.values[number].maker
    while maker is not None and theirs.operations[maker].name in VIEWS:
        maker = theirs.values[theirs.operations[maker].inputs[0]].maker
    return maker


def align(theirs: TorchTrace, ours: JaxTrace, allowed: Sequence[float]) -> Alignment:
    """Look for each value of a torch module among those of a JAX function.

    Args:
        theirs: The torch module's trace.
        ours: The JAX function's.
        allowed: The relative error that is rounding, for each value of theirs.

    Returns:
        What was found.
    """
    # What no output is computed from is no part of the function, except inside a loop.
    live = set[int]().union(*(ours.ancestors(number) for number in ours.outputs.values()))
    arrays = [
        value.array
        if value.data and informative(value.array) and (number in live or value.steps)
        else None
        for number, value in enumerate(ours.values)
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
                for x in _results(theirs.operations[i])
            ]
            if any(x in found or x in harmless for x in later):
                harmless.add(number)
    return Alignment(theirs, ours, searched, nearest, allowed, found, harmless)


def _results(operation: Operation) -> tuple[int, ...]:
    """Without the means and variances of a norm, which other arrays may have as well."""
    return operation.outputs[: 1 if operation.name.startswith("native_") else None]


def first_divergence(alignment: Alignment) -> int | None:
    """Find the first operation that is neither found nor harmless, of those that matter.

    Args:
        alignment: What `align` found.

    Returns:
        Its position; None if every result that the outputs are computed from is found.
    """
    needed = _needed(alignment.theirs)
    for index, operation in enumerate(alignment.theirs.operations):
        results = [x for x in operation.outputs if x in needed and x in alignment.nearest]
        if any(not alignment.right(x) for x in results):
            return index
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
