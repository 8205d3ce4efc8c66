"""Which parameter of a JAX model is which of a PyTorch module, and in which layout."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxmnist.errors import InputError
from jaxmnist.interop.match.given import settle
from jaxmnist.interop.match.groups import groups
from jaxmnist.interop.match.jax_tree import Leaf, read
from jaxmnist.interop.match.layout import Source
from jaxmnist.interop.match.pairing import Pair, Pairing, pair
from jaxmnist.interop.match.recipes import Option
from jaxmnist.interop.match.result import Entry, Match, Unmatched
from jaxmnist.interop.match.same_names import same_names, without
from jaxmnist.interop.match.torch_units import Tied, Unit, tied, units
from jaxmnist.interop.parameters import require_torch


def match(params: Any, module: Any, names: Mapping[str, str] | None = None) -> Match:
    """Find which parameter of a JAX model is which of a PyTorch module, and in which layout.

    Whole layers are compared: a kernel with its bias, a normalization with its running statistics,
    the gates of a recurrent cell. In this order:

    1. `names`.
    2. Shapes, up to the layout of the kind of layer that PyTorch's module is: what has another
       shape never fits.
    3. Names, as words that mean the same (kernel and weight, ``Dense_0`` and ``fc1``, query and
       ``q_proj``), and numbers by their ranks (0, 2, 4 of an ``nn.Sequential`` are 0, 1, 2). Of
       names with other words those count that are nearest to each other: "similar name".
    4. Order, where names differ in numbers alone or the JAX model is a module of Equinox or NNX:
       that of the numbers or of the definition. A dict has no order, since JAX sorts it by key.
       Flax Linen numbers layers as they are constructed, so that of
       ``Dense(8)(relu(Dense(8)(x)))`` the outer one is ``Dense_0``: where both have the same
       shape, only `names` can tell.

    The table says for every parameter which of these decided. What none decides is listed with its
    candidates, and refused when numbers are asked for. One square matrix cannot be told from its
    transpose: a ``kernel`` or ``w`` is (in, out), Equinox's ``weight`` is (out, in), and another
    ``weight`` is as the others of that name in the same model, (out, in) if all are square. A
    transposed convolution with as many inputs as outputs is read with Flax's default,
    ``transpose_kernel=False``.

    Args:
        params: A Flax Linen variables dict or its parameters alone, an NNX module or state, an
            Equinox module or the pair of a module and its state, a Haiku dict, or any tree of
            arrays. Only the shapes are used.
        module: A ``torch.nn.Module``.
        names: PyTorch's names by JAX's paths, of parameters or of whole submodules, such as
            ``{"encoder": "enc.0", "head/kernel": "out.weight"}``. A name that ends in ``.T`` says
            that the leaf has the other of two layouts that fit.

    Returns:
        The correspondence; prints as a table.

    Raises:
        InputError: PyTorch is not installed; `module` is no module, or `params` has no arrays; or
            a name is not there or is of another shape.

    >>> import numpy as np, torch
    >>> params = {"Dense_0": {"kernel": np.ones((3, 5)), "bias": np.zeros(5)}}
    >>> print(match(params, torch.nn.Linear(3, 5)))
    params          shape   module  shape   layout     why
    Dense_0/bias    (5,)    bias    (5,)    same       only shape
    Dense_0/kernel  (3, 5)  weight  (5, 3)  transpose  only shape
    """
    torch = require_torch()
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"module is a {type(module).__name__}; it must be a torch.nn.Module")
    tree = read(params)
    parameters = tied(module)
    alike, leaves = same_names(tree.leaves, parameters, names or {})
    layers = groups(leaves)
    known = frozenset[str]().union(*(group.words.words for group in layers))
    split = {"query", "key", "value"} <= known
    found = units(module, parameters, split, "qkv" in known and not split)
    found = without(found, alike, parameters)
    given = settle(names or {}, found, layers, parameters.shapes)
    rest = pair(given.units, given.groups)
    every = given.inside.joined(rest)
    pairs = every.pairs
    chosen, unclear = _layouts(pairs, given.other_layout)
    entries = alike + tuple(
        _entry(each, leaf, chosen[leaf.name], parameters)
        for each in pairs
        for leaf in each.group.leaves.values()
        if leaf.name in chosen
    )
    order = {leaf.name: place for place, leaf in enumerate(tree.leaves)}
    zero = tuple(_first(source, parameters) for each in pairs for source in each.fit.zero)
    covered = {s.name for e in entries for block in e.blocks for s in block.sources}
    covered |= {source.name for source in zero}
    left_out = _left_out(every, unclear, parameters, covered)
    alone = sorted({n for n in parameters.buffers if parameters.first[n] not in covered})
    return Match(
        tuple(sorted(entries, key=lambda entry: order[entry.jax])),
        tuple(each for each in left_out if each.name not in alone),
        (*tree.others, *alone),
        zero,
        tree,
        parameters,
    )


def _first(source: Source, parameters: Tied) -> Source:
    return source._replace(name=parameters.first[source.name])


def _entry(each: Pair, leaf: Leaf, option: Option, parameters: Tied) -> Entry:
    sources = [source for block in option.blocks for source in block.sources]
    names = tuple(dict.fromkeys(source.name for source in sources))
    if len(sources) == len(names):
        shown = {str(source): source.sliced for source in sources}
    else:  # The gates of a stacked matrix are all of it.
        shown = {name: parameters.shapes[name] for name in names}
    return Entry(
        jax=leaf.name,
        jax_shape=leaf.shape,
        jax_module="/".join(leaf.parts[:-1]),
        torch=names,
        torch_shown=tuple(shown),
        torch_shapes=tuple(shown.values()),
        torch_module=each.unit.owner,
        layout=option.words,
        why=each.why,
        blocks=tuple(
            block._replace(sources=tuple(_first(source, parameters) for source in block.sources))
            for block in option.blocks
        ),
    )


def _layouts(
    pairs: Sequence[Pair], other_layout: frozenset[str]
) -> tuple[dict[str, Option], dict[str, Sequence[Option]]]:
    """Choose for every leaf among the layouts that fit; return what cannot be told as well."""
    leaves = {leaf.name: leaf for each in pairs for leaf in each.group.leaves.values()}
    ways = {name: options for each in pairs for name, options in each.fit.options.items()}
    # What the matrices of this name have that are not square.
    seen: dict[str, set[bool]] = {}
    for name, options in ways.items():
        if len(options) == 1 and len(leaves[name].shape) > 1:
            seen.setdefault(_kind(leaves[name]), set()).add(options[0].in_torch_layout)
    chosen: dict[str, Option] = {}
    unclear: dict[str, Sequence[Option]] = {}
    for name, options in ways.items():
        leaf = leaves[name]
        alike = sum(size > 1 for size in leaf.shape) < 2
        told = seen.get(_kind(leaf), set()) or _CONVENTIONS.get(_kind(leaf), set())
        by_name = [option for option in options if option.in_torch_layout in told]
        # Of the kernels of a transposed convolution the first is Flax's default.
        usual = options[0] if alike or len({o.in_torch_layout for o in options}) == 1 else None
        if usual is None and len(told) == 1 and by_name:
            usual = by_name[0]
        others = [option for option in options if option is not (usual or options[0])]
        if name in other_layout and others and len(leaf.shape) > 1:
            chosen[name] = others[0]
        elif usual is not None:
            told_how = "" if len(options) == 1 or alike else _told(leaf, _kind(leaf) in seen)
            chosen[name] = usual._replace(words=usual.words + told_how)
        else:
            unclear[name] = options
    return chosen, unclear


_CONVENTIONS = {"w": {False}, "kernel": {False}, "weight": {True}}


def _kind(leaf: Leaf) -> str:
    return re.sub(r"[\d_]+", "", leaf.parts[-1])


def _told(leaf: Leaf, by_others: bool) -> str:
    kind = _kind(leaf)
    if kind == "kernel":
        how = "by default"
    else:
        how = f"as every other {kind} is" if by_others else f"as a {kind} usually is"
    return f" ({how}: the shape fits both ways)"


def _left_out(
    pairing: Pairing,
    unclear: Mapping[str, Sequence[Option]],
    parameters: Tied,
    covered: set[str],
) -> list[Unmatched]:
    """List what is not matched, with what could be its counterpart."""
    found = []
    for each in pairing.pairs:
        for source in each.fit.missing:
            reason = f"{each.group} has no counterpart of it"
            found.append(_in_torch(source, each.unit, reason, (), parameters))
        for leaf in each.fit.extra:
            reason = f"{each.unit} has no counterpart of it"
            found.append(_in_jax(leaf, reason, ()))
        for leaf in each.group.leaves.values():
            if leaf.name in unclear:
                (name,) = {s.name for o in unclear[leaf.name] for b in o.blocks for s in b.sources}
                reason = f"it fits as it is and transposed; names={{{leaf.name!r}: '{name}.T'}}"
                reason += " transposes it if the table does not, and the other way round"
                found.append(_in_jax(leaf, reason, (name,)))
    for unit, fitting in pairing.units:
        candidates = tuple(map(str, fitting))
        reason = "ambiguous" if candidates else "nothing of its shape is left"
        for role, slot in unit.slots.items():
            for source in slot:
                if role not in unit.optional and parameters.first[source.name] not in covered:
                    found.append(_in_torch(source, unit, reason, candidates, parameters))
    for group, fitting in pairing.groups:
        candidates = tuple(map(str, fitting))
        reason = "ambiguous" if candidates else "nothing of its shape is left"
        found += [_in_jax(leaf, reason, candidates) for leaf in group.leaves.values()]
    return found


def _in_torch(
    source: Source, unit: Unit, reason: str, candidates: tuple[str, ...], parameters: Tied
) -> Unmatched:
    return Unmatched("torch", str(source), source.sliced, unit.owner, reason, candidates)


def _in_jax(leaf: Leaf, reason: str, candidates: tuple[str, ...]) -> Unmatched:
    module = "/".join(leaf.parts[:-1])
    return Unmatched("jax", leaf.name, leaf.shape, module, reason, candidates)
