"""A supposed cause, and the test of it: does the torch module with that change agree again?"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxmnist.verify.locate.align import informative, ordered
from jaxmnist.verify.locate.forward import VIEWS, Alignment
from jaxmnist.verify.locate.replay import replayed
from jaxmnist.verify.locate.torch_trace import Operation, Ref, TorchTrace

AHEAD = 60
"""How many operations after the changed one are computed again."""
NEAR = 8
"""Among how many results after one that is not found itself another must be."""


class Hypothesis(NamedTuple):
    """A change to the torch module under which it might compute what the JAX function does."""

    cause: str
    """In short words, the JAX function's side first."""
    changed: Mapping[int, Operation] = {}
    """Operations in the place of those at these positions."""
    given: Mapping[int, Any] = {}
    """Arrays in the place of values of these numbers."""
    tells: bool = False
    """Whether the operation's own result tells enough, if JAX has it: other parameters do."""


def holds(alignment: Alignment, index: int, hypothesis: Hypothesis, lenient: bool = False) -> bool:
    """Test a hypothesis by substitution.

    The operations from `index` on are computed again with the change. It holds if something after
    it that had not been found is found among the JAX function's values, soon if the operation's own
    result is not, which the JAX function may have in parts; a result that nothing is computed from
    must be found itself.

    Args:
        alignment: Of the two programs.
        index: The position of the operation where they diverge.
        hypothesis: The change.
        lenient: Whether one that tells enough by itself holds by the operation's own result.

    Returns:
        Whether they agree with the change.
    """
    theirs = alignment.theirs
    operations = theirs.operations
    stop = min(index + AHEAD, len(operations))
    results = dict(hypothesis.given)
    results.update(replayed(theirs, range(index, stop), hypothesis.given, hypothesis.changed))
    last = max([index, *hypothesis.changed])
    own = operations[last].outputs[0]
    made = results.get(own)
    if made is None or not informative(np.asarray(made)):
        return False
    after = [
        number
        for i in range(last + 1, stop)
        for number in operations[i].outputs[:1]
        if operations[i].name not in VIEWS and number in results and number in alignment.nearest
    ]
    own_found = alignment.in_ours(np.asarray(made), own) is not None
    if not after:
        return own_found
    if lenient and hypothesis.tells and alignment.is_new(np.asarray(made), own):
        return True
    return any(
        alignment.is_new(results[number], number)
        for number in (after if own_found else after[:NEAR])
        if number not in alignment.found
    )


def data_inputs(theirs: TorchTrace, operation: Operation) -> list[int]:
    """List the positions of an operation's arguments that depend on the inputs."""
    return [
        i
        for i, x in enumerate(operation.arguments)
        if isinstance(x, Ref) and theirs.values[x.number].data
    ]


def with_argument(operation: Operation, position: int, value: Any) -> Operation:
    """Replace one positional argument."""
    arguments = list(operation.arguments)
    arguments[position] = value
    return operation._replace(arguments=tuple(arguments))


def then(operation: Operation, function: Any) -> Operation:
    """Apply a function to an operation's first result."""
    before = operation.function

    def both(*args: Any, **kwargs: Any) -> Any:
        made = before(*args, **kwargs)
        if isinstance(made, tuple | list):
            return (function(made[0]), *made[1:])
        return function(made)

    both._schema = getattr(before, "_schema", None)  # type: ignore[attr-defined]
    return operation._replace(function=both)


def first(operation: Operation, position: int, function: Any) -> Operation:
    """Apply a function to one of an operation's arguments."""
    before = operation.function

    def both(*args: Any, **kwargs: Any) -> Any:
        changed = list(args)
        changed[position] = function(changed[position])
        return before(*changed, **kwargs)

    both._schema = getattr(before, "_schema", None)  # type: ignore[attr-defined]
    return operation._replace(function=both)


def counterparts(alignment: Alignment, index: int, count: int = 6) -> Iterator[int]:
    """Yield the values of ours that might stand for an operation's result, the nearest first.

    They have its size, are computed from what it read, and are no value of theirs.
    """
    theirs, ours = alignment.theirs, alignment.ours
    operation = theirs.operations[index]
    result = theirs.values[operation.outputs[0]].array()
    wanted = ordered(result)
    found: list[tuple[float, int]] = []
    for number, value in enumerate(ours.values):
        array = value.array
        if not value.data or array.size != result.size or number in alignment.taken:
            continue
        if informative(array) and (mine := ordered(array)).shape == wanted.shape:
            error = float(np.abs(mine - wanted).max())
            # The same numbers once: a choice or a reshape of them is no other candidate.
            if all(error != other for other, _ in found):
                found.append((error, number))
    yield from (number for _, number in sorted(found)[:count])
