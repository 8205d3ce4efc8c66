"""Why two optimizers differ: the convention that one has and the other has not.

``print(verify.explain(tx, torch.optim.RMSprop))`` says, for instance, that they differ by
epsilon's place: inside the root here, outside it in the reference. Neither optimizer is asked for
its arguments: each is watched, and found in the family of known recurrences by what it does.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import optax

from jaxmnist.verify import family
from jaxmnist.verify.compare import Comparisons
from jaxmnist.verify.family import Form, Member, Probe
from jaxmnist.verify.optimizer import DISPLACEMENT, optimizer, precision
from jaxmnist.verify.references import Recurrence
from jaxmnist.verify.sides import make_side


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


@dataclass(frozen=True)
class Explanation:
    """Whether two optimizers agree, and if not, why.

    Attributes:
        comparison: The two on random gradients.
        causes: The conventions in which they differ, those that matter most first; together they
            are the whole difference. Empty where nothing differs or nothing known explains it.
        here: What the optimizer was recognised as, or None.
        reference: What the reference was recognised as, or None.
    """

    comparison: Comparisons
    causes: tuple[Cause, ...]
    here: Member | None
    reference: Member | None

    @property
    def agree(self) -> bool:
        """Whether they take the same steps."""
        return self.comparison[DISPLACEMENT].passed

    @property
    def explained(self) -> bool:
        """Whether they agree, or it is known why not."""
        return self.agree or bool(self.causes)

    def __str__(self) -> str:
        displacement = self.comparison[DISPLACEMENT]
        apart = f"First apart at {displacement.first_divergence}."
        if self.agree:
            verdict = f"They take the same {displacement.steps} steps"
            if not self.causes:
                kept = ", ".join(part.name for part in self.comparison if not part.passed)
                but = f", but keep another {kept}" if kept else ""
                return f"{verdict}, to {displacement.max_error:.0e}{but}."
            return f"{verdict}; what they keep differs by {_listed(self.causes)}."
        if self.causes:
            return f"They differ by {_listed(self.causes)}. {apart}"
        if self.here and self.reference:
            known = f"Both look like {describe(self.here)} on short runs."
        else:
            known = " ".join(
                f"{who} is {describe(member) if member else 'none of the known recurrences'}."
                for who, member in (
                    ("The optimizer", self.here),
                    ("The reference", self.reference),
                )
            )
        return f"No known convention explains the difference. {known} {apart}"


def explain(
    tx: optax.GradientTransformation,
    reference: optax.GradientTransformation | Recurrence | Callable[[Any], Any],
    *,
    steps: int = 200,
    seed: int = 0,
) -> Explanation:
    """Find the conventions in which two optimizers differ.

    Both are compared on random gradients, and watched on gradients made to tell the known
    recurrences apart: SGD, momentum, Nesterov's, Adagrad, RMSProp, Adadelta, Adam, NAdam and
    AMSGrad, with epsilon inside or outside the root and of any size, any initial accumulator,
    decays, dampening, bias corrections, weight decay coupled or decoupled, and a learning rate of
    either sign that may change with the steps. Each is recognised by its steps alone; the causes
    are where the two differ. Everything is in float64.

    Args:
        tx: any Optax gradient transformation that treats elements alike.
        reference: as in `verify.optimizer`.
        steps: of the comparison on random gradients.
        seed: of those gradients.

    Returns:
        The causes, and an answer in words by `str`.

    Raises:
        InputError: as `verify.optimizer`.

    Source: the document's table "Three conventions".

    >>> from jaxmnist import optim
    >>> print(explain(optim.rmsprop(), optax.rmsprop(0.001, eps=1e-10, eps_in_sqrt=False)))
    They differ by epsilon's place: inside the root here, outside the root in the reference. ...
    """
    comparison = optimizer(tx, reference, steps=steps, seed=seed)
    probes = [
        _watched(each, who) for each, who in ((tx, "the optimizer"), (reference, "the reference"))
    ]
    here, there = (_recognised(*pair) for pair in probes)
    causes: tuple[Cause, ...] = ()
    if here and there:
        places = [_velocity_holds_rate(m, p[0]) for m, p in zip((here, there), probes, strict=True)]
        if None not in places:
            here, there = (
                member._replace(form=replace(member.form, rate_inside=place))
                for member, place in zip((here, there), places, strict=True)
            )
        causes = tuple(sorted(_causes(here, there, probes[1][0]), key=lambda c: -c.effect))
    return Explanation(comparison, causes, here, there)


def describe(member: Member) -> str:
    """A recognised optimizer in words.

    >>> print(describe(Member(Form("rmsprop"), {"decay": 0.9}, rates=0.1, error=0.0)))
    RMSProp (learning rate 0.1, decay 0.9)
    """
    form, numbers = member.form, member.numbers
    words = [f"learning rate {_rates(member.rates)}"]
    words += [f"{_name(name, form)} {_number(x)}" for name, x in numbers.items() if name in _PLAIN]
    if form.epsilon != "none":
        words.append(f"epsilon {_number(numbers['epsilon'])} {_PLACES[form.epsilon]}")
    if form.weight_decay != "none":
        words.append(f"{form.weight_decay} weight decay {_number(numbers['weight_decay'])}")
    if form.kind == "adam" and form.corrected != "both":
        words.append(f"bias correction {_CORRECTED[form.corrected]}")
    words += ["Nesterov"] * form.nesterov + ["centered"] * form.centered
    words += ["the largest average square"] * (form.largest != "none")
    return f"{_algorithm(form)} ({', '.join(words)})"


# --- Watching ---

_SEEDS: Final = (0, 1)


def _watched(each: Any, who: str) -> tuple[Probe, Probe]:
    """What an optimizer does with two streams of gradients, the second to check by."""
    probes = []
    with precision("float64"), np.errstate(all="ignore"):
        for seed in _SEEDS:
            gradients, start = family.probe_gradients(seed)
            probes.append(family.watch(make_side(each, {"w": start}, who), gradients))
    return probes[0], probes[1]


def _recognised(probe: Probe, check: Probe) -> Member | None:
    """The member of the family that an optimizer is, on both streams."""
    member = family.identify(probe)
    if member is None:
        return None
    again = family.evaluate(member.form, member.numbers, check)
    same_rates = np.allclose(again.rates, member.rates, rtol=1e-6, atol=0)
    if again.error > family.BELIEVED or not same_rates:
        return None
    return member


def _velocity_holds_rate(member: Member, probe: Probe) -> bool | None:
    """Whether the velocity is the step itself or, times the rate, the step; None if unknown."""
    if member.form.kind != "momentum" or member.form.nesterov or probe.velocity is None:
        return None
    step, rate = -probe.changes[-1], np.ravel(member.rates)[-1]
    is_step, is_over_rate = (
        bool((np.abs(factor * probe.velocity - step) < family.BELIEVED * probe.scales).all())
        for factor in (1.0, rate)
    )
    return None if is_step == is_over_rate else is_step


# --- Causes ---

_PLAIN: Final = ("momentum", "b1", "decay", "dampening", "initial")
_PLACES: Final = {
    "none": "nowhere",
    "inside": "inside the root",
    "outside": "outside the root",
    "before correction": "outside the root, before the bias correction",
}
_CORRECTED: Final = {
    "both": "of both averages",
    "first": "of the average gradient only",
    "second": "of the average square only",
    "none": "of neither average",
}
_LARGEST: Final = {
    "none": "the current average square",
    "before correction": "the largest average square, before its correction",
    "after correction": "the largest average square, after its correction",
}


class _Difference(NamedTuple):
    """A cause, and the reference with that alone as it is here."""

    what: str
    here: str
    reference: str
    changed: Member


def _causes(here: Member, there: Member, probe: Probe) -> Iterator[Cause]:
    """The differences that change the reference's steps."""
    steps = family.predict(there, probe)
    for difference in _differences(here, there):
        with np.errstate(all="ignore"):
            apart = np.abs(family.predict(difference.changed, probe) - steps) / probe.scales
        effect = float(np.nan_to_num(apart, nan=np.inf).max())
        # Where the rate is constant its place does not show in the steps, but in what is kept.
        if effect > family.BELIEVED or difference.what == "the learning rate's place":
            yield Cause(*difference[:3], effect)


def _differences(here: Member, there: Member) -> Iterator[_Difference]:
    """Every field and number in which the two differ."""
    a, b = here.form, there.form
    if _algorithm(a) != _algorithm(b):
        yield _Difference("the algorithm", describe(here), describe(there), here)
        return

    def changed(**fields: Any) -> Member:
        return there._replace(form=replace(b, **fields), numbers={**here.numbers, **there.numbers})

    for field, what, words in (
        ("corrected", "bias correction", _CORRECTED),
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
    yield from _placed("epsilon", _PLACES, here, there, changed)
    decays = {"none": "none", "coupled": "added to the gradient", "decoupled": "apart from it"}
    yield from _placed("weight_decay", decays, here, there, changed)
    if a.initial or b.initial:
        yield from _number_difference(
            "initial", "the initial accumulator", here, there, changed(initial=True), 0.0
        )
    for name in ("momentum", "b1", "decay", "dampening"):
        if name in here.numbers and name in there.numbers:
            yield from _number_difference(name, _name(name, a), here, there, there)
    yield from _rate_differences(here, there)


def _placed(
    name: str,
    words: Mapping[str, str],
    here: Member,
    there: Member,
    changed: Callable[..., Member],
) -> Iterator[_Difference]:
    """Epsilon or weight decay: whether it is there, where, and how much."""
    places = getattr(here.form, name), getattr(there.form, name)
    what = name.replace("_", " ")
    if "none" in places:
        if places[0] != places[1]:
            mine, theirs = (
                "none" if place == "none" else f"{_number(member.numbers[name])}, {words[place]}"
                for place, member in zip(places, (here, there), strict=True)
            )
            yield _Difference(what, mine, theirs, changed(**{name: places[0]}))
        return
    if places[0] != places[1]:
        yield _Difference(
            f"{what}'s place", words[places[0]], words[places[1]], changed(**{name: places[0]})
        )
    yield from _number_difference(name, f"{what}'s size", here, there, there)


def _number_difference(
    name: str, what: str, here: Member, there: Member, base: Member, absent: float | None = None
) -> Iterator[_Difference]:
    """A number, unless it is the same to a part in 10^5; what matters less is the fit's own."""
    x, y = (member.numbers.get(name, absent) for member in (here, there))
    if x is None or y is None or np.isclose(x, y, rtol=1e-5, atol=0):
        return
    changed = base._replace(numbers={**base.numbers, name: x})
    yield _Difference(what, _number(x), _number(y), changed)


def _rate_differences(here: Member, there: Member) -> Iterator[_Difference]:
    """The learning rates: their sign, their size, their schedule and where it starts."""
    a, b = np.broadcast_arrays(here.rates, there.rates)
    if np.allclose(a, b, rtol=1e-6, atol=0):
        return
    changed = there._replace(
        rates=here.rates, form=replace(there.form, scheduled=here.form.scheduled)
    )
    ratios = np.ravel(a / b)
    if np.allclose(ratios, ratios[0], rtol=1e-6):
        if ratios[0] < 0:
            words = "descends" if np.ravel(a)[0] > 0 else "climbs"
            other = "climbs" if words == "descends" else "descends"
            yield _Difference("the sign", words, other, changed)
        if not np.isclose(abs(ratios[0]), 1, rtol=1e-6):
            mine, theirs = (_rates(np.abs(rates)) for rates in (here.rates, there.rates))
            yield _Difference("the learning rate", mine, theirs, changed)
        return
    for lag, where in (
        (1, ("a step ahead", "a step behind")),
        (-1, ("a step behind", "a step ahead")),
    ):
        early, late = (a, b) if lag > 0 else (b, a)
        if a.ndim and np.allclose(early[:-1], late[1:], rtol=1e-6, atol=0):
            yield _Difference("the schedule's counter", *where, changed)
            return
    yield _Difference("the learning rate", _rates(here.rates), _rates(there.rates), changed)


# --- Words ---


def _algorithm(form: Form) -> str:
    if form.kind == "momentum":
        return "momentum" if form.has_momentum else "SGD"
    return {"adagrad": "Adagrad", "rmsprop": "RMSProp", "adadelta": "Adadelta", "adam": "Adam"}[
        form.kind
    ]


def _name(name: str, form: Form) -> str:
    if name == "decay" and form.kind in ("adam", "adadelta"):
        return {"adam": "b2", "adadelta": "rho"}[form.kind]
    return "initial accumulator" if name == "initial" else name


def _number(x: float) -> str:
    return f"{x:.6g}" if abs(x - float(f"{x:.3g}")) > 1e-5 * abs(x) else f"{x:.3g}"


def _rates(rates: np.ndarray | float) -> str:
    shown = [_number(float(rate)) for rate in np.ravel(rates)[:3]]
    return shown[0] if np.ndim(rates) == 0 else f"{', '.join(shown)} ... by step"


def _listed(causes: tuple[Cause, ...]) -> str:
    return "; by ".join(map(str, causes))
