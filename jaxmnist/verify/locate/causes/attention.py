"""Causes that are attention's: its scale and its mask."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

from jaxmnist.verify.locate.causes.arguments import scaled_scores
from jaxmnist.verify.locate.forward import VIEWS, Alignment
from jaxmnist.verify.locate.torch_trace import Operation
from jaxmnist.verify.locate.trial import Hypothesis, then

AHEAD = 14
"""How many operations after the products of queries and keys their softmax comes at the latest."""

HIDDEN = (0.0, -1.0, -2.0, -5.0, -10.0, -100.0, -1e3, -1e4)
"""What stands for minus infinity in a mask, or in the place of the scores that it hides."""


def hypotheses(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Yield what attention's scale and mask might be in the JAX function.

    Args:
        alignment: Of the two programs.
        index: The position of the operation where they diverge.

    Yields:
        Changes to it, or to the softmax that follows.
    """
    operations = alignment.theirs.operations
    if "scaled_dot_product" in operations[index].name:
        yield from _fused(alignment, index)
        return
    module = operations[index].module
    if operations[index].name in ("mm", "bmm", "matmul"):
        yield from _roles(alignment, index)
    for later in range(index, min(index + AHEAD, len(operations))):
        if operations[later].module != module:
            return
        if operations[later].name in ("_softmax", "_safe_softmax", "softmax"):
            yield from _masks(alignment, index, later)
            yield from scaled_scores(alignment, later)
            return


def _fused(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """The operation that has the products, the mask and the softmax in one."""
    import torch

    operation = alignment.theirs.operations[index]
    q, k = (alignment.theirs.values[n].tensor for n in operation.inputs[:2])
    causal = next((x for x in operation.arguments if isinstance(x, bool)), False)
    causal = bool(operation.keywords.get("is_causal", causal))
    mask = operation.keywords.get("attn_mask")
    mask = None if mask is None else alignment.theirs.values[mask.number].tensor
    width = q.shape[-1]
    heads = q.shape[-3] if q.ndim > 3 else 1
    own = operation.keywords.get("scale") or width**-0.5

    def attention(
        scale: float, added: Any, value: float | None = None, axis: int = -1
    ) -> Operation:
        """Where there is a value, it stands in the place of the scores that the mask hides."""

        def function(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> Any:
            scores = q @ k.mT * scale
            if value is not None:
                scores = torch.where(added < -1e3, value, scores)
            elif added is not None:
                scores = scores + added
            weights = scores.softmax(axis)
            return ((weights.nan_to_num(0.0) if axis == -1 else weights) @ v,)

        return operation._replace(function=function, keywords={})

    def unsafe(scale: float, added: Any) -> Operation:
        """Where all scores of a query are hidden, the result is no number."""

        def function(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> Any:
            return ((q @ k.mT * scale + added).softmax(-1) @ v,)

        return operation._replace(function=function, keywords={})

    shape = (q.shape[-2], k.shape[-2])
    present = _lower(torch, shape, 0, q.dtype) if causal else mask
    scales = {
        "1": 1.0,
        "1/d": 1 / width,
        "d": float(width),
        "sqrt(d)": width**0.5,
        "1/sqrt(d)": width**-0.5,
        "1/sqrt(heads * d)": (heads * width) ** -0.5,
        "1/sqrt(heads)": heads**-0.5,
        "1/sqrt(length)": k.shape[-2] ** -0.5,
    }
    for words, scale in scales.items():
        if not math.isclose(scale, own):
            yield Hypothesis(
                f"scale of attention: {words} in JAX, {own:.4g} in PyTorch (d = {width})",
                {index: attention(scale, present)},
            )
    for words, added in _others(torch, present, shape, q.dtype).items():
        what = f"mask of attention: {words} in JAX"
        yield Hypothesis(what, {index: attention(own, added)})
        if added is not None and bool(torch.isinf(added).all(-1).any()):
            yield Hypothesis(what, {index: unsafe(own, added)})
    if present is not None:
        for value in HIDDEN:
            yield Hypothesis(
                f"mask of attention: hidden scores are {value:g} in JAX",
                {index: attention(own, present, value)},
            )
    for order in itertools.permutations(range(3)):
        operands = tuple(operation.arguments[i] for i in order)
        values = [alignment.theirs.values[x.number].tensor.shape for x in operands]
        if order != (0, 1, 2) and len(set(values)) == 1:
            names = ", ".join(("queries", "keys", "values")[i] for i in order)
            changed = operation._replace(arguments=(*operands, *operation.arguments[3:]))
            yield Hypothesis(
                f"operands of attention swapped: {names} in JAX, queries, keys, values in PyTorch",
                {index: changed},
            )
    if q.ndim == 4:
        yield Hypothesis(
            "order of elements: heads split the other way in JAX", {index: _split(operation)}
        )
    yield Hypothesis(
        "axis of softmax: the queries in JAX, the keys in PyTorch",
        {index: attention(own, present, None, -2)},
    )


def _split(operation: Operation) -> Operation:
    """(size, heads) in the place of (heads, size), of queries, keys and values."""
    function = operation.function

    def other(x: Any) -> Any:
        flat = x.transpose(1, 2)
        return (
            flat.reshape(*flat.shape[:2], x.shape[3], x.shape[1]).permute(0, 3, 1, 2).contiguous()
        )

    def attention(q: Any, k: Any, v: Any, *rest: Any, **keywords: Any) -> Any:
        return function(other(q), other(k), other(v), *rest, **keywords)

    return operation._replace(function=attention)


def _lower(torch: Any, shape: tuple[int, int], diagonal: int, dtype: Any) -> Any:
    hidden = torch.ones(shape, dtype=torch.bool).tril(diagonal).logical_not()
    return torch.zeros(shape, dtype=dtype).masked_fill(hidden, -math.inf)


def _others(torch: Any, present: Any, shape: tuple[int, int], dtype: Any) -> dict[str, Any]:
    """Other masks, to be added to the scores."""
    masks = {"none": None}
    masks |= {
        words: _lower(torch, shape, diagonal, dtype)
        for words, diagonal in {
            "causal": 0,
            "causal, shifted by 1": 1,
            "causal, shifted by -1": -1,
            "causal, aligned to the last key": shape[1] - shape[0],
        }.items()
    }
    masks["causal, transposed"] = _lower(torch, shape, 0, dtype).T if shape[0] == shape[1] else None
    if present is not None:
        hidden = present < -1e3
        masks["inverted"] = torch.zeros_like(present).masked_fill(~hidden, -math.inf)
        if present.shape[-1] == present.shape[-2]:
            masks["transposed"] = present.mT
        for value in HIDDEN[1:]:
            masks[f"{value:g} added"] = torch.zeros_like(present).masked_fill(hidden, value)
    return masks


def _masks(alignment: Alignment, index: int, softmax: int) -> Iterator[Hypothesis]:
    """Masks that are applied to the scores one by one, before their softmax."""
    import torch

    theirs = alignment.theirs
    for at in range(index, softmax + 1):
        operation = theirs.operations[at]
        name = operation.name.rstrip("_")
        scores = operation.inputs[0] if operation.inputs else None
        if scores is None or not theirs.values[scores].data:
            continue
        tensor = theirs.values[scores].tensor
        if tensor.ndim < 2 or not tensor.is_floating_point():
            continue
        shape = (tensor.shape[-2], tensor.shape[-1])
        present = None
        if name in ("masked_fill", "add") and len(operation.inputs) > 1:
            mask = theirs.values[operation.inputs[1]].tensor
            if name == "masked_fill":
                mask = torch.zeros(mask.shape, dtype=tensor.dtype).masked_fill(mask, -math.inf)
            present = mask
        elif at != softmax:
            continue
        if present is not None:
            yield from _hidden(alignment, at, softmax, present)
        for words, added in _others(torch, present, shape, tensor.dtype).items():
            if present is None and added is None:
                continue
            function = _plus(added) if at != softmax else _before_softmax(added)
            yield Hypothesis(
                f"mask of attention: {words} in JAX",
                {at: operation._replace(function=function, keywords={})},
            )


def _hidden(alignment: Alignment, at: int, softmax: int, present: Any) -> Iterator[Hypothesis]:
    """Other things done with what the mask hides: another score, or no weight after the softmax."""
    import torch

    operations = alignment.theirs.operations
    hidden = present < -1e3
    for value in HIDDEN:
        changed = operations[at]._replace(
            function=lambda x, *_, value=value: torch.where(hidden, value, x), keywords={}
        )
        yield Hypothesis(f"mask of attention: hidden scores are {value:g} in JAX", {at: changed})
    if at != softmax:
        bare = operations[at]._replace(function=lambda x, *_: x, keywords={})
        masked = then(operations[softmax], lambda x: x.masked_fill(hidden, 0.0))
        yield Hypothesis(
            "mask of attention: applied after the softmax in JAX", {at: bare, softmax: masked}
        )


def _roles(alignment: Alignment, index: int) -> Iterator[Hypothesis]:
    """Other values of the same module in the place of the queries and the keys."""
    theirs = alignment.theirs
    operation = theirs.operations[index]
    a, b = (theirs.values[n].tensor for n in operation.inputs[:2])
    if a.ndim < 3 or b.shape != a.mT.shape:
        return
    found = [
        theirs.values[made.outputs[0]].tensor
        for made in theirs.operations[max(0, index - 4 * AHEAD) : index]
        if made.module == operation.module and made.outputs and made.name in VIEWS
    ]
    same = [x for x in found if x.numel() == a.numel() and x.shape[-2:] == a.shape[-2:]]
    for q, k in itertools.permutations(same, 2):
        pair = q.reshape(a.shape), k.reshape(a.shape).mT
        changed = operation._replace(arguments=pair)
        yield Hypothesis(
            "operands of attention swapped: queries, keys and values in another order in JAX",
            {index: changed},
        )


def _plus(added: Any) -> Callable[..., Any]:
    return lambda x, *_: x if added is None else x + added


def _before_softmax(added: Any) -> Callable[..., Any]:
    def function(x: Any, axis: Any, *_: Any) -> Any:
        return (x if added is None else x + added).softmax(axis).nan_to_num(0.0)

    return function
