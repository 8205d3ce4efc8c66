"""The update rule that an optimizer is recognised as, with its numbers fitted to its steps.

The specifications are tried in turn, the plain ones first: decays, epsilon and initial value by
least squares, and the learning rate, in which a step is linear, in closed form. A rule is accepted
when it predicts every step to a part in 10^8.
"""

from collections.abc import Mapping
from contextlib import suppress
from itertools import product
from typing import Any, Final

import numpy as np
from scipy import optimize

from jaxmnist.verify.identify.probe import Probe, at_zero, begun
from jaxmnist.verify.identify.recurrence import FittedRule, given_clipped, residuals
from jaxmnist.verify.identify.rules import RuleSpec
from jaxmnist.verify.identify.specs import rule_specs

ACCEPTED_ERROR: Final = 1e-8
"""The relative error of a step up to which a fit is accepted."""

_least_squares: Any = optimize.least_squares  # its published types take no function for `jac`


def same_rates(a: Any, b: Any) -> np.ndarray:
    """Compare learning rates step by step, to what a fit can tell.

    A step's rate is known to a part in 10^6 of itself, and, since a rate that falls leaves steps
    that the weights round, no better than to a part in 10^10 of the largest.

    Args:
        a: One rate, or one of each step.
        b: The same of another optimizer.

    Returns:
        Whether they are equal, of each step.
    """
    largest = max(np.abs(a).max(), np.abs(b).max())
    return np.asarray(np.isclose(a, b, rtol=1e-6, atol=1e-10 * largest))


def identify(probe: Probe) -> FittedRule | None:
    """Find the plainest update rule that takes the probe's steps, or None.

    Args:
        probe: What an optimizer did.

    Returns:
        The rule, its numbers, its learning rate or rates, and how well it fits.
    """
    if not (np.isfinite(probe.changes).all() and probe.changes.any()):
        return None
    specs = {scheduled: list(rule_specs(probe, scheduled)) for scheduled in (False, True)}
    for deviations, scheduled, rarity in _ORDER:
        level = [
            spec
            for spec in specs[scheduled]
            if spec.deviations == deviations and spec.rarity == rarity
        ]
        for start in _nearest([start_of(spec, probe) for spec in level]):
            rule = fit(start.spec, start.numbers, probe)
            if rule.error < ACCEPTED_ERROR and _is_sane(rule):
                return rule
    return None


_ORDER: Final = (
    (0, False, 0),
    (1, False, 0),
    (0, False, 1),
    (0, False, 2),
    (0, True, 0),
    (1, False, 1),
    (1, False, 2),
    (2, False, 0),
    (1, True, 0),
    (2, False, 1),
    (0, True, 1),
    (0, True, 2),
)
"""Deviations from the plain choices, whether the learning rate changes, and `rarity`."""


def _is_sane(rule: FittedRule) -> bool:
    """Whether no number has reached a value where its specification is a plainer one."""
    return all(1e-6 < rule.numbers.get(name, 0.5) < 1 - 1e-6 for name in _SHARES) and all(
        abs(rule.numbers.get(name, 1.0)) > least for name, least in _LEAST.items()
    )


def follow(rule: FittedRule, probe: Probe) -> FittedRule:
    """Evaluate a rule, with its clipping, on another probe.

    Args:
        rule: The rule; its learning rate is not used.
        probe: What an optimizer did.

    Returns:
        The same rule with the learning rate that fits best, and the largest error.
    """
    plain, given = given_clipped(rule, probe)
    again = evaluate(plain.spec, rule.numbers, given)
    return rule._replace(rates=again.rates, error=again.error)


def evaluate(spec: RuleSpec, numbers: Mapping[str, float], probe: Probe) -> FittedRule:
    """Evaluate a specification with these numbers and the learning rate that fits best.

    Args:
        spec: The rule but for its numbers.
        numbers: By name.
        probe: What an optimizer did.

    Returns:
        The rule, with the largest relative error of a step.
    """
    columns = {name: np.full((1, 1), value) for name, value in numbers.items()}
    residual, rates = residuals(spec, columns, probe)
    return FittedRule(spec, dict(numbers), rates[0], float(np.abs(residual).max()))


def fit(spec: RuleSpec, numbers: Mapping[str, float], probe: Probe) -> FittedRule:
    """Fit the numbers of a specification by least squares, from the given ones.

    A number x enters as log x, a decay as log(1 - x), one of either sign as itself; derivatives are
    by complex step, exact.

    Args:
        spec: The rule but for its numbers.
        numbers: Where to start.
        probe: What an optimizer did.

    Returns:
        The rule with the numbers that fit best.
    """
    names = [
        name
        for name in spec.numbers
        if name not in _SIZES and (name != "initial" or probe.initial is None)
    ]
    fixed = {name: value for name, value in numbers.items() if name not in names}
    if not names:
        return evaluate(spec, numbers, probe)

    def columns(x: np.ndarray) -> dict[str, np.ndarray]:
        free = {name: _from_log(name, x[:, [i]]) for i, name in enumerate(names)}
        return free | {name: np.full((len(x), 1), value) for name, value in fixed.items()}

    best = start = np.array([_to_log(name, numbers[name]) for name in names])
    slopes = np.empty(0)
    costs: list[float] = []

    def residual(x: np.ndarray) -> np.ndarray:
        # One pass for both: the real part of a complex step is the value itself.
        nonlocal best, slopes
        shifted = x + 1e-30j * np.eye(len(x))
        both = residuals(spec, columns(shifted), probe)[0].reshape(len(x), -1)
        slopes = np.nan_to_num(np.imag(both).T / 1e-30)
        values = np.nan_to_num(np.real(both[0]), nan=1e3)
        cost = float(values @ values)
        if not costs or cost < costs[-1]:
            best = x.copy()
        costs.append(min([cost, *costs[-1:]]))
        is_stuck = len(costs) > _PATIENCE and costs[-1] > 0.9 * costs[-1 - _PATIENCE]
        if is_stuck and np.abs(values).max() > ACCEPTED_ERROR:
            raise _StuckError
        return values

    with np.errstate(all="ignore"), suppress(_StuckError):
        _least_squares(
            residual,
            start,
            lambda x: slopes,
            method="lm",
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            max_nfev=40,
        )
    fitted = {name: float(_from_log(name, best[i])) for i, name in enumerate(names)}
    return evaluate(spec, fitted | fixed, probe)


class _StuckError(Exception):
    """A fit has come no nearer for a while: its specification is not the one."""


_PATIENCE: Final = 6  # evaluations

# --- Where the fits start ---

_TRIED: Final = 6


def _nearest(starts: list[FittedRule]) -> list[FittedRule]:
    """The nearest of the starts, and the nearest of every kind and weight decay.

    An optimizer whose numbers are far from the grid's may be nearer to the grid of another kind.
    """
    starts = sorted(starts, key=lambda start: start.error)
    first: dict[tuple[str, str], FittedRule] = {}
    for start in starts:
        first.setdefault((start.spec.kind, start.spec.weight_decay), start)
    own = [start for start in first.values() if not any(start is near for near in starts[:_TRIED])]
    return starts[:_TRIED] + own


_GRID_STEPS: Final = 16  # enough to choose a start by

_SHARES: Final = ("momentum", "b1", "b2", "b3", "share", "decay", "dampening", "eta_minus")
_LEAST: Final = {
    "alpha": 1e-6,
    "optimism": 1e-6,
    "weight_decay": 1e-9,
    "epsilon_root": 1e-30,
    "initial": 1e-30,
}
_SIZES: Final = ("least", "most")
_SIGNED: Final = ("weight_decay", "optimism")

_DECAYS: Final = (*np.arange(0.5, 0.995, 0.01).round(2), 0.995, 0.999, 0.9999)

_STARTS: Final[Mapping[str, tuple[float, ...]]] = {
    "momentum": (0.5, 0.9, 0.99),
    "b1": (0.5, 0.9, 0.99),
    "b2": (0.92,),
    "b3": (0.99, 0.9999),
    "share": (0.5, 0.9),
    "alpha": (1.0, 5.0),
    "dampening": (0.1, 0.5, 0.9),
    "decay": (0.9, 0.99, 0.999),
    "momentum_decay": (4e-3, 0.1),
    "epsilon": (1e-20, 1e-16, 1e-12, 1e-10, 1e-8, 1e-6, 1e-3),
    "epsilon_root": (1e-16, 1e-8),
    "initial": (1e-3, 0.1),
    "weight_decay": (1e-4, 1e-2, 0.1, -0.01, -0.1),
    "optimism": (0.5, 1.0),
    "power": (0.8,),
    "bound": (1.0,),
}

_STARTS_OF: Final[Mapping[str, Mapping[str, tuple[float, ...]]]] = {
    # In Lion and Muon the steps jump, and a fit cannot move: the number itself must be there.
    "lion": {"b1": _DECAYS, "decay": _DECAYS, "weight_decay": (0.01,)},
    "muon": {"momentum": _DECAYS},
    "novograd": {"decay": (0.25, 0.9)},
    "simplified ademamix": {"alpha": (0.5, 5.0, 50.0)},
    # The gradient of its cost is zero where alpha is too small to be seen.
    "cocob": {"alpha": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)},
    "adan": {"b1": (0.98,), "decay": (0.99,), "epsilon": (1e-8,), "epsilon_root": (1e-8,)},
    "adafactor": {"weight_decay": (0.01, 0.1, 1.0, 10.0)},
}


def _sizes(probe: Probe) -> dict[str, tuple[float, ...]]:
    """Where the numbers of Rprop may start, from the sizes of its steps.

    The bounds are relative to the first size: PyTorch's and Optax's, or those seen. From one size
    to the next is a factor; where a step was left out there may be two.
    """
    sizes = np.abs(probe.changes)
    first = float(sizes[int(sizes.any(axis=1).argmax())].max())
    moved = sizes[sizes > 0] / first
    factors = np.concatenate([each[each > 0][1:] / each[each > 0][:-1] for each in sizes.T])
    grown, shrunk = factors[factors > 1 + 1e-9], factors[factors < 1 - 1e-9]
    plus = float(np.median(grown)) if grown.size else 1.2
    minus = [float(x) for x in np.unique(np.round(shrunk, 6))[-2:]]
    both = [x for y in minus for x in (y, y / plus) if 0 < x < 1]
    return {
        "least": (1e-6 / first, float(moved.min())),
        "most": (50.0 / first, float(moved.max())),
        "eta_plus": (1.2, plus),
        "eta_minus": (0.5, *both),
    }


def start_of(spec: RuleSpec, probe: Probe) -> FittedRule:
    """The best of a grid of numbers, all tried at once."""
    names = spec.numbers
    known = {} if probe.initial is None else {"initial": (probe.initial,)}
    tried = {**_STARTS, **known, **_STARTS_OF.get(spec.kind, {}), **_sizes(probe)}
    grid = list(product(*(tried[name] for name in names)))
    columns = {name: np.array([[row[i]] for row in grid]) for i, name in enumerate(names)}
    if spec.kind == "lion":
        probe = at_zero(probe)  # where a weight decay that is not yet known does not show
    elif spec.kind not in _STARTS_OF:
        probe = begun(probe, _GRID_STEPS)
    residual, rates = residuals(spec, columns, probe)
    errors = np.nan_to_num(np.sqrt((np.abs(residual) ** 2).mean(axis=(1, 2))), nan=np.inf)
    best = int(errors.argmin())
    return FittedRule(
        spec, dict(zip(names, grid[best], strict=True)), rates[best], float(errors[best])
    )


def _to_log(name: str, value: float) -> float:
    if name in _SIGNED:
        return value
    return float(np.log(1 - value if name in _SHARES else value))


def _from_log(name: str, x: Any) -> Any:
    if name in _SIGNED:
        return x
    with np.errstate(over="ignore"):
        return 1 - np.exp(x) if name in _SHARES else np.exp(x)
