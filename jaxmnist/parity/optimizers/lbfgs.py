"""torch.optim.LBFGS: many quasi-Newton iterations a step, on a loss that is evaluated again."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from jaxmnist.errors import InputError
from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, drop_in, real_only
from jaxmnist.parity.optimizers.strong_wolfe import strong_wolfe

_LEAST_CURVATURE = 1e-10
"""PyTorch's: a pair of a step and a gradient's change is remembered above it."""


class LbfgsState(NamedTuple):
    """State of L-BFGS between two updates; all parameters are one vector of n elements."""

    n_iter: Int[Array, ""]  # iterations made so far, in all updates
    func_evals: Int[Array, ""]  # evaluations of the loss so far
    d: Float[Array, " n"]  # the last direction
    t: Float[Array, ""]  # how far it was followed
    old_dirs: Float[Array, "history n"]  # changes of the gradient, the oldest first
    old_stps: Float[Array, "history n"]  # the steps that they belong to
    ro: Float[Array, " history"]  # 1 over the products of both
    num_old: Int[Array, ""]  # how many of these are filled
    h_diag: Float[Array, ""]  # the scale of the first approximation of the inverse Hessian
    prev_flat_grad: Float[Array, " n"]  # the gradient that the last direction was computed from


Evaluate = Callable[[Float[Array, " n"]], tuple[Float[Array, ""], Float[Array, " n"]]]
"""From all parameters as a vector to the loss and its gradient."""


class _Limits(NamedTuple):
    """The arguments of the iterations."""

    lr: Number
    max_iter: int
    max_eval: int
    tolerance_grad: Number
    tolerance_change: Number
    searches: bool


class _Iterate(NamedTuple):
    """Where the iterations of one update are."""

    n_iter: Int[Array, ""]  # in this update
    evals: Int[Array, ""]  # in this update
    x: Float[Array, " n"]
    loss: Float[Array, ""]
    grad: Float[Array, " n"]
    done: Bool[Array, ""]
    memory: LbfgsState


def lbfgs(
    lr: Scheduled = 1.0,
    max_iter: int = 20,
    max_eval: int | None = None,
    tolerance_grad: Number = 1e-7,
    tolerance_change: Number = 1e-9,
    history_size: int = 100,
    line_search_fn: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Descend by limited-memory BFGS as ``torch.optim.LBFGS`` does.

    An update makes up to `max_iter` iterations. With the gradient g, the steps s_i and the changes
    of the gradient y_i of the last `history_size` iterations with y_i·s_i > 1e-10, and c = y·s/y·y
    of the last of them (1 without any), an iteration is

        d = -H·g, H the BFGS approximation of the inverse Hessian from (s_i, y_i) and c·I
        t = lr, in the very first iteration lr · min(1, 1 / Σ|g|)
        w ← w + t·d, or with a line search w + t'·d from the first trial t

    An update ends where max |g| ≤ `tolerance_grad`, g·d > -`tolerance_change`, max |t·d| ≤
    `tolerance_change` or the loss changes by less than that, or after `max_eval` evaluations.

    Args:
        lr: The step length that is tried; a number, or a schedule called with 0 for the first
            update.
        max_iter: Iterations in an update, at most.
        max_eval: Evaluations of the loss in an update, at most; None for 5/4 of `max_iter`.
        tolerance_grad: The largest element of a gradient that is taken for zero.
        tolerance_change: The change of the loss or of a parameter that is taken for none.
        history_size: The number of pairs that are remembered, whose memory is reserved.
        line_search_fn: None, or "strong_wolfe" for a search by cubic interpolation.

    Returns:
        A transformation whose updates are to be added to the parameters; it needs them, their
        gradients, and as ``value_fn`` a function from parameters to the loss, which is evaluated
        and differentiated in the update: ``update(gradients, state, params, value_fn=loss)``. The
        loss there, if known, is its ``value``. An update cannot be differentiated in reverse mode.

    Raises:
        InputError: A number is outside PyTorch's range, `line_search_fn` is another word, a
            parameter is complex, or an update has no parameters or no `value_fn`.

    Optax: ``optax.lbfgs`` makes one iteration an update, remembers 10, and searches by default.

    References: Liu and Nocedal, "On the limited memory BFGS method for large scale optimization",
    1989; Nocedal and Wright, "Numerical optimization", 2006, chapters 3 and 7.

    >>> def loss(w):
    ...     return jnp.sum((w - jnp.array([1.0, 2.0])) ** 2)
    >>> optimizer, w = lbfgs(max_iter=3), jnp.zeros(2)
    >>> update, state = optimizer.update(jax.grad(loss)(w), optimizer.init(w), w, value_fn=loss)
    >>> print(jnp.round(update, 4))
    [1. 2.]
    """
    if line_search_fn not in (None, "strong_wolfe"):
        raise InputError(
            f"lbfgs: line_search_fn is {line_search_fn!r}; it must be None or 'strong_wolfe'"
        )
    sizes = {"max_iter": max_iter, "max_eval": max_eval, "history_size": history_size}
    for name, size in sizes.items():
        if size is not None and (not isinstance(size, int) or size < 1):
            raise InputError(f"lbfgs: {name} is {size}; it must be a whole number of at least 1")
    most = max_iter * 5 // 4 if max_eval is None else max_eval

    def make(
        lr: Number, tolerance_grad: Number, tolerance_change: Number
    ) -> optax.GradientTransformationExtraArgs:
        searches = line_search_fn is not None
        limits = _Limits(lr, max_iter, most, tolerance_grad, tolerance_change, searches)

        def init(params: optax.Params) -> LbfgsState:
            return _start(ravel_pytree(params)[0], history_size)

        def update(
            updates: optax.Updates,
            state: Any,
            params: optax.Params | None = None,
            *,
            value: Any = None,
            value_fn: Callable[[Any], Any] | None = None,
            **extra_args: Any,
        ) -> tuple[optax.Updates, LbfgsState]:
            del extra_args
            if value_fn is None:
                raise InputError(
                    "lbfgs: value_fn is None; it evaluates the loss again: call "
                    "update(gradients, state, params, value_fn=loss)"
                )
            x, unravel = ravel_pytree(params)

            def evaluate(x: Array) -> tuple[Array, Array]:
                loss, gradient = jax.value_and_grad(value_fn)(unravel(x))
                return loss.astype(x.dtype), ravel_pytree(gradient)[0].astype(x.dtype)

            gradient = ravel_pytree(updates)[0].astype(x.dtype)
            loss = jnp.asarray(value_fn(params) if value is None else value, x.dtype)
            like = _start(x, history_size)
            memory = jax.tree.map(lambda old, new: old.astype(new.dtype), state, like)
            end, memory = _minimized(evaluate, limits, x, loss, gradient, memory)
            return unravel(end - x), memory

        return optax.GradientTransformationExtraArgs(init, update)

    numbers = {"lr": lr, "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change}
    return drop_in("lbfgs", make, numbers, needs_params=True, accepts=real_only)


def _start(x: Float[Array, " n"], history: int) -> LbfgsState:
    zero, nothing = jnp.zeros((), x.dtype), jnp.zeros_like(x)
    count, pairs = jnp.zeros((), jnp.int32), jnp.zeros((history, *x.shape), x.dtype)
    ro = jnp.zeros(history, x.dtype)
    return LbfgsState(
        count, count, nothing, zero, pairs, pairs, ro, count, jnp.ones_like(zero), nothing
    )


def _minimized(
    evaluate: Evaluate,
    limits: _Limits,
    x: Float[Array, " n"],
    loss: Float[Array, ""],
    gradient: Float[Array, " n"],
    memory: LbfgsState,
) -> tuple[Float[Array, " n"], LbfgsState]:
    """Make the iterations of one update from x, where the loss and its gradient are known."""

    def iterate(at: _Iterate) -> _Iterate:
        n_iter, memory = at.n_iter + 1, _remembered(at.memory, at.grad)
        is_first = memory.n_iter == 1
        first = jnp.minimum(1.0, 1 / jnp.sum(jnp.abs(at.grad)))
        t = jnp.asarray(jnp.where(is_first, first, 1.0) * limits.lr, x.dtype)
        d = _direction(memory, at.grad)
        memory = memory._replace(d=d, t=t, prev_flat_grad=at.grad)
        slope = jnp.dot(at.grad, d)
        at = at._replace(n_iter=n_iter, memory=memory)

        def move() -> _Iterate:
            t, loss, grad, evals = _moved(evaluate, limits, at, slope)
            change = t * d
            done = (
                (at.evals + evals >= limits.max_eval)
                | (_largest(grad) <= limits.tolerance_grad)
                | (_largest(change) <= limits.tolerance_change)
                | (jnp.abs(loss - at.loss) < limits.tolerance_change)
            )
            counted = memory._replace(t=t, func_evals=memory.func_evals + evals)
            return _Iterate(n_iter, at.evals + evals, at.x + change, loss, grad, done, counted)

        is_flat = slope > -limits.tolerance_change
        return lax.cond(is_flat, lambda: at._replace(done=jnp.array(True)), move)

    one = jnp.ones((), jnp.int32)
    memory = memory._replace(func_evals=memory.func_evals + one)
    done = _largest(gradient) <= limits.tolerance_grad
    start = _Iterate(0 * one, one, x, loss, gradient, done, memory)
    end = lax.while_loop(lambda at: ~at.done & (at.n_iter < limits.max_iter), iterate, start)
    return end.x, end.memory


def _moved(
    evaluate: Evaluate, limits: _Limits, at: _Iterate, slope: Float[Array, ""]
) -> tuple[Array, Array, Array, Array]:
    """How far the direction is followed; the loss and gradient there; evaluations for that."""
    t, d = at.memory.t, at.memory.d

    def on_line(t: Array) -> tuple[Array, Array]:
        return evaluate(at.x + t * d)

    if limits.searches:
        left = limits.max_eval - at.evals
        change = limits.tolerance_change
        return strong_wolfe(on_line, t, d, at.loss, at.grad, slope, change, left)
    # The last iteration's loss and gradient would not be used.
    is_last = at.n_iter == limits.max_iter
    loss, grad = lax.cond(is_last, lambda: (at.loss, at.grad), lambda: on_line(t))
    return t, loss, grad, jnp.where(is_last, 0, 1).astype(jnp.int32)


def _remembered(memory: LbfgsState, gradient: Float[Array, " n"]) -> LbfgsState:
    """Count an iteration, and store the last step with what it changed in the gradient."""
    y, s = gradient - memory.prev_flat_grad, memory.d * memory.t
    curvature = jnp.dot(y, s)
    is_kept = curvature > _LEAST_CURVATURE  # Never in the first iteration, where s is 0.
    history = memory.ro.shape[0]
    is_full = memory.num_old == history
    place = jnp.where(is_full, history - 1, memory.num_old)

    def stored(old: Array, new: Array) -> Array:
        shifted = jnp.where(is_full, jnp.roll(old, -1, 0), old)
        return jnp.where(is_kept, shifted.at[place].set(new), old)

    # Divided by 1 where it is not kept, so that a zero there makes no NaN.
    safe = jnp.where(is_kept, curvature, 1.0)
    scale = safe / jnp.where(is_kept, jnp.dot(y, y), 1.0)
    return memory._replace(
        n_iter=memory.n_iter + 1,
        old_dirs=stored(memory.old_dirs, y),
        old_stps=stored(memory.old_stps, s),
        ro=stored(memory.ro, 1 / safe),
        num_old=memory.num_old + jnp.where(is_kept & ~is_full, 1, 0).astype(jnp.int32),
        h_diag=jnp.where(is_kept, scale, memory.h_diag),
    )


def _direction(memory: LbfgsState, gradient: Float[Array, " n"]) -> Float[Array, " n"]:
    """Minus the approximate inverse Hessian times the gradient, by two loops over the pairs."""

    def backward(number: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        q, al = carry
        i = memory.num_old - 1 - number
        share = jnp.dot(memory.old_stps[i], q) * memory.ro[i]
        return q - share * memory.old_dirs[i], al.at[i].set(share)

    def forward(i: Any, r: Array) -> Array:
        share = jnp.dot(memory.old_dirs[i], r) * memory.ro[i]
        return r + (al[i] - share) * memory.old_stps[i]

    begin = (-gradient, jnp.zeros_like(memory.ro))
    q, al = lax.fori_loop(0, memory.num_old, backward, begin)
    return lax.fori_loop(0, memory.num_old, forward, q * memory.h_diag)


def _largest(x: Float[Array, " n"]) -> Float[Array, ""]:
    return jnp.max(jnp.abs(x), initial=0.0)
