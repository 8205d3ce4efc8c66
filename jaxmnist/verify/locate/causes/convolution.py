"""Causes that are a convolution's: padding, the stride's offset, a flipped or swapped kernel."""

import itertools
from collections.abc import Iterator
from typing import Any

from jaxmnist.verify.locate.forward import Alignment
from jaxmnist.verify.locate.torch_trace import Operation
from jaxmnist.verify.locate.trial import Hypothesis, first, with_argument

MODES = ("reflect", "replicate", "circular")


def hypotheses(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Yield what a convolution might be in the JAX function.

    Args:
        alignment: Of the two programs.
        index: The position of the operation.

    Yields:
        Changes to it; none if it is no convolution.
    """
    operation = alignment.theirs.operations[index]
    if operation.name == "constant_pad_nd":
        yield from _pad_before(alignment, index)
    if operation.name != "convolution":
        return
    _, weight, bias, stride, padding, dilation, transposed, *_ = operation.arguments
    dims = len(stride)
    kernel = alignment.theirs.values[weight.number].tensor
    spatial = list(range(2, 2 + dims))
    if bias is not None:
        yield Hypothesis("missing bias", {index: first(operation, 2, lambda b: b * 0)})
    yield Hypothesis(
        "kernel flipped in its spatial axes",
        {index: first(operation, 1, lambda w: w.flip(spatial))},
    )
    if dims > 1 and len({*kernel.shape[2:]}) == 1:
        yield Hypothesis(
            "transposed weight: the kernel's spatial axes swapped",
            {index: first(operation, 1, lambda w: w.transpose(2, 3).contiguous())},
        )
    if kernel.shape[0] == kernel.shape[1]:
        yield Hypothesis(
            "transposed weight: inputs and outputs of the kernel swapped",
            {index: first(operation, 1, lambda w: w.transpose(0, 1).contiguous())},
        )
        yield Hypothesis(
            "transposed weight: inputs and outputs swapped, and flipped",
            {index: first(operation, 1, lambda w: w.transpose(0, 1).flip(spatial))},
        )
    if transposed:
        yield from _transposed(index, operation)
        return
    for changed in range(1, 5):
        if [changed] * dims != list(dilation):
            shift = [
                (changed - d) * (k - 1) for d, k in zip(dilation, kernel.shape[2:], strict=True)
            ]
            if all(s % 2 == 0 for s in shift):
                pads = [p + s // 2 for p, s in zip(padding, shift, strict=True)]
                arguments = list(operation.arguments)
                arguments[4], arguments[5] = pads, [changed] * dims
                if min(pads) >= 0:
                    yield Hypothesis(
                        f"dilation: {changed} in JAX, {dilation} in PyTorch",
                        {index: operation._replace(arguments=tuple(arguments))},
                    )
    for before, after in _pads(padding, dims):
        # Where the windows start, and with it which pixels a stride leaves out.
        moved = max(stride) > 1 and before != tuple(padding)
        what = "padding, which moves the stride's windows" if moved else "padding"
        words = f"{what}: padded by {_pair(before, after)} in JAX, {padding} in PyTorch"
        yield Hypothesis(words, {index: _padded(operation, before, after, "constant")})
    for mode in MODES:
        yield Hypothesis(
            f"padding: {mode} in JAX, zeros in PyTorch",
            {index: _padded(operation, padding, padding, mode)},
        )


def _pad_before(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Another padding before a convolution, and with it another dilation."""
    operations = alignment.theirs.operations
    operation = operations[index]
    own = list(operation.arguments[1])
    axes = len(own) // 2
    for by in itertools.product(range(-4, 5), repeat=2):
        pads = [p + d for p, d in zip(own, by * axes, strict=True)]
        if pads != own and min(pads) >= 0:
            yield Hypothesis(
                f"padding: {tuple(pads)} in JAX, {tuple(own)} in PyTorch",
                {index: with_argument(operation, 1, pads)},
            )
    for later in range(index + 1, min(index + 4, len(operations))):
        following = operations[later]
        if following.name != "convolution":
            continue
        dilation = following.arguments[5]
        for other in range(1, 5):
            if other != dilation[0]:
                pads = [p * other // dilation[0] for p in own]
                changed = with_argument(following, 5, [other] * len(dilation))
                yield Hypothesis(
                    f"dilation: {other} in JAX, {dilation} in PyTorch",
                    {index: with_argument(operation, 1, pads), later: changed},
                )


def _pair(before: Any, after: Any) -> str:
    pairs = {*zip(before, after, strict=True)}
    return str(pairs.pop()) if len(pairs) == 1 else f"{tuple(before)} and {tuple(after)}"


def _pads(padding: Any, dims: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Other ways to pad: up to three more or less on either side, the same on all axes."""
    own = list(padding)
    moves = sorted(itertools.product(range(-3, 4), repeat=2), key=lambda m: abs(m[0]) + abs(m[1]))
    for low, high in moves:
        if (low, high) == (0, 0):
            continue
        before, after = tuple(p + low for p in own), tuple(p + high for p in own)
        yield before, after
    if dims == 2:
        for low, high in ((-1, 1), (1, -1)):
            for axis in range(dims):
                before = tuple(p + low * (i == axis) for i, p in enumerate(own))
                after = tuple(p + high * (i == axis) for i, p in enumerate(own))
                yield before, after


def _padded(operation: Operation, before: Any, after: Any, mode: str) -> Operation:
    import torch

    dims = len(before)
    pads = [x for axis in reversed(range(dims)) for x in (before[axis], after[axis])]
    function = operation.function

    def convolved(x: Any, w: Any, b: Any, stride: Any, padding: Any, *rest: Any) -> Any:
        padded = torch.nn.functional.pad(x, pads, mode=mode)
        return function(padded, w, b, stride, [0] * len(padding), *rest)

    return operation._replace(function=convolved)


def _transposed(index: int, operation: Operation) -> Iterator[Hypothesis]:
    """A transposed convolution is padded by cutting its result."""
    import torch

    function = operation.function
    dims = len(operation.arguments[3])
    for low, high in itertools.product(range(-3, 4), repeat=2):
        if (low, high) == (0, 0):
            continue
        pads = [low, high] * dims

        def shifted(*args: Any, pads: Any = pads) -> Any:
            arguments = list(args)
            arguments[4] = [0] * dims
            whole = function(*arguments)
            moved = [s - p for p, s in zip(_twice(args[4]), pads, strict=True)]
            return torch.nn.functional.pad(whole, moved)

        yield Hypothesis(
            f"padding: the result shifted by ({low}, {high}) in JAX",
            {index: operation._replace(function=shifted)},
        )


def _twice(padding: Any) -> list[int]:
    return [x for p in reversed(padding) for x in (p, p)]
