"""Causes that are another layer's parameters in the place of an operation's own."""

from collections.abc import Iterator

from jaxmnist.verify.locate.forward import VIEWS, Alignment
from jaxmnist.verify.locate.torch_trace import Ref
from jaxmnist.verify.locate.trial import Hypothesis


def hypotheses(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Yield the parameters of other submodules that have the same names and shapes.

    Args:
        alignment: Of the two programs.
        index: The position of the operation where they diverge.

    Yields:
        Changes to it.
    """
    theirs = alignment.theirs
    operation = theirs.operations[index]
    own = {
        i: found
        for i, x in enumerate(operation.arguments)
        if isinstance(x, Ref) and (found := _parameter(alignment, x.number))
    }
    owners = {name.rpartition(".")[0] for name, _ in own.values()}
    if len(owners) != 1:
        return
    (owner,) = owners
    known = {value.name: n for n, value in enumerate(theirs.values) if value.name}
    others = dict.fromkeys(name.rpartition(".")[0] for name in known)
    for other in others:
        if other == owner:
            continue
        arguments = list(operation.arguments)
        for i, (name, views) in own.items():
            number = known.get(f"{other}.{name.rpartition('.')[2]}".lstrip("."))
            if number is None:
                break
            tensor = theirs.values[number].tensor
            if tensor.shape != theirs.values[known[name]].tensor.shape:
                break
            for view in views:
                made = theirs.operations[view]
                tensor = made.function(tensor, *made.arguments[1:], **made.keywords)
            arguments[i] = tensor
        else:
            yield Hypothesis(
                f"weights of another layer: {other} in JAX, {owner} in PyTorch",
                {index: operation._replace(arguments=tuple(arguments))},
            )


def _parameter(alignment: Alignment, number: int) -> tuple[str, list[int]] | None:
    """The parameter that a value is a view of, and the operations that make the view."""
    theirs = alignment.theirs
    views: list[int] = []
    while theirs.values[number].name is None:
        maker = theirs.values[number].maker
        if maker is None or theirs.operations[maker].name not in VIEWS:
            return None
        views.insert(0, maker)
        number = theirs.operations[maker].inputs[0]
    value = theirs.values[number]
    return None if value.data or value.name is None else (value.name, views)
