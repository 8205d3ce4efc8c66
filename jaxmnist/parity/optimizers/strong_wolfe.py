"""PyTorch's line search for LBFGS: a step that satisfies the strong Wolfe conditions."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxmnist.parity.optimizers.drop_in import Number

_C1 = 1e-4
"""The share of the decrease that the slope promises which a step must reach."""
_C2 = 0.9
"""The share of the slope, at most, that may be left after a step."""

Line = Callable[[Float[Array, ""]], tuple[Float[Array, ""], Float[Array, " n"]]]
"""From a step length to the loss and the gradient of all parameters there."""


class _Point(NamedTuple):
    """A step length, and what was found there."""

    t: Float[Array, ""]
    loss: Float[Array, ""]
    grad: Float[Array, " n"]
    slope: Float[Array, ""]  # along the direction


class _Search(NamedTuple):
    """The search for a bracket: from short steps to long ones."""

    ls_iter: Int[Array, ""]
    before: _Point
    now: _Point
    is_bracket: Bool[Array, ""]
    is_found: Bool[Array, ""]


class _Zoom(NamedTuple):
    """A bracket that is made smaller; the ends are numbered 0 and 1."""

    ls_iter: Int[Array, ""]
    ends: tuple[_Point, _Point]
    low: Int[Array, ""]  # the number of the end with the lower loss
    is_slow: Bool[Array, ""]  # whether the last trial was near an end
    is_found: Bool[Array, ""]


def strong_wolfe(
    line: Line,
    t: Float[Array, ""],
    direction: Float[Array, " n"],
    loss: Float[Array, ""],
    grad: Float[Array, " n"],
    slope: Float[Array, ""],
    tolerance_change: Number,
    max_ls: Int[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, " n"], Int[Array, ""]]:
    """Search along a direction as PyTorch's ``_strong_wolfe`` does.

    A step t satisfies, with the loss f(t) and the slope f'(t) along the direction,

        f(t) ≤ f(0) + 1e-4 · t · f'(0)  and  |f'(t)| ≤ 0.9 · |f'(0)|

    Longer steps are tried until one does or two bracket one that does; the bracket is then made
    smaller by the minima of cubic interpolations.

    Args:
        line: The loss and its gradient at a step length.
        t: The first trial.
        direction: Of the search.
        loss: At 0.
        grad: At 0.
        slope: At 0; negative.
        tolerance_change: A bracket that moves no parameter by more is small enough.
        max_ls: Trials after the first one, at most.

    Returns:
        The step length, the loss and the gradient there, and the number of evaluations.
    """

    def point(t: Array) -> _Point:
        found, gradient = line(t)
        return _Point(t, found, gradient, jnp.dot(gradient, direction))

    def is_high(at: _Point) -> Array:
        return at.loss > loss + _C1 * at.t * slope

    def is_flat(at: _Point) -> Array:
        return jnp.abs(at.slope) <= -_C2 * slope

    def bracket(search: _Search) -> _Search:
        now, before = search.now, search.before
        rose = is_high(now) | ((search.ls_iter > 1) & (now.loss >= before.loss))
        is_found = ~rose & is_flat(now)
        is_bracket = rose | (~is_found & (now.slope >= 0))

        def longer() -> _Search:
            limits = now.t + 0.01 * (now.t - before.t), now.t * 10
            following = point(_minimum(before, now, *limits))
            return _Search(search.ls_iter + 1, now, following, is_bracket, is_found)

        ended = search._replace(is_bracket=is_bracket, is_found=is_found)
        return lax.cond(is_bracket | is_found, lambda: ended, longer)

    def zoom(at: _Zoom) -> _Zoom:
        first, second = at.ends
        least, most = jnp.minimum(first.t, second.t), jnp.maximum(first.t, second.t)
        t = _minimum(first, second, least, most)
        room = 0.1 * (most - least)
        is_near = jnp.minimum(most - t, t - least) < room
        moves = is_near & (at.is_slow | (t >= most) | (t <= least))
        inside = jnp.where(jnp.abs(t - most) < jnp.abs(t - least), most - room, least + room)
        new = point(jnp.where(moves, inside, t))

        low, high = _chosen(at.ends, at.low), _chosen(at.ends, 1 - at.low)
        is_worse = is_high(new) | (new.loss >= low.loss)
        is_found = ~is_worse & is_flat(new)
        turns = ~is_worse & ~is_found & (new.slope * (high.t - low.t) >= 0)
        low_end = _either(is_worse, low, new)
        high_end = _either(is_worse, new, _either(turns, low, high))
        is_first_low = at.low == 0
        ends = (
            _either(is_first_low, low_end, high_end),
            _either(is_first_low, high_end, low_end),
        )
        chosen = jnp.where(is_worse, _lower(ends), at.low)
        return _Zoom(at.ls_iter + 1, ends, chosen, is_near & ~moves, is_found)

    no = jnp.array(False)
    origin = _Point(jnp.zeros_like(t), loss, grad, slope)
    search = lax.while_loop(
        lambda at: ~at.is_bracket & ~at.is_found & (at.ls_iter < max_ls),
        bracket,
        _Search(jnp.zeros((), jnp.int32), origin, point(t), no, no),
    )
    # Without a bracket in time it is the whole way.
    before = _either(search.is_bracket, search.before, origin)
    before = _either(search.is_found, search.now, before)
    ends = (before, search.now)

    def goes_on(at: _Zoom) -> Array:
        width = jnp.abs(at.ends[1].t - at.ends[0].t) * jnp.max(jnp.abs(direction))
        return ~at.is_found & (at.ls_iter < max_ls) & ~(width < tolerance_change)

    found = lax.while_loop(
        goes_on, zoom, _Zoom(search.ls_iter, ends, _lower(ends), no, search.is_found)
    )
    best = _chosen(found.ends, found.low)
    return best.t, best.loss, best.grad, found.ls_iter + 1


def _lower(ends: tuple[_Point, _Point]) -> Int[Array, ""]:
    return jnp.where(ends[0].loss <= ends[1].loss, 0, 1).astype(jnp.int32)


def _chosen(ends: tuple[_Point, _Point], number: Int[Array, ""]) -> _Point:
    return _either(number == 0, *ends)


def _either(condition: Array, first: _Point, second: _Point) -> _Point:
    pairs = zip(first, second, strict=True)
    return _Point(*(jnp.where(condition, a, b) for a, b in pairs))


def _minimum(
    first: _Point, second: _Point, least: Float[Array, ""], most: Float[Array, ""]
) -> Float[Array, ""]:
    """Where the cubic through two points with their slopes is least, between two bounds."""
    a, b = first, second
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    d2 = jnp.sqrt(jnp.maximum(square, 0))
    rising = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    falling = a.t - (a.t - b.t) * ((a.slope + d2 - d1) / (a.slope - b.slope + 2 * d2))
    least_of_cubic = jnp.where(a.t <= b.t, rising, falling)
    inside = jnp.minimum(jnp.maximum(least_of_cubic, least), most)
    return jnp.where(square >= 0, inside, (least + most) / 2)
