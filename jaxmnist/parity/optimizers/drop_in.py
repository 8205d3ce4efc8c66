"""What every drop-in for an optimizer of ``torch.optim`` has in common.

A drop-in's file says how the direction of a step comes about, as a chain of Optax's own
transformations where those compute it and of one more where they do not. Here is the rest: the
arguments' ranges, schedules in place of numbers, complex parameters, ``maximize``, and dtypes.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree, ScalarLike

from jaxmnist.conventions import plain_number, shown
from jaxmnist.errors import InputError

Number = int | float | Float[Array, ""] | Int[Array, ""]
"""A Python number, or a scalar array that may be traced."""
Scheduled = Number | Callable[[Int[Array, ""]], ScalarLike]
"""The same, or a schedule: a function of the number of updates made before."""

Numbers = dict[str, Any]


class Range(NamedTuple):
    """The numbers that an argument may be."""

    low: int | float
    high: int | float
    words: str

    def has(self, number: int | float) -> bool:
        """Return whether a number is one of them; the upper end of "less than" is not."""
        below = number < self.high if "less than" in self.words else number <= self.high
        return self.low <= number and below


_AT_LEAST_0: Final = Range(0, math.inf, "at least 0")
_SHARE: Final = Range(0, 1, "at least 0 and less than 1")
_RANGES: Final[Mapping[str, Range]] = {
    "beta1": _SHARE,
    "beta2": _SHARE,
    "rho": Range(0, 1, "at least 0 and at most 1"),
    "dampening": Range(-math.inf, math.inf, "a number"),
    "beta2_decay": Range(-math.inf, 0, "at most 0"),
    "d": Range(1, math.inf, "at least 1"),
    "etaminus": Range(0, 1, "at least 0 and less than 1"),
    "etaplus": Range(1, math.inf, "at least 1"),
}
"""PyTorch's; every other argument must be at least 0."""


class DropInState(NamedTuple):
    """State of a drop-in between two updates."""

    count: Int[Array, ""]  # updates made so far  # pyright: ignore[reportIncompatibleMethodOverride]
    inner: PyTree  # that of the transformations it is a chain of


def drop_in(
    name: str,
    make: Callable[..., optax.GradientTransformation],
    numbers: Numbers,
    *,
    maximize: bool = False,
    needs_params: bool = False,
    accepts: Callable[[Any], str | None] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Build a drop-in from a function that makes its chain out of numbers.

    Complex arrays are two real ones, as PyTorch has it: their parts are a last axis of two, in
    the state too. Arithmetic is in the parameters' precision, or in float32 where that is wider;
    the state and the updates have the parameters' dtype.

    Args:
        name: The optimizer's, for messages.
        make: ``make(**numbers) -> optax.GradientTransformation``, the learning rate included.
        numbers: Every number by name, each of which may be traced or a schedule.
        maximize: Whether to climb.
        needs_params: Whether an update cannot do without the parameters.
        accepts: ``accepts(leaf)``, None for parameters that the optimizer takes, or what they must
            be; None takes all.

    Returns:
        The transformation; it passes extra arguments on.

    Raises:
        InputError: A number is outside PyTorch's range.
    """
    _check(name, numbers)
    needs_params |= not is_off(numbers.get("weight_decay", 0))

    def made(count: Int[Array, ""]) -> optax.GradientTransformationExtraArgs:
        values = {key: value_at(value, count) for key, value in numbers.items()}
        return optax.with_extra_args_support(make(**values))

    def init(params: PyTree) -> DropInState:
        _check_params(name, params, accepts)
        with jax.numpy_dtype_promotion("standard"):
            count = jnp.zeros((), jnp.int32)
            return DropInState(count, made(count).init(jax.tree.map(_as_pair, params)))

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, DropInState]:
        if params is None and needs_params:
            raise InputError(
                f"{name}: params is None; this optimizer's step depends on them: call "
                "update(gradients, state, params)"
            )
        _check_params(f"{name}: the gradients", updates, accepts)
        with jax.numpy_dtype_promotion("standard"):
            sign = -1 if maximize else 1
            given = jax.tree.map(lambda g: sign * _working(g), updates)
            at = None if params is None else jax.tree.map(_working, params)
            new, inner = made(state.count).update(given, state.inner, at, **extra_args)
            new = jax.tree.map(_like, updates, new)
            inner = jax.tree.map(lambda old, each: each.astype(old.dtype), state.inner, inner)
        return new, DropInState(jnp.asarray(optax.safe_increment(state.count)), inner)

    return optax.GradientTransformationExtraArgs(init, update)


def is_off(value: Any) -> bool:
    """Return whether a number is known to be 0, so that what it multiplies can be left out."""
    return not callable(value) and plain_number(value) == 0


def decay(weight_decay: Number) -> optax.GradientTransformation:
    """Return what adds the parameters times `weight_decay`; the identity where that is 0.

    Before the direction it is part of the gradient (L2, as ``weight_decay`` is in PyTorch); after
    it, it shrinks the parameters alone (decoupled, as in AdamW).
    """
    if is_off(weight_decay):
        return optax.identity()
    return optax.add_decayed_weights(weight_decay)


def descend(lr: Number) -> optax.GradientTransformation:
    """Return what multiplies the direction by minus the learning rate."""
    return optax.scale(-lr)


def value_at(value: Any, count: Int[Array, ""]) -> Any:
    """Return a number, or a schedule's value.

    Schedules are called with an int64 under x64: from an int32, several of Optax's compute in
    float32 there too.
    """
    if not callable(value):
        return value
    with jax.numpy_dtype_promotion("standard"):
        return value(jnp.asarray(count, jax.dtypes.canonicalize_dtype(jnp.int64)))


def _check(name: str, numbers: Numbers) -> None:
    for argument, value in numbers.items():
        number = None if callable(value) else plain_number(value)
        if number is None:
            if callable(value) or (isinstance(value, jax.Array) and value.shape == ()):
                continue
            raise InputError(
                f"{name}: {argument} is {shown(value)}; it must be one number; use jax.vmap for "
                "several"
            )
        allowed = _RANGES.get(argument, _AT_LEAST_0)
        if not allowed.has(number):
            raise InputError(f"{name}: {argument} is {number}; it must be {allowed.words}")


def _check_params(name: str, params: PyTree, accepts: Callable[[Any], str | None] | None) -> None:
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        at = jax.tree_util.keystr(path, simple=True, separator="/") or "the array"
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.inexact):
            wanted = "floating or complex; mask what is not trained"
            raise InputError(f"{name}: {at} has dtype {dtype}; it must be {wanted}")
        wanted = None if accepts is None else accepts(leaf)
        if wanted is not None:
            raise InputError(
                f"{name}: {at} has shape {jnp.shape(leaf)} and dtype {dtype}; {wanted}"
            )


def real_only(leaf: Any) -> str | None:
    """Refuse complex arrays."""
    return "complex parameters are refused, as in PyTorch" if jnp.iscomplexobj(leaf) else None


def _as_pair(array: Any) -> Array:
    array = jnp.asarray(array)
    return jnp.stack([array.real, array.imag], -1) if jnp.iscomplexobj(array) else array


def _working(array: Any) -> Array:
    array = _as_pair(array)
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _like(old: Any, new: Array) -> Array:
    if jnp.iscomplexobj(old):
        new = jax.lax.complex(new[..., 0], new[..., 1])
    return new.astype(jnp.result_type(old))
