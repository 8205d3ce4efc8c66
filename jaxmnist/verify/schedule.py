"""A learning rate schedule in both frameworks: the rates side by side, and why they differ."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.verify.blame import blamed
from jaxmnist.verify.compare import Comparer, Comparison, Comparisons
from jaxmnist.verify.identify.shapes import difference
from jaxmnist.verify.precision import check_dtype, precision
from jaxmnist.verify.programs import compiled
from jaxmnist.verify.rounding import allowed_by_arithmetic, epsilon

_OPERATIONS: Final = 16
"""Roundings of a rate besides those that a scheduler's own recurrence makes at every step."""


@dataclass(frozen=True)
class ScheduleResult(Comparisons):
    """A schedule in JAX compared with a scheduler of PyTorch; prints with the rates side by side.

    Attributes:
        name: What was compared with what.
        parts: The comparison "rates".
        here: The rate of every step in JAX, in float64.
        reference: PyTorch's.
        exact: Those in JAX from a float64 count, which is not rounded to float32; None where the
            schedule takes none.
    """

    here: np.ndarray
    reference: np.ndarray
    exact: np.ndarray | None = None

    @cached_property
    def cause(self) -> str | None:
        """Why they differ, in short words; None if they agree, or if nothing known explains it."""
        return None if self.passed else _cause(self)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it: with ``cause``."""
        return super().as_dict() | {"cause": self.cause}

    def plot(self) -> Any:
        """Draw both rates at every step, and the size of their difference.

        Returns:
            A matplotlib Figure.
        """
        from jaxmnist.plots import schedules

        first = self.first_divergence
        title = f"{self.name}: {'passed' if self.passed else 'FAILED'}"
        allowed = self.parts[0].tolerance
        return schedules(
            self.here, self.reference, allowed, None if first is None else first.step, title
        )

    def __str__(self) -> str:
        lines = [
            super().__str__(),
            f"  {'step':>6} {'here':>22} {'PyTorch':>22} {'difference':>11}",
        ]
        for step in self._shown():
            here, there = self.here[step], self.reference[step]
            lines.append(f"  {step:6} {here:22.16g} {there:22.16g} {here - there:11.0e}")
        if not self.passed:
            lines.append(f"  cause: {self.cause or 'none of those that are known'}")
        return "\n".join(lines)

    def _shown(self) -> list[int]:
        """The first, the last, and those around the first that differ."""
        last = len(self.here) - 1
        chosen = {0, 1, last - 1, last}
        if self.first_divergence:
            chosen |= set(range(self.first_divergence.step - 2, self.first_divergence.step + 3))
        return sorted(step for step in chosen if 0 <= step <= last)


def schedule(
    schedule: Callable[[Any], Any],
    torch_factory: Callable[[Any], Any],
    steps: int,
    *,
    learning_rate: float | None = None,
    dtype: str = "float64",
    tolerance: float | None = None,
) -> ScheduleResult:
    """Compare a schedule of JAX with a scheduler of PyTorch, at every step.

    Step t has the rate of update t + 1: ``schedule(t)`` here, and there what the optimizer's
    parameter group has as "lr" after t steps of the scheduler. The count is given as Optax gives
    it, an int32 array in a jitted function.

    A rate's error is relative to the largest so far. The tolerance is ``eps`` for every operation,
    of which PyTorch's recurrences make some at every step. Many of Optax's schedules compute in
    float32 from an integer count, whatever JAX's default: in float64 that is a difference, which
    the cause names; ask for float32 where it does not matter.

    Args:
        schedule: From the number of updates made before to a rate, as Optax's are.
        torch_factory: From an optimizer to a scheduler, such as
            ``lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 10)``.
        steps: How many rates to compare.
        learning_rate: Of the optimizer (SGD with momentum 0.9) that the factory is given; None
            for the schedule's first rate. Give it where the schedule warms up.
        dtype: float64 or float32: what may be lost.
        tolerance: The relative error allowed; None derives it.

    Returns:
        The comparison "rates", the rates themselves, and `.cause`: a count that is off by one, a
        factor, float32, or where they end or begin to differ.

    Raises:
        InputError: PyTorch is not installed, one of the two raises or returns what is no number,
            or an argument is out of range.

    >>> import optax, torch
    >>> step_lr = lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.5)
    >>> halved = optax.piecewise_constant_schedule(0.5, {3: 0.5, 6: 0.5})
    >>> schedule(halved, step_lr, 8).passed
    True
    >>> late = optax.piecewise_constant_schedule(0.5, {4: 0.5, 7: 0.5})
    >>> result = schedule(late, step_lr, 8)
    >>> result.first_divergence.step, result.cause
    (3, "off by one: the rate here is PyTorch's of the step before")
    """
    torch = require_torch()
    check_dtype(dtype)
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be a whole number of at least 1")
    with precision("float64"):
        here = _rates_here(schedule, steps, jnp.int32)
        try:
            exact = _rates_here(schedule, steps, jnp.float64)
        except InputError:  # Such as one that indexes an array with its count.
            exact = None
    first = float(here[0]) if learning_rate is None else learning_rate
    there = _rates_there(torch, torch_factory, steps, first)
    if tolerance is None:
        # Both round once for each operation, and a recurrence carries its roundings on.
        tolerance = allowed_by_arithmetic(2 * _OPERATIONS + 4 * steps, dtype)
    name = f"the schedule in JAX and in PyTorch, {dtype}"
    return ScheduleResult(name, (_compared(here, there, tolerance),), here, there, exact)


def _rates_here(schedule: Callable[[Any], Any], steps: int, count_dtype: Any) -> np.ndarray:
    counts = [jnp.asarray(step, count_dtype) for step in range(steps)]
    call = compiled(schedule)
    try:
        call(counts[0])
    except Exception:
        # It decides in Python, and cannot be traced; or whatever it is comes again below.
        call = schedule
    with blamed("the schedule", "when it was called"):
        rates = [call(count) for count in counts]
    return _numbers(rates, "the schedule")


def _rates_there(
    torch: Any, factory: Callable[[Any], Any], steps: int, learning_rate: float
) -> np.ndarray:
    weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
    with blamed("torch.optim.SGD", f"with lr={learning_rate}"):
        optimizer = torch.optim.SGD([weight], lr=learning_rate, momentum=0.9)
    with blamed("torch_factory", "when it was given the optimizer"):
        scheduler = factory(optimizer)
    if not hasattr(scheduler, "step"):
        raise InputError(
            f"torch_factory returned a {type(scheduler).__name__}; it must return a scheduler of "
            "torch.optim.lr_scheduler"
        )
    rates = []
    with warnings.catch_warnings():
        # SequentialLR warns of its own use of what is deprecated.
        warnings.simplefilter("ignore")
        for step in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            weight.grad = torch.zeros_like(weight)
            optimizer.step()
            if step + 1 < steps:
                with blamed("the scheduler", f"on step {step}"):
                    scheduler.step()
    return _numbers([float(rate) for rate in rates], "the scheduler")


def _numbers(rates: list[Any], who: str) -> np.ndarray:
    for step, rate in enumerate(rates):
        if np.shape(rate) != () or np.asarray(rate).dtype.kind not in "fiu":
            raise InputError(
                f"{who} returned a {type(rate).__name__} of shape {np.shape(rate)} at step {step}; "
                "it must return one real number"
            )
    return np.array([float(rate) for rate in rates])


def _compared(here: np.ndarray, there: np.ndarray, tolerance: float) -> Comparison:
    comparer = Comparer("rates", tolerance)
    for step, (a, e) in enumerate(zip(here, there, strict=True)):
        comparer.add(step, {"rate": np.asarray(a)}, {"rate": np.asarray(e)})
    return comparer.result()


def _cause(result: ScheduleResult) -> str | None:
    """In short words: what is common to both, and then how their shapes differ."""
    room = max(result.parts[0].tolerance, 64 * epsilon("float32"))
    common = _common(result)
    if common is not None and not common.startswith(_PLACES):
        return common
    shapes = difference(result.here, result.reference, room)
    return "; ".join(part for part in (common, shapes) if part) or None


_PLACES: Final = ("the end", "a later part", "the beginning")
"""Causes that say where two schedules differ, and not how."""


def _common(result: ScheduleResult) -> str | None:
    here, there, steps = result.here, result.reference, len(result.here)
    tolerance = result.parts[0].tolerance

    def same(a: np.ndarray, e: np.ndarray, room: float = tolerance) -> bool:
        return _compared(a, e, room).first_divergence is None

    of_float32 = 64 * epsilon("float32")
    if same(here, there, of_float32) and tolerance < of_float32:
        if result.exact is not None and same(result.exact, there):
            return (
                "equal up to float32: the schedule computes in float32 from an integer count, and "
                "is equal from a float64 one"
            )
        return "equal up to float32: one of the two computes in float32"
    # Shifted and scaled, both may have rounded to float32 besides.
    room = max(tolerance, of_float32) if result.exact is not None else tolerance
    if steps > 3 and np.ptp(there) > 0:
        if same(here[1:], there[:-1], room):
            return "off by one: the rate here is PyTorch's of the step before"
        if same(here[:-1], there[1:], room):
            return "off by one: the rate here is PyTorch's of the step after"
    at = int(np.abs(there).argmax())
    if there[at] and here[at] and same(here, there * (here[at] / there[at]), room):
        return f"a factor: the rate here is {here[at] / there[at]:.6g} times PyTorch's at all steps"
    apart = np.abs(here - there) > room * np.abs(there).max()
    if not apart.any():
        return None
    first, last = int(apart.argmax()), steps - 1 - int(apart[::-1].argmax())
    if first > 1 and np.ptp(here[first - 1 :]) <= room * np.abs(here).max():
        return f"the end: up to step {first - 1} they agree, and from then on the rate here stays"
    if first > 1 and np.ptp(there[first - 1 :]) <= room * np.abs(there).max():
        return f"the end: up to step {first - 1} they agree, and then PyTorch's rate stays"
    if first > 1:
        return f"a later part: up to step {first - 1} they agree"
    if last < steps - 2:
        return f"the beginning: from step {last + 1} on they agree"
    return None
