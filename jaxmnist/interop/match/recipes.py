"""In which ways the arrays of a PyTorch layer can be the leaves of a JAX layer."""

from typing import NamedTuple

from jaxmnist.interop.match import recurrent
from jaxmnist.interop.match.groups import Group
from jaxmnist.interop.match.jax_tree import Leaf
from jaxmnist.interop.match.layout import (
    Block,
    Layout,
    Shape,
    Source,
    permuted,
    reshaped,
    unchanged,
)
from jaxmnist.interop.match.torch_units import Slot, Unit


class Option(NamedTuple):
    """One way in which a leaf can be put together."""

    blocks: tuple[Block, ...]
    in_torch_layout: bool
    words: str


class Fit(NamedTuple):
    """How a JAX layer can be a PyTorch layer."""

    options: dict[str, tuple[Option, ...]]
    """By the leaf's name; the first is the one that the libraries' layers have by default."""
    missing: tuple[Source, ...]
    """What of PyTorch's layer JAX's has no leaf for, buffers aside."""
    extra: tuple[Leaf, ...]
    """What of JAX's layer PyTorch's has no array for."""
    zero: tuple[Source, ...] = ()
    """What JAX's layer can only be without: it must be zero."""

    @property
    def complete(self) -> bool:
        """Return whether every array of one side is on the other."""
        return not self.missing and not self.extra


def fit(unit: Unit, group: Group) -> Fit | None:
    """Find how a JAX layer can be a PyTorch layer.

    Args:
        unit: PyTorch's layer.
        group: JAX's.

    Returns:
        The ways for every leaf; None if the shapes or the kinds of layer do not fit.
    """
    if unit.kind in recurrent.GATES:
        found = recurrent.leaves(unit, group)
        if found is None:
            return None
        blocks, zero, missing, extra, in_torch_layout = found
        options = {
            name: (Option(each, in_torch_layout, recurrent.words(each, in_torch_layout)),)
            for name, each in blocks.items()
        }
        return Fit(options, missing, extra, zero)
    if group.cell is not None:
        return None
    pairs = _paired(unit, group)
    if not pairs:
        return None
    options = {}
    for role, (slot, leaf) in pairs.items():
        ways = tuple(
            option
            for option in _options(unit, role, slot, leaf)
            if leaf.in_torch_layout in (None, option.in_torch_layout) or len(leaf.shape) < 2
        )
        if not ways:
            return None
        options[leaf.name] = ways
    missing = tuple(
        source
        for role, slot in unit.slots.items()
        if role not in pairs and role not in unit.optional
        for source in slot
    )
    extra = tuple(leaf for leaf in group.leaves.values() if leaf.name not in options)
    return Fit(options, missing, extra)


def _paired(unit: Unit, group: Group) -> dict[str, tuple[Slot, Leaf]]:
    if len(group.leaves) == len(unit.slots) == 1 and "value" in {*group.leaves, *unit.slots}:
        (only,), (leaf,) = unit.slots.items(), group.leaves.values()
        return {only[0]: (only[1], leaf)}
    return {
        role: (unit.slots[role], leaf) for role, leaf in group.leaves.items() if role in unit.slots
    }


def _options(unit: Unit, role: str, slot: Slot, leaf: Leaf) -> list[Option]:
    if role != "weight" or (unit.kind == "norm" and len(leaf.shape) < 2):
        return _plain(slot, leaf)
    if unit.kind.startswith("linear"):
        return _linear(unit, slot, leaf)
    (source,) = slot
    shape = source.sliced
    spatial = tuple(range(2, len(shape)))
    ways: list[tuple[bool, Layout | None]] = []
    if unit.kind == "conv":
        words = f"transpose to {_kernel(spatial)}, in, out"
        ways = [(False, permuted(shape, (*spatial, 1, 0), leaf.shape, words)), *_same(shape, leaf)]
    elif unit.kind == "conv_transpose":
        ways = _transposed_convolution(unit, shape, leaf)
    elif unit.kind == "other" and len(shape) == 2:
        ways = [
            (False, permuted(shape, (1, 0), leaf.shape, "transpose")),
            *_same(shape, leaf),
        ]
    elif unit.kind == "embedding":
        ways = _same(shape, leaf)
    else:
        return _plain(slot, leaf)
    return [
        Option((Block(slot, layout),), torch_layout, layout.words)
        for torch_layout, layout in ways
        if layout is not None and layout.after == leaf.shape
    ]


def _same(shape: Shape, leaf: Leaf) -> list[tuple[bool, Layout | None]]:
    return [(True, unchanged(shape))] if shape == leaf.shape else []


def _kernel(spatial: tuple[int, ...]) -> str:
    return ", ".join(("depth", "height", "width")[3 - len(spatial) :])


def _linear(unit: Unit, slot: Slot, leaf: Leaf) -> list[Option]:
    """Return the layouts of (out, in), or of (in, out), and of outputs or inputs in heads."""
    if leaf.parts[-1] in ("embedding", "embeddings"):
        return []
    out_axis = 1 if unit.kind == "linear_in_out" else 0
    found = []
    total = sum(source.sliced[out_axis] for source in slot)
    inputs = slot[0].sliced[1 - out_axis]
    heads = "qkv" in unit.words.words and len(leaf.shape) > 2
    for in_torch_layout in (False, True):
        plain = (total, inputs) if in_torch_layout else (inputs, total)
        if heads and not in_torch_layout:
            # In another order of axes, heads would be mixed with queries, keys and values.
            possible = leaf.shape[:2] == (inputs, 3)
        else:
            # One layer's outputs or inputs may be in heads; three layers' are joined as they are.
            possible = leaf.shape == plain or (len(slot) == 1 and not in_torch_layout)
        axes = (0, 1) if in_torch_layout == (out_axis == 0) else (1, 0)
        words = "transpose" if axes == (1, 0) else "same"
        blocks: list[Block] = []
        start = 0
        for place, source in enumerate(slot if possible else ()):
            size = source.sliced[out_axis]
            rows = slice(start, start + size)
            if len(slot) == 1:
                at, shape = (), leaf.shape
            elif heads:
                at = (slice(None), slice(place, place + 1))
                shape = (inputs, 1, *leaf.shape[2:])
            elif in_torch_layout:
                at, shape = (rows,), (size, inputs)
            else:
                at, shape = (slice(None), rows), (inputs, size)
            if layout := permuted(source.sliced, axes, shape, words):
                blocks.append(Block((source,), layout, at))
            start += size
        if possible and len(blocks) == len(slot):
            joined = "" if len(slot) == 1 else ", query, key and value joined"
            found.append(Option(tuple(blocks), in_torch_layout, blocks[0].layout.words + joined))
    return found


def _transposed_convolution(
    unit: Unit, shape: Shape, leaf: Leaf
) -> list[tuple[bool, Layout | None]]:
    """Return the layouts of (in, out/groups, ...): of Haiku, of Flax's kernels, of Equinox."""
    spatial = tuple(range(2, len(shape)))
    flipped = tuple(range(len(spatial)))
    kernel = _kernel(spatial)
    ways: list[tuple[bool, Layout | None]] = []
    into, out_of = (*spatial, 0, 1), (*spatial, 1, 0)
    flip, to_out = "and flip the kernel", f"transpose to {kernel}, out, in"
    if unit.groups > 1:
        pass  # Flax and Haiku have none.
    elif leaf.parts[-1] == "w" and "transpose" in "".join(leaf.parts[-2:-1]):
        ways.append((False, permuted(shape, out_of, leaf.shape, f"{to_out} {flip}", flipped)))
    else:
        told = getattr(leaf.owner, "transpose_kernel", None)
        if told is not True:
            words = f"transpose to {kernel}, in, out {flip} (transpose_kernel=False)"
            ways.append((False, permuted(shape, into, leaf.shape, words, flipped)))
        if told is not False:
            words = f"{to_out} (transpose_kernel=True)"
            ways.append((False, permuted(shape, out_of, leaf.shape, words)))
    inputs, outputs, *sizes = shape
    groups = unit.groups
    after = (groups * outputs, inputs // groups, *sizes)
    if after == leaf.shape:
        dims = tuple(range(3, 3 + len(sizes)))
        grouped = Layout(
            (groups, inputs // groups, outputs, *sizes),
            (0, 2, 1, *dims),
            dims,
            after,
            "transpose to out, in and flip the kernel",
        )
        ways.append((True, grouped))
    return ways


def _plain(slot: Slot, leaf: Leaf) -> list[Option]:
    """Return the layouts of what has the same order, such as biases, scales and tables."""
    blocks: list[Block] = []
    if len(slot) > 1:  # Biases of queries, keys and values.
        start = 0
        stacked = len(leaf.shape) > 1
        for place, source in enumerate(slot):
            (size,) = source.sliced
            stop = place + 1 if stacked else start + size
            at = (slice(place if stacked else start, stop),)
            layout = reshaped((size,), (1, *leaf.shape[1:]) if stacked else (size,))
            if layout is None:
                return []
            blocks.append(Block((source,), layout, at))
            start += size
        fits = leaf.shape[0] == len(slot) if stacked else leaf.shape == (start,)
        words = "same, query, key and value joined"
        return [Option(tuple(blocks), True, words)] if fits else []
    source = next(iter(slot))
    shape = source.sliced
    layout = None
    if len(shape) <= 1 or _squeezed(shape) == _squeezed(leaf.shape):
        layout = reshaped(shape, leaf.shape)
    elif len(shape) == len(leaf.shape) and leaf.shape == (*shape[1:], shape[0]):
        axes = (*range(1, len(shape)), 0)
        layout = permuted(shape, axes, leaf.shape, "transpose, the first axis last")
    return [] if layout is None else [Option((Block(slot, layout),), True, layout.words)]


def _squeezed(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
