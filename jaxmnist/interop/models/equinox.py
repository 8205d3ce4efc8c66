"""Equinox modules as pure functions, by `equinox.partition` and `equinox.combine`."""

from typing import Any

import equinox as eqx
import jax

from jaxmnist.interop.models import accepted


def split(module: Any) -> tuple[Any, Any, Any]:
    """Split a module.

    Args:
        module: The module, or the pair of a module and its state.

    Returns:
        Its floating arrays; its other arrays and its state, by name; and the rest.
    """
    module, state = module if isinstance(module, tuple) else (module, None)
    params, rest = eqx.partition(module, eqx.is_inexact_array)
    arrays, static = eqx.partition(rest, eqx.is_array)
    numbers, fixed = eqx.partition(state, eqx.is_array)
    kept = {"arrays": arrays} if jax.tree.leaves(arrays) else {}
    kept |= {"state": numbers} if state is not None else {}
    return params, kept, (static, fixed)


def run(
    static: Any, params: Any, state: Any, inputs: Any, key: Any, training: bool
) -> tuple[Any, Any]:
    """Apply a module to every example of a batch, whose axis is named ``batch``.

    Args:
        static: From `split`.
        params: As `split` returned them; so is the state.
        state: The module's other arrays and its state.
        inputs: A batch.
        key: The step's; every example has its own, if the module takes one. None for a module
            without randomness.
        training: If not, the module is in inference mode.

    Returns:
        The outputs, and the state after the call.
    """
    rest, fixed = static
    parts = [params, rest, *([state["arrays"]] if "arrays" in state else [])]
    module = eqx.nn.inference_mode(eqx.combine(*parts), value=not training)
    examples = jax.tree.leaves(inputs)[0].shape[0]
    keys = None if key is None else jax.random.split(key, examples)
    takes_key = bool(accepted(type(module).__call__, {"key": key}))

    def call(x: Any, key: Any, kept: Any) -> Any:
        arguments = (x,) if "state" not in state else (x, eqx.combine(kept, fixed))
        outputs = module(*arguments, **({"key": key} if takes_key else {}))
        return outputs if "state" in state else (outputs, None)

    outputs, changed = jax.vmap(call, in_axes=(0, 0, None), out_axes=(0, None), axis_name="batch")(
        inputs, keys, state.get("state")
    )
    if "state" not in state:
        return outputs, state
    return outputs, {**state, "state": eqx.filter(changed, eqx.is_array)}
