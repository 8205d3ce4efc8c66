"""A PyTorch module as layers: each with the arrays it has, and what attention and gates share."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from jaxmnist.errors import InputError
from jaxmnist.interop.match.layout import Source
from jaxmnist.interop.match.words import Words, read, split

Slot = tuple[Source, ...]
"""Slices that make one array together, along PyTorch's axis of outputs."""


class Unit(NamedTuple):
    """A layer of a PyTorch module."""

    kind: str
    """linear, linear_in_out, conv, conv_transpose, embedding, norm, lstm, gru, rnn, other."""
    owner: str
    """The submodule's dotted name."""
    label: str
    """The name with the part that this is of it, such as ``attn.query``."""
    words: Words
    slots: dict[str, Slot]
    """By what they are: weight, bias, mean, var; weight_ih, bias_hh ...; value."""
    optional: frozenset[str] = frozenset()
    """What JAX need not have: buffers, and a parameter that another unit has as well."""
    groups: int = 1

    def __str__(self) -> str:
        return self.label or "the module"


class Tied(NamedTuple):
    """What a module's names stand for."""

    first: dict[str, str]
    """The name that a parameter is matched under, by each of its names."""
    buffers: frozenset[str]
    shapes: dict[str, tuple[int, ...]]
    owners: dict[str, str]
    """The dotted name of the submodule that has it, by its name."""


_IGNORED = "num_batches_tracked"


def tied(module: Any) -> Tied:
    """List a module's parameters and buffers, and which are one under several names.

    Raises:
        InputError: A parameter has no shape yet.
    """
    import torch

    for name, parameter in module.named_parameters():
        if torch.nn.parameter.is_lazy(parameter):
            raise InputError(f"the module's {name} has no shape yet; call the module once first")

    entries = {name for name in module.state_dict() if name.rpartition(".")[2] != _IGNORED}
    parameters = dict(module.named_parameters(remove_duplicate=False))
    buffers = dict(module.named_buffers(remove_duplicate=False))
    embeddings = {
        f"{owner}.weight" if owner else "weight"
        for owner, each in module.named_modules()
        if isinstance(each, torch.nn.Embedding | torch.nn.EmbeddingBag)
    }
    first: dict[str, str] = {}
    by_identity: dict[int, list[str]] = {}
    arrays = {n: a for n, a in {**parameters, **buffers}.items() if n in entries}
    for name, array in arrays.items():
        by_identity.setdefault(id(array), []).append(name)
    for names in by_identity.values():
        main = next((name for name in names if name in embeddings), names[0])
        first |= dict.fromkeys(names, main)
    return Tied(
        first,
        frozenset(buffers) & entries,
        {name: tuple(array.shape) for name, array in arrays.items()},
        {name: name.rpartition(".")[0] for name in arrays},
    )


def units(module: Any, names: Tied, split_attention: bool, fuse_attention: bool) -> list[Unit]:
    """List a module's layers in the order of definition.

    Args:
        module: A ``torch.nn.Module``.
        names: From `tied`.
        split_attention: Whether one matrix of queries, keys and values is three layers.
        fuse_attention: Whether three layers for queries, keys and values are one.

    Returns:
        The layers. One whose parameters another has as well has these as optional.
    """
    found = [
        unit
        for owner, each in module.named_modules()
        for unit in _layers(owner, each, names, split_attention)
    ]
    found = [_with_optional(unit, names) for unit in found]
    return _fused(found) if fuse_attention else found


def _layers(owner: str, module: Any, names: Tied, split_attention: bool) -> Iterator[Unit]:
    import torch

    nn = torch.nn
    held = {
        name: Source(full, names.shapes[full])
        for name in (*module._parameters, *module._buffers)
        if (full := f"{owner}.{name}" if owner else name) in names.shapes
    }
    if not held:
        return
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        yield from _recurrent(owner, module, held)
    elif isinstance(module, nn.MultiheadAttention):
        yield from _attention(owner, held, split_attention)
    else:
        kind = _kind(module, held, nn)
        known = {"weight": "weight", "bias": "bias"}
        known |= {"running_mean": "mean", "running_var": "var"} if kind == "norm" else {}
        slots: dict[str, Slot] = {known[name]: (s,) for name, s in held.items() if name in known}
        if slots:
            unit = _unit(kind, owner, slots, groups=getattr(module, "groups", 1))
            is_qkv = kind.startswith("linear") and "qkv" in unit.words.words
            if is_qkv and split_attention and _in_three(unit):
                yield from _thirds(unit, owner.rpartition(".")[0])
            else:
                yield unit
        for name, source in held.items():
            if name not in known:
                yield _unit("other", owner, {"value": (source,)}, name)


def _kind(module: Any, held: dict[str, Source], nn: Any) -> str:
    conv = nn.modules.conv
    kinds = (
        ("linear", (nn.Linear,)),
        ("conv_transpose", (conv._ConvTransposeNd,)),
        ("conv", (conv._ConvNd,)),
        ("embedding", (nn.Embedding, nn.EmbeddingBag)),
        (
            "norm",
            (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU),
        ),
    )
    for kind, classes in kinds:
        if isinstance(module, classes):
            return kind
    # GPT-2's layer is a matrix (in, out) under this name.
    if type(module).__name__ == "Conv1D" and len(held["weight"].shape) == 2:
        return "linear_in_out"
    return "other"


def _unit(
    kind: str, owner: str, slots: dict[str, Slot], *more: str, label: str = "", groups: int = 1
) -> Unit:
    path = (*owner.split("."), *more)
    name = label or ".".join(filter(None, path))
    return Unit(kind, owner, name, read(path), slots, groups=groups)


def _in_three(unit: Unit) -> bool:
    (weight,) = unit.slots["weight"]
    axis = 1 if unit.kind == "linear_in_out" else 0
    return weight.shape[axis] % 3 == 0


def _thirds(unit: Unit, parent: str) -> Iterator[Unit]:
    axis = 1 if unit.kind == "linear_in_out" else 0
    for place, name in enumerate(("query", "key", "value")):
        slots = {
            role: (source._replace(axis=axis if role == "weight" else 0).part(place, 3),)
            for role, (source,) in unit.slots.items()
        }
        words = read((*parent.split("."), name))
        label = f"{parent}.{name}" if parent else name
        yield Unit(unit.kind, unit.owner, label, words, slots)


def _attention(owner: str, held: dict[str, Source], split_attention: bool) -> Iterator[Unit]:
    """Yield the layers of ``nn.MultiheadAttention``, but for its output, a module of its own."""
    inside = {name: (source,) for name, source in held.items()}
    fused = {"weight": inside.pop("in_proj_weight", ()), "bias": inside.pop("in_proj_bias", ())}
    separate = {
        name: inside.pop(f"{name[0]}_proj_weight", ()) for name in ("query", "key", "value")
    }
    whole = {role: slot for role, slot in fused.items() if slot}
    if fused["weight"] and not split_attention:
        yield _unit("linear", owner, whole, "in_proj")
    else:
        for place, (name, weight) in enumerate(separate.items()):
            slots = {role: (slot[0].part(place, 3),) for role, slot in whole.items()}
            yield _unit("linear", owner, {**slots, **({"weight": weight} if weight else {})}, name)
    for name, slot in inside.items():
        yield _unit("other", owner, {"value": slot}, name)


def _recurrent(owner: str, module: Any, held: dict[str, Source]) -> Iterator[Unit]:
    """Yield the layers and directions of a recurrent module as cells."""
    kind = next(k for k in ("lstm", "gru", "rnn") if type(module).__name__.lower().startswith(k))
    suffixes = dict.fromkeys(
        name.removeprefix("weight_ih") for name in held if name.startswith("weight_ih")
    )
    for suffix in suffixes:
        slots = {
            f"{name}_{side}": (held[f"{name}_{side}{suffix}"],)
            for name in ("weight", "bias")
            for side in ("ih", "hh")
            if f"{name}_{side}{suffix}" in held
        }
        layer = suffix.removeprefix("_l").removesuffix("_reverse")
        backward = suffix.endswith("_reverse")
        direction = "backward" if backward else "forward"
        more = (layer,) if len(suffixes) > 1 else ()
        more += (direction,) if any(name.endswith("_reverse") for name in held) else ()
        unit = _unit(kind, owner, slots, *filter(None, more))
        yield unit._replace(label=".".join(filter(None, (owner, suffix.strip("_")))))
    for name, source in held.items():
        if name.startswith("weight_hr"):  # A projection of the state, which no JAX library has.
            yield _unit("other", owner, {"value": (source,)}, name)


def _with_optional(unit: Unit, names: Tied) -> Unit:
    def need_not_be(slot: Slot) -> bool:
        return all(s.name in names.buffers or names.first[s.name] != s.name for s in slot)

    optional = {role for role, slot in unit.slots.items() if need_not_be(slot)}
    return unit._replace(optional=frozenset(optional))


def _fused(found: list[Unit]) -> list[Unit]:
    """Put three layers for queries, keys and values of one parent together."""
    by_parent: dict[str, dict[str, Unit]] = {}
    for unit in found:
        parent, _, last = unit.owner.rpartition(".")
        for name in ("query", "key", "value"):
            if unit.kind == "linear" and name in split(last):
                by_parent.setdefault(parent, {})[name] = unit
    joined: dict[int, Unit] = {}
    dropped: set[int] = set()
    for parent, three in by_parent.items():
        if len(three) == 3 and _alike(three.values()):
            first, second, third = (three[name] for name in ("query", "key", "value"))
            slots = {
                role: first.slots[role] + second.slots[role] + third.slots[role]
                for role in first.slots
            }
            label = f"{parent}.qkv" if parent else "qkv"
            joined[id(first)] = Unit(
                "linear", parent, label, read((*parent.split("."), "qkv")), slots
            )
            dropped |= {id(second), id(third)}
    return [joined.get(id(unit), unit) for unit in found if id(unit) not in dropped]


def _alike(three: Iterable[Unit]) -> bool:
    """Return whether the layers have the same roles and inputs, so that they can be one."""
    kinds = {
        (tuple(unit.slots), *(math.prod(slot[0].shape[1:]) for slot in unit.slots.values()))
        for unit in three
    }
    return len(kinds) == 1
