"""Operations of a torch trace, computed again with other values or other arguments."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxmnist.verify.locate.torch_trace import Operation, Ref, TorchTrace, writes

Change = Mapping[int, Operation]
"""Operations in the place of those of the trace, by position."""


def replayed(
    trace: TorchTrace,
    operations: Iterable[int],
    given: Mapping[int, Any],
    changed: Change | None = None,
) -> dict[int, np.ndarray]:
    """Compute operations again, in order.

    Args:
        trace: Where they are from.
        operations: Their positions.
        given: Arrays in the place of values, by number.
        changed: Operations to compute in the place of the trace's.

    Returns:
        All results that differ from the trace's by what was given or changed, by number; without
        those that raise, which ends the replay.
    """
    import torch

    changed = changed or {}
    known = {n: x if isinstance(x, torch.Tensor) else torch.tensor(x) for n, x in given.items()}

    def read(x: Any) -> Any:
        if isinstance(x, Ref):
            if x.number in known:
                return known[x.number]
            return trace.values[x.number].tensor
        if isinstance(x, list | tuple):
            return type(x)(read(y) for y in x)
        return x

    results: dict[int, np.ndarray] = {}
    with torch.no_grad():
        for index in operations:
            operation = changed.get(index, trace.operations[index])
            if index not in changed and known.keys().isdisjoint(operation.inputs):
                continue
            written = writes(operation.function, operation.arguments)
            arguments = [
                x.clone() if i in written and isinstance(x, torch.Tensor) else x
                for i, x in enumerate(map(read, operation.arguments))
            ]
            keywords = {name: read(x) for name, x in operation.keywords.items()}
            try:
                made = operation.function(*arguments, **keywords)
            except Exception:
                break
            tensors = [x for x in _flat(made) if isinstance(x, torch.Tensor)]
            kept = [arguments[i] for i in sorted(written) if i < len(arguments)]
            tensors += [x for x in kept if isinstance(x, torch.Tensor)]
            # Recorded after the operation: first what it returned, then what it wrote to.
            for number, tensor in zip(operation.outputs, tensors, strict=False):
                known[number] = tensor
                results[number] = tensor.detach().resolve_conj().resolve_neg().numpy()
    return results


def _flat(tree: Any) -> list[Any]:
    return [y for x in tree for y in _flat(x)] if isinstance(tree, list | tuple) else [tree]
