"""Trees of parameters as arrays by name, and back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmnist.errors import InputError

Named = dict[str, np.ndarray]


class Layout(NamedTuple):
    """The structure of a tree of arrays, with a name for every leaf."""

    structure: Any
    paths: tuple[tuple[Any, ...], ...]
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tree: Any) -> "Layout":
        """Name the leaves of a tree by their paths, such as ``params/dense_0/bias``.

        >>> Layout.of({"a": [np.zeros(2), np.zeros(3)]}).names
        ('a/0', 'a/1')
        """
        with_paths, structure = jax.tree_util.tree_flatten_with_path(tree)
        paths = tuple(path for path, _ in with_paths)
        names = tuple(jax.tree_util.keystr(p, simple=True, separator="/") or "w" for p in paths)
        return cls(structure, paths, names, tuple(np.shape(leaf) for _, leaf in with_paths))

    def named(self, tree: Any, what: str, dtype: Any = None) -> Named:
        """List the leaves of a tree that must have this structure and these shapes.

        Args:
            tree: The tree.
            what: What it is, for the message.
            dtype: To convert the leaves to.

        Returns:
            The arrays by name.

        Raises:
            InputError: A missing or unexpected leaf, or one of another shape.
        """
        self.check(tree, what)
        arrays = [np.asarray(leaf, dtype) for leaf in jax.tree.leaves(tree)]
        return dict(zip(self.names, arrays, strict=True))

    def check(self, tree: Any, what: str) -> None:
        """Refuse a tree of another structure or of other shapes, traced or not.

        Raises:
            InputError: A missing or unexpected leaf, or one of another shape.
        """
        leaves, structure = jax.tree.flatten(tree)
        if structure != self.structure:
            names = Layout.of(tree).names
            raise InputError(
                f"{what}: the leaves are {list(names)}; they must be those of the parameters, "
                f"{list(self.names)}, in the same structure"
            )
        for name, shape, leaf in zip(self.names, self.shapes, leaves, strict=True):
            if np.shape(leaf) != shape:
                raise InputError(
                    f"{what}: {name} has shape {np.shape(leaf)}; it must have the parameter's, "
                    f"{shape}"
                )

    def tree(self, leaves: Named) -> Any:
        """Build the tree with these leaves."""
        return self.structure.unflatten([leaves[name] for name in self.names])


def map_named(function: Callable[..., np.ndarray], *leaves: Named) -> Named:
    """Apply a function to the arrays of each name."""
    return {name: np.asarray(function(*(each[name] for each in leaves))) for name in leaves[0]}
