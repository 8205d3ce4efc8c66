"""Why two optimizers differ: the convention that one has and the other has not.

``print(verify.explain(tx, torch.optim.RMSprop))`` reports, for instance, that they differ by
epsilon's place: inside the root here, outside it in the reference. Neither optimizer is asked for
its arguments: each is probed, and recognised among the known update rules by its steps.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import jax
import numpy as np
import optax
import optax.contrib

from jaxmnist.verify.compare import Comparisons, Result
from jaxmnist.verify.identify.causes import Cause, find_causes
from jaxmnist.verify.identify.fit import ACCEPTED_ERROR
from jaxmnist.verify.identify.probe import Probe
from jaxmnist.verify.identify.recognise import recognise
from jaxmnist.verify.identify.recurrence import FittedRule
from jaxmnist.verify.identify.single import find_rounded
from jaxmnist.verify.identify.words import describe
from jaxmnist.verify.optimizer import DISPLACEMENT, optimizer
from jaxmnist.verify.references import Recurrence


@dataclass(frozen=True)
class Explanation(Result):
    """Whether two optimizers agree, and if not, why not.

    Attributes:
        comparison: The two on random gradients.
        causes: The conventions in which they differ, those that matter most first; together they
            are the whole difference. Empty where nothing differs or nothing known explains it.
        here: What the optimizer was recognised as, or None. Where both look alike on short runs and
            a longer one contradicts it, what they look like.
        reference: What the reference was recognised as, in the same way.
    """

    comparison: Comparisons
    causes: tuple[Cause, ...]
    here: FittedRule | None
    reference: FittedRule | None

    @property
    def passed(self) -> bool:
        """Whether they take the same steps and store the same state."""
        return self.comparison.passed

    def to_json(self) -> str:
        """Return the comparison as a JSON object's text, with the explanation in words."""
        return json.dumps(self.comparison.as_dict() | {"explanation": str(self)})

    def plot(self) -> Any:
        """Draw the comparison's errors.

        Returns:
            A matplotlib Figure.
        """
        return self.comparison.plot()

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
            if max(cause.effect for cause in self.causes) > ACCEPTED_ERROR:
                return f"{verdict}; with other gradients they differ by {_listed(self.causes)}."
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
    tx: optax.GradientTransformation | optax.MultiSteps,
    reference: optax.GradientTransformation | Recurrence | Callable[[Any], Any],
    *,
    params: Any = None,
    steps: int = 200,
    seed: int = 0,
) -> Explanation:
    """Find the conventions in which two optimizers differ.

    Both are compared on random gradients, and probed with gradients made to tell the known update
    rules apart: those of torch.optim and of Optax that have a closed recurrence (SGD, momentum,
    Nesterov's, Adagrad, RMSProp, Adadelta, Adam, AMSGrad, NAdam, RAdam, Adamax, ASGD, Rprop,
    AdaBelief, ACProp, Yogi, Adan, AdEMAMix and its simplification, ADOPT, Lion, NovoGrad, SM3,
    LAMB, LARS, optimistic descent and Adam, COCOB, Schedule-Free SGD and Adam at a constant rate,
    Adafactor, Muon), with epsilon in any place and of any size, any initial accumulator, decays,
    dampening, bias corrections, a velocity of the steps, weight decay coupled or decoupled,
    gradients that are clipped or accumulated before, and a learning rate of either sign that may
    change with the steps. Rules whose step depends on the norms of all leaves, on a loss or on
    chance (D-Adaptation, Prodigy, DoG, Momo, Sophia) are not among them. Each is recognised by its
    steps alone, and believed when it also takes the steps of longer, larger and sparser gradients;
    the causes are where the two differ. Everything is in float64; a number that one of them has
    rounded to float32, or a schedule that it has computed so, is a cause too.

    Args:
        tx: Any Optax gradient transformation, or `optax.MultiSteps`.
        reference: As in `verify.optimizer`.
        params: A tree of arrays for optimizers that need a certain one, such as masks, parameter
            groups or Muon; None for a matrix and a vector. Its values count in the comparison
            only. Leaves of rules of their own are explained one by one.
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
    comparison = optimizer(tx, reference, params=params, steps=steps, seed=seed)
    tree = _DEFAULT if params is None else params
    here, there = (
        recognise(each, who, tree, steps)
        for each, who in ((tx, "the optimizer"), (reference, "the reference"))
    )
    causes: list[Cause] = []
    # A leaf is named where the leaves have rules of their own.
    own = here.has_own or there.has_own
    pairs = {leaf: (here.rules[leaf], there.rules[leaf]) for leaf in here.rules}
    known = [(leaf, a, b) for leaf, (a, b) in pairs.items() if a is not None and b is not None]
    for leaf, mine, theirs in known if len(known) == len(pairs) else ():
        found = _causes(mine, theirs, here.probes[leaf], there.probes[leaf], comparison)
        causes += [c._replace(what=f"{leaf}: {c.what}") for c in found] if own else found
        if not own:
            break
    if not causes and not comparison[DISPLACEMENT].passed:
        causes = _of_complex(tx, reference, params, steps, seed)
    causes.sort(key=lambda cause: -cause.effect)
    first = next(iter(here.rules))
    mine, theirs = here.rules[first], there.rules[first]
    if not causes and None in (mine, theirs):
        looks = mine or here.short, theirs or there.short
        if looks[0] and looks[1] and describe(looks[0]) == describe(looks[1]):
            mine, theirs = looks
    return Explanation(comparison, tuple(causes), mine, theirs)


_DEFAULT: Final = {"matrix": np.zeros((4, 8)), "vector": np.zeros(48)}


def _of_complex(tx: Any, reference: Any, params: Any, steps: int, seed: int) -> list[Cause]:
    """Whether one takes the two parts of a complex number for two numbers, as PyTorch does."""
    if not any(np.iscomplexobj(leaf) for leaf in jax.tree.leaves(params)):
        return []
    words = "by its absolute value", "its real and its imaginary part apart"
    for place, each in enumerate((tx, reference)):
        if not isinstance(each, optax.GradientTransformation):
            continue
        apart = optax.contrib.split_real_and_imaginary(each)
        pair = (tx, apart) if place else (apart, reference)
        again = optimizer(*pair, params=params, steps=steps, seed=seed)
        if again[DISPLACEMENT].passed:
            mine, theirs = words[::-1] if place else words
            return [Cause("the size of a complex number", mine, theirs, 1.0)]
    return []


def _causes(
    here: FittedRule, there: FittedRule, probe: Probe, reference: Probe, comparison: Comparisons
) -> list[Cause]:
    """The differences of two rules; if but for the rate there is none, those of float32 first."""
    places = [
        _velocity_holds_rate(rule, each) for rule, each in ((here, probe), (there, reference))
    ]
    if None not in places:
        here, there = (
            rule._replace(spec=replace(rule.spec, rate_inside=place))
            for rule, place in zip((here, there), places, strict=True)
        )
    causes = list(find_causes(here, there, reference))
    if comparison[DISPLACEMENT].passed or any(c.what != "the learning rate" for c in causes):
        return causes
    return list(find_rounded(here, there, probe, reference)) or causes


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
