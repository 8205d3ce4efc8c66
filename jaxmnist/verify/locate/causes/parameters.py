"""Causes that are another layer's parameters in the place of an operation's own."""

from collections.abc import Iterator

from jaxmnist.verify.locate.forward import VIEWS, Alignment
from jaxmnist.verify.locate.torch_trace import Ref
from jaxmnist.verify.locate.trial import Hypothesis, first

PARTS = frozenset(
    ("split", "split_with_sizes", "unsafe_split", "chunk", "unbind", "select", "slice", "narrow")
)
"""Operations that take a part of a tensor."""
LATER = 14
"""How many operations after the first may read the same layer's parameters."""
Views = list[tuple[int, int]]
"""The operations, and which of their results, from a parameter to what is read."""


def hypotheses(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Yield the parameters of other submodules that have the same names and shapes.

    Args:
        alignment: Of the two programs.
        index: The position of the operation where they diverge.

    Yields:
        Changes to it.
    """
    theirs = alignment.theirs
    readers = {
        i: found
        for i in range(index, min(index + LATER, len(theirs.operations)))
        if (found := _read(alignment, i))
    }
    if index not in readers:
        return
    owner = readers[index][0]
    if theirs.operations[index].name == "mul":
        for position in readers[index][1]:
            more = first(theirs.operations[index], position, lambda w: 1 + w)
            yield Hypothesis("scale: 1 + weight in JAX", {index: more})
    readers = {i: found for i, found in readers.items() if found[0] == owner}
    known = {value.name: n for n, value in enumerate(theirs.values) if value.name}
    for other in dict.fromkeys(name.rpartition(".")[0] for name in known):
        changed = {}
        for i, (_, positions) in readers.items():
            arguments = list(theirs.operations[i].arguments)
            for position, (name, views) in positions.items():
                number = known.get(f"{other}.{name.rpartition('.')[2]}".lstrip("."))
                if number is None:
                    break
                tensor = theirs.values[number].tensor
                if tensor.shape != theirs.values[known[name]].tensor.shape:
                    break
                for view, part in views:
                    made = theirs.operations[view]
                    tensor = made.function(tensor, *made.arguments[1:], **made.keywords)
                    tensor = tensor[part] if isinstance(tensor, tuple | list) else tensor
                arguments[position] = tensor
            else:
                changed[i] = theirs.operations[i]._replace(arguments=tuple(arguments))
        if other != owner and changed.keys() == readers.keys():
            yield Hypothesis(
                f"weights of another layer: {other} in JAX, {owner} in PyTorch", changed, tells=True
            )


def _read(alignment: Alignment, index: int) -> tuple[str, dict[int, tuple[str, Views]]] | None:
    """The submodule whose parameters an operation on data reads, and these by position."""
    operation = alignment.theirs.operations[index]
    values = alignment.theirs.values
    if not any(values[n].data for n in operation.inputs):
        return None
    own = {
        i: found
        for i, x in enumerate(operation.arguments)
        if isinstance(x, Ref) and (found := _parameter(alignment, x.number))
    }
    owners = {name.rpartition(".")[0] for name, _ in own.values()}
    return (owners.pop(), own) if len(owners) == 1 else None


def _parameter(alignment: Alignment, number: int) -> tuple[str, Views] | None:
    """The parameter that a value is a view of, and which results of which operations are so."""
    theirs = alignment.theirs
    views: Views = []
    while theirs.values[number].name is None:
        maker = theirs.values[number].maker
        if maker is None or theirs.operations[maker].name not in VIEWS | PARTS:
            return None
        views.insert(0, (maker, theirs.operations[maker].outputs.index(number)))
        number = theirs.operations[maker].inputs[0]
    value = theirs.values[number]
    return None if value.data or value.name is None else (value.name, views)
