"""How the programs of a comparison are compiled: each runs a few times, and may be compiled fast.

What XLA makes of a function of a few small arrays takes far longer to compile than to run.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

import jax

_FAST: Final[Mapping[str, Any]] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_cpu_use_fusion_emitters": False,
}

_options: ContextVar[Mapping[str, Any]] = ContextVar("options", default={})  # noqa: B039


def compiled(function: Callable[..., Any], options: Mapping[str, Any] = {}, **of_jit: Any) -> Any:
    """Compile a function as `compiled_fast` has it around the call, which ``jax.jit`` cannot know.

    Args:
        function: What ``jax.jit`` takes; the result must be called outside of other programs.
        options: Compiler options of this function's own.
        **of_jit: What else ``jax.jit`` takes.

    Returns:
        The compiled function.
    """
    chosen = {**options, **_options.get()}
    return jax.jit(function, compiler_options=chosen or None, **of_jit)


@contextmanager
def compiled_fast() -> Iterator[None]:
    """Compile without optimizing, which takes a third of the time, and may round otherwise."""
    token = _options.set(_known_options())
    try:
        yield
    finally:
        _options.reset(token)


@lru_cache(maxsize=1)
def _known_options() -> Mapping[str, Any]:
    """The options, unless this version of XLA has another name for one of them."""
    try:
        jax.jit(lambda x: x, compiler_options=dict(_FAST)).lower(0.0).compile()
    except Exception:
        return {}
    return _FAST
