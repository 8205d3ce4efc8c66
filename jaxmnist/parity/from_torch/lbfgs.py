"""The state of a live torch.optim.LBFGS, whose vectors are all parameters one after another."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxmnist.errors import InputError
from jaxmnist.interop.tensors import to_numpy
from jaxmnist.parity.from_torch.leaves import Leaf
from jaxmnist.parity.optimizers.lbfgs import LbfgsState

_COUNTS = ("n_iter", "func_evals")


def check_whole(names: Sequence[str], known: Sequence[Leaf | None]) -> None:
    """Refuse parameters that LBFGS does not train: its directions are of all of them.

    Args:
        names: PyTorch's, of those that it trains.
        known: The leaves of the tree.

    Raises:
        InputError: A leaf is made of others.
    """
    for leaf in known:
        if leaf is None or not set(leaf.sources) <= set(names):
            name = "an array that is no parameter" if leaf is None else leaf.name
            raise InputError(
                f"LBFGS's direction is one of all parameters, and params has {name}, which the "
                f"optimizer does not train; it trains {', '.join(names)}: give those alone"
            )


def filled(
    start: LbfgsState,
    names: Sequence[str],
    weights: Sequence[Any],
    state: Mapping[str, Any],
    known: Sequence[Leaf | None],
    tree: Any,
) -> LbfgsState:
    """Return an initial state with the optimizer's numbers and vectors.

    Args:
        start: The drop-in's, before its first update.
        names: PyTorch's, in the order of the optimizer's parameters.
        weights: The parameters.
        state: The optimizer's own, which it stores with the first of them.
        known: The leaves of the tree, in its order.
        tree: Of the parameters in JAX, whose order the vectors here have.

    Returns:
        The state that the next update continues from.
    """
    ends = np.cumsum([weight.numel() for weight in weights])[:-1]

    def vector(key: str, tensor: Any) -> Any:
        pieces = np.split(to_numpy(tensor, f"LBFGS's {key}"), ends)
        arrays = {
            name: piece.reshape(tuple(weight.shape))
            for name, piece, weight in zip(names, pieces, weights, strict=True)
        }
        leaves = [jnp.asarray(leaf.convert(arrays)) for leaf in known if leaf is not None]
        return ravel_pytree(jax.tree.structure(tree).unflatten(leaves))[0]

    def rows(key: str, old: Any) -> Any:
        for place, tensor in enumerate(state.get(key) or ()):
            old = old.at[place].set(vector(key, tensor))
        return old

    def number(key: str, old: Any) -> Any:
        found = state.get(key)
        return old if found is None else jnp.asarray(float(found), old.dtype)

    ro = [float(each) for each in state.get("ro") or ()]
    return start._replace(
        **{key: jnp.asarray(state.get(key, 0), jnp.int32) for key in _COUNTS},
        **{
            key: vector(key, state[key])
            for key in ("d", "prev_flat_grad")
            if state.get(key) is not None
        },
        **{key: rows(key, getattr(start, key)) for key in ("old_dirs", "old_stps")},
        t=number("t", start.t),
        h_diag=number("H_diag", start.h_diag),
        ro=start.ro.at[: len(ro)].set(jnp.asarray(ro, start.ro.dtype)),
        num_old=jnp.asarray(len(ro), jnp.int32),
    )
