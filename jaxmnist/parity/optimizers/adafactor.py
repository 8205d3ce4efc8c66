"""torch.optim.Adafactor: a step from the mean squares of a gradient's rows and columns."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxmnist.parity.optimizers import moments
from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, drop_in, real_only


class AdafactorState(NamedTuple):
    """State of Adafactor between two updates."""

    step: Int[Array, ""]  # updates made so far
    row_var: PyTree[Float[Array, "..."]]  # mean squares of rows, (…, rows, 1); empty for vectors
    col_var: PyTree[Float[Array, "..."]]  # of columns, (…, 1, columns); empty for vectors
    variance: PyTree[Float[Array, "..."]]  # the average square of a vector; empty for others


def adafactor(
    lr: Scheduled = 1e-2,
    beta2_decay: Number = -0.8,
    eps: tuple[Number | None, Number] = (None, 1e-3),
    d: Number = 1.0,
    weight_decay: Number = 0.0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.Adafactor`` does.

    With the gradient g of a parameter w of n elements, and t = 1 at the first update:

        β = t^beta2_decay
        r ← (1 - β)·r + β·mean(g² along its rows),  c likewise along its columns
        v = r·c / max(mean(r), eps[0]);  of a vector, v ← (1 - β)·v + β·g²
        u = g / sqrt(max(v, eps[0]²))
        size = min(lr, 1 / sqrt(t)) · max(eps[1], |w| / sqrt(n))
        w ← w - lr · weight_decay · w - size · u / max(1, |u| / (sqrt(n)·d))

    Rows and columns are the last two axes, in PyTorch's layout.

    Args:
        lr: The largest relative step; a number, or a schedule called with 0 for the first update.
        beta2_decay: The power of t that is the share of the newest squares.
        eps: The least root of a mean square, None for the ε of the parameter's dtype; and the least
            root mean square of w that a step is relative to.
        d: The root mean square of u above which it is scaled down.
        weight_decay: Times the learning rate and w, what each update takes from w.
        maximize: Whether to climb.

    Returns:
        A transformation whose updates are to be added to the parameters; it needs them.

    Raises:
        InputError: A number is outside PyTorch's range, a parameter is complex, or an update has no
            parameters.

    Optax: ``optax.adafactor`` factors from 128 rows and columns on, adds ε to g², and has the decay
    in float32.

    References: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost",
    2018.

    >>> optimizer = adafactor(lr=0.1)
    >>> params = jnp.full((2, 2), 3.0)
    >>> update, state = optimizer.update(jnp.ones((2, 2)), optimizer.init(params), params)
    >>> print(f"{update[0, 0]:.4f}, {state.inner.row_var.shape}")
    -0.3000, (2, 1)
    """
    numbers = {
        "lr": lr,
        "beta2_decay": beta2_decay,
        **({} if eps[0] is None else {"eps1": eps[0]}),
        "eps2": eps[1],
        "d": d,
        "weight_decay": weight_decay,
    }
    return drop_in(
        "adafactor",
        _adafactor,
        numbers,
        maximize=maximize,
        needs_params=True,
        accepts=real_only,
    )


def _adafactor(
    lr: Number,
    beta2_decay: Number,
    eps2: Number,
    d: Number,
    weight_decay: Number,
    eps1: Number | None = None,
) -> optax.GradientTransformation:
    def init(params: optax.Params) -> AdafactorState:
        def zeros(shape: Callable[[Any], tuple[int, ...]], factored: bool) -> PyTree:
            def of(w: Any) -> Array:
                return jnp.zeros(shape(w) if (w.ndim > 1) == factored else (0,), w.dtype)

            return jax.tree.map(of, params)

        return AdafactorState(
            jnp.zeros((), jnp.int32),
            zeros(lambda w: (*w.shape[:-1], 1), True),
            zeros(lambda w: (*w.shape[:-2], 1, w.shape[-1]), True),
            zeros(lambda w: w.shape, False),
        )

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdafactorState]:
        step = moments.increment(state.step)
        t = moments.real(step)
        share = t**beta2_decay
        rate = jnp.minimum(lr, 1 / jnp.sqrt(t))

        def lerp(old: Array, new: Array) -> Array:
            return (old - share * old) + share * new

        def on_leaf(g: Array, w: Array, row: Array, col: Array, var: Array) -> tuple[Array, ...]:
            least = jnp.finfo(var.dtype).eps if eps1 is None else eps1
            if g.ndim > 1:
                row = lerp(row, jnp.mean(g * g, -1, keepdims=True))
                col = lerp(col, jnp.mean(g * g, -2, keepdims=True))
                estimate = row * col / jnp.maximum(jnp.mean(row, -2, keepdims=True), least)
            else:
                estimate = var = lerp(var, g * g)
            u = g / jnp.sqrt(jnp.maximum(estimate, least * least))
            alpha = rate * jnp.maximum(eps2, _root_mean_square(w))
            change = -alpha / jnp.maximum(1.0, _root_mean_square(u) / d) * u
            return change - lr * weight_decay * w, row, col, var

        trees = (updates, params, state.row_var, state.col_var, state.variance)
        rows = jax.tree.map(on_leaf, *trees)
        new, *kept = jax.tree.transpose(jax.tree.structure(updates), None, rows)
        return new, AdafactorState(step, *kept)

    return optax.GradientTransformation(init, update)


def _root_mean_square(array: Array) -> Array:
    return jnp.sqrt(jnp.mean(array * array))
