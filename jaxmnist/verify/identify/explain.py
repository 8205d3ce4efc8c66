"""Why two optimizers differ: the convention that one has and the other has not.

``print(verify.explain(tx, torch.optim.RMSprop))`` reports, for instance, that they differ by
epsilon's place: inside the root here, outside it in the reference. Neither optimizer is asked for
its arguments: each is probed, and recognised among the known update rules by its steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import optax

from jaxmnist.verify.adapters import make_adapter
from jaxmnist.verify.compare import Comparisons, Result
from jaxmnist.verify.identify.causes import Cause, find_causes
from jaxmnist.verify.identify.fit import ACCEPTED_ERROR, evaluate, identify
from jaxmnist.verify.identify.probe import Probe, probe_gradients, run_probe
from jaxmnist.verify.identify.recurrence import FittedRule
from jaxmnist.verify.identify.words import describe
from jaxmnist.verify.optimizer import DISPLACEMENT, optimizer
from jaxmnist.verify.precision import precision
from jaxmnist.verify.references import Recurrence


@dataclass(frozen=True)
class Explanation(Result):
    """Whether two optimizers agree, and if not, why not.

    Attributes:
        comparison: The two on random gradients.
        causes: The conventions in which they differ, those that matter most first; together they
            are the whole difference. Empty where nothing differs or nothing known explains it.
        here: What the optimizer was recognised as, or None.
        reference: What the reference was recognised as, or None.
    """

    comparison: Comparisons
    causes: tuple[Cause, ...]
    here: FittedRule | None
    reference: FittedRule | None

    @property
    def passed(self) -> bool:
        """Whether they take the same steps and store the same state."""
        return self.comparison.passed

    @property
    def agree(self) -> bool:
        """Whether they take the same steps."""
        return self.comparison[DISPLACEMENT].passed

    @property
    def explained(self) -> bool:
        """Whether they agree, or the reason why not is known."""
        return self.agree or bool(self.causes)

    def __str__(self) -> str:
        displacement = self.comparison[DISPLACEMENT]
        first = f"First divergence at {displacement.first_divergence}."
        if self.agree:
            verdict = f"They take the same {displacement.steps} steps"
            if not self.causes:
                state = ", ".join(part.name for part in self.comparison if not part.passed)
                but = f", but store another {state}" if state else ""
                but += "".join(
                    f"; the {part.name} here is {part.factor:.6g} times the reference's"
                    for part in self.comparison
                    if part.factor is not None and part.passed
                )
                return f"{verdict}, to {displacement.max_error:.0e}{but}."
            return f"{verdict}; their state differs by {_listed(self.causes)}."
        if self.causes:
            return f"They differ by {_listed(self.causes)}. {first}"
        if self.here and self.reference:
            known = f"Both look like {describe(self.here)} on short runs."
        else:
            known = " ".join(
                f"{who} is {describe(rule) if rule else 'none of the known update rules'}."
                for who, rule in (
                    ("The optimizer", self.here),
                    ("The reference", self.reference),
                )
            )
        return f"No known convention explains the difference. {known} {first}"


def explain(
    tx: optax.GradientTransformation,
    reference: optax.GradientTransformation | Recurrence | Callable[[Any], Any],
    *,
    steps: int = 200,
    seed: int = 0,
) -> Explanation:
    """Find the conventions in which two optimizers differ.

    Both are compared on random gradients, and probed with gradients made to tell the known update
    rules apart: SGD, momentum, Nesterov's, Adagrad, RMSProp, Adadelta, Adam, NAdam and
    AMSGrad, with epsilon inside or outside the root and of any size, any initial accumulator,
    decays, dampening, bias corrections, weight decay coupled or decoupled, and a learning rate of
    either sign that may change with the steps. Each is recognised by its steps alone; the causes
    are where the two differ. Everything is in float64.

    Args:
        tx: Any Optax gradient transformation that treats elements alike.
        reference: As in `verify.optimizer`.
        steps: Of the comparison on random gradients.
        seed: Of those gradients.

    Returns:
        The causes, and an answer in words by `str`.

    Raises:
        InputError: As `verify.optimizer`.

    Source: the tutorial's table "Three conventions".

    >>> from jaxmnist import optim
    >>> print(explain(optim.rmsprop(), optax.rmsprop(0.001, eps=1e-10, eps_in_sqrt=False)))
    They differ by epsilon's place: inside the root here, outside the root in the reference. ...
    """
    comparison = optimizer(tx, reference, steps=steps, seed=seed)
    probes = [
        _probes_of(each, who) for each, who in ((tx, "the optimizer"), (reference, "the reference"))
    ]
    here, there = (_recognised(*pair) for pair in probes)
    causes: tuple[Cause, ...] = ()
    if here and there:
        places = [_velocity_holds_rate(m, p[0]) for m, p in zip((here, there), probes, strict=True)]
        if None not in places:
            here, there = (
                rule._replace(spec=replace(rule.spec, rate_inside=place))
                for rule, place in zip((here, there), places, strict=True)
            )
        causes = tuple(sorted(find_causes(here, there, probes[1][0]), key=lambda c: -c.effect))
    return Explanation(comparison, causes, here, there)


_SEEDS: Final = (0, 1)


def _probes_of(each: Any, who: str) -> tuple[Probe, Probe]:
    """Probe an optimizer with two streams of gradients, the second to check by."""
    probes = []
    with precision("float64"), np.errstate(all="ignore"):
        for seed in _SEEDS:
            gradients, start = probe_gradients(seed)
            probes.append(run_probe(make_adapter(each, {"w": start}, who), gradients))
    return probes[0], probes[1]


def _recognised(probe: Probe, check: Probe) -> FittedRule | None:
    """The update rule that an optimizer follows on both streams."""
    rule = identify(probe)
    if rule is None:
        return None
    again = evaluate(rule.spec, rule.numbers, check)
    same_rates = np.allclose(again.rates, rule.rates, rtol=1e-6, atol=0)
    if again.error > ACCEPTED_ERROR or not same_rates:
        return None
    return rule


def _velocity_holds_rate(rule: FittedRule, probe: Probe) -> bool | None:
    """Whether the velocity is the step itself or, times the rate, the step; None if unknown."""
    if rule.spec.kind != "momentum" or rule.spec.nesterov or probe.velocity is None:
        return None
    step, rate = -probe.changes[-1], np.ravel(rule.rates)[-1]
    is_step, is_over_rate = (
        bool((np.abs(factor * probe.velocity - step) < ACCEPTED_ERROR * probe.scales).all())
        for factor in (1.0, rate)
    )
    return None if is_step == is_over_rate else is_step


def _listed(causes: tuple[Cause, ...]) -> str:
    return "; by ".join(map(str, causes))
