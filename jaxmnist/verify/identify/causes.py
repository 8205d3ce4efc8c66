"""The conventions in which two recognised optimizers differ, each with its effect."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from jaxmnist.verify.identify.alike import Cause, alike
from jaxmnist.verify.identify.fit import ACCEPTED_ERROR, same_rates
from jaxmnist.verify.identify.probe import Probe
from jaxmnist.verify.identify.recurrence import FittedRule, predict
from jaxmnist.verify.identify.rules import TWO
from jaxmnist.verify.identify.shapes import formula
from jaxmnist.verify.identify.words import (
    CORRECTED,
    PLACES,
    algorithm,
    describe,
    number_name,
    number_text,
    rates_text,
    shown,
)

_RATE_PLACE: Final = "the learning rate's place"
_LARGEST: Final = {
    "none": "the current average square",
    "before correction": "the largest average square, before its correction",
    "after correction": "the largest average square, after its correction",
}
_FLOAT32: Final = {True: "float32", False: "float64"}

_FIELDS: Final[tuple[tuple[str, str, Mapping[Any, str]], ...]] = (
    # the field of a specification, its name, and the words for its values
    ("corrected", "bias correction", CORRECTED),
    ("first_count", "the step counter", {n: f"{n} at the first update" for n in (1, 2)}),
    ("nesterov", "Nesterov's momentum", {True: "used", False: "not used"}),
    (
        "momentum_decays",
        "the momentum's growth",
        {True: "b1 · (1 - ½ · 0.96^(t · momentum decay)), as in NAdam's paper", False: "constant"},
    ),
    (
        "post",
        "the velocity of the scaled gradients",
        {"none": "none", "velocity": "used", "nesterov": "used, with Nesterov's look-ahead"},
    ),
    ("dampened", "dampening", {True: "used", False: "none"}),
    (
        "first_weighed",
        "the first gradient's weight",
        {True: "1 - dampening, as the others'", False: "1"},
    ),
    ("centered", "centring", {True: "the mean subtracted", False: "none"}),
    ("largest", "AMSGrad", _LARGEST),
    ("rate_inside", _RATE_PLACE, {True: "inside the velocity", False: "outside it"}),
    ("threshold", "the switch to scaled steps", {n: f"above a rho of {n}" for n in (4, 5)}),
    (
        "lag",
        "the step that is applied",
        {True: "the one before's, so that the first is 0", False: "its own"},
    ),
    (
        "lazy",
        "elements without a gradient",
        {True: "keep their averages and their weight", False: "are updated as the others"},
    ),
    (
        "factored",
        "the average squares of a matrix",
        {True: "factored into those of its rows and columns", False: "of every element"},
    ),
    (
        "bfloat16",
        "the precision of the Newton-Schulz iteration",
        {True: "bfloat16", False: "the parameters'"},
    ),
)


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
    here, there, causes = alike(here, there, probe.shape)
    yield from causes
    steps = predict(there, probe)
    for difference in _differences(here, there):
        with np.errstate(all="ignore"):
            error = np.abs(predict(difference.changed, probe) - steps) / probe.scales
        effect = float(np.nan_to_num(error, nan=np.inf).max())
        if effect > ACCEPTED_ERROR or difference.what in _UNSEEN:
            yield Cause(*difference[:3], effect)


_ADDED: Final = "what is added to the norm in clipping"
_UNSEEN: Final = (_RATE_PLACE, "elements without a gradient", _ADDED)
"""What shows in the state where the rate is constant, in zeros, or in gradients near a bound."""


def _differences(here: FittedRule, there: FittedRule) -> Iterator[_Difference]:
    """Every field and number in which the two differ."""
    a, b = here.spec, there.spec
    yield from _of_clipping(here, there)
    if algorithm(a) != algorithm(b):
        yield _Difference("the algorithm", describe(here), describe(there), here)
        return

    def changed(**fields: Any) -> FittedRule:
        return there._replace(spec=replace(b, **fields), numbers={**here.numbers, **there.numbers})

    for field, what, words in _FIELDS:
        mine, theirs = getattr(a, field), getattr(b, field)
        if mine != theirs:
            yield _Difference(what, words[mine], words[theirs], changed(**{field: mine}))
    if a.single != b.single and a.momentum_decays == b.momentum_decays:
        yield _Difference(
            "the precision of " + _SINGLE[a.kind],
            _FLOAT32[a.single],
            _FLOAT32[b.single],
            changed(single=a.single),
        )
    yield from _placed("epsilon", PLACES, here, there, changed)
    if a.epsilon in TWO or b.epsilon in TWO:
        root = f"the size of the {number_name('epsilon_root', a if a.epsilon in TWO else b)}"
        yield from _number_difference("epsilon_root", root, here, there, there)
    decays = {"none": "none", "coupled": "added to the gradient", "decoupled": "decoupled from it"}
    yield from _placed("weight_decay", decays, here, there, changed)
    if a.initial or b.initial:
        yield from _number_difference(
            "initial", "the initial accumulator", here, there, changed(initial=True), 0.0
        )
    for name in here.numbers:
        if name in there.numbers and name not in _OWN and not _same_size(name, here, there):
            yield from _number_difference(name, number_name(name, a), here, there, there)
    yield from _rate_differences(here, there)


_SINGLE: Final = {"adam": "the product of the momenta", "adafactor": "the decay of the squares"}
_OWN: Final = ("epsilon", "epsilon_root", "weight_decay", "initial")
"""Numbers that are compared with their places."""


def _same_size(name: str, here: FittedRule, there: FittedRule) -> bool:
    """Whether a bound of Rprop's steps, which is relative to the learning rate, is the same."""
    if name not in ("least", "most"):
        return False
    return bool(np.isclose(shown(name, here), shown(name, there), rtol=1e-5, atol=0))


def _of_clipping(here: FittedRule, there: FittedRule) -> Iterator[_Difference]:
    """Whether and how gradients are clipped before."""
    a, b = here.clip, there.clip
    if a == b:
        return
    changed = there._replace(clip=a)
    if a is None or b is None or (a.by, a.power) != (b.by, b.power):
        mine, theirs = (str(clip) if clip else "none" for clip in (a, b))
        yield _Difference("clipping", mine, theirs, changed)
        return
    if a.added != b.added:
        mine, theirs = (f"{clip.added:.0e}" if clip.added else "nothing" for clip in (a, b))
        yield _Difference(_ADDED, mine, theirs, changed)
    if a.decayed != b.decayed:
        mine, theirs = (f"clipping {'after' if clip.decayed else 'before'} it" for clip in (a, b))
        yield _Difference("the order of clipping and weight decay", mine, theirs, changed)
    if not np.isclose(a.bound, b.bound, rtol=1e-6):
        mine, theirs = (f"{clip.bound:.6g}" for clip in (a, b))
        yield _Difference("the bound of the clipping", mine, theirs, changed)


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
    if name == "weight_decay":
        yield from _weight_decay_difference(here, there)
    else:
        size = f"{what}'s size"
        if places == ("accumulated, and outside",) * 2:
            size = "the size of the epsilon outside the root"
        yield from _number_difference(name, size, here, there, there)


def _weight_decay_difference(here: FittedRule, there: FittedRule) -> Iterator[_Difference]:
    """The size of the weight decay, and whether it has been negated with the gradient."""
    x, y = (rule.numbers["weight_decay"] for rule in (here, there))
    shrinks = [float(np.ravel(r.rates)[0]) * r.numbers["weight_decay"] > 0 for r in (here, there)]
    toward = float(np.ravel(there.rates)[0])
    if shrinks[0] != shrinks[1]:
        words = {
            True: "shrinks the weights",
            False: "lets the weights grow, negated with the gradient",
        }
        changed = there._replace(numbers={**there.numbers, "weight_decay": -y})
        mine, theirs = (words[each] for each in shrinks)
        yield _Difference("the weight decay's sign", mine, theirs, changed)
    if not np.isclose(abs(x), abs(y), rtol=1e-5, atol=0):
        size = abs(x) * np.sign(y)
        changed = there._replace(numbers={**there.numbers, "weight_decay": float(size)})
        of_rate = np.ndim(there.rates) == 0 and np.isclose(abs(x * toward), abs(y), rtol=1e-5)
        note = ", which is the other's over the learning rate" if of_rate else ""
        mine, theirs = number_text(abs(x)) + note, number_text(abs(y))
        yield _Difference("weight decay's size", mine, theirs, changed)


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
    mine, theirs = (
        "none that shows"
        if name == "epsilon" and value == 0
        else number_text(shown(name, rule) if name in rule.numbers else value)
        for rule, value in ((here, x), (there, y))
    )
    yield _Difference(what, mine, theirs, changed)


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
    mine, theirs = (_curve_text(rule, first) for rule in (here, there))
    yield _Difference("the learning rate", mine, theirs, changed)


def _curve_text(rule: FittedRule, first: int) -> str:
    """A formula if there is one for all steps, or else three rates from the first that differs."""
    rates = np.asarray(rule.rates)
    if rates.ndim == 0:
        return rates_text(rule.rates)
    return _of_asgd(rule) or formula(rates) or rates_text(rates, first)


def _of_asgd(rule: FittedRule) -> str | None:
    """The rate of ASGD, which falls with the decay that it adds to the gradient."""
    if rule.spec.kind != "momentum" or rule.spec.weight_decay != "coupled":
        return None
    rates, lambd = np.asarray(rule.rates), rule.numbers["weight_decay"]
    growth = np.log1p(lambd * rates[0] * np.arange(len(rates)))
    power = float(np.log(rates[0] / rates[-1]) / growth[-1])
    if not np.allclose(rates, rates[0] * np.exp(-power * growth), rtol=1e-7, atol=0):
        return None
    rate = number_text(float(rates[0]))
    return f"{rate} / (1 + {number_text(lambd)} · {rate} t)^{power:.2g}"
