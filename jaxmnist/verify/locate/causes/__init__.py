"""Why two programs diverge at a place: what makes them agree again when it is substituted."""

from collections.abc import Callable, Iterator
from typing import Any

from jaxmnist.verify.locate.causes import (
    arguments,
    attention,
    convolution,
    extra,
    modules,
    parameters,
    precision,
    structure,
    tables,
)
from jaxmnist.verify.locate.forward import Alignment
from jaxmnist.verify.locate.place import Place
from jaxmnist.verify.locate.trial import Hypothesis, holds

SOURCES: tuple[Callable[[Alignment, int], Iterator[Hypothesis]], ...] = (
    convolution.hypotheses,
    attention.hypotheses,
    arguments.hypotheses,
    structure.hypotheses,
    parameters.hypotheses,
    tables.hypotheses,
)
"""Where hypotheses come from, in the order in which they are tried."""


def cause(alignment: Alignment, place: Place, module: Any) -> str | None:
    """Find why two programs diverge.

    Every supposed cause is tried: the torch module is changed by it, and computes from there on
    what the JAX function does, or not.

    Args:
        alignment: Of the two programs.
        place: Where they diverge.
        module: The torch module that was recorded.

    Returns:
        The first cause that holds, in short words; None if there is none.
    """
    if place.extra is not None:
        return extra.extra(alignment, place)
    index = place.operation
    if index is None:
        return None
    return (
        substituted(alignment, index, module)
        or substituted(alignment, index, module, lenient=True)
        or modules.cause(alignment, place, module)
        or precision.cause(alignment, place)
    )


def substituted(alignment: Alignment, index: int, module: Any, lenient: bool = False) -> str | None:
    """Find what makes an operation compute what the JAX function does.

    Args:
        alignment: Of the two programs.
        index: The position of the operation where they diverge.
        module: The torch module that was recorded.
        lenient: As `holds` takes it; then only what was not tried before is.

    Returns:
        The first cause that holds, in short words; None if there is none.
    """
    place = Place(alignment.theirs.operations[index].module, index)
    if not lenient and (gates := modules.recurrent(alignment, place, module)) is not None:
        return gates
    if not lenient and (missing := modules.left_out(alignment, index, module)) is not None:
        return missing
    for source in SOURCES:
        for hypothesis in source(alignment, index):
            if lenient and not hypothesis.tells:
                continue
            if holds(alignment, index, hypothesis, lenient):
                return structure.moved(alignment, index, hypothesis) or hypothesis.cause
    return None
