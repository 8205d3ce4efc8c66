"""The leaves of a pytree by their dotted paths."""

from typing import Any

import jax
from jaxtyping import PyTree


def by_path(tree: PyTree[Any]) -> dict[str, Any]:
    """Return a tree's leaves by their dotted paths.

    Args:
        tree: Any pytree.

    Returns:
        The leaves in the tree's order; a single leaf has the name "". Keys with dots in them may
        give two leaves one name: what is stored is named by `jaxmnist.runs.named_arrays`, which
        escapes them.

    >>> by_path({"dense": {"bias": 0, "weight": 1}, "layers": [2]})
    {'dense.bias': 0, 'dense.weight': 1, 'layers.0': 2}
    """
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
