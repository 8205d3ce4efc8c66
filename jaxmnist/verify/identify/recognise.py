"""An optimizer recognised by its steps: each leaf's update rule, and what comes before it.

A rule is found on one stream of gradients, too small to be clipped, and is believed when it also
takes the steps of streams that it was not found on: large ones, longer ones, and such as have
zeros.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from jaxmnist.errors import InputError
from jaxmnist.verify.adapters import OptaxAdapter, make_adapter
from jaxmnist.verify.identify.before import ACCUMULATORS, Clip, accumulated, clips, groups
from jaxmnist.verify.identify.fit import ACCEPTED_ERROR, fit, follow, identify, same_rates
from jaxmnist.verify.identify.probe import (
    STEPS,
    Probe,
    present,
    probe_columns,
    probe_gradients,
    run_probes,
)
from jaxmnist.verify.identify.recurrence import FittedRule, predict
from jaxmnist.verify.named_trees import Layout
from jaxmnist.verify.precision import precision

_SMALL = 1e-4
"""The largest scale of gradients that no one clips."""


class Recognised(NamedTuple):
    """What an optimizer was recognised as, leaf by leaf, the largest first."""

    rules: Mapping[str, FittedRule | None]
    probes: Mapping[str, Probe]
    """What it did with the first stream."""
    short: FittedRule | None
    """What the first leaf looks like on that stream alone."""

    @property
    def has_own(self) -> bool:
        """Whether leaves have rules of their own."""
        rules = list(self.rules.values())
        return any(rule is not rules[0] for rule in rules)


def recognise(each: Any, who: str, params: Any, steps: int) -> Recognised:
    """Probe an optimizer with parameters of these shapes, and recognise its rules.

    Args:
        each: What `make_adapter` takes.
        who: Its name in messages.
        params: A tree of arrays, for their shapes.
        steps: Of the stream that a rule is checked on.

    Returns:
        The rules.

    Raises:
        InputError: It raises on being made, or on the first stream.
    """
    with precision("float64"), np.errstate(all="ignore"):
        subject = _Subject(each, who, params)
        every = subject.every()
        found: Recognised | None = None
        for accumulator in subject.accumulators() if every > 1 else ("mean",):
            found = _recognised(subject, every, accumulator, max(steps, STEPS))
            if any(found.rules.values()):
                break
    assert found is not None
    return found


def _recognised(subject: "_Subject", every: int, accumulator: str, steps: int) -> Recognised:
    """The rules, if this is how gradients are accumulated."""
    streams = _Streams(subject, every, accumulator, steps)
    rules: dict[str, FittedRule | None] = {}
    for leaf in subject.names:
        if None in rules.values():
            rules[leaf] = None  # One leaf that is not known is enough not to know the optimizer.
            continue
        known = (rule for rule in rules.values() if rule and streams.follows(rule, leaf))
        rule = next(known, None)
        if rule is None and (found := streams.recognised(leaf)):
            rule = found._replace(accumulated=every, accumulator=accumulator)
        rules[leaf] = rule
    return Recognised(rules, streams.wide or subject.first, streams.short.get(subject.names[0]))


class _Subject:
    """An optimizer that can be run on one stream after another."""

    def __init__(self, each: Any, who: str, params: Any) -> None:
        self._layout = Layout.of(params)
        self._shapes = dict(zip(self._layout.names, self._layout.shapes, strict=True))
        self._columns = {n: probe_columns(math.prod(s)) for n, s in self._shapes.items()}
        self.names = sorted(self._shapes, key=lambda name: -self._columns[name].size)
        gradients, start = probe_gradients(0)
        self._adapter = make_adapter(each, self._start(start), who)
        self.first = run_probes(self._adapter, self._chosen(gradients))

    def _start(self, start: np.ndarray) -> Any:
        return self._layout.tree(
            {n: start[self._columns[n]].reshape(s) for n, s in self._shapes.items()}
        )

    def _chosen(self, gradients: np.ndarray) -> dict[str, np.ndarray]:
        # Each leaf has them at other steps, so that a norm of one is not that of all.
        return {
            name: np.roll(gradients, 3 * place, axis=0)[:, self._columns[name]]
            for place, name in enumerate(self.names)
        }

    def every(self) -> int:
        """Of how many gradients a step is, if that is always the same; else 1."""
        counts = {tuple(groups(probe)) for probe in self.first.values()}
        sizes = {count for each in counts for count in each}
        return sizes.pop() if len(sizes) == 1 else 1

    def accumulators(self) -> tuple[str, ...]:
        """The ways in which gradients may be accumulated, the likeliest first."""
        plain, *in_float32 = ACCUMULATORS
        return (*in_float32, plain) if isinstance(self._adapter, OptaxAdapter) else (plain,)

    def run(
        self,
        gradients: np.ndarray,
        start: np.ndarray,
        every: int = 1,
        accumulator: str = "mean",
        whole: bool = True,
    ) -> dict[str, Probe] | None:
        """Run it on one more stream, of all rows or of half of them in turn; None if it raises."""
        chosen = self._chosen(gradients)
        if not whole:
            chosen = {n: g * present(self._shapes[n], len(g)) for n, g in chosen.items()}
        try:
            probes = run_probes(self._adapter.restarted(self._start(start)), chosen)
        except InputError:
            return None
        if every == 1:
            return probes
        return {leaf: accumulated(probe, every, accumulator) for leaf, probe in probes.items()}


class _Streams:
    """What an optimizer does with several streams."""

    def __init__(self, subject: _Subject, every: int, accumulator: str, steps: int) -> None:
        self._run = partial(subject.run, every=every, accumulator=accumulator)
        self._every = every
        self.short: dict[str, FittedRule] = {}
        """What leaves look like on the first stream alone."""
        self.wide = self._run(*probe_gradients(0, STEPS * every))
        self._check = self._run(*probe_gradients(1, steps * every))
        self._small = self._run(*probe_gradients(2, STEPS * every, _SMALL))
        self._absent = None if every > 1 else self._run(*probe_gradients(3), whole=False)

    def recognised(self, leaf: str) -> FittedRule | None:
        """The rule of a leaf, found on small gradients, or, if these do not tell, on all."""
        if self.wide is None:
            return None
        for rule in self._candidates(leaf, self.wide[leaf]):
            # A clip is one for all leaves; by one alone its kind cannot be told.
            if all(self.follows(rule, each) for each in (self.wide if rule.clip else [leaf])):
                return rule
        return None

    def _candidates(self, leaf: str, wide: Probe) -> Iterator[FittedRule]:
        small = None if self._small is None else identify(self._small[leaf])
        if small is not None:
            rule = fit(small.spec, small.numbers, wide)
            if rule.error <= ACCEPTED_ERROR:
                self.short[leaf] = rule
                yield from self._with_rates(rule, leaf)
            yield from self._with_rates(small, leaf)
            for clip in clips(small.spec.weight_decay == "coupled"):
                bounded = _bounded(small, clip, wide)
                if bounded is not None and self._explains_near(bounded, leaf):
                    yield from self._with_rates(bounded, leaf)
        rule = identify(wide)
        if rule is not None:
            self.short.setdefault(leaf, rule)
            yield from self._with_rates(rule, leaf)

    def _explains_near(self, rule: FittedRule, leaf: str) -> bool:
        """Whether a clip is right for gradients of which some are just below its bound."""
        assert rule.clip is not None
        scale = rule.clip.bound / 3
        near = self._run(*probe_gradients(4, STEPS * self._every, scale))
        return near is not None and _distance(rule, near[leaf]) <= ACCEPTED_ERROR

    def _with_rates(self, rule: FittedRule, leaf: str) -> Iterator[FittedRule]:
        """The rule with all rates that are known; and the same without what has no gradient."""
        longest = self.wide if self._check is None else self._check
        assert longest is not None
        for spec in (rule.spec, replace(rule.spec, lazy=True)):
            yield follow(rule._replace(spec=spec), longest[leaf])

    def follows(self, rule: FittedRule, leaf: str) -> bool:
        """Whether a rule takes a leaf's steps in all streams, with the rates that it has."""
        for stream in (self.wide, self._check):
            if stream is None:
                return False
            again = follow(rule, stream[leaf])
            if not again.error <= ACCEPTED_ERROR or not _same_rates(again.rates, rule.rates):
                return False
        if rule.spec.kind != "adam" or self._absent is None:
            return not rule.spec.lazy
        # Without an epsilon a number that is not there has no direction.
        again = follow(rule, self._absent[leaf])
        return rule.spec.epsilon == "none" or bool(again.error <= ACCEPTED_ERROR)


def _same_rates(a: Any, b: Any) -> bool:
    """Whether two rates, or those of the steps that both have, are the same."""
    a, b = np.atleast_1d(a), np.atleast_1d(b)
    count = min(len(a), len(b))
    if count > 1:
        a, b = a[:count], b[:count]
    return bool(same_rates(a, b).all())


def _bounded(rule: FittedRule, clip: Clip, probe: Probe) -> FittedRule | None:
    """The rule with this clip and the bound that explains a probe, at its own learning rate."""

    def error(log_bound: float) -> float:
        bounded = rule._replace(clip=clip._replace(bound=math.exp(log_bound)))
        return _distance(bounded, probe)

    grid = np.log(10.0) * np.linspace(-3, 3, 61)
    best = int(np.argmin([error(x) for x in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(error, bounds=(low, high), method="bounded", options={"xatol": 1e-13})
    bound = math.exp(found.x)
    for each in (float(f"{bound:.6g}"), bound):
        bounded = rule._replace(clip=clip._replace(bound=each))
        if _distance(bounded, probe) <= ACCEPTED_ERROR:
            return bounded
    return None


def _distance(rule: FittedRule, probe: Probe) -> float:
    """The largest relative error of a rule's steps, with the learning rate that it has."""
    error = float((np.abs(predict(rule, probe) - probe.changes) / probe.scales).max())
    return error if math.isfinite(error) else 1e9
