"""Causes that are a whole submodule's: the gates of a recurrent layer, an activation of many steps.

The submodule runs again with changed weights, or another function runs in its place, and what comes
out is looked for among the JAX function's values.
"""

import itertools
from typing import Any

import numpy as np

from jaxmnist.verify.locate.align import informative
from jaxmnist.verify.locate.causes.activations import activations
from jaxmnist.verify.locate.forward import VIEWS, Alignment
from jaxmnist.verify.locate.place import Place
from jaxmnist.verify.locate.replay import replayed
from jaxmnist.verify.locate.torch_trace import Call
from jaxmnist.verify.locate.trial import AHEAD, NEAR

GATES = {"LSTM": ("i", "f", "g", "o"), "GRU": ("r", "z", "n")}


def cause(alignment: Alignment, place: Place, module: Any) -> str | None:
    """Try the changes of whole submodules.

    Args:
        alignment: Of the two programs.
        place: Where they diverge.
        module: The torch module that was recorded.

    Returns:
        The cause in short words, or None.
    """
    call = next((c for c in alignment.theirs.calls if c.module == place.module), None)
    if call is None or not call.outputs:
        return None
    submodule = module.get_submodule(place.module)
    inside = [c for c in alignment.theirs.calls if c.module.startswith(f"{place.module}.")]
    if inside or any(True for _ in submodule.parameters()):
        return None
    return _function(alignment, call, type(submodule).__name__)


def recurrent(alignment: Alignment, place: Place, module: Any) -> str | None:
    """Try the changes of a recurrent layer, each of whose steps has all of its gates.

    Args:
        alignment: Of the two programs.
        place: Where they diverge.
        module: The torch module that was recorded.

    Returns:
        The cause in short words; None if it is no recurrent layer, or no change of it holds.
    """
    call = next((c for c in alignment.theirs.calls if c.module == place.module), None)
    submodule = module.get_submodule(place.module)
    kind = type(submodule).__name__.removesuffix("Cell")
    if call is None or not call.outputs or kind not in GATES:
        return None
    return _gates(alignment, call, submodule, GATES[kind]) or _steps(alignment, call, submodule)


def left_out(alignment: Alignment, index: int, module: Any) -> str | None:
    """Say whether the JAX function leaves a whole submodule of several operations out.

    Args:
        alignment: Of the two programs.
        index: The position of the operation where they diverge.
        module: The torch module that was recorded.

    Returns:
        The cause in short words, or None.
    """
    theirs = alignment.theirs
    owner = theirs.operations[index].module
    calls = [c for c in theirs.calls if c.module == owner and c.start <= index < c.stop]
    if not owner or not calls or not calls[0].inputs or not calls[0].outputs:
        return None
    inside = theirs.operations[calls[0].start : calls[0].stop]
    if sum(operation.name not in VIEWS for operation in inside) < 2:
        return None
    given, made = calls[0].inputs[0], calls[0].outputs[0]
    array = theirs.values[given].array()
    if given not in alignment.found or array.shape != tuple(theirs.values[made].tensor.shape):
        return None
    stop = calls[0].stop
    later = range(stop, min(stop + AHEAD, len(theirs.operations)))
    results = replayed(theirs, later, {made: array})
    new = [
        n
        for i in later
        for n in theirs.operations[i].outputs[:1]
        if n in results and n in alignment.nearest and n not in alignment.found
        if theirs.operations[i].name not in VIEWS
    ]
    if any(alignment.is_new(results[n], n) for n in new[:NEAR]):
        return f"missing layer: {type(module.get_submodule(owner)).__name__}"
    return None


def _steps(alignment: Alignment, call: Call, submodule: Any) -> str | None:
    """Steps in the other order, or from another start."""
    import torch

    if len(call.args) != 1 or call.kwargs or call.args[0].ndim != 3:
        return None
    x = call.args[0].detach()
    time, batch = (1, 0) if submodule.batch_first else (0, 1)
    both = 2 if submodule.bidirectional else 1
    start = x.new_ones(both * submodule.num_layers, x.shape[batch], submodule.hidden_size)
    ones = (start, start) if isinstance(submodule, torch.nn.LSTM) else start
    if isinstance(submodule, torch.nn.GRU) and both * submodule.num_layers == 1:
        for words, made in _other_grus(submodule, x if time else x.transpose(0, 1)).items():
            if _found(alignment, made.numpy(), call.outputs[0]):
                return words
    reruns = {
        "order of the steps: backward in JAX": (x.flip(time),),
        "initial state: ones in JAX, zeros in PyTorch": (x, ones),
    }
    for words, arguments in reruns.items():
        with torch.no_grad():
            output = submodule(*arguments)[0]
        if _found(alignment, output.numpy(), call.outputs[0]):
            return words
    return None


def _other_grus(submodule: Any, x: Any) -> dict[str, Any]:
    """The outputs of other kinds of gated recurrent units with the same weights, by their words."""
    import torch

    own = {name: p.detach() for name, p in submodule.named_parameters()}
    wi, wh = own["weight_ih_l0"], own["weight_hh_l0"]
    zeros = wi.new_zeros(wi.shape[0])
    bi, bh = own.get("bias_ih_l0", zeros), own.get("bias_hh_l0", zeros)
    width = submodule.hidden_size
    outputs: dict[str, Any] = {}
    for words in (
        "gates: reset before the product with the state in JAX, after it in PyTorch",
        "bias of the new state: outside the reset in JAX, inside in PyTorch",
        "update gate: weighs the new state in JAX, the old one in PyTorch",
    ):
        h, steps = x.new_zeros(x.shape[0], width), []
        for t in range(x.shape[1]):
            (xr, xz, xn), (hr, hz, hn) = (
                y.split(width, 1) for y in (x[:, t] @ wi.T + bi, h @ wh.T + bh)
            )
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            if words.startswith("gates"):
                hidden = (r * h) @ wh[-width:].T + bh[-width:]
            elif words.startswith("bias"):
                hidden = r * (hn - bh[-width:]) + bh[-width:]
            else:
                hidden = r * hn
                z = 1 - z
            h = (1 - z) * torch.tanh(xn + hidden) + z * h
            steps.append(h)
        outputs[words] = torch.stack(steps, 1)
    return outputs


def _function(alignment: Alignment, call: Call, kind: str) -> str | None:
    """Another elementwise function in the place of the submodule's own."""
    import torch

    given = alignment.theirs.values[call.inputs[0]].tensor if call.inputs else None
    if given is None or not given.is_floating_point():
        return None
    for words, function in activations(torch).items():
        # What leaves its input as it is would be found in any case.
        if torch.equal(function(given), given):
            continue
        if _found(alignment, function(given).numpy(), call.outputs[0]):
            return f"{words} in JAX, {kind} in PyTorch"
    return None


def _gates(alignment: Alignment, call: Call, submodule: Any, gates: tuple[str, ...]) -> str | None:
    import torch

    own = dict(submodule.named_parameters())
    reruns: list[tuple[str, dict[str, Any]]] = []
    for order in itertools.permutations(range(len(gates))):
        if order != tuple(range(len(gates))):
            words = "".join(gates[i] for i in order)
            changed = {n: _permuted(p, order, len(gates)) for n, p in own.items() if _gated(n)}
            reruns.append(
                (f"gate order: {words} in JAX, {''.join(gates)} in PyTorch", {**own, **changed})
            )
    for part in ("bias_ih", "bias_hh"):
        without = {n: p * 0 if n.startswith(part) else p for n, p in own.items()}
        reruns.append((f"missing bias: {part}", without))
    if len(gates) == 4:
        reruns += [
            (f"bias of the forget gate: {by:g} more in JAX", _forget(own, by)) for by in (1.0, -1.0)
        ]
    for layer in range(getattr(submodule, "num_layers", 1)):
        # The whole layer of another, or what it is given from its own steps alone.
        for parts in (
            ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
            ("weight_hh", "bias_hh"),
            ("weight_hh", "bias_ih", "bias_hh"),
        ):
            for other in range(getattr(submodule, "num_layers", 1)):
                names = {f"{part}_l{layer}": f"{part}_l{other}" for part in parts}
                pairs = {a: b for a, b in names.items() if a in own and b in own}
                if other != layer and all(own[a].shape == own[b].shape for a, b in pairs.items()):
                    changed = {a: own[b] for a, b in pairs.items()}
                    words = f"weights of another layer: {other} in JAX, {layer} in PyTorch"
                    reruns.append((words, {**own, **changed}))
    for words, parameters in reruns:
        with torch.no_grad():
            returned = torch.func.functional_call(submodule, parameters, call.args, call.kwargs)
        output = returned[0] if isinstance(returned, tuple) else returned
        if _found(alignment, output.numpy(), call.outputs[0]):
            return words
    return None


def _gated(name: str) -> bool:
    return name.startswith(("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def _permuted(parameter: Any, order: tuple[int, ...], gates: int) -> Any:
    import torch

    parts = parameter.chunk(gates, 0)
    return torch.cat([parts[i] for i in order], 0)


def _forget(own: dict[str, Any], by: float) -> dict[str, Any]:
    changed = dict(own)
    for name, parameter in own.items():
        if name.startswith("bias_hh"):
            width = parameter.shape[0] // 4
            moved = parameter.detach().clone()
            moved[width : 2 * width] += by
            changed[name] = moved
    return changed


def _found(alignment: Alignment, array: np.ndarray, number: int) -> bool:
    return informative(array) and alignment.in_ours(array, number) is not None
