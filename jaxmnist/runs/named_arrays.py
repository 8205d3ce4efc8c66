r"""Arrays of any pytree under dotted names, and back into a tree of the same structure.

A leaf's name is its path: the keys of dicts, the names of fields and the positions in tuples,
joined by dots. A dot within a key is written ``\.``, so that no two leaves have the same name.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxmnist.errors import InputError


def named_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    r"""Return a tree's leaves by name.

    Args:
        tree: A pytree of arrays; random keys among them are stored as their words.

    Returns:
        NumPy arrays by name, in the tree's order.

    >>> sorted(named_arrays({"dense.0": [jnp.zeros(2), jnp.ones(())], "scale": 1.0}))
    ['dense\\.0.0', 'dense\\.0.1', 'scale']
    """
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): np.asarray(_words(leaf)) for path, leaf in paths}


def from_named_arrays(arrays: Mapping[str, Any], like: PyTree, source: str) -> PyTree:
    """Put arrays into a tree of a known structure.

    Args:
        arrays: As `named_arrays` returned them.
        like: A tree of arrays, or of their shapes as ``jax.eval_shape`` returns them.
        source: What error messages call the arrays.

    Returns:
        A tree of that structure.

    Raises:
        InputError: An array is missing, is not in the tree, or has another shape or dtype.

    >>> tree = {"w": jnp.ones((2, 3))}
    >>> from_named_arrays(named_arrays(tree), tree, "it")["w"].shape
    (2, 3)
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    expected = {_name(path): leaf for path, leaf in paths}
    for name in [*expected, *(name for name in arrays if name not in expected)]:
        found, wanted = _described(arrays.get(name)), _described(_shape(expected.get(name)))
        if found != wanted:
            raise InputError(f"{source}: {name} is {found}; the task has {wanted} there")
    return structure.unflatten(
        jax.random.wrap_key_data(jnp.asarray(arrays[name]), impl=_key_kind(leaf))
        if _is_key(leaf)
        else jnp.asarray(arrays[name])
        for name, leaf in expected.items()
    )


def shapes_by_name(like: PyTree) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of what `named_arrays` makes of a tree of such shapes.

    Args:
        like: Arrays, or their shapes.

    Returns:
        Shapes and dtypes by name.
    """
    return {_name(path): _shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(like)}


def _name(path: Any) -> str:
    return ".".join(
        jax.tree_util.keystr((key,), simple=True).replace("\\", "\\\\").replace(".", "\\.")
        for key in path
    )


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)


def _key_kind(leaf: Any) -> Any:
    kinds: list[Any] = []  # Of shapes alone only a traced function knows it.
    jax.eval_shape(lambda keys: kinds.append(jax.random.key_impl(keys)), leaf)
    return kinds[0]


def _words(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _shape(leaf: Any) -> Any:
    if leaf is None:
        return None
    shaped = jax.eval_shape(_words, leaf)
    return jax.ShapeDtypeStruct(shaped.shape, shaped.dtype)


def _described(array: Any) -> str:
    return "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
