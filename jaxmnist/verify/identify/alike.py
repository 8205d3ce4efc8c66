"""Two rules written alike: one of the ways to write each, which differ in no step."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np

from jaxmnist.verify.identify.recurrence import FittedRule


class Cause(NamedTuple):
    """One convention in which two optimizers differ."""

    what: str
    """Its name, such as "epsilon's place"."""
    here: str
    """What it is in the optimizer."""
    reference: str
    """What it is in the reference."""
    effect: float
    """The largest relative error of a step of the reference if this alone were as it is here."""

    def __str__(self) -> str:
        return f"{self.what}: {self.here} here, {self.reference} in the reference"


def alike(
    here: FittedRule, there: FittedRule, shape: tuple[int, ...]
) -> tuple[FittedRule, FittedRule, list[Cause]]:
    """Write two rules so that what they have in common is the same in both.

    An average of gradients is a velocity whose every gradient is dampened; a mean of k gradients
    is their sum over k; one epsilon inside the root is two, of which
    that outside it is 0; Muon's factor for a matrix's shape is part of its learning rate.

    Args:
        here: The optimizer.
        there: The reference.
        shape: Of the leaf.

    Returns:
        Both, and the differences that are taken out of their numbers.
    """
    here, there = _dampened(here, there), _dampened(there, here)
    here, there = _with_two_epsilons(here, there), _with_two_epsilons(there, here)
    causes: list[Cause] = []
    here, found = _of_accumulation(here, there)
    causes += found
    here, there, found = _of_shape(here, there, shape)
    causes += found
    return here, there, causes


def _dampened(rule: FittedRule, other: FittedRule) -> FittedRule:
    """A velocity as the dampened one that it is, if the other has this dampening."""
    ours, theirs = rule.spec, other.spec
    if not (ours.kind == theirs.kind == "momentum" and theirs.dampened and not ours.dampened):
        return rule
    share = 1 - other.numbers["dampening"]
    if not np.allclose(np.multiply(other.rates, share), rule.rates, rtol=1e-6, atol=0):
        return rule
    return rule._replace(
        spec=replace(ours, dampened=True, first_weighed=True),
        numbers={**rule.numbers, "dampening": other.numbers["dampening"]},
        rates=rule.rates / share,
    )


def _with_two_epsilons(rule: FittedRule, other: FittedRule) -> FittedRule:
    """A rule with one epsilon, as one with another of 0 outside the root, if the other has two."""
    two = {"accumulated": "accumulated, and outside", "inside": "both"}.get(rule.spec.epsilon)
    if two is None or other.spec.kind != rule.spec.kind or other.spec.epsilon != two:
        return rule
    numbers = {**rule.numbers, "epsilon_root": rule.numbers["epsilon"], "epsilon": 0.0}
    return rule._replace(spec=replace(rule.spec, epsilon=two), numbers=numbers)


def _of_accumulation(here: FittedRule, there: FittedRule) -> tuple[FittedRule, list[Cause]]:
    """How many gradients a step is from, and whether it is from their sum."""
    counts = here.accumulated, there.accumulated
    if counts == (1, 1):
        return here, []
    ratio = _constant_ratio(here.rates, there.rates)
    most = max(counts)
    hows = [rule.accumulator if rule.accumulated > 1 else "" for rule in (here, there)]
    plain = here.spec.kind == there.spec.kind == "momentum" and ratio is not None
    for place, expected in enumerate((most, 1 / most)):
        # Only the size of a step tells an exact sum from a mean, and only that of a velocity.
        if plain and hows[place] == "mean" and np.isclose(ratio or 0, expected, rtol=1e-7):
            hows[place] = "sum"
            here = here._replace(rates=here.rates / (ratio or 1))
    if counts[0] == counts[1] and hows[0] == hows[1]:
        return here, []
    mine, theirs = (
        f"the {how} of {count} gradients" if how else "every gradient"
        for how, count in zip(hows, counts, strict=True)
    )
    return here, [Cause("accumulation", mine, theirs, 1.0)]


_FACTORS: Final[Mapping[str, Callable[[int, int], float]]] = {
    "sqrt(max(1, rows / columns))": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "sqrt(max(1, columns / rows))": lambda rows, columns: math.sqrt(max(1, columns / rows)),
    "0.2 sqrt(max(rows, columns))": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
    "none": lambda rows, columns: 1.0,
}


def _of_shape(
    here: FittedRule, there: FittedRule, shape: tuple[int, ...]
) -> tuple[FittedRule, FittedRule, list[Cause]]:
    """Which factor for the shape of its matrix Muon has in its learning rate.

    One matrix does not tell a factor from a rate. Those are taken that leave the same rate in
    both, the libraries' own first; or, where no two do, the libraries' own, if they leave numbers
    that someone may have written.
    """
    ratio = _constant_ratio(here.rates, there.rates)
    if not here.spec.kind == there.spec.kind == "muon" or ratio is None:
        return here, there, []
    by_rows, by_columns = list(_FACTORS)[:2]
    usual = tuple(by_rows if rule.spec.bfloat16 else by_columns for rule in (here, there))
    pairs = sorted(
        product(_FACTORS, repeat=2), key=lambda pair: (pair != usual, pair[0] != pair[1])
    )
    sizes = {name: factor(shape[0], shape[1]) for name, factor in _FACTORS.items()}
    chosen = next((p for p in pairs if np.isclose(ratio, sizes[p[0]] / sizes[p[1]], 1e-8)), None)
    if chosen is None:
        plain = [
            float(np.ravel(rule.rates)[0]) / sizes[name]
            for rule, name in zip((here, there), usual, strict=True)
        ]
        if not all(abs(x - float(f"{x:.3g}")) < 1e-7 * abs(x) for x in plain):
            return here, there, []
        chosen = usual
    mine, theirs = chosen
    causes = []
    if not np.isclose(sizes[mine], sizes[theirs]):
        quotient = sizes[mine] / sizes[theirs]
        causes = [Cause("the factor for a matrix's shape", mine, theirs, abs(quotient - 1))]
    return _without(sizes[mine], here), _without(sizes[theirs], there), causes


def _without(factor: float, rule: FittedRule) -> FittedRule:
    """The rule with its learning rate and its weight decay as they are without the factor."""
    numbers = dict(rule.numbers)
    if "weight_decay" in numbers:
        numbers["weight_decay"] *= factor
    return rule._replace(rates=rule.rates / factor, numbers=numbers)


def _constant_ratio(a: Any, b: Any) -> float | None:
    with np.errstate(all="ignore"):
        ratios = np.atleast_1d(np.divide(a, b))
    whole = np.isfinite(ratios).all() and np.ptp(ratios) <= 1e-9 * abs(ratios[0])
    return float(ratios[0]) if whole else None
