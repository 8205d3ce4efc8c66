"""Causes that are an operation's operands: swapped, transposed, or combined in another way."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from jaxmnist.verify.locate.forward import Alignment
from jaxmnist.verify.locate.torch_trace import Operation, Ref
from jaxmnist.verify.locate.trial import Hypothesis, data_inputs, first, with_argument

ELEMENTWISE: Final[dict[str, tuple[str, Callable[[Any, Any], Any]]]] = {
    "add": ("sum", lambda a, b: a + b),
    "sub": ("difference", lambda a, b: a - b),
    "mul": ("product", lambda a, b: a * b),
    "div": ("quotient", lambda a, b: a / b),
}
"""The words of operations on two arrays, and what they compute."""


def operands(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    """Yield other orders of an operation's operands, and other operations on the same.

    Args:
        alignment: Of the two programs.
        index: The position of the operation.
        operation: The operation.

    Yields:
        Changes to it.
    """
    inputs = data_inputs(alignment.theirs, operation)
    if len(inputs) == 2:
        a, b = inputs
        arguments = list(operation.arguments)
        arguments[a], arguments[b] = arguments[b], arguments[a]
        if operation.name in ("sub", "div", "mm", "bmm", "matmul", "rsub"):
            yield Hypothesis(
                "operands swapped", {index: operation._replace(arguments=tuple(arguments))}
            )
        name = operation.name.rstrip("_")
        if name in ELEMENTWISE and not operation.keywords:
            own = ELEMENTWISE[name][0]
            for words, function in ELEMENTWISE.values():
                changed = operation._replace(function=function, arguments=operation.arguments[:2])
                if words != own:
                    what = f"operation: {words} in JAX, {own} in PyTorch"
                    yield Hypothesis(what, {index: changed})
    if operation.name == "cat":
        order = list(reversed(operation.arguments[0]))
        yield Hypothesis(
            "order of concatenation reversed", {index: with_argument(operation, 0, order)}
        )
    if operation.name in ("mm", "bmm", "matmul", "addmm", "baddbmm"):
        for i in range(len(operation.arguments) - 2, len(operation.arguments)):
            argument = operation.arguments[i]
            if not isinstance(argument, Ref):
                continue
            tensor = alignment.theirs.values[argument.number].tensor
            if tensor.ndim >= 2 and tensor.shape[-1] == tensor.shape[-2]:
                what = "product" if alignment.theirs.values[argument.number].data else "weight"
                yield Hypothesis(
                    f"transposed {what}", {index: first(operation, i, lambda x: x.mT.contiguous())}
                )
    if operation.name == "_trilinear":
        yield Hypothesis(
            "transposed weight: the two inputs of the product swapped",
            {index: first(operation, 1, lambda x: x.mT.contiguous())},
        )
    if operation.name in ("addmm", "baddbmm"):
        yield Hypothesis("missing bias", {index: first(operation, 0, lambda x: x * 0)})
        yield Hypothesis("bias added twice", {index: first(operation, 0, lambda x: x * 2)})
        yield Hypothesis("bias subtracted", {index: first(operation, 0, lambda x: -x)})
