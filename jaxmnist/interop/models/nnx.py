"""Flax NNX modules as pure functions, by `nnx.split` and `nnx.merge`."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmnist.errors import InputError
from jaxmnist.interop.models import accepted, modes


class Static(NamedTuple):
    """What of a module is no number that training changes."""

    graph: Any
    """The module without its variables."""
    params: Any
    """The structure of its parameters."""
    state: Any
    """The structure of its other variables, such as batch statistics."""
    rngs: Any
    """The shapes of its random state, which every step sets from its own key."""


def split(module: nnx.Module) -> tuple[Any, Any, Static]:
    """Split a module.

    Args:
        module: The module.

    Returns:
        Its parameters and its other variables but random state, as nested dicts of arrays; and
        what is needed to put it together again.
    """
    graph, params, rngs, state = nnx.split(module, nnx.Param, nnx.RngState, ...)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), rngs)
    static = Static(graph, jax.tree.structure(params), jax.tree.structure(state), shapes)
    return nnx.to_pure_dict(params), nnx.to_pure_dict(state), static


def run(
    static: Static, params: Any, state: Any, inputs: Any, key: Any, training: bool
) -> tuple[Any, Any]:
    """Apply a module, in training or in evaluation mode.

    Args:
        static: From `split`.
        params: As `split` returned them; so is the state.
        state: The module's other variables.
        inputs: What the module is called with.
        key: The step's, for every stream of random numbers; None for a module without one.
        training: Whether to call ``train()`` or ``eval()`` first; what ``__call__`` takes of
            ``train``, ``training``, ``deterministic``, ... is set too.

    Returns:
        The outputs, and the other variables after the call.

    Raises:
        InputError: The module has random streams, and there is no key for them.
    """
    leaves, structure = jax.tree.flatten(static.rngs)
    if leaves and key is None:
        raise InputError(
            "the key is None, and the model has random numbers, such as for dropout; give a key"
        )
    seeded = [_seeded(jax.random.fold_in(key, i), leaf) for i, leaf in enumerate(leaves)]
    module = nnx.merge(
        static.graph,
        static.params.unflatten(jax.tree.leaves(params)),
        structure.unflatten(seeded),
        static.state.unflatten(jax.tree.leaves(state)),
    )
    if training:
        module.train()
    else:
        module.eval()
    outputs = module(inputs, **accepted(module.__call__, modes(training)))
    _, _, _, changed = nnx.split(module, nnx.Param, nnx.RngState, ...)
    return outputs, nnx.to_pure_dict(changed)


def _seeded(key: Any, leaf: Any) -> Any:
    """Return a stream's key, or the count of what was drawn from it, at the start of a step."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.split(key, leaf.shape) if leaf.shape else key
    return jnp.zeros(leaf.shape, leaf.dtype)
