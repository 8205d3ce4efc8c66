"""The schedules of torch.optim.lr_scheduler that rise and fall."""

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmnist.errors import InputError
from jaxmnist.parity.optimizers.drop_in import Number
from jaxmnist.parity.schedules.count import Schedule, check_share, check_steps, schedule


class Cycle(NamedTuple):
    """A schedule of the learning rate, and that of the momentum which goes the other way."""

    rate: Schedule
    momentum: Schedule  # for SGD's momentum or Adam's first beta


def cosine_annealing_lr(
    lr: Number,
    T_max: Number,  # noqa: N803
    eta_min: Number = 0.0,
) -> Schedule:
    """Swing between `lr` and `eta_min` in a cosine, as ``CosineAnnealingLR`` does.

    Args:
        lr: The optimizer's learning rate, at 0.
        T_max: The number of steps to `eta_min`; after it the rate rises again.
        eta_min: The smallest rate.

    Returns:
        The schedule eta_min + (lr - eta_min) · (1 + cos(π · count / T_max)) / 2.

    Raises:
        InputError: `T_max` is less than 1.

    Optax: ``cosine_decay_schedule`` stays at its end.

    >>> rate = cosine_annealing_lr(1.0, T_max=2)
    >>> [round(float(rate(count)), 4) for count in range(4)]
    [1.0, 0.5, 0.0, 0.5]
    """
    check_steps("cosine_annealing_lr", "T_max", T_max)
    return schedule(lambda t: eta_min + (lr - eta_min) * (1 + jnp.cos(math.pi * t / T_max)) / 2)


def cosine_annealing_warm_restarts(
    lr: Number,
    T_0: Number,  # noqa: N803
    T_mult: int = 1,  # noqa: N803
    eta_min: Number = 0.0,
) -> Schedule:
    """Fall to `eta_min` in half a cosine again and again, as ``CosineAnnealingWarmRestarts`` does.

    Args:
        lr: The optimizer's learning rate, at every restart.
        T_0: The number of steps to the first restart.
        T_mult: What the next period is longer by, a whole number of at least 1.
        eta_min: The rate that each period falls to.

    Returns:
        The schedule.

    Raises:
        InputError: `T_0` or `T_mult` is less than 1.

    >>> rate = cosine_annealing_warm_restarts(1.0, T_0=2)
    >>> [round(float(rate(count)), 4) for count in range(4)]
    [1.0, 0.5, 1.0, 0.5]
    """
    check_steps("cosine_annealing_warm_restarts", "T_0", T_0)
    check_steps("cosine_annealing_warm_restarts", "T_mult", T_mult)

    def rate(t: Float[Array, ""]) -> Any:
        if T_mult == 1:
            period, start = T_0, jnp.floor(t / T_0) * T_0
        else:
            # All starts of periods that a count can reach; a logarithm would round at them.
            starts, length = [0], 1
            while starts[-1] < 2**31:
                starts.append(starts[-1] + length)
                length *= T_mult
            index = jnp.sum(jnp.asarray(starts, t.dtype) * T_0 <= t) - 1
            start = jnp.asarray(starts, t.dtype)[index] * T_0
            period = T_0 * jnp.asarray(T_mult, t.dtype) ** index.astype(t.dtype)
        return eta_min + (lr - eta_min) * (1 + jnp.cos(math.pi * (t - start) / period)) / 2

    return schedule(rate)


_SCALES: Final = ("triangular", "triangular2", "exp_range")


def cyclic_lr(
    base_lr: Number,
    max_lr: Number,
    step_size_up: Number = 2000,
    step_size_down: Number | None = None,
    mode: str = "triangular",
    gamma: Number = 1.0,
    scale_fn: Callable[[Any], Any] | None = None,
    scale_mode: str = "cycle",
    base_momentum: Number = 0.8,
    max_momentum: Number = 0.9,
) -> Cycle:
    """Rise and fall linearly again and again, as ``CyclicLR`` does.

    Args:
        base_lr: The lowest rate, at 0.
        max_lr: The highest rate, at `step_size_up`.
        step_size_up: The number of steps of a rise.
        step_size_down: Of a fall; None for as many.
        mode: "triangular"; "triangular2", which halves each cycle's height; or "exp_range", which
            multiplies the height by gamma^count.
        gamma: For "exp_range".
        scale_fn: In place of the mode, a function to what multiplies the height; it is given a
            traced number.
        scale_mode: What `scale_fn` is given: "cycle", from 1 on, or "iterations", the count.
        base_momentum: The lowest momentum, where the rate is highest.
        max_momentum: The highest.

    Returns:
        Both schedules; PyTorch's ``cycle_momentum=False`` is to use the first alone.

    Raises:
        InputError: A mode is unknown, or a number of steps is less than 1.

    >>> cycle = cyclic_lr(0.0, 1.0, step_size_up=2)
    >>> [float(cycle.rate(count)) for count in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if scale_fn is None and mode not in _SCALES:
        raise InputError(f"cyclic_lr: mode is {mode!r}; it must be one of {', '.join(_SCALES)}")
    if scale_mode not in ("cycle", "iterations"):
        raise InputError(f"cyclic_lr: scale_mode is {scale_mode!r}; it must be cycle or iterations")
    down = step_size_up if step_size_down is None else step_size_down
    check_steps("cyclic_lr", "step_size_up", step_size_up)
    check_steps("cyclic_lr", "step_size_down", down)

    def height(t: Float[Array, ""]) -> Any:
        total = step_size_up + down
        ratio = step_size_up / total
        cycle = jnp.floor(1 + t / total)
        x = 1 + t / total - cycle
        rising = jnp.where(x <= ratio, x / ratio, (x - 1) / (ratio - 1))
        if scale_fn is not None:
            return rising * scale_fn(cycle if scale_mode == "cycle" else t)
        if mode == "triangular2":
            return rising / 2 ** (cycle - 1)
        return rising * gamma**t if mode == "exp_range" else rising

    return Cycle(
        schedule(lambda t: base_lr + (max_lr - base_lr) * height(t)),
        schedule(lambda t: max_momentum - (max_momentum - base_momentum) * height(t)),
    )


def one_cycle(
    max_lr: Number,
    total_steps: int,
    pct_start: Number = 0.3,
    anneal_strategy: str = "cos",
    base_momentum: Number = 0.85,
    max_momentum: Number = 0.95,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
    three_phase: bool = False,
) -> Cycle:
    """Rise to `max_lr` and fall far below the start, once, as ``OneCycleLR`` does.

    With s = max_lr / div_factor, the rate goes from s at 0 to `max_lr` at pct_start·total_steps - 1
    and to s / final_div_factor at total_steps - 1; with `three_phase` it is s again at
    2·pct_start·total_steps - 2.

    Args:
        max_lr: The highest rate.
        total_steps: The number of steps; PyTorch's ``epochs`` times ``steps_per_epoch``. After it
            PyTorch raises, and the value at it stays here.
        pct_start: The share of the steps in which the rate rises, from 0 to 1.
        anneal_strategy: "cos" or "linear".
        base_momentum: The lowest momentum, where the rate is highest.
        max_momentum: The highest, at the start and the end.
        div_factor: What `max_lr` is divided by at the start.
        final_div_factor: What the start is divided by at the end.
        three_phase: Whether to fall as far as it rose before it falls to the end.

    Returns:
        Both schedules: of the rate, and of the momentum or Adam's first beta; PyTorch's
        ``cycle_momentum=False`` is to use the first alone.

    Raises:
        InputError: `anneal_strategy` is unknown, `pct_start` outside its range, or `total_steps`
            less than 1.

    Optax: ``cosine_onecycle_schedule`` has its phases end at ⌊pct_start · N⌋ and N, and no
    momentum.

    >>> cycle = one_cycle(1.0, total_steps=11, pct_start=6 / 11, anneal_strategy="linear")
    >>> [round(float(cycle.rate(count)), 2) for count in (0, 5, 10)]
    [0.04, 1.0, 0.0]
    """
    if anneal_strategy not in ("cos", "linear"):
        raise InputError(
            f"one_cycle: anneal_strategy is {anneal_strategy!r}; it must be cos or linear"
        )
    check_steps("one_cycle", "total_steps", total_steps)
    check_share("one_cycle", "pct_start", pct_start)
    start_lr = max_lr / div_factor
    rates = (start_lr, max_lr, *([start_lr] if three_phase else []), start_lr / final_div_factor)
    momenta = (max_momentum, base_momentum, *([max_momentum] if three_phase else []), max_momentum)
    first = pct_start * total_steps - 1
    ends = (first, *([2 * pct_start * total_steps - 2] if three_phase else []), total_steps - 1)

    def through(values: tuple[Number, ...]) -> Schedule:
        def value(t: Float[Array, ""]) -> Any:
            t = jnp.minimum(t, total_steps)
            start, found = 0, None
            phases = []
            for end, before, after in zip(ends, values[:-1], values[1:], strict=True):
                phases.append((end, _anneal(anneal_strategy, before, after, start, end, t)))
                start = end
            for end, phase in reversed(phases):
                found = phase if found is None else jnp.where(t <= end, phase, found)
            return found

        return schedule(value)

    return Cycle(through(rates), through(momenta))


def _anneal(
    strategy: str, before: Number, after: Number, start: Number, end: Number, t: Array
) -> Any:
    done = (t - start) / (end - start)
    if strategy == "linear":
        return (after - before) * done + before
    return after + (before - after) / 2 * (jnp.cos(math.pi * done) + 1)
