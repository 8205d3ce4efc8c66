"""Causes in what is computed: an operation that one side lacks, or the order of its elements."""

import itertools
from collections.abc import Iterator

import numpy as np

from jaxmnist.verify.locate.align import Match, near, ordered, same_elements
from jaxmnist.verify.locate.causes.activations import ACTIVATIONS
from jaxmnist.verify.locate.forward import VIEWS, Alignment, maker_of
from jaxmnist.verify.locate.jax_trace import JaxTrace
from jaxmnist.verify.locate.replay import replayed
from jaxmnist.verify.locate.torch_trace import Operation, Ref
from jaxmnist.verify.locate.trial import Hypothesis, data_inputs, with_argument

LATER = 12
"""How many operations later one that seems to be missing may be done."""


def hypotheses(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Yield what the JAX function might leave out, or do to elements in another order.

    Args:
        alignment: Of the two programs.
        index: The position of the operation where they diverge.

    Yields:
        Changes to the torch module.
    """
    operation = alignment.theirs.operations[index]
    yield from _reordered(alignment, index, operation)
    yield from _left_out(alignment, index, operation)
    yield from _chain_left_out(alignment, index)
    yield from _slices(alignment, index, operation)
    yield from _selected(alignment, index, operation)
    yield from _other_operands(alignment, index, operation)


def _left_out(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    """The operation's result is one of what it read."""
    theirs = alignment.theirs
    shape = theirs.values[operation.outputs[0]].tensor.shape
    inputs = [n for n in operation.inputs if theirs.values[n].data]
    for number in dict.fromkeys(inputs):
        tensor = theirs.values[number].tensor
        if tensor.numel() != shape.numel() or not tensor.is_floating_point():
            continue
        array = theirs.values[number].array().reshape(tuple(shape))
        returned = operation.outputs[0] in theirs.outputs.values()
        if returned and not any(
            x.size == array.size and near(ordered(x), ordered(array))
            for x in (alignment.ours.values[n].array for n in alignment.ours.outputs.values())
        ):
            continue
        what = f"missing {_noun(operation, len(inputs) > 1)}"
        yield Hypothesis(what, given={operation.outputs[0]: array})


def _chain_left_out(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Several operations, each on the result of the one before, are not done at all."""
    theirs = alignment.theirs
    consumers = theirs.consumers()
    chain: list[int] = []
    while len(chain) < 4:
        operation = theirs.operations[index]
        own = operation.outputs[0]
        same = theirs.values[own].tensor.shape == theirs.values[operation.inputs[0]].tensor.shape
        if data_inputs(theirs, operation) != [0] or not same:
            return
        chain.append(index)
        later = [i for i in consumers.get(own, ()) if i > index]
        later = [i for i in later if theirs.operations[i].name != "detach"]
        if len(chain) > 1 and later:
            names = [theirs.operations[i].name.rstrip("_") for i in chain]
            yield Hypothesis(
                f"missing {', '.join(names[:-1])} and {names[-1]}",
                {i: theirs.operations[i]._replace(function=lambda x, *_, **__: x) for i in chain},
            )
        if len(later) != 1:
            return
        (index,) = later


def _noun(operation: Operation, several: bool) -> str:
    name = operation.name.rstrip("_")
    if name == "add":
        return "residual connection" if several else "bias or constant"
    if name in ("mul", "div"):
        return "gate or scale" if several else "scale"
    if "norm" in name:
        return "normalisation"
    return {"masked_fill": "mask", "where": "mask"}.get(name, name)


def _reordered(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    """Our own elements in our own order, in the shape that the operation reads."""
    theirs, ours = alignment.theirs, alignment.ours
    for position in data_inputs(theirs, operation):
        reference = operation.arguments[position]
        value = theirs.values[reference.number]
        array = value.array()
        match = alignment.nearest.get(reference.number)
        if reference.number not in alignment.found or match is None:
            continue
        flattens = operation.name in ("addmm", "mm", "linear") and array.ndim == 2
        words = "flatten order" if flattens and _flattened(alignment, reference.number) else None
        like = _value(ours, match)
        tried: list[np.ndarray] = [array]
        for number in range(match.number, len(ours.values)):
            mine = _value(ours, match) if number == match.number else ours.values[number].array
            # Ours are compared with ours: theirs differ from them by rounding.
            if mine.size != array.size or not same_elements(mine, like):
                continue
            for axes in _orders(mine.ndim):
                other = mine.transpose(axes).reshape(array.shape)
                if any(near(other, one) for one in tried):
                    continue
                tried.append(other)
                yield Hypothesis(
                    words or "order of elements: a reshape or a transpose differs",
                    given={reference.number: other},
                )
            if len(tried) > 40:
                break


def _value(ours: JaxTrace, match: Match) -> np.ndarray:
    array = ours.values[match.number].array
    return array if match.step is None else array[match.step]


def _orders(rank: int) -> list[tuple[int, ...]]:
    return list(itertools.permutations(range(rank))) if rank <= 4 else [tuple(range(rank))]


def _flattened(alignment: Alignment, number: int) -> bool:
    """Whether a matrix's rows come from arrays of more axes."""
    theirs = alignment.theirs
    columns = theirs.values[number].tensor.shape[-1]
    maker = theirs.values[number].maker
    while maker is not None and theirs.operations[maker].name in VIEWS:
        number = theirs.operations[maker].inputs[0]
        shape = theirs.values[number].tensor.shape
        if len(shape) > 2 and shape[-1] != columns:
            return True
        maker = theirs.values[number].maker
    return False


def _slices(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    """A table that is read from another row on."""
    theirs = alignment.theirs
    for position, x in enumerate(operation.arguments):
        if not isinstance(x, Ref) or theirs.values[x.number].data:
            continue
        maker = maker_of(theirs, x.number)
        if maker is None:
            continue
        made = theirs.operations[maker]
        source = theirs.values[made.inputs[0]].tensor if made.inputs else None
        if made.name == "slice" and source is not None and len(made.arguments) >= 4:
            axis, start, stop = made.arguments[1:4]
            length = min(stop, source.shape[axis]) - start
            for by in (1, -1, 2, -2):
                if start + by >= 0 and start + by + length <= source.shape[axis]:
                    rows = source.narrow(axis, start + by, length)
                    rows = rows.reshape(theirs.values[x.number].tensor.shape)
                    yield Hypothesis(
                        f"offset of a table: {start + by} in JAX, {start} in PyTorch",
                        {index: with_argument(operation, position, rows)},
                    )


def _selected(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    """Another element of an axis, or a sum over it, in the place of the one that is selected."""
    theirs = alignment.theirs
    for number in operation.outputs[:1] if operation.name == "select" else operation.inputs:
        maker = maker_of(theirs, number)
        if maker is None or theirs.operations[maker].name != "select":
            continue
        source, axis, own = theirs.operations[maker].arguments
        tensor = theirs.values[source.number].tensor
        if not theirs.values[source.number].data or not tensor.is_floating_point():
            continue
        length = tensor.shape[axis]
        taken = f"position {own % length} of {length} in PyTorch"
        others = {
            f"index: position {i} in JAX, {taken}": tensor.select(axis, i)
            for i in range(length)
            if i != own % length
        }
        others |= {
            f"reduction: {words} in JAX, {taken}": getattr(tensor, words)(axis)
            for words in ("mean", "sum", "amax")
        }
        for words, other in others.items():
            yield Hypothesis(
                words, given={number: other.reshape(theirs.values[number].tensor.shape)}
            )


def _other_operands(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    """Another value that was computed shortly before, in the place of an operand."""
    theirs = alignment.theirs
    positions = data_inputs(theirs, operation)
    name = operation.name.rstrip("_")
    if len(positions) != 2 and operation.name not in ACTIVATIONS:
        return
    if len(positions) == 2 and name not in ("add", "sub", "mul", "div"):
        return
    for position in positions:
        own = operation.arguments[position].number
        shape = theirs.values[own].tensor.shape
        for made in reversed(theirs.operations[max(0, index - 4 * LATER) : index + LATER]):
            number = made.outputs[0] if made.outputs else own
            value = theirs.values[number]
            if number in operation.inputs or number not in alignment.found:
                continue
            if value.tensor.numel() == shape.numel() and made.name not in VIEWS:
                where = made.module or "the module"
                yield Hypothesis(
                    f"other operand of {name}: the {made.name} of {where} in JAX",
                    {index: with_argument(operation, position, value.tensor.reshape(shape))},
                    tells=len(positions) == 1,
                )


def moved(alignment: Alignment, index: int, hypothesis: Hypothesis) -> str | None:
    """Say behind which operation the JAX function does what it seems to leave out.

    Args:
        alignment: Of the two programs.
        index: The position of the operation that seems to be missing.
        hypothesis: That it is, which holds.

    Returns:
        The cause in short words; None if the operation is not done later either.
    """
    theirs = alignment.theirs
    operation = theirs.operations[index]
    (own,) = operation.outputs[:1]
    if own not in hypothesis.given:
        return None
    left = hypothesis.given[own]
    # What the result is without the operation: one of two terms, or all that it reads.
    read = [operation.arguments[i].number for i in data_inputs(theirs, operation)]
    kept = [n for n in read if np.array_equal(theirs.values[n].array().ravel(), left.ravel())]
    if not kept:
        return None
    reference = kept[0]
    stop = min(index + LATER, len(theirs.operations))
    results = replayed(theirs, range(index + 1, stop), hypothesis.given)
    shape = theirs.values[reference].tensor.shape
    for i in range(index + 1, stop):
        number = theirs.operations[i].outputs[0]
        array = results.get(number)
        if array is None or array.shape != tuple(shape) or theirs.operations[i].name in VIEWS:
            continue
        if alignment.in_ours(array, number) is None:
            return None
        made = replayed(theirs, [index], {reference: array}).get(own)
        if made is None or same_elements(made, array):
            continue
        if alignment.in_ours(made, own) is not None:
            names = operation.name, theirs.operations[i].name
            return "order: {} after {} in JAX, before it in PyTorch".format(*names)
    return None
