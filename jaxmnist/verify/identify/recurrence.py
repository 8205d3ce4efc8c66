"""The recurrence of an update rule: its steps on a probe's gradients, for many numbers at once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from jaxmnist.verify.identify.before import Clip, clipped
from jaxmnist.verify.identify.kernels import Leaf, Numbers
from jaxmnist.verify.identify.probe import Probe
from jaxmnist.verify.identify.rare_kernels import KERNELS
from jaxmnist.verify.identify.rules import RuleSpec


class FittedRule(NamedTuple):
    """An update rule with its numbers."""

    spec: RuleSpec
    numbers: Mapping[str, float]
    rates: np.ndarray | float
    """The learning rate of each step; one number if it is always the same."""
    error: float
    """The largest relative error of a step."""
    clip: Clip | None = None
    """How the gradients are clipped before."""
    accumulated: int = 1
    """How many gradients are accumulated for a step."""
    accumulator: str = "mean"
    """How: a key of `ACCUMULATORS`."""


def predict(rule: FittedRule, probe: Probe) -> np.ndarray:
    """Compute the changes that a rule makes with a probe's gradients at its weights.

    Args:
        rule: The rule.
        probe: Gradients and weights.

    Returns:
        The changes, [steps, elements].
    """
    rule, probe = given_clipped(rule, probe)
    rates = np.resize(rule.rates, len(probe.gradients))[:, None]
    columns = {name: np.full((1, 1), value) for name, value in rule.numbers.items()}
    inside = rule.spec.rate_inside and rule.spec.scheduled
    spec = without_velocity(rule.spec) if inside else rule.spec
    with np.errstate(all="ignore"):
        directions = np.concatenate(list(_directions(spec, columns, probe)))
    if not inside:
        return -rates * directions
    velocity, changes = 0.0, []
    for change in -rates * directions:
        velocity = rule.numbers["momentum"] * velocity + change
        changes.append(velocity)
    return np.array(changes)


def given_clipped(rule: FittedRule, probe: Probe) -> tuple[FittedRule, Probe]:
    """Clip a probe's gradients as the rule does, and take the clipping from the rule."""
    if rule.clip is None:
        return rule, probe
    gradients = clipped(rule.clip, probe, rule.numbers.get("weight_decay", 0.0))
    spec = rule.spec
    if rule.clip.decayed:
        spec = replace(spec, weight_decay="none")
    return rule._replace(spec=spec, clip=None), probe._replace(gradients=gradients)


def without_velocity(spec: RuleSpec) -> RuleSpec:
    """Take the velocity from a rule, to put it after the learning rate."""
    if spec.kind == "momentum":
        return replace(spec, has_momentum=False)
    return replace(spec, post="none")


def _directions(spec: RuleSpec, numbers: Numbers, probe: Probe) -> Iterator[np.ndarray]:
    """What each step multiplies by the learning rate, [candidates, elements].

    The weights in it are the probe's, so that a step is linear in its rate.
    """
    candidates = len(next(iter(numbers.values()), np.zeros(1)))
    full = candidates, probe.gradients.shape[1]
    leaf = Leaf(probe.weights, probe.shape)
    gradients = iter(np.broadcast_to(probe.gradients[:, None], (len(probe.gradients), *full)))
    if spec.weight_decay == "coupled":
        gradients = _decayed(gradients, leaf, numbers["weight_decay"])
    if spec.trust == "gradient":
        gradients = _trusted(gradients, leaf)
    steps = KERNELS[spec.kind](spec, numbers, gradients, leaf)
    if spec.post != "none":
        steps = _with_velocity(steps, numbers["momentum"], spec.post == "nesterov")
    if spec.weight_decay == "decoupled":
        steps = _decayed(steps, leaf, numbers["weight_decay"])
    if spec.trust == "update":
        steps = _trusted(steps, leaf)
    if spec.averaged:
        steps = _averaged(steps, numbers["share"])
    return (step if np.shape(step) == full else np.broadcast_to(step, full) for step in steps)


def _decayed(arrays: Iterable[Any], leaf: Leaf, weight_decay: Any) -> Iterator[Any]:
    for array, w in zip(arrays, leaf.weights, strict=False):
        yield array + weight_decay * w


def _trusted(arrays: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    """As large as the leaf itself; unless one of the two is zero."""
    for array, w in zip(arrays, leaf.weights, strict=False):
        ratio = np.linalg.norm(w) / np.sqrt((array * array).sum(axis=-1, keepdims=True))
        yield array * np.where(np.isfinite(ratio) & (ratio != 0), ratio, 1.0)


def _with_velocity(steps: Iterable[Any], momentum: Any, nesterov: bool) -> Iterator[Any]:
    velocity: Any = 0.0
    for u in steps:
        velocity = momentum * velocity + u
        yield u + momentum * velocity if nesterov else velocity


def _averaged(steps: Iterable[Any], share: Any) -> Iterator[Any]:
    """The steps of weights between those of a rule and the average of these, from its steps.

    The rule's own weights are z, their average is x, and y = share · x + (1 - share) · z is where
    the gradients are. All rates being equal, every z has the same weight in the average.
    """
    z: Any = 0.0
    x: Any = 0.0
    y: Any = 0.0
    for t, u in enumerate(steps, 1):
        z = z - u
        x = x + (z - x) / t
        before, y = y, share * x + (1 - share) * z
        yield before - y


def residuals(
    spec: RuleSpec, numbers: Mapping[str, np.ndarray], probe: Probe
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the learning rates in closed form, and measure what is left.

    Args:
        spec: The rule but for its numbers.
        numbers: [candidates, 1] each.
        probe: What an optimizer did.

    Returns:
        Each step's error over the element's scale, [candidates, steps, elements], and the rates,
        [candidates] or [candidates, steps].
    """
    scales = np.full_like(probe.scales, probe.scales.max()) if spec.whole else probe.scales
    with np.errstate(all="ignore"):
        weights = np.where(scales > 0, 1 / scales, 0.0)
        target = -probe.changes * weights
        inside = spec.rate_inside and spec.scheduled
        if inside:
            # velocity_t - momentum · velocity_(t-1) = rate_t · direction
            earlier = np.vstack([np.zeros_like(target[:1]), target[:-1]])
            target = target - numbers["momentum"][:, :, None] * earlier
        used = without_velocity(spec) if inside else spec
        direction = np.stack(list(_directions(used, numbers, probe)), axis=1) * weights
        over = (-1,) if spec.scheduled else (-2, -1)
        rates = (direction * target).sum(axis=over) / (direction * direction).sum(axis=over)
        rates = np.where((direction == 0).all(axis=over), 0.0, rates)
        shown = rates[:, :, None] if spec.scheduled else rates[:, None, None]
        return shown * direction - target, rates
