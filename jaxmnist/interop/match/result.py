"""The correspondence of two models' parameters: as a table, and to convert numbers by."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.interop.match.jax_tree import Tree, arrays_of
from jaxmnist.interop.match.layout import Block, Shape, Source, assemble, disassemble
from jaxmnist.interop.match.torch_units import Tied
from jaxmnist.interop.tensors import to_numpy, to_tensor

_LISTED = 12
"""So many arrays without a counterpart a message lists."""


class Entry(NamedTuple):
    """A leaf of the JAX model with its counterpart."""

    jax: str
    """The leaf's path."""
    jax_shape: Shape
    jax_module: str
    """The path of its layer, without Flax's collection."""
    torch: tuple[str, ...]
    """Names in the ``state_dict``; several are summed or joined."""
    torch_shown: tuple[str, ...]
    """The names with the slices that are meant."""
    torch_shapes: tuple[Shape, ...]
    """Of these slices."""
    torch_module: str
    """The dotted name of the submodule that owns it."""
    layout: str
    """What is done to PyTorch's numbers, in words."""
    why: str
    """What decided: given, name, similar name, only shape, order, tied."""
    blocks: tuple[Block, ...]
    """How it is put together."""


class Unmatched(NamedTuple):
    """An array of one model without a counterpart."""

    side: str
    """jax or torch."""
    name: str
    shape: Shape
    module: str
    """The layer that has it."""
    reason: str
    candidates: tuple[str, ...]
    """Layers of the other model that it would fit."""

    def __str__(self) -> str:
        among = f" among {', '.join(self.candidates)}" if self.candidates else ""
        return f"{self.name} {self.shape}: {self.reason}{among}"


@dataclasses.dataclass(frozen=True, repr=False)
class Match:
    """Which parameter of a JAX model is which of a PyTorch module; prints as a table."""

    entries: tuple[Entry, ...]
    """In the order of the JAX model's leaves."""
    unmatched: tuple[Unmatched, ...]
    """What has no counterpart, or several possible ones; numbers are refused while there is any."""
    ignored: tuple[str, ...]
    """Buffers of the module without a counterpart, and arrays of JAX that are no parameters."""
    zero: tuple[Source, ...]
    """What JAX's model can only be without, such as the bias inside a GRU's product."""
    _tree: Tree
    _tied: Tied

    def to_jax(self, state_dict: Mapping[str, Any]) -> Any:
        """Convert a ``state_dict`` to parameters of the JAX model.

        Args:
            state_dict: The module's: tensors or arrays by name.

        Returns:
            A tree of the structure that was matched, of the ``state_dict``'s dtypes; an NNX or an
            Equinox module if one was given. What is no parameter is as it was given, but for the
            counters of Equinox's BatchNorm: they are set so that the running statistics are used
            as they are, as PyTorch does.

        Raises:
            InputError: Something is unmatched or ambiguous; an entry is missing or of another
                shape; JAX would narrow its dtype; or one is not zero that JAX's model is without.
        """
        self._check()
        arrays = {name: self._entry(state_dict, name) for name in self._needed()}
        for source in self.zero:
            if np.any(source.take(arrays)):
                raise InputError(
                    f"{source} is not zero, and params has no counterpart of it: in a GRU it is "
                    "multiplied by the reset gate, so that it cannot be added to the other bias"
                )
        return self._tree.build(
            {
                entry.jax: jnp.asarray(assemble(entry.blocks, arrays, entry.jax_shape))
                for entry in self.entries
            }
        )

    def to_torch(self, params: Any) -> dict[str, Any]:
        """Convert the JAX model's parameters to entries of the module's ``state_dict``.

        Args:
            params: A tree of the structure that was matched.

        Returns:
            CPU tensors of the same dtypes, for ``load_state_dict(…, strict=False)``; a parameter
            under several names has all of them. Where JAX has the sum of two biases, it is
            ``bias_ih``, and ``bias_hh`` is zero.

        Raises:
            InputError: Something is unmatched or ambiguous; a leaf is missing or of another shape;
                or two leaves differ that are one parameter in PyTorch.
        """
        self._check()
        leaves = arrays_of(self._tree, params, "params")
        written: dict[str, np.ndarray] = {}
        done: dict[Source, str] = {}
        for entry in self.entries:

            def write(source: Source, numbers: np.ndarray, entry: Entry = entry) -> None:
                target = self._target(written, source, numbers.dtype)
                if source in done and not np.array_equal(
                    target[source.where], numbers, equal_nan=True
                ):
                    raise InputError(
                        f"{done[source]} and {entry.jax} differ, and the module has one parameter "
                        f"for both, {source}"
                    )
                target[source.where] = numbers
                done[source] = entry.jax

            disassemble(entry.blocks, leaves[entry.jax], write)
        for source in self.zero:
            written[source.name][source.where] = 0
        return self._tensors(written)

    def gradients_to_torch(self, gradients: Any) -> dict[str, Any]:
        """Convert gradients with respect to the JAX model's parameters to the module's.

        The conversion is the adjoint of `to_jax`: each of two biases has the gradient of their sum,
        and a parameter that is two leaves in JAX has the sum of their gradients.

        Args:
            gradients: A tree of the structure that was matched, or of a part of it, such as the
                parameters without the running statistics.

        Returns:
            CPU tensors under the parameters' names. Those of which JAX has no part are left out;
            where JAX is without a part that must be zero, the gradient is not known: NaN.

        Raises:
            InputError: Something is unmatched or ambiguous, or a gradient has another shape.
        """
        self._check()
        leaves = arrays_of(self._tree, gradients, "gradients", partly=True)
        written: dict[str, np.ndarray] = {}
        for entry in self.entries:

            def add(source: Source, numbers: np.ndarray) -> None:
                self._target(written, source, numbers.dtype)[source.where] += numbers

            if entry.jax in leaves:
                disassemble(entry.blocks, leaves[entry.jax], add, gradients=True)
        for source in self.zero:
            if source.name in written:
                written[source.name][source.where] = np.nan
        return self._tensors(written)

    def named(self, params: Any) -> dict[str, Any]:
        """Return the arrays of a tree of the structure that was matched, or of a part of it.

        Args:
            params: The tree.

        Returns:
            Arrays by path, such as ``params/Dense_0/kernel``.
        """
        return self._tree.named(params)

    def build(self, arrays: Mapping[str, Any]) -> Any:
        """Return a tree of the structure that was matched.

        Args:
            arrays: By path; what is missing is as it was given to `match`.

        Returns:
            The tree.
        """
        return self._tree.build(arrays)

    def __str__(self) -> str:
        rows = [("params", "shape", "module", "shape", "layout", "why")]
        for entry in self.entries:
            shapes = " + ".join(dict.fromkeys(map(str, entry.torch_shapes)))
            shown = " + ".join(entry.torch_shown)
            rows.append((entry.jax, str(entry.jax_shape), shown, shapes, entry.layout, entry.why))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(c.ljust(width) for c, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines += [f"not matched, in {each.side}: {each}" for each in self.unmatched]
        lines += [f"must be zero: {source}" for source in self.zero]
        if self.ignored:
            lines.append(f"left as they are: {', '.join(self.ignored)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _check(self) -> None:
        if self.unmatched:
            first, more = self.unmatched[:_LISTED], len(self.unmatched) - _LISTED
            listed = "; ".join(f"{each} ({each.side})" for each in first)
            listed += f"; and {more} more, which print(match) lists" if more > 0 else ""
            raise InputError(
                f"{len(self.unmatched)} of the arrays have no certain counterpart: {listed}; give "
                "names={path in params: name in the module} for them"
            )

    def _needed(self) -> list[str]:
        sources = [s for entry in self.entries for block in entry.blocks for s in block.sources]
        return list(dict.fromkeys(source.name for source in (*sources, *self.zero)))

    def _entry(self, state_dict: Mapping[str, Any], name: str) -> np.ndarray:
        names = [other for other, first in self._tied.first.items() if first == name]
        found = next((other for other in (name, *names) if other in state_dict), None)
        if found is None:
            raise InputError(f"the state_dict has no {name!r}; it has {', '.join(state_dict)}")
        array = to_numpy(state_dict[found], found)
        shape = self._tied.shapes[name]
        if array.shape != shape:
            raise InputError(f"{found} has shape {array.shape}; the module's was {shape}")
        if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
            raise InputError(
                f"{found} is {array.dtype}, which JAX would make "
                f"{jax.dtypes.canonicalize_dtype(array.dtype)}; set jax_enable_x64, or convert it "
                "first"
            )
        return array

    def _target(self, written: dict[str, np.ndarray], source: Source, dtype: Any) -> np.ndarray:
        if source.name not in written:
            written[source.name] = np.zeros(source.shape, dtype)
        return written[source.name]

    def _tensors(self, written: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {
            name: to_tensor(written[first])
            for name, first in self._tied.first.items()
            if first in written
        }
