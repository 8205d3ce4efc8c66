"""Causes that are a pooling's: padding, what is counted, the windows, the mean or the maximum."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from jaxmnist.verify.locate.torch_trace import Operation
from jaxmnist.verify.locate.trial import Hypothesis


def pool(index: int, operation: Operation) -> Iterator[Hypothesis]:
    """Yield what a pooling might be in the JAX function.

    Args:
        index: The position of the operation.
        operation: The operation.

    Yields:
        Changes to it: its padding, the size of its windows, the mean for the maximum.
    """
    import torch

    name, arguments = operation.name, list(operation.arguments)
    if name.startswith("avg_pool"):
        arguments += [[], 0, False, True, None][len(arguments) - 2 :] if len(arguments) < 7 else []
        for include, ceil in itertools.product((True, False), repeat=2):
            if (include, ceil) != (arguments[5], arguments[4]):
                changed = [*arguments[:4], ceil, include, *arguments[6:]]
                yield Hypothesis(
                    f"padding: count_include_pad={include}, ceil_mode={ceil} in JAX",
                    {index: operation._replace(arguments=tuple(changed))},
                )
    kernel = arguments[1] if len(arguments) > 1 else [2]
    stride = (arguments[2] if len(arguments) > 2 else None) or kernel
    padding = arguments[3] if len(arguments) > 3 else [0]
    dims = len(kernel)
    if not any(name.startswith(x) for x in ("avg_pool", "max_pool")):
        return
    maximum = name.startswith("max_pool")
    names = ("max", "avg") if maximum else ("avg", "max")
    function, other = (getattr(torch.nn.functional, f"{n}_pool{dims}d") for n in names)
    words = "reduction: {} in JAX, {} in PyTorch".format(
        *(("average", "maximum") if maximum else ("maximum", "average"))
    )
    swapped = operation._replace(
        function=lambda x, *_: other(x, kernel, stride, padding), keywords={}
    )
    yield Hypothesis(words, {index: swapped})
    for before, after in _pads(padding, dims):
        for fill in (-math.inf, 0.0) if maximum else (0.0,):
            pads = [x for axis in reversed(range(dims)) for x in (before[axis], after[axis])]

            def pooled(x: Any, *_: Any, pads: Any = pads, fill: Any = fill) -> Any:
                padded = torch.nn.functional.pad(x, pads, value=fill)
                return function(padded, kernel, stride)

            yield Hypothesis(
                _padding_words(before, after, padding, fill == 0.0 and maximum),
                {index: operation._replace(function=pooled, keywords={})},
            )
    for size in range(1, 8):
        for before, after in itertools.product(range(min(size, 3)), repeat=2):
            if (size,) * dims == tuple(kernel) or max(before, after) > size // 2 + 1:
                continue
            pads = [before, after] * dims

            def windowed(x: Any, *_: Any, pads: Any = pads, size: int = size) -> Any:
                fill = -math.inf if maximum else 0.0
                padded = torch.nn.functional.pad(x, pads, value=fill)
                return function(padded, size, stride)

            yield Hypothesis(
                f"window of pooling: {size} in JAX, {list(kernel)} in PyTorch",
                {index: operation._replace(function=windowed, keywords={})},
            )


def _pads(padding: Any, dims: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Other ways to pad: the same on all axes, up to two more or less on either side."""
    own = [padding] * dims if isinstance(padding, int) else list(padding)
    own = own * dims if len(own) == 1 else own
    for low, high in itertools.product((-2, -1, 0, 1, 2), repeat=2):
        before, after = (tuple(max(p + d, 0) for p in own) for d in (low, high))
        yield before, after


def _padding_words(before: Any, after: Any, theirs: Any, zeros: bool) -> str:
    ours = f"({', '.join(map(str, (before[0], after[0])))})"
    return f"padding: {ours}{' of zeros' if zeros else ''} in JAX, {theirs} in PyTorch"
