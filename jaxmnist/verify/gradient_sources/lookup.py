"""The source of gradients that the arguments of `verify.optimizer` ask for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.gradient_sources import following, given
from jaxmnist.verify.gradient_sources.gradients import Gradients
from jaxmnist.verify.named_trees import Layout, map_named

_Build = Callable[[Any, int, np.dtype, int], Gradients]
"""From the parameters or None, the number of steps, the dtype and the seed to a source."""

_GIVEN: Final[Mapping[str, _Build]] = {
    "random": given.random,
    "sparse": given.sparse,
    "stream": given.stream,
}
_FOLLOWING: Final[Mapping[str, _Build]] = {
    "quadratic": following.quadratic,
    "rosenbrock": following.rosenbrock,
    "network": following.network,
}
_BUILT_IN: Final[Mapping[str, _Build]] = {**_GIVEN, **_FOLLOWING}

GIVEN: Final = tuple(_GIVEN)
FOLLOWING: Final = tuple(_FOLLOWING)
SOURCES: Final = (*GIVEN, *FOLLOWING)


def source(
    gradients: Any,
    params: Any = None,
    *,
    steps: int = 500,
    dtype: Any = "float64",
    seed: int = 0,
    loss: Callable[[Any, Any], Any] | None = None,
) -> Gradients:
    """Make a source of gradients out of the arguments of `verify.optimizer`.

    Args:
        gradients: One of `SOURCES`; or an iterable of gradient trees, which are given; or a
            function of the step and the parameters to a gradient tree, which follows.
        params: A tree of parameters, or None for the source's own.
        steps: How many steps will be asked for.
        dtype: "float32" or "float64".
        seed: Of whatever is random in it.
        loss: A function of the step and the parameters, whose gradients are taken instead; None
            for `gradients`.

    Returns:
        The source.

    Raises:
        InputError: The source is unknown, or the parameters do not fit it.

    >>> random = source("random")
    >>> {name: gradient.shape for name, gradient in random(0, random.params).items()}
    {'scale 1e-06': (8,), 'scale 1e-05': (8,), ..., 'scale 1e+03': (8,)}
    """
    dtype = np.dtype(dtype)
    if loss is not None:
        if params is None:
            raise InputError("params is None; a loss needs params, which give it their shapes")
        return following.from_loss(loss, _converted(params, dtype), dtype)
    if isinstance(gradients, str):
        if gradients not in _BUILT_IN:
            raise InputError(
                f"gradients is {gradients!r}; it must be one of {', '.join(SOURCES)}, an iterable "
                "of gradients, or a function of the step and the parameters"
            )
        if params is not None:
            params = _converted(params, dtype)
        return _BUILT_IN[gradients](params, steps, dtype, seed)
    if params is None:
        raise InputError(
            "params is None; gradients of your own need params, which give them their shapes"
        )
    params = _converted(params, dtype)
    if callable(gradients):
        return following.from_function(gradients, params, dtype)
    if isinstance(gradients, Iterable) and not isinstance(gradients, Mapping):
        return given.from_iterable(gradients, params, steps, dtype)
    raise InputError(
        f"gradients is a {type(gradients).__name__}; it must be one of {', '.join(SOURCES)}, an "
        "iterable of gradients, or a function of the step and the parameters"
    )


def _converted(params: Any, dtype: np.dtype) -> Any:
    """The tree in NumPy and in the dtype."""
    layout = Layout.of(params)
    if not layout.names:
        raise InputError("params has no leaves; it must have at least one to compare")
    named = layout.named(params, "params")
    for name, leaf in named.items():
        if leaf.dtype.kind not in "fiuc":
            raise InputError(f"params: {name} has dtype {leaf.dtype}; it must hold numbers")
        if not np.isfinite(leaf).all():
            raise InputError(
                f"params: {name} has an element that is not finite; all must be finite"
            )
    wide = np.result_type(dtype, np.complex64)
    return layout.tree(
        map_named(lambda leaf: leaf.astype(wide if leaf.dtype.kind == "c" else dtype), named)
    )
