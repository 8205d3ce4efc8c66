"""torch.optim.lr_scheduler.ReduceLROnPlateau, as a gradient transformation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxmnist.conventions import plain_number
from jaxmnist.errors import InputError
from jaxmnist.parity.optimizers.drop_in import Number


class ReduceOnPlateauState(NamedTuple):
    """State of the schedule between two updates."""

    lr: Float[Array, ""]  # the current learning rate
    best: Float[Array, ""]  # the best value so far
    num_bad_epochs: Int[Array, ""]  # values since that were no better
    cooldown_counter: Int[Array, ""]  # values that will not be counted


def reduce_on_plateau(
    lr: Number,
    mode: str = "min",
    factor: Number = 0.1,
    patience: Number = 10,
    threshold: Number = 1e-4,
    threshold_mode: str = "rel",
    cooldown: Number = 0,
    min_lr: Number = 0.0,
    eps: Number = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    """Lower the rate when a value stops improving, as ``ReduceLROnPlateau`` does.

        tx = optax.chain(parity.adam(lr), parity.reduce_on_plateau(lr))
        updates, state = tx.update(gradients, state, params, value=loss)

    It multiplies the updates by the current rate over `lr`. As in PyTorch, where the scheduler
    steps after the optimizer, a value changes the next update and not its own. For optimizers whose
    update is proportional to their rate: not Rprop, ASGD and Adafactor.

    Args:
        lr: The optimizer's learning rate.
        mode: "min" or "max": whether a value is better that is less, or one that is more.
        factor: What the rate is multiplied by, less than 1.
        patience: The number of values that may be no better; the next one lowers the rate.
        threshold: By how much a value must be better.
        threshold_mode: "rel", a share of the best, or "abs".
        cooldown: The number of values after a change that are not counted.
        min_lr: The lowest rate.
        eps: A change of the rate that is not more is not made.

    Returns:
        A transformation whose update needs ``value``, a number.

    Raises:
        InputError: A mode is unknown, or `factor` is not less than 1; at an update, there is no
            ``value``.

    Optax: ``optax.contrib.reduce_on_plateau`` lowers the rate after `patience` values, at the
    update of the last of them, and knows no `eps`.

    >>> tx = reduce_on_plateau(1.0, factor=0.5, patience=1)
    >>> state = tx.init(None)
    >>> for value in (3.0, 3.0, 3.0, 3.0):
    ...     update, state = tx.update(jnp.array(1.0), state, value=jnp.array(value))
    ...     print(update)
    1.0
    1.0
    1.0
    0.5
    """
    if mode not in ("min", "max"):
        raise InputError(f"reduce_on_plateau: mode is {mode!r}; it must be min or max")
    if threshold_mode not in ("rel", "abs"):
        raise InputError(
            f"reduce_on_plateau: threshold_mode is {threshold_mode!r}; it must be rel or abs"
        )
    known = plain_number(factor)
    if known is not None and not known < 1:
        raise InputError(f"reduce_on_plateau: factor is {factor}; it must be less than 1")
    sign = 1 if mode == "min" else -1

    def init(params: Any) -> ReduceOnPlateauState:
        del params
        dtype, none = jnp.result_type(float), jnp.zeros((), jnp.int32)
        return ReduceOnPlateauState(
            jnp.asarray(lr, dtype), jnp.asarray(sign * jnp.inf, dtype), none, none
        )

    def update(
        updates: Any, state: Any, params: Any = None, *, value: Any = None, **extra_args: Any
    ) -> tuple[Any, ReduceOnPlateauState]:
        del params, extra_args
        if value is None:
            raise InputError(
                "reduce_on_plateau: value is None; call update(gradients, state, value=loss)"
            )
        with jax.numpy_dtype_promotion("standard"):
            scale = jnp.where(lr == 0, 1.0, state.lr / jnp.where(lr == 0, 1.0, lr))
            new = jax.tree.map(lambda g: (scale * g).astype(jnp.result_type(g)), updates)
            return new, advance(state, jnp.asarray(value, state.best.dtype))

    def advance(state: ReduceOnPlateauState, value: Array) -> ReduceOnPlateauState:
        if threshold_mode == "rel":
            limit = state.best * (1 - sign * threshold)
        else:
            limit = state.best - sign * threshold
        better = value < limit if mode == "min" else value > limit
        best = jnp.where(better, value, state.best)
        in_cooldown = state.cooldown_counter > 0
        counter = state.cooldown_counter - in_cooldown
        bad = jnp.where(better | in_cooldown, 0, state.num_bad_epochs + 1)
        over = bad > patience
        lower = jnp.maximum(state.lr * factor, min_lr)
        rate = jnp.where(over & (state.lr - lower > eps), lower, state.lr)
        return ReduceOnPlateauState(
            rate,
            best,
            jnp.where(over, 0, bad).astype(jnp.int32),
            jnp.where(over, cooldown, counter).astype(jnp.int32),
        )

    return optax.GradientTransformationExtraArgs(init, update)
