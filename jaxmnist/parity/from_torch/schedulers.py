"""A live torch scheduler as a schedule here, for each of the optimizer's groups."""

from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp

from jaxmnist.errors import InputError
from jaxmnist.parity import schedules
from jaxmnist.parity.schedules.count import Schedule

_FACTORS: Final = (
    *("StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR"),
    "MultiplicativeLR",
)
"""Those that multiply the rate, which can be chained."""


def position(scheduler: Any) -> int:
    """Return the number of steps that a scheduler has made.

    Raises:
        InputError: It has none, or those of a chain have made different numbers.
    """
    if _kind(scheduler) != "ChainedScheduler":
        return int(scheduler.last_epoch)
    places = sorted({position(each) for each in scheduler._schedulers})
    if len(places) > 1:
        raise InputError(
            f"the chained schedulers have made {places} steps; they must have made as many"
        )
    return places[0]


def scheduled(scheduler: Any, index: int, group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schedules that stand for a scheduler.

    Args:
        scheduler: One of ``torch.optim.lr_scheduler``, but for ReduceLROnPlateau.
        index: The group's, in the optimizer.
        group: The group.

    Returns:
        Schedules by the names of the group's entries: ``lr``, and ``momentum`` or the first of
        ``betas`` where it cycles that.

    Raises:
        InputError: The scheduler is another, or its rate at this step is not the group's.
    """
    found: dict[str, Any] = {"lr": _rate(scheduler, index, group)}
    cycle = _cycle(scheduler, index, group)
    if cycle is not None and scheduler.cycle_momentum:
        found["betas" if scheduler.use_beta1 else "momentum"] = cycle.momentum
    step = position(scheduler)
    for key, schedule in found.items():
        now = float(group[key][0] if key == "betas" else group[key])
        try:
            value = float(schedule(jnp.asarray(step, jnp.int32)))
            jax.eval_shape(schedule, jax.ShapeDtypeStruct((), jnp.int32))
        except InputError:
            raise
        except Exception as error:
            first = next(iter(str(error).splitlines()), "")
            raise InputError(
                f"the scheduler's function raised {type(error).__name__} on a traced count; write "
                f"it with jax.numpy: {first}"
            ) from error
        if not abs(value - now) <= _ROUNDING * abs(jnp.finfo(float).eps) * max(abs(now), 1e-300):
            raise InputError(
                f"group {index} has {key} {now}, and {_kind(scheduler)} gives {value} at step "
                f"{step}; what is set by hand, or by another scheduler too, is no schedule"
            )
    return found


_ROUNDING: Final = 1e4
"""Units in the last place: PyTorch multiplies on from step to step."""


def _rate(scheduler: Any, index: int, group: Mapping[str, Any]) -> Schedule:
    kind = _kind(scheduler)
    if kind == "SequentialLR":
        each = [_rate(part, index, group) for part in scheduler._schedulers]
        inside = [_kind(part) for part in scheduler._schedulers]
        if "ChainedScheduler" in inside or "MultiplicativeLR" in inside[1:]:
            raise InputError(
                f"SequentialLR has {', '.join(inside)}; a MultiplicativeLR after another, and a "
                "ChainedScheduler, continue from the rate before, which no schedule can"
            )
        return schedules.sequential_lr(each, scheduler._milestones)
    if kind == "ChainedScheduler":
        inside = [_kind(part) for part in scheduler._schedulers]
        if others := [name for name in inside if name not in _FACTORS]:
            raise InputError(
                f"ChainedScheduler has {others[0]}; only those that multiply the rate can be "
                f"chained here: {', '.join(_FACTORS)}"
            )
        each = [_rate(part, index, group) for part in scheduler._schedulers]
        return schedules.chained(float(scheduler._schedulers[0].base_lrs[index]), each)
    cycle = _cycle(scheduler, index, group)
    if cycle is not None:
        return cycle.rate
    lr, s = float(scheduler.base_lrs[index]), scheduler
    if kind == "StepLR":
        return schedules.step_lr(lr, s.step_size, s.gamma)
    if kind == "MultiStepLR":
        return schedules.multi_step_lr(lr, sorted(s.milestones.elements()), s.gamma)
    if kind == "ConstantLR":
        return schedules.constant_lr(lr, s.factor, s.total_iters)
    if kind == "LinearLR":
        return schedules.linear_lr(lr, s.start_factor, s.end_factor, s.total_iters)
    if kind == "ExponentialLR":
        return schedules.exponential_lr(lr, s.gamma)
    if kind == "PolynomialLR":
        return schedules.polynomial_lr(lr, s.total_iters, s.power)
    if kind == "CosineAnnealingLR":
        return schedules.cosine_annealing_lr(lr, s.T_max, s.eta_min)
    if kind == "CosineAnnealingWarmRestarts":
        return schedules.cosine_annealing_warm_restarts(lr, s.T_0, s.T_mult, s.eta_min)
    if kind == "LambdaLR":
        return schedules.lambda_lr(lr, s.lr_lambdas[index])
    if kind == "MultiplicativeLR":
        return schedules.multiplicative_lr(lr, s.lr_lambdas[index])
    raise InputError(
        f"the scheduler is a {kind}; it must be one of torch.optim.lr_scheduler's own classes"
    )


def _cycle(scheduler: Any, index: int, group: Mapping[str, Any]) -> schedules.Cycle | None:
    kind, s = _kind(scheduler), scheduler
    if kind == "CyclicLR":
        up = round(s.step_ratio * s.total_size, 6)
        momenta = (s.base_momentums[index], s.max_momentums[index]) if s.cycle_momentum else ()
        return schedules.cyclic_lr(
            float(s.base_lrs[index]),
            float(s.max_lrs[index]),
            up,
            round(s.total_size - up, 6),
            s.mode,
            s.gamma,
            s._scale_fn_custom,
            s.scale_mode,
            *momenta,
        )
    if kind == "OneCycleLR":
        phases, start = s._schedule_phases, float(group["initial_lr"])
        momenta = (group["base_momentum"], group["max_momentum"]) if s.cycle_momentum else ()
        return schedules.one_cycle(
            float(group["max_lr"]),
            s.total_steps,
            (phases[0]["end_step"] + 1) / s.total_steps,
            s._anneal_func_type,
            *(momenta or (0.85, 0.95)),
            div_factor=float(group["max_lr"]) / start,
            final_div_factor=start / float(group["min_lr"]),
            three_phase=len(phases) == 3,
        )
    return None


def _kind(scheduler: Any) -> str:
    """Return the class's name, with its module's where that is not PyTorch's."""
    made = type(scheduler)
    own = made.__module__ == "torch.optim.lr_scheduler"
    return made.__name__ if own else f"{made.__module__}.{made.__name__}"
