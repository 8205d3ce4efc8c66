"""Flax Linen modules as pure functions: every collection but the parameters is the state."""

from typing import Any

import jax
from flax import linen as nn

from jaxmnist.interop.models import Functions, accepted, modes


def functions(module: nn.Module) -> Functions:
    """Return a Linen module's functions.

    Args:
        module: The module. What its ``__call__`` takes of ``train``, ``training``,
            ``is_training``, ``deterministic`` and ``use_running_average`` is set; keys for
            dropout and whatever else asks for them come from the step's key.

    Returns:
        Its functions; ``params`` is the collection of that name, ``state`` has the others.
    """

    def init(key: Any, inputs: Any) -> tuple[Any, Any]:
        keys = {"params": key, "dropout": jax.random.fold_in(key, 1)}
        named = accepted(module.__call__, modes(training=False))
        variables = dict(module.init(keys, inputs, **named))
        return variables.pop("params", {}), variables

    def apply(params: Any, state: Any, inputs: Any, key: Any, training: bool) -> tuple[Any, Any]:
        # What asks for a key of another name is given one derived from "params".
        keys = {} if key is None else {"params": key, "dropout": jax.random.fold_in(key, 1)}
        named = accepted(module.__call__, modes(training))
        variables = {"params": params, **state}
        if not training:
            return module.apply(variables, inputs, rngs=keys, **named), state
        outputs, changed = module.apply(variables, inputs, rngs=keys, mutable=list(state), **named)
        return outputs, {**state, **changed}

    return Functions(init, apply)
