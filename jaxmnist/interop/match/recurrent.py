"""The gates of recurrent layers: how PyTorch's stacked matrices are a JAX cell's leaves.

PyTorch stacks the gates i, f, g, o of an LSTM and r, z, n of a GRU, and has two biases for each,
of which most cells in JAX have the sum. In a GRU's n = tanh(W x + b + r (U h + c)) the second bias
c is multiplied by r, so that the two cannot be summed.
"""

from typing import Final

from jaxmnist.interop.match.groups import Group
from jaxmnist.interop.match.jax_tree import Leaf
from jaxmnist.interop.match.layout import Block, Layout, Shape, Source, permuted, unchanged
from jaxmnist.interop.match.torch_units import Unit

GATES: Final = {"lstm": "ifgo", "gru": "rzn", "rnn": " "}
"""In PyTorch's order."""
_HAIKU: Final = "igfo"
"""In Haiku's order; it adds 1 to the input of the gate f."""

Blocks = dict[str, tuple[Block, ...]]
Found = tuple[Blocks, tuple[Source, ...], tuple[Source, ...], tuple[Leaf, ...], bool]
"""Blocks by leaf; what must be zero; what has no leaf; leaves too many; whether as in PyTorch."""


def leaves(unit: Unit, group: Group) -> Found | None:
    """Put the leaves of a JAX cell together from a PyTorch layer's arrays.

    Args:
        unit: The layer: one direction of one layer of an LSTM, a GRU or a plain RNN.
        group: The cell: Flax's or NNX's, Equinox's, or Haiku's LSTM.

    Returns:
        None if it is no such cell, or of another size.
    """
    if unit.kind == "lstm" and group.cell is None:
        return _haiku(unit, group)
    if group.cell is None or group.cell not in (unit.kind, "torch", "stacked"):
        # NNX names the two layers of its plain RNN dense_i and dense_h as well.
        return None
    gates = GATES[unit.kind]
    # Each leaf's side (input, hidden) and gates.
    placed: dict[tuple[str, str, str], Leaf] = {}
    extra = []
    for name, leaf in group.leaves.items():
        place = _place(group.cell or "", name, gates)
        if place is None:
            extra.append(leaf)
        else:
            placed[place] = leaf
    in_torch_layout = group.cell == "torch"
    blocks: dict[str, list[Block]] = {leaf.name: [] for leaf in placed.values()}
    for (kind, side, held), leaf in placed.items():
        if kind == "weight":
            block = _matrix(unit.slots[f"weight_{side}"][0], held, gates, leaf, in_torch_layout)
            if block is None:
                return None
            blocks[leaf.name].append(block)
    if not _both_matrices(placed, gates):
        return None
    zero, missing = [], []
    for place, gate in enumerate(gates):
        inside, hidden = (_bias_leaf(placed, side, gate) for side in ("ih", "hh"))
        slots = [unit.slots.get(f"bias_{side}") for side in ("ih", "hh")]
        sources = [slot[0].part(place, len(gates)) for slot in slots if slot]
        if not sources:
            continue
        summed = gate != "n"
        if inside and hidden:
            shares = [(inside, sources[:1]), (hidden, sources[1:])]
        elif inside or hidden:
            one = inside or hidden
            assert one is not None
            shares = [(one, sources if summed else sources[:1] if inside else sources[1:])]
            if not summed:
                # A bias inside the product with r can only be absent, or zero.
                zero += sources[1:] if inside else sources[:1]
        else:
            shares = []
            missing += sources
        for (leaf, held), taken in shares:
            size = unit.slots["weight_ih"][0].shape[0] // len(gates)
            start = held.index(gate) * size
            if leaf.shape != (len(held) * size,):
                return None
            blocks[leaf.name].append(
                Block(tuple(taken), unchanged((size,)), (slice(start, start + size),))
            )
    extra += [leaf for leaf in placed.values() if not blocks[leaf.name]]
    done: Blocks = {name: tuple(each) for name, each in blocks.items() if each}
    return done, tuple(zero), tuple(missing), tuple(extra), in_torch_layout


def words(blocks: tuple[Block, ...], in_torch_layout: bool) -> str:
    """Say in words how a leaf is put together."""
    first = blocks[0].layout.words
    if len(blocks[0].layout.before) > 1 and in_torch_layout:
        first = "same"
    parts = [first]
    if any(len(block.sources) > 1 for block in blocks):
        parts.append("sum of both biases")
    if any(block.plus for block in blocks):
        parts.append("minus 1 in the forget gate")
    if len(blocks) > 1:
        parts.append("gate by gate")
    return ", ".join(parts)


def _place(cell: str, name: str, gates: str) -> tuple[str, str, str] | None:
    """Return what a leaf is (weight, bias), on which side, and of which gates."""
    if cell == "torch":
        known = {
            "weight_ih": ("weight", "ih", gates),
            "weight_hh": ("weight", "hh", gates),
            "bias": ("bias", "ih", gates),
            "bias_ih": ("bias", "ih", gates),
            "bias_hh": ("bias", "hh", gates),
            # Equinox's GRU has the bias inside the product with r under this name.
            "bias_n": ("bias", "hh", "n"),
        }
        return known.get(name)
    layer, _, kind = name.partition(".")
    if kind not in ("weight", "bias"):
        return None
    if cell == "stacked":
        return kind, f"{layer[-1]}h", gates
    return kind, f"{layer[0]}h", layer[1:] or gates


def _both_matrices(placed: dict[tuple[str, str, str], Leaf], gates: str) -> bool:
    """Return whether every gate has a matrix of each side."""
    covered = [(side, gate) for kind, side, held in placed for gate in held if kind == "weight"]
    return sorted(covered) == sorted((side, gate) for side in ("ih", "hh") for gate in gates)


def _bias_leaf(
    placed: dict[tuple[str, str, str], Leaf], side: str, gate: str
) -> tuple[Leaf, str] | None:
    for (kind, where, held), leaf in placed.items():
        if kind == "bias" and where == side and gate in held:
            return leaf, held
    return None


def _matrix(
    source: Source, held: str, gates: str, leaf: Leaf, in_torch_layout: bool
) -> Block | None:
    if held != gates:
        source = source.part(gates.index(held), len(gates))
    layout: Layout | None
    if in_torch_layout:
        layout = unchanged(source.sliced) if source.sliced == leaf.shape else None
    else:
        layout = permuted(source.sliced, (1, 0), leaf.shape, "transpose")
    return None if layout is None else Block((source,), layout)


def _haiku(unit: Unit, group: Group) -> Found | None:
    """Put Haiku's LSTM together: one matrix of inputs and state, with other gates' order."""
    weight, bias = group.leaves.get("weight"), group.leaves.get("bias")
    inputs, hidden = unit.slots["weight_ih"][0], unit.slots["weight_hh"][0]
    size = hidden.shape[1]
    shape: Shape = (inputs.shape[1] + size, 4 * size)
    if weight is None or weight.shape != shape or len(group.leaves) > 2 or weight.in_torch_layout:
        return None
    if bias is not None and bias.shape != (4 * size,):
        return None
    matrix, vector = [], []
    biases = [unit.slots[name][0] for name in ("bias_ih", "bias_hh") if name in unit.slots]
    for place, gate in enumerate(_HAIKU):
        columns = slice(place * size, (place + 1) * size)
        of_torch = GATES["lstm"].index(gate)
        rows = 0
        for source in (inputs, hidden):
            part = source.part(of_torch, 4)
            height = part.sliced[1]
            layout = permuted(part.sliced, (1, 0), (height, size), "transpose")
            assert layout is not None
            matrix.append(Block((part,), layout, (slice(rows, rows + height), columns)))
            rows += height
        if biases:
            taken = tuple(source.part(of_torch, 4) for source in biases)
            plus = -1.0 if gate == "f" else 0.0
            vector.append(Block(taken, unchanged((size,)), (columns,), plus))
    blocks: Blocks = {weight.name: tuple(matrix)}
    missing: tuple[Source, ...] = ()
    extra: tuple[Leaf, ...] = ()
    if bias is not None and biases:
        blocks[bias.name] = tuple(vector)
    elif bias is not None:
        extra = (bias,)
    else:
        missing = tuple(biases)
    return blocks, (), missing, extra, False
