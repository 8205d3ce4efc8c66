"""The masks of dropout: those that the JAX function draws, given to the torch module.

Both frameworks keep an element with the same probability and draw other numbers for it. So in
training, where a module has dropout, its masks are the JAX function's, in the order in which they
are drawn.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.verify.locate.jax_trace import record
from jaxmnist.verify.model_runs.arguments import Axes


def draws(module: Any) -> bool:
    """Return whether a module has a dropout layer that is in training mode.

    Args:
        module: The torch module.
    """
    return any(
        "Dropout" in type(submodule).__name__
        and submodule.training
        and getattr(submodule, "p", 0) > 0
        for submodule in module.modules()
    )


def masks_in_jax(function: Any, params: Any, flat: Any) -> list[np.ndarray]:
    """Return the masks that a JAX function draws: the results of ``jax.random.bernoulli``.

    Args:
        function: Of parameters and inputs.
        params: Its parameters.
        flat: Its inputs.

    Returns:
        Arrays of booleans in the order in which they are drawn.
    """
    names = ([str(i) for i in range(len(params))], [str(i) for i in range(len(flat))])
    trace = record(function, params, flat, names)
    return [np.asarray(trace.values[number].array) for number in trace.masks]


@contextmanager
def shared(torch: Any, masks: Sequence[np.ndarray], orders: Sequence[Axes]) -> Iterator[None]:
    """Let a torch module draw these masks.

    Args:
        torch: The library.
        masks: In the order in which they are drawn.
        orders: Of the axes of inputs in the module, where they are transposed.

    Raises:
        InputError: The module draws more or fewer of them, or of other sizes.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    left = list(masks)

    class Masks(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            name = func.overloadpacket.__name__
            if name == "bernoulli_":
                mask = _next(left, tuple(args[0].shape), orders)
                return args[0].copy_(torch.from_numpy(mask))
            if name == "native_dropout" and args[2]:
                mask = torch.from_numpy(_next(left, tuple(args[0].shape), orders))
                return args[0] * mask / (1 - args[1]), mask
            return func(*args, **(kwargs or {}))

    with Masks():
        yield
    if left:
        raise InputError(
            f"apply_fn draws {len(left)} masks more than the torch module; both must have the same "
            "dropout layers, or call eval() and switch it off in JAX"
        )


def _next(left: list[np.ndarray], shape: tuple[int, ...], orders: Sequence[Axes]) -> np.ndarray:
    if not left:
        raise InputError(
            "the torch module draws a mask that apply_fn does not; both must have the same dropout "
            "layers, or call eval() and switch it off in JAX"
        )
    mask = left.pop(0)
    for axes in orders:
        if len(axes) == mask.ndim and mask.transpose(axes).shape == shape:
            mask = mask.transpose(axes)
            break
    if mask.size != int(np.prod(shape)):
        raise InputError(
            f"apply_fn draws a mask of shape {mask.shape} where the torch module draws one of "
            f"{shape}; both must have the same dropout layers in the same order"
        )
    return np.array(mask.reshape(shape))
