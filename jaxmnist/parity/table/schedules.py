"""The parity table's learning rate schedules."""

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import optax

from jaxmnist import parity
from jaxmnist.parity.table.row import DIFFERS, FLOAT32, Kind, Row
from jaxmnist.verify.compare import Comparisons
from jaxmnist.verify.precision import precision
from jaxmnist.verify.schedule import schedule

STEPS: Final = 30
RATE: Final = 0.1
METRICS: Final = (1.0, 0.9, 0.9, 0.95, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, *[0.7] * 17)
"""What the plateaus of `ReduceLROnPlateau` are found in."""


def rows() -> list[Row]:
    """Return the rows."""
    from torch.optim import lr_scheduler as L  # noqa: N812
    from torch.optim.swa_utils import SWALR

    return [
        Row(
            lambda optimizer: L.LambdaLR(optimizer, lambda t: 1 / (1 + t)),
            lambda: lambda t: 0.1 / (1 + t),
        ),
        Row(
            lambda optimizer: L.MultiplicativeLR(optimizer, lambda t: 0.9),
            lambda: optax.exponential_decay(0.1, 1, 0.9),
            FLOAT32,
            "Optax computes the power in float32 from an integer count.",
            lambda: parity.multiplicative_lr(0.1, lambda t: 0.9),
        ),
        Row(
            lambda optimizer: L.StepLR(optimizer, 10, gamma=0.5),
            lambda: optax.exponential_decay(0.1, 10, 0.5),
            DIFFERS,
            "Without staircase=True Optax's rate falls at every step.",
            lambda: parity.step_lr(0.1, 10, 0.5),
            "the shape",
        ),
        Row(
            lambda optimizer: L.StepLR(optimizer, 10, gamma=0.3),
            lambda: optax.exponential_decay(0.1, 10, 0.3, staircase=True),
            FLOAT32,
            "Optax computes the power in float32 from an integer count.",
            lambda: parity.step_lr(0.1, 10, 0.3),
        ),
        Row(
            lambda optimizer: L.MultiStepLR(optimizer, [5, 12], gamma=0.1),
            lambda: optax.piecewise_constant_schedule(0.1, {5: 0.1, 12: 0.1}),
        ),
        Row(
            lambda optimizer: L.MultiStepLR(optimizer, [5, 12], gamma=0.1),
            lambda: optax.piecewise_constant_schedule(0.1, {4: 0.1, 11: 0.1}),
            DIFFERS,
            "Both change at the milestone itself, counted from 0.",
            lambda: optax.piecewise_constant_schedule(0.1, {5: 0.1, 12: 0.1}),
            "off by one: the rate here is PyTorch's of the step after",
        ),
        Row(
            lambda optimizer: L.ConstantLR(optimizer, factor=0.5, total_iters=4),
            lambda: optax.piecewise_constant_schedule(0.05, {4: 2.0}),
        ),
        Row(
            lambda optimizer: L.ConstantLR(optimizer, factor=0.5, total_iters=4),
            lambda: optax.constant_schedule(0.05),
            "equal up to step 3",
            "After total_iters PyTorch's rate is the optimizer's own.",
            lambda: optax.piecewise_constant_schedule(0.05, {4: 2.0}),
            "the end: up to step 3",
        ),
        Row(
            lambda optimizer: L.LinearLR(optimizer, 0.25, 1.0, total_iters=8),
            lambda: optax.linear_schedule(0.025, 0.1, 8),
            FLOAT32,
            "Optax computes in float32 from an integer count.",
            lambda: parity.linear_lr(0.1, 0.25, 1.0, 8),
        ),
        Row(
            lambda optimizer: L.LinearLR(optimizer, total_iters=5),
            lambda: optax.linear_schedule(0.0, 0.1, 5),
            DIFFERS,
            "PyTorch's default starts from a third of the rate.",
            lambda: parity.linear_lr(0.1),
            "the beginning: from step 5 on",
        ),
        Row(
            lambda optimizer: L.ExponentialLR(optimizer, gamma=0.9),
            lambda: optax.exponential_decay(0.1, 1, 0.9),
            FLOAT32,
            "Optax computes the power in float32 from an integer count.",
            lambda: parity.exponential_lr(0.1, 0.9),
        ),
        Row(
            lambda optimizer: L.PolynomialLR(optimizer, total_iters=12, power=2.0),
            lambda: optax.polynomial_schedule(0.1, 0.0, 2.0, 12),
            FLOAT32,
            "Optax computes in float32 from an integer count.",
            lambda: parity.polynomial_lr(0.1, 12, 2.0),
        ),
        Row(
            lambda optimizer: L.CosineAnnealingLR(optimizer, T_max=29),
            lambda: optax.cosine_decay_schedule(0.1, 29),
        ),
        Row(
            lambda optimizer: L.CosineAnnealingLR(optimizer, T_max=29, eta_min=0.01),
            lambda: optax.cosine_decay_schedule(0.1, 29, alpha=0.01),
            DIFFERS,
            "Optax's alpha is a part of the rate: eta_min / lr.",
            lambda: optax.cosine_decay_schedule(0.1, 29, alpha=0.1),
            "where it ends",
        ),
        Row(
            lambda optimizer: L.CosineAnnealingLR(optimizer, T_max=10),
            lambda: optax.cosine_decay_schedule(0.1, 10),
            "equal up to step 10",
            "After T_max PyTorch's rate rises again; Optax's stays.",
            lambda: parity.cosine_annealing_lr(0.1, T_max=10),
            "the end: up to step 10 they agree, and from then on the rate here stays",
        ),
        Row(
            lambda optimizer: L.CosineAnnealingWarmRestarts(optimizer, T_0=6),
            lambda: optax.sgdr_schedule([_cosine(6)] * 5),
        ),
        Row(
            lambda optimizer: L.CosineAnnealingWarmRestarts(optimizer, T_0=4, T_mult=2),
            lambda: optax.sgdr_schedule([_cosine(4), _cosine(8), _cosine(16), _cosine(32)]),
        ),
        Row(
            lambda optimizer: L.CyclicLR(optimizer, 0.01, 0.1, step_size_up=4),
            lambda: optax.join_schedules(
                [optax.linear_schedule(0.01, 0.1, 4), optax.linear_schedule(0.1, 0.01, 4)] * 4,
                range(4, 29, 4),
            ),
            FLOAT32,
            "Optax computes in float32 from an integer count.",
            lambda: parity.cyclic_lr(0.01, 0.1, 4).rate,
        ),
        Row(
            lambda optimizer: L.CyclicLR(optimizer, 0.01, 0.1, step_size_up=4, mode="triangular2"),
            lambda: _triangles(lambda cycle: 1.0),
            "equal up to step 8",
            "In mode triangular2 each cycle is half as high.",
            lambda: parity.cyclic_lr(0.01, 0.1, 4, mode="triangular2").rate,
            "a later part: up to step 8",
        ),
        Row(
            lambda optimizer: L.CyclicLR(
                optimizer, 0.01, 0.1, step_size_up=4, mode="exp_range", gamma=0.9
            ),
            lambda: _triangles(lambda cycle: 0.9**cycle),
            DIFFERS,
            "In mode exp_range the height falls with every step, not with every cycle.",
            lambda: parity.cyclic_lr(0.01, 0.1, 4, mode="exp_range", gamma=0.9).rate,
        ),
        Row(
            lambda optimizer: L.OneCycleLR(optimizer, max_lr=0.1, total_steps=30),
            lambda: optax.cosine_onecycle_schedule(30, 0.1),
            DIFFERS,
            "PyTorch's phases end at 0.3·30 - 1 and at 30 - 1, Optax's at 0.3·30 and 30.",
            lambda: parity.one_cycle(0.1, total_steps=30).rate,
            "how long a phase is",
        ),
        Row(
            lambda optimizer: L.OneCycleLR(
                optimizer, max_lr=0.1, total_steps=30, anneal_strategy="linear"
            ),
            lambda: optax.linear_onecycle_schedule(30, 0.1),
            DIFFERS,
            "PyTorch's phases end one step earlier, and it has two, where Optax has three.",
            lambda: parity.one_cycle(0.1, total_steps=30, anneal_strategy="linear").rate,
            "how long a phase is",
        ),
        Row(
            lambda optimizer: L.OneCycleLR(
                optimizer, max_lr=0.1, total_steps=30, three_phase=True, anneal_strategy="linear"
            ),
            lambda: optax.linear_onecycle_schedule(30, 0.1, pct_start=0.3, pct_final=0.6),
            DIFFERS,
            "PyTorch's phases end one step earlier, and at the end it divides by the same factor.",
            lambda: (
                parity.one_cycle(
                    0.1, total_steps=30, three_phase=True, anneal_strategy="linear"
                ).rate
            ),
            "how long a phase is",
        ),
        Row(
            lambda optimizer: L.SequentialLR(
                optimizer,
                [L.LinearLR(optimizer, 0.01, 1.0, 5), L.CosineAnnealingLR(optimizer, 20)],
                milestones=[5],
            ),
            lambda: optax.warmup_cosine_decay_schedule(0.001, 0.1, 5, 20),
            DIFFERS,
            "Optax's decay_steps include the warm-up.",
            lambda: parity.sequential_lr(
                [parity.linear_lr(0.1, 0.01, 1.0, 5), parity.cosine_annealing_lr(0.1, 20)], [5]
            ),
            "how long a phase is",
        ),
        Row(
            lambda optimizer: L.SequentialLR(
                optimizer,
                [L.LinearLR(optimizer, 0.1, 1.0, 5), L.CosineAnnealingLR(optimizer, 25)],
                milestones=[5],
            ),
            lambda: optax.warmup_cosine_decay_schedule(0.01, 0.1, 5, 30),
            FLOAT32,
            "With decay_steps = 5 + 25 they agree, up to Optax's warm-up in float32.",
            lambda: parity.sequential_lr(
                [parity.linear_lr(0.1, 0.1, 1.0, 5), parity.cosine_annealing_lr(0.1, 25)], [5]
            ),
        ),
        Row(
            lambda optimizer: L.SequentialLR(
                optimizer,
                [L.ConstantLR(optimizer, 0.1, 100), L.ExponentialLR(optimizer, 0.9)],
                milestones=[6],
            ),
            lambda: optax.join_schedules(
                [optax.constant_schedule(0.01), optax.exponential_decay(0.1, 1, 0.9)], [6]
            ),
            FLOAT32,
            "Each part counts from its own beginning, in both.",
            lambda: parity.sequential_lr(
                [parity.constant_lr(0.1, 0.1, 100), parity.exponential_lr(0.1, 0.9)], [6]
            ),
        ),
        Row(
            lambda optimizer: L.CosineAnnealingWarmRestarts(optimizer, T_0=6, eta_min=0.01),
            lambda: optax.sgdr_schedule([_cosine(6)] * 5),
            DIFFERS,
            "eta_min is Optax's end_value of each cycle, whose default is 0.",
            lambda: optax.sgdr_schedule([{**_cosine(6), "end_value": 0.01}] * 5),
            "where it ends",
        ),
        Row(
            lambda optimizer: SWALR(
                optimizer, swa_lr=0.05, anneal_epochs=5, anneal_strategy="linear"
            ),
            lambda: optax.linear_schedule(0.1, 0.05, 5),
            FLOAT32,
            "Optax computes in float32 from an integer count.",
            lambda: _exact(optax.linear_schedule(0.1, 0.05, 5)),
        ),
        Row(
            lambda optimizer: SWALR(optimizer, swa_lr=0.05, anneal_epochs=5),
            lambda: optax.cosine_decay_schedule(0.1, 5, alpha=0.5),
            difference="The end rate is a part of the first one.",
        ),
        Row(
            lambda optimizer: L.ChainedScheduler(
                [L.ConstantLR(optimizer, 0.5, 4), L.ExponentialLR(optimizer, 0.9)]
            ),
            lambda: lambda t: jnp.where(t < 4, 0.5, 1.0) * 0.1 * 0.9 ** t.astype(float),
        ),
        Row(
            lambda optimizer: _fed(L.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)),
            lambda: _plateau(optax.contrib.reduce_on_plateau(0.5, patience=2)),
            DIFFERS,
            "PyTorch reduces after patience + 1 values that are no better; Optax after patience, "
            "at the update of the last of them.",
            lambda: _plateau(parity.reduce_on_plateau(0.1, factor=0.5, patience=2)),
            "the steps at which it changes",
        ),
        Row(
            lambda optimizer: _fed(L.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)),
            lambda: _plateau(optax.contrib.reduce_on_plateau(0.5, patience=3, rtol=1e-4)),
            DIFFERS,
            "With one more of patience Optax still reduces one update earlier.",
            lambda: _plateau(parity.reduce_on_plateau(0.1, factor=0.5, patience=2)),
            "off by one: the rate here is PyTorch's of the step after",
        ),
    ]


def _exact(schedule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The schedule of the count in float64."""

    def at(count: Any) -> Any:
        return schedule(count.astype(float))

    return at


def _cosine(steps: int) -> dict[str, Any]:
    return {"init_value": 0.1, "peak_value": 0.1, "warmup_steps": 0, "decay_steps": steps}


def _triangles(height: Callable[[Any], Any]) -> optax.Schedule:
    """Triangles from 0.01 to 0.1 and back, 8 steps long, of the cycle's height."""

    def rate(t: Any) -> Any:
        t = t.astype(float)
        return 0.01 + 0.09 * height(t // 8) * (1 - jnp.abs((t % 8) / 4 - 1))

    return rate


class _Fed:
    """A plateau scheduler that is given the metrics one by one."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler, self._metrics = scheduler, iter(METRICS)

    def step(self) -> None:
        self._scheduler.step(next(self._metrics))


_fed = _Fed


def _plateau(tx: optax.GradientTransformationExtraArgs) -> Callable[[Any], Any]:
    """The rates that a transformation of the updates leaves of 0.1, metric by metric."""
    update = jax.jit(lambda state, value: tx.update(jnp.array(0.1), state, value=value))
    state, rates = tx.init(jnp.array(0.0)), []
    for metric in METRICS:
        rate, state = update(state, jnp.asarray(metric))
        rates.append(rate)

    def at(count: Any) -> Any:
        return jnp.asarray(rates)[count.astype(int)]

    return at


def _compare(row: Row, other: Callable[[], Any]) -> Comparisons:
    with precision("float64"):
        ours = other()
    return schedule(ours, row.torch, STEPS, learning_rate=RATE)


KIND = Kind(
    "Schedules",
    rows,
    _compare,
    f"The rates of {STEPS} steps in float64, from the optimizer's rate {RATE}, the count as Optax "
    "gives it, int32.",
    STEPS,
)
