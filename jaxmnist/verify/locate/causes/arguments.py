"""Causes that are one argument of an operation: epsilon, padding, an axis, a factor, a form."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from jaxmnist.verify.locate.align import ordered
from jaxmnist.verify.locate.causes.activations import ACTIVATIONS, activation
from jaxmnist.verify.locate.causes.norms import other_norms
from jaxmnist.verify.locate.causes.operands import operands
from jaxmnist.verify.locate.causes.pooling import pool
from jaxmnist.verify.locate.forward import Alignment
from jaxmnist.verify.locate.replay import replayed
from jaxmnist.verify.locate.torch_trace import Operation, Ref
from jaxmnist.verify.locate.trial import (
    Hypothesis,
    counterparts,
    first,
    then,
    with_argument,
)

EPSILONS: Final = (
    *(0.0, 1e-16, 1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2),
    *(float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)),
)
NORMS: Final = frozenset(
    (
        *("native_layer_norm", "native_group_norm", "native_batch_norm", "_fused_rms_norm"),
        *("_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "rms_norm"),
        *("batch_norm", "cudnn_batch_norm", "_batch_norm_with_update"),
    )
)


def hypotheses(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Yield what the operation's arguments might be in the JAX function.

    Args:
        alignment: Of the two programs.
        index: The position of the operation.

    Yields:
        Changes to it.
    """
    operation = alignment.theirs.operations[index]
    name = operation.name
    if name in NORMS:
        yield from _norm(alignment, index, operation)
    if name in ACTIVATIONS:
        yield from activation(alignment, index, operation)
    if name in ("_softmax", "_log_softmax"):
        yield from _softmax(alignment, index, operation)
    if name in ("mean", "sum", "var", "std", "var_mean", "amax", "max", "logsumexp"):
        yield from _reduction(alignment, index, operation)
    if "pool" in name:
        yield from pool(index, operation)
    if name == "glu":
        halves = _swap_halves(operation.arguments[1] if len(operation.arguments) > 1 else -1)
        yield Hypothesis("halves of the gated unit swapped", {index: first(operation, 0, halves)})
    if name == "embedding":
        for shift in (1, -1):
            move = _shift(shift, alignment.theirs.values[operation.inputs[0]].tensor.shape[0])
            yield Hypothesis(
                f"embedding: index shifted by {shift}", {index: first(operation, 1, move)}
            )
    yield from _scalars(index, operation)
    yield from operands(alignment, index, operation)
    yield from _factor(alignment, index, operation)
    yield from _weight_factor(alignment, index, operation)


def _norm(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    position = len(operation.arguments) - 1
    epsilon = operation.arguments[position]
    keyword = not isinstance(epsilon, float)
    if keyword:
        epsilon = operation.keywords.get("eps")

    def with_epsilon(value: float) -> Operation:
        if keyword:
            return operation._replace(keywords=operation.keywords | {"eps": value})
        return with_argument(operation, position, value)

    for value in EPSILONS:
        if value != epsilon:
            yield Hypothesis(_epsilon(value, epsilon), {index: with_epsilon(value)})
    for counterpart in counterparts(alignment, index, 4):
        value = _solved(alignment, index, with_epsilon, counterpart)
        if value is not None:
            yield Hypothesis(_epsilon(value, epsilon), {index: with_epsilon(value)})
    for words, changed in other_norms(operation).items():
        yield Hypothesis(words, {index: changed})
    # An InstanceNorm is one without running statistics, and ends the process if asked for them.
    has_running = any(x is not None for x in operation.arguments[3:5])
    for i, x in enumerate(operation.arguments):
        if isinstance(x, bool) and has_running:
            used = "running" if x else "batch"
            other = "batch" if x else "running"
            yield Hypothesis(
                f"BatchNorm: {used} statistics in JAX, {other} statistics in PyTorch",
                {index: with_argument(operation, i, not x)},
            )
    refs = [i for i, _ in _refs(operation)]
    scale, bias = (2, 3) if operation.name == "native_layer_norm" else (1, 2)
    if scale in refs and bias in refs:
        without = with_argument(with_argument(operation, scale, None), bias, None)
        yield Hypothesis("missing scale and bias", {index: without})
    if scale in refs:
        yield Hypothesis("missing scale", {index: with_argument(operation, scale, None)})
        more = first(operation, scale, lambda w: 1 + w)
        yield Hypothesis("scale: 1 + weight in JAX", {index: more})
    if bias in refs:
        yield Hypothesis("missing bias", {index: with_argument(operation, bias, None)})
    if operation.name == "native_group_norm":
        channels = operation.arguments[4]
        for groups in (g for g in range(1, channels + 1) if channels % g == 0):
            if groups != operation.arguments[6]:
                yield Hypothesis(
                    f"groups: {groups} in JAX, {operation.arguments[6]} in PyTorch",
                    {index: with_argument(operation, 6, groups)},
                )


def _epsilon(ours: float, theirs: Any) -> str:
    return f"epsilon: {ours:.3g} in JAX, {theirs if theirs is None else f'{theirs:.3g}'} in PyTorch"


def _solved(
    alignment: Alignment, index: int, changed: Callable[[float], Operation], counterpart: int
) -> float | None:
    """The epsilon under which the result has the mean square of one of our values."""
    theirs = alignment.theirs
    wanted = float(np.mean(np.square(alignment.ours.values[counterpart].array)))
    own = theirs.operations[index].outputs[0]

    def mean_square(epsilon: float) -> float | None:
        made = replayed(theirs, [index], {}, {index: changed(epsilon)}).get(own)
        return None if made is None else float(np.mean(np.square(made)))

    low, high = -40.0, 3.0
    for _ in range(60):
        middle = (low + high) / 2
        found = mean_square(math.exp(middle))
        if found is None:
            return None
        low, high = (middle, high) if found > wanted else (low, middle)
    if low < -39 or high > 2.9:
        return None
    return float(f"{math.exp((low + high) / 2):.6g}")


def _softmax(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    theirs = alignment.theirs
    rank = theirs.values[operation.inputs[0]].tensor.ndim
    axis = operation.arguments[1] % rank
    for other in range(rank):
        if other != axis:
            yield Hypothesis(
                f"axis of softmax: {other} in JAX, {axis} in PyTorch",
                {index: with_argument(operation, 1, other)},
            )
    yield from scaled_scores(alignment, index)


def scaled_scores(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Yield factors of the scores before a softmax."""
    theirs = alignment.theirs
    operation = theirs.operations[index]
    near = theirs.operations[max(0, index - 12) : index + 1]
    sizes = {d for o in near for n in o.inputs for d in theirs.values[n].tensor.shape if d > 1}
    factors = {f for d in sizes for f in (d**0.5, d**-0.5, float(d), 1 / d)}
    for factor in sorted(factors):
        yield Hypothesis(
            f"scale of attention: {factor:.4g} times PyTorch's in JAX",
            {index: first(operation, 0, lambda x, factor=factor: x * factor)},
        )


def _reduction(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    import torch

    keywords = operation.keywords
    if "correction" in keywords:
        other = 0 if keywords["correction"] in (None, 1) else 1
        words = ("biased", "unbiased") if other == 0 else ("unbiased", "biased")
        yield Hypothesis(
            f"reduction: {words[0]} variance in JAX, {words[1]} in PyTorch",
            {index: operation._replace(keywords=keywords | {"correction": other})},
        )
    tensor = alignment.theirs.values[operation.inputs[0]].tensor
    axes = operation.arguments[1] if len(operation.arguments) > 1 else None
    axes = [axes] if isinstance(axes, int) else axes
    kept = bool(operation.arguments[2]) if len(operation.arguments) > 2 else False
    reductions = {"mean": torch.mean, "sum": torch.sum, "maximum": torch.amax, "last": _last}
    for words, function in reductions.items():
        dims = list(axes) if axes else list(range(tensor.ndim))
        changed = operation._replace(
            function=lambda x, *_, function=function, dims=dims, **__: function(
                x, dim=dims, keepdim=kept
            ),
            keywords={},
        )
        yield Hypothesis(
            f"reduction: {words} in JAX, {operation.name} in PyTorch", {index: changed}
        )
    if axes is not None and len(axes) == 1:
        for axis in range(tensor.ndim):
            if axis != axes[0] % tensor.ndim:
                yield Hypothesis(
                    f"reduction over axis {axis} in JAX, {axes[0]} in PyTorch",
                    {index: with_argument(operation, 1, [axis])},
                )


def _last(x: Any, dim: list[int], keepdim: bool) -> Any:
    for axis in sorted((d % x.ndim for d in dim), reverse=True):
        x = x.select(axis, -1).unsqueeze(axis) if keepdim else x.select(axis, -1)
    return x


def _scalars(index: int, operation: Operation) -> Iterator[Hypothesis]:
    """Other numbers among the arguments: epsilons and powers."""
    for i, x in enumerate(operation.arguments):
        if isinstance(x, bool) or not isinstance(x, int | float):
            continue
        if operation.name.rstrip("_") in ("add", "div", "mul", "sub") or abs(x) < 0.1:
            small = 0 < abs(x) <= 1e-2
            for value in EPSILONS if small else ():
                yield Hypothesis(_epsilon(value, x), {index: with_argument(operation, i, value)})
        if operation.name.rstrip("_") == "pow":
            for value in (1, 2, 3, 0.5, -0.5):
                yield Hypothesis(
                    f"power: {value} in JAX, {x} in PyTorch",
                    {index: with_argument(operation, i, value)},
                )


def _factor(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    """A constant factor, or a constant added: the sorted elements are then on a line."""
    result = alignment.theirs.values[operation.outputs[0]].array()
    x = ordered(result)
    finite = np.abs(x) < 1e200
    if finite.sum() < 3:
        return
    for number in counterparts(alignment, index):
        y = ordered(alignment.ours.values[number].array)
        both = finite & (np.abs(y) < 1e200)
        spread = float(np.ptp(x[both])) if both.any() else 0.0
        if not spread:
            continue
        for sign in (1.0, -1.0):
            ours = y[both] if sign > 0 else y[both][::-1]
            factor = float(sign * np.ptp(y[both]) / spread)
            if not factor:
                continue
            offset = float(np.median(ours - factor * x[both]))
            scale = float(np.abs(ours).max())
            if abs(offset) < 1e-9 * scale and abs(factor - 1) > 1e-9:
                yield Hypothesis(
                    f"scale: {factor:.6g} times PyTorch's in JAX",
                    {index: then(operation, lambda r, f=factor: r * f)},
                )
            elif abs(factor - 1) < 1e-9 and abs(offset) > 1e-12 * scale:
                yield Hypothesis(
                    f"constant: {offset:.6g} more than PyTorch's in JAX",
                    {index: then(operation, lambda r, c=offset: r + c)},
                )


def _weight_factor(alignment: Alignment, index: int, operation: Operation) -> Iterator[Hypothesis]:
    """A factor of the product alone, where a bias is added to it."""
    position = {"addmm": 0, "baddbmm": 0, "convolution": 2}.get(operation.name)
    if position is None or operation.arguments[position] is None:
        return
    weight = 1 if operation.name == "convolution" else 2
    bare = first(operation, position, lambda b: b * 0)
    product = replayed(alignment.theirs, [index], {}, {index: bare})[operation.outputs[0]]
    spread = float(np.ptp(product))
    for number in counterparts(alignment, index):
        factor = float(np.ptp(alignment.ours.values[number].array)) / (spread or 1.0)
        if factor and abs(factor - 1) > 1e-9:
            yield Hypothesis(
                f"scale of a weight: {factor:.6g} times PyTorch's in JAX",
                {index: first(operation, weight, lambda w, f=factor: w * f)},
            )


def _swap_halves(axis: int) -> Callable[[Any], Any]:
    def swap(x: Any) -> Any:
        a, b = x.chunk(2, axis)
        return _cat((b, a), axis)

    return swap


def _cat(parts: Any, axis: int) -> Any:
    import torch

    return torch.cat(parts, axis)


def _shift(by: int, size: int) -> Callable[[Any], Any]:
    return lambda x: (x + by).clamp(0, size - 1)


def _refs(operation: Operation) -> list[tuple[int, Ref]]:
    return [(i, x) for i, x in enumerate(operation.arguments) if isinstance(x, Ref)]
