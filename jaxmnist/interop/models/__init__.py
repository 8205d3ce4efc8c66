"""Models of several libraries as two pure functions, `init` and `apply`.

A library's adapter, and with it the library, is imported when such a model is given.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import jax

from jaxmnist.errors import InputError


class Functions(NamedTuple):
    """A model as pure functions of its numbers."""

    init: Callable[..., tuple[Any, Any]]
    """``(key, inputs) -> (params, state)``; the state is ``{}`` where a model has none."""
    apply: Callable[..., tuple[Any, Any]]
    """``(params, state, inputs, key, training) -> (outputs, state)``."""


def functions(model: Any) -> Functions:
    """Return a model as pure functions, whichever library it is of.

    Args:
        model: One of

            - a Flax Linen module; its ``__call__`` may take ``train``, ``training`` or
              ``deterministic``, and has keys for dropout;
            - a function ``key -> module`` that builds a Flax NNX or an Equinox module, such as
              ``lambda key: MLP(rngs=nnx.Rngs(key))``; or such a module, which then starts every
              run from the numbers that it has. An Equinox module is mapped over the batch, whose
              axis is named ``batch``; with state it is the pair of
              ``equinox.nn.make_with_state(MLP)(…)``;
            - a pair ``(init, apply)`` of ``init(key, inputs) -> params`` and
              ``apply(params, inputs) -> outputs``; either may leave out ``inputs`` or take
              ``key`` and ``training`` by name.

    Returns:
        Its functions.

    Raises:
        InputError: It is none of these.

    >>> init, apply = functions((lambda key, x: 2.0, lambda params, x: params * x))
    >>> apply(*init(None, 3.0), 3.0, None, False)
    (6.0, {})
    """
    adapter = _adapter(model)
    if adapter is not None:
        if hasattr(adapter, "functions"):
            return adapter.functions(model)
        params, state, static = adapter.split(model)
        return Functions(
            lambda key, inputs: (params, state), functools.partial(adapter.run, static)
        )
    if isinstance(model, tuple) and len(model) == 2 and all(map(callable, model)):
        return _plain(*model)
    if callable(model):
        return _built(model)
    raise InputError(
        f"the model is a {type(model).__name__}; give a Flax Linen, Flax NNX or Equinox module, a "
        "function that builds one from a key, or a pair (init, apply)"
    )


def accepted(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return those of the keyword arguments that a function has parameters for.

    >>> accepted(lambda x, train: x, {"train": True, "key": 0})
    {'train': True}
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # A built-in without a signature.
        return {}
    return {name: value for name, value in values.items() if name in parameters}


def modes(training: bool) -> dict[str, bool]:
    """Return the names by which modules are told whether they are trained, with their values."""
    return {
        "train": training,
        "training": training,
        "is_training": training,
        "deterministic": not training,
        "use_running_average": not training,
        "inference": not training,
    }


def _adapter(model: Any) -> ModuleType | None:
    """Return the adapter of the library that a module is of."""
    first = model[0] if isinstance(model, tuple) and model else model
    for library, name in (("flax.linen", "linen"), ("flax.nnx", "nnx"), ("equinox", "equinox")):
        # Where a library was not imported there can be no module of it.
        kind = getattr(sys.modules.get(library), "Module", None)
        if kind is not None and isinstance(first, kind):
            return import_module(f"{__name__}.{name}")
    return None


def _built(model: Callable[[Any], Any]) -> Functions:
    """Return the functions of a module that is built anew from each run's key."""
    found: list[Any] = []

    def split(key: Any) -> tuple[Any, Any]:
        try:
            module = model(key)
        except Exception as error:
            line = str(error).partition("\n")[0]
            raise InputError(
                f"the model, of type {type(model).__name__}, was called with a key, as a function "
                f"that builds a module, and raised {type(error).__name__}: {line}"
            ) from error
        adapter = _adapter(module)
        if adapter is None or not hasattr(adapter, "split"):
            raise InputError(
                f"the model's function returned a {type(module).__name__}; it must build a Flax "
                "NNX or an Equinox module from a key"
            )
        params, state, static = adapter.split(module)
        found[:] = adapter, static
        return params, state

    jax.eval_shape(split, jax.random.key(0))
    adapter, static = found
    return Functions(lambda key, inputs: split(key), functools.partial(adapter.run, static))


def _plain(init: Callable[..., Any], apply: Callable[..., Any]) -> Functions:
    takes_inputs = len(inspect.signature(init).parameters) > 1

    def start(key: Any, inputs: Any) -> tuple[Any, Any]:
        return (init(key, inputs) if takes_inputs else init(key)), {}

    def run(params: Any, state: Any, inputs: Any, key: Any, training: bool) -> tuple[Any, Any]:
        named = accepted(apply, {"key": key, **modes(training)})
        return apply(params, inputs, **named), state

    return Functions(start, run)
