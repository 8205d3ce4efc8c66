"""The recurrence of an update rule: its steps on a probe's gradients, for many numbers at once."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jaxmnist.verify.identify.probe import Probe
from jaxmnist.verify.identify.rules import RuleSpec


class FittedRule(NamedTuple):
    """An update rule with its numbers."""

    spec: RuleSpec
    numbers: Mapping[str, float]
    rates: np.ndarray | float
    """The learning rate of each step; one number if it is always the same."""
    error: float
    """The largest relative error of a step."""


def predict(rule: FittedRule, probe: Probe) -> np.ndarray:
    """Compute the changes that a rule makes with a probe's gradients at its weights.

    Args:
        rule: The rule.
        probe: Gradients and weights.

    Returns:
        The changes, [steps, elements].
    """
    rates = np.broadcast_to(rule.rates, len(probe.gradients))[:, None]
    columns = {name: np.full((1, 1), value) for name, value in rule.numbers.items()}
    if not (rule.spec.rate_inside and rule.spec.scheduled):
        with np.errstate(all="ignore"):
            directions = np.concatenate(list(_directions(rule.spec, columns, probe)))
        return -rates * directions
    velocity, changes = 0.0, []
    for rate, g in zip(rates, probe.gradients, strict=True):
        velocity = rule.numbers["momentum"] * velocity + rate * g
        changes.append(-velocity)
    return np.array(changes)


def _directions(
    spec: RuleSpec, numbers: Mapping[str, np.ndarray], probe: Probe
) -> Iterator[np.ndarray]:
    """What each step multiplies by the learning rate, [candidates, elements].

    The weights in it are the probe's, so that a step is linear in its rate.
    """
    candidates = len(next(iter(numbers.values()), np.zeros(1)))
    elements = probe.gradients.shape[1]
    first = second = changes = largest = mean = np.zeros((candidates, elements))
    if spec.initial:
        second = second + numbers["initial"]
    eps = numbers["epsilon"] if spec.epsilon != "none" else 0.0
    dampening = numbers["dampening"] if spec.dampened else 0.0
    momentum = numbers["momentum"] if spec.has_momentum and spec.kind == "momentum" else 0.0
    inside, outside = (eps, 0.0) if spec.epsilon == "inside" else (0.0, eps)
    decay, b1 = numbers.get("decay", 0.0), numbers.get("b1", 0.0)

    for step, (g, w) in enumerate(zip(probe.gradients, probe.weights, strict=True)):
        if spec.weight_decay == "coupled":
            g = g + numbers["weight_decay"] * w
        if spec.kind == "momentum":
            first = momentum * first + (1 - dampening if step else 1.0) * g
            u = g + momentum * first if spec.nesterov else first
        elif spec.kind == "adagrad":
            second = second + g * g
            u = g / (np.sqrt(second + inside) + outside)
        elif spec.kind == "adadelta":
            second = decay * second + (1 - decay) * g * g
            u = g * (np.sqrt(changes + inside) + outside) / (np.sqrt(second + inside) + outside)
            changes = decay * changes + (1 - decay) * u * u
        else:
            t = step + spec.first_count
            correct_first = 1 - b1**t if spec.corrected in ("both", "first") else 1.0
            correct_second = 1 - decay**t if spec.corrected in ("both", "second") else 1.0
            first = b1 * first + (1 - b1) * g
            second = decay * second + (1 - decay) * g * g
            square = second
            if spec.largest == "before correction":
                square = largest = _larger(second, largest)
            elif spec.largest == "after correction":
                largest = _larger(second / correct_second, largest)
                square = largest * correct_second
            if spec.centered:
                mean = decay * mean + (1 - decay) * g
                square = square - mean * mean
            m = first / correct_first
            if spec.nesterov:
                later = 1 - b1 ** (t + 1) if spec.corrected in ("both", "first") else 1.0
                m = b1 * first / later + (1 - b1) * g / correct_first
            if spec.epsilon == "before correction":
                u = m * np.sqrt(correct_second) / (np.sqrt(square) + outside)
            else:
                u = m / (np.sqrt(square / correct_second + inside) + outside)
        if spec.weight_decay == "decoupled":
            u = u + numbers["weight_decay"] * w
        yield np.broadcast_to(u, (candidates, elements))


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
    with np.errstate(all="ignore"):
        weights = np.where(probe.scales > 0, 1 / probe.scales, 0.0)
        target = -probe.changes * weights
        if spec.rate_inside and spec.scheduled:
            # velocity_t - momentum · velocity_(t-1) = rate_t · g
            earlier = np.vstack([np.zeros_like(target[:1]), target[:-1]])
            target = target - numbers["momentum"][:, :, None] * earlier
            direction = np.broadcast_to(probe.gradients * weights, target.shape)
        else:
            direction = np.stack(list(_directions(spec, numbers, probe)), axis=1) * weights
        over = (-1,) if spec.scheduled else (-2, -1)
        rates = (direction * target).sum(axis=over) / (direction * direction).sum(axis=over)
        shown = rates[:, :, None] if spec.scheduled else rates[:, None, None]
        return shown * direction - target, rates


def _larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(np.real(a) > np.real(b), a, b)
