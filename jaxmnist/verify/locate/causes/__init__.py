"""Why two programs diverge at a place: what makes them agree again when it is substituted."""

from collections.abc import Callable, Iterator
from typing import Any

from jaxmnist.verify.locate.causes import (
    arguments,
    attention,
    convolution,
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
        return structure.extra(alignment, place)
    index = place.operation
    if index is None:
        return None
    if (gates := modules.recurrent(alignment, place, module)) is not None:
        return gates
    for source in SOURCES:
        for hypothesis in source(alignment, index):
            if holds(alignment, index, hypothesis):
                return structure.moved(alignment, index, hypothesis) or hypothesis.cause
    return modules.cause(alignment, place, module) or precision.cause(alignment, place)
