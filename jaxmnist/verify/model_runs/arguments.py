"""What both models take, in NumPy, and how the layouts of the two correspond."""

import itertools
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from jaxmnist.errors import InputError
from jaxmnist.verify.model_runs.leaves import Arguments, call_arguments, converted

Axes = tuple[int, ...]


class Inputs(NamedTuple):
    """The arguments of one of the models."""

    arguments: Arguments
    names: dict[int, str]
    """Of the floats, by their position among all leaves."""

    def arrays(self) -> list[np.ndarray]:
        """Return the leaves."""
        return jax.tree.leaves(self.arguments)


def converted_inputs(inputs: Any, dtype: str, what: str = "inputs") -> Inputs:
    """Convert arguments to NumPy, and floats to a dtype.

    Args:
        inputs: A tuple of positional arguments, a mapping of keyword arguments, or the one input.
        dtype: Of the floats.
        what: The argument's name, for messages.

    Returns:
        The arguments.

    Raises:
        InputError: One holds no numbers, or one that is NaN or infinite.
    """
    arguments = call_arguments(inputs)
    leaves, structure = jax.tree_util.tree_flatten_with_path(
        arguments, is_leaf=lambda x: isinstance(x, list)
    )
    single = len(leaves) == 1 and len(leaves[0][0]) == 2 and not arguments[1]
    labels = [what + ("" if single else keystr(path[1:])) for path, _ in leaves]
    arrays = [
        converted(leaf, dtype, label) for label, (_, leaf) in zip(labels, leaves, strict=True)
    ]
    floats = {
        index: f"the {label}"
        for index, (label, array) in enumerate(zip(labels, arrays, strict=True))
        if array.dtype == np.dtype(dtype)
    }
    return Inputs(structure.unflatten(arrays), floats)


class BothInputs(NamedTuple):
    """What each of the models takes."""

    ours: Inputs
    theirs: Inputs
    axes: dict[int, Axes] | None
    """For each leaf of ours the order of its axes in theirs, or None where one is no transpose."""
    masks: tuple[np.ndarray, ...] = ()
    """Of dropout, that the JAX function draws."""


def arguments(inputs: Any, torch_inputs: Any, dtype: str) -> BothInputs:
    """Convert what both models take.

    Args:
        inputs: What the JAX function takes.
        torch_inputs: What the module takes, or None for the same.
        dtype: Of the floats.

    Returns:
        Both.

    Raises:
        InputError: One holds no numbers, or one that is NaN or infinite.
    """
    ours = converted_inputs(inputs, dtype)
    return BothInputs(ours, *torch_inputs_of(torch_inputs, ours, dtype))


def torch_inputs_of(
    given: Any, ours: Inputs, dtype: str, what: str = "torch_inputs"
) -> tuple[Inputs, dict[int, Axes] | None]:
    """Convert what the torch module takes, and find how its axes are ours.

    Args:
        given: As `converted_inputs` takes it, or None where it takes what the JAX function takes.
        ours: The JAX function's.
        dtype: Of the floats.
        what: Their name, for messages.

    Returns:
        The arguments, whole numbers as int64; and for each leaf of ours the order of its axes in
        the module's, or None where some leaf is not one of ours transposed.
    """
    if given is None:
        arrays = ours.arrays()
        same = {i: tuple(range(a.ndim)) for i, a in enumerate(arrays)}
        return Inputs(jax.tree.map(_for_torch, ours.arguments), ours.names), same
    theirs = converted_inputs(given, dtype, what)
    theirs = Inputs(jax.tree.map(_for_torch, theirs.arguments), theirs.names)
    axes: dict[int, Axes] = {}
    mine, other = ours.arrays(), theirs.arrays()
    if len(mine) != len(other):
        return theirs, None
    for i, (a, b) in enumerate(zip(mine, other, strict=True)):
        orders = [
            p
            for p in itertools.permutations(range(a.ndim))
            if a.transpose(p).shape == b.shape and np.array_equal(a.transpose(p), b)
        ]
        if not orders:
            return theirs, None
        axes[i] = orders[0]
    return theirs, axes


def _for_torch(array: np.ndarray) -> np.ndarray:
    """Whole numbers as PyTorch's indices are."""
    return array.astype(np.int64) if array.dtype.kind in "iu" and array.itemsize < 8 else array


def output_axes(
    ours: tuple[int, ...], theirs: tuple[int, ...], inputs: Mapping[int, Axes] | None
) -> Axes | None:
    """Find in which order an output of ours has the axes of theirs.

    Equal shapes are the same order, unless the inputs of as many axes are transposed: then the
    output is as they are.

    Args:
        ours: The shape in JAX.
        theirs: In PyTorch.
        inputs: The order of each input's axes, as `torch_inputs_of` found it.

    Returns:
        The order; None if there is none.

    >>> output_axes((2, 8, 8, 3), (2, 3, 8, 8), {0: (0, 3, 1, 2)})
    (0, 3, 1, 2)
    >>> output_axes((2, 5), (2, 5), {0: (0, 3, 1, 2)})
    (0, 1)
    """
    moved = [axes for axes in (inputs or {}).values() if len(axes) == len(ours)]
    for axes in (*moved, tuple(range(len(ours)))):
        if tuple(ours[i] for i in axes) == theirs:
            return axes
    if inputs is not None and not any(_is_moved(axes) for axes in inputs.values()):
        return None
    last = (0, len(ours) - 1, *range(1, len(ours) - 1))
    return last if len(ours) > 2 and tuple(ours[i] for i in last) == theirs else None


def _is_moved(axes: Axes) -> bool:
    return axes != tuple(range(len(axes)))


def converted_params(named: Mapping[str, Any], dtype: str) -> dict[str, np.ndarray]:
    """Convert parameters to NumPy, and to a dtype.

    Args:
        named: Arrays by path.
        dtype: float64 or float32.

    Returns:
        The floats; random keys and counters are left out.

    Raises:
        InputError: One is complex, NaN or infinite.
    """
    arrays = {}
    for name, leaf in named.items():
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        array = converted(leaf, dtype, name)
        if array.dtype.kind == "c":
            raise InputError(f"{name} is complex; parameters must be real")
        arrays[name] = array.astype(dtype)
    return arrays


def cotangents(
    shapes: Mapping[str, Any], inputs: Inputs, dtype: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Draw normal weights of the real and the imaginary parts of all outputs that are no integers.

    Args:
        shapes: Of the outputs, by name.
        inputs: What seeds them.
        dtype: float64 or float32.

    Returns:
        The weights by name.
    """
    seed = zlib.crc32(b"".join(np.asarray(x).tobytes() for x in inputs.arrays()))
    rng = np.random.default_rng(seed)
    return {
        name: (
            np.asarray(rng.normal(size=output.shape), dtype),
            np.asarray(rng.normal(size=output.shape), dtype),
        )
        for name, output in shapes.items()
        if jnp.issubdtype(output.dtype, jnp.inexact)
    }
