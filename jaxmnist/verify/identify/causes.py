"""The conventions in which two recognised optimizers differ, each with its effect."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from jaxmnist.verify.identify.fit import ACCEPTED_ERROR, same_rates
from jaxmnist.verify.identify.probe import Probe
from jaxmnist.verify.identify.recurrence import FittedRule, predict
from jaxmnist.verify.identify.words import (
    CORRECTED,
    PLACES,
    algorithm,
    describe,
    number_name,
    number_text,
    rates_text,
)

_LARGEST: Final = {
    "none": "the current average square",
    "before correction": "the largest average square, before its correction",
    "after correction": "the largest average square, after its correction",
}


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


class _Difference(NamedTuple):
    """A cause, and the reference with that alone as it is here."""

    what: str
    here: str
    reference: str
    changed: FittedRule


def find_causes(here: FittedRule, there: FittedRule, probe: Probe) -> Iterator[Cause]:
    """Find the differences that change the reference's steps.

    Args:
        here: The optimizer.
        there: The reference.
        probe: The reference's steps.

    Yields:
        One cause after another, in no order of importance.
    """
    steps = predict(there, probe)
    for difference in _differences(here, there):
        with np.errstate(all="ignore"):
            error = np.abs(predict(difference.changed, probe) - steps) / probe.scales
        effect = float(np.nan_to_num(error, nan=np.inf).max())
        # Where the rate is constant its place does not show in the steps, but in the state.
        if effect > ACCEPTED_ERROR or difference.what == "the learning rate's place":
            yield Cause(*difference[:3], effect)


def _differences(here: FittedRule, there: FittedRule) -> Iterator[_Difference]:
    """Every field and number in which the two differ."""
    a, b = here.spec, there.spec
    if algorithm(a) != algorithm(b):
        yield _Difference("the algorithm", describe(here), describe(there), here)
        return

    def changed(**fields: Any) -> FittedRule:
        return there._replace(spec=replace(b, **fields), numbers={**here.numbers, **there.numbers})

    for field, what, words in (
        ("corrected", "bias correction", CORRECTED),
        ("first_count", "the step counter", {n: f"{n} at the first update" for n in (1, 2)}),
        ("nesterov", "Nesterov's momentum", {True: "used", False: "not used"}),
        ("dampened", "dampening", {True: "used", False: "none"}),
        ("centered", "centring", {True: "the mean subtracted", False: "none"}),
        ("largest", "AMSGrad", _LARGEST),
        (
            "rate_inside",
            "the learning rate's place",
            {True: "inside the velocity", False: "outside it"},
        ),
    ):
        if getattr(a, field) != getattr(b, field):
            yield _Difference(
                what,
                words[getattr(a, field)],
                words[getattr(b, field)],
                changed(**{field: getattr(a, field)}),
            )
    yield from _placed("epsilon", PLACES, here, there, changed)
    decays = {"none": "none", "coupled": "added to the gradient", "decoupled": "decoupled from it"}
    yield from _placed("weight_decay", decays, here, there, changed)
    if a.initial or b.initial:
        yield from _number_difference(
            "initial", "the initial accumulator", here, there, changed(initial=True), 0.0
        )
    for name in ("momentum", "b1", "decay", "dampening"):
        if name in here.numbers and name in there.numbers:
            yield from _number_difference(name, number_name(name, a), here, there, there)
    yield from _rate_differences(here, there)


def _placed(
    name: str,
    words: Mapping[str, str],
    here: FittedRule,
    there: FittedRule,
    changed: Callable[..., FittedRule],
) -> Iterator[_Difference]:
    """Epsilon or weight decay: whether it is there, where, and how much."""
    places = getattr(here.spec, name), getattr(there.spec, name)
    what = name.replace("_", " ")
    if "none" in places:
        if places[0] != places[1]:
            mine, theirs = (
                "none" if place == "none" else f"{number_text(rule.numbers[name])}, {words[place]}"
                for place, rule in zip(places, (here, there), strict=True)
            )
            yield _Difference(what, mine, theirs, changed(**{name: places[0]}))
        return
    if places[0] != places[1]:
        yield _Difference(
            f"{what}'s place", words[places[0]], words[places[1]], changed(**{name: places[0]})
        )
    yield from _number_difference(name, f"{what}'s size", here, there, there)


def _number_difference(
    name: str,
    what: str,
    here: FittedRule,
    there: FittedRule,
    base: FittedRule,
    absent: float | None = None,
) -> Iterator[_Difference]:
    """A number, unless it is the same to a part in 10^5; smaller differences are the fit's own."""
    x, y = (rule.numbers.get(name, absent) for rule in (here, there))
    if x is None or y is None or np.isclose(x, y, rtol=1e-5, atol=0):
        return
    changed = base._replace(numbers={**base.numbers, name: x})
    yield _Difference(what, number_text(x), number_text(y), changed)


def _rate_differences(here: FittedRule, there: FittedRule) -> Iterator[_Difference]:
    """The learning rates: their sign, their size, their schedule and where it starts."""
    a, b = np.broadcast_arrays(here.rates, there.rates)
    same = same_rates(a, b)
    if same.all():
        return
    changed = there._replace(
        rates=here.rates, spec=replace(there.spec, scheduled=here.spec.scheduled)
    )
    with np.errstate(all="ignore"):
        ratios = np.ravel(a / b)
    if np.isfinite(ratios[0]) and same_rates(a, ratios[0] * b).all():
        if ratios[0] < 0:
            words = "descends" if np.ravel(a)[0] > 0 else "climbs"
            other = "climbs" if words == "descends" else "descends"
            yield _Difference("the sign", words, other, changed)
        if not np.isclose(abs(ratios[0]), 1, rtol=1e-6):
            mine, theirs = (rates_text(np.abs(rates)) for rates in (here.rates, there.rates))
            yield _Difference("the learning rate", mine, theirs, changed)
        return
    for lag, where in (
        (1, ("a step ahead", "a step behind")),
        (-1, ("a step behind", "a step ahead")),
    ):
        early, late = (a, b) if lag > 0 else (b, a)
        if a.ndim and same_rates(early[:-1], late[1:]).all():
            yield _Difference("the schedule's counter", *where, changed)
            return
    first = int(np.argmin(same)) if a.ndim else 0
    mine, theirs = rates_text(here.rates, first), rates_text(there.rates, first)
    yield _Difference("the learning rate", mine, theirs, changed)
