"""The update rules themselves: from gradients to what a learning rate multiplies.

A kernel is a generator. It takes the specification, its numbers, [candidates, 1] each, the
gradients of one step after another, [candidates, elements], and the leaf's weights and shape. It
yields a direction for each. Numbers may be complex: a derivative is by complex step.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from jaxmnist.verify.identify.rules import RuleSpec

Numbers = Mapping[str, np.ndarray]


class Leaf(NamedTuple):
    """The leaf that a rule updates."""

    weights: np.ndarray
    """Before each step, [steps, elements]."""
    shape: tuple[int, ...]


Kernel = Callable[[RuleSpec, Numbers, Iterable[np.ndarray], Leaf], Iterator[np.ndarray]]


def larger(a: Any, b: Any) -> Any:
    """Take the larger of two, by their real parts."""
    return np.where(np.real(a) > np.real(b), a, b)


def magnitude(x: Any) -> Any:
    """Take |x| of what is real but for a derivative."""
    return np.where(np.real(x) < 0, -x, x)


def in_float32(x: Any) -> Any:
    """Round to float32; the derivative stays."""
    rounded = np.real(x).astype(np.float32).astype(np.float64)
    return rounded + 1j * np.imag(x) if np.iscomplexobj(x) else rounded


def _momentum(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    momentum = n["momentum"] if spec.has_momentum else 0.0
    share = 1 - n["dampening"] if spec.dampened else 1.0
    velocity: Any = 0.0
    for step, g in enumerate(gradients):
        velocity = momentum * velocity + (share if step or spec.first_weighed else 1.0) * g
        yield g + momentum * velocity if spec.nesterov else velocity


def _adagrad(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    inside, outside = epsilons(spec, n)
    total = n["initial"] if spec.initial else 0.0
    for g in gradients:
        total = total + g * g
        yield g / (np.sqrt(total + inside) + outside)


def _adadelta(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    inside, outside = epsilons(spec, n)
    decay = n["decay"]
    squares: Any = 0.0
    changes: Any = 0.0
    for g in gradients:
        squares = decay * squares + (1 - decay) * g * g
        u = g * (np.sqrt(changes + inside) + outside) / (np.sqrt(squares + inside) + outside)
        changes = decay * changes + (1 - decay) * u * u
        yield u


def _rmsprop(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    inside, outside = epsilons(spec, n)
    decay = n["decay"]
    square = n["initial"] if spec.initial else 0.0
    mean: Any = 0.0
    for t, g in enumerate(gradients, spec.first_count):
        correction = 1 - decay**t if spec.corrected == "second" else 1.0
        square = decay * square + (1 - decay) * g * g
        mean = decay * mean + (1 - decay) * g if spec.centered else 0.0
        yield g / (np.sqrt(square / correction - (mean / correction) ** 2 + inside) + outside)


def _adam(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    """Adam, NAdam, RAdam, AMSGrad, AdaBelief and Yogi."""
    inside, outside = epsilons(spec, n)
    b1, decay = n["b1"], n["decay"]
    square = n["initial"] if spec.initial else 0.0
    first = square if spec.kind == "yogi" else 0.0
    largest: Any = 0.0
    product: Any = 1.0
    for t, g in enumerate(gradients, spec.first_count):
        correct_first = 1 - b1**t if spec.corrected in ("both", "first") else 1.0
        correct_second = 1 - decay**t if spec.corrected in ("both", "second") else 1.0
        before = first, square
        first = b1 * first + (1 - b1) * g
        if spec.kind == "belief":
            square = decay * square + (1 - decay) * (g - first) ** 2
            square = square + accumulated(spec, n)
        elif spec.kind == "yogi":
            square = square - (1 - decay) * np.sign(np.real(square - g * g)) * g * g
        else:
            square = decay * square + (1 - decay) * g * g
        if spec.lazy:
            first, square = (
                np.where(g == 0, x, y) for x, y in zip(before, (first, square), strict=True)
            )
        used = square
        if spec.largest == "before correction":
            used = largest = larger(square, largest)
        elif spec.largest == "after correction":
            largest = larger(square / correct_second, largest)
            used = largest * correct_second
        if spec.momentum_decays:
            now, later = (
                b1 * (1 - 0.5 * 0.96 ** (count * n["momentum_decay"])) for count in (t, t + 1)
            )
            product = in_float32(product * in_float32(now)) if spec.single else product * now
            m = later * first / (1 - product * later) + (1 - now) * g / (1 - product)
        elif spec.nesterov:
            later = 1 - b1 ** (t + 1) if spec.corrected in ("both", "first") else 1.0
            m = b1 * first / later + (1 - b1) * g / correct_first
        else:
            m = first / correct_first
        if spec.epsilon == "before correction":
            u = m * np.sqrt(correct_second) / (np.sqrt(used) + outside)
        else:
            u = m / (np.sqrt(used / correct_second + inside) + outside)
        if spec.kind == "radam":
            u = _rectified(spec, decay, t, u, m)
        yield np.where(g == 0, 0.0, u) if spec.lazy else u


def _rectified(spec: RuleSpec, decay: Any, t: int, u: Any, m: Any) -> Any:
    most = 2 / (1 - decay) - 1
    rho = most - 2 * t * decay**t / (1 - decay**t)
    rectifier = (rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)
    adaptive = np.real(rho) > spec.threshold
    return np.where(adaptive, np.sqrt(np.where(adaptive, rectifier, 1.0)) * u, m)


def _adamax(spec: RuleSpec, n: Numbers, gradients: Iterable[Any], leaf: Leaf) -> Iterator[Any]:
    inside, outside = epsilons(spec, n)
    first: Any = 0.0
    largest: Any = 0.0
    for t, g in enumerate(gradients, spec.first_count):
        first = n["b1"] * first + (1 - n["b1"]) * g
        largest = larger(n["decay"] * largest, magnitude(g) + inside)
        correction = 1 - n["b1"] ** t if spec.corrected == "both" else 1.0
        yield first / correction / (largest + outside)


def epsilons(spec: RuleSpec, n: Numbers) -> tuple[Any, Any]:
    """What is added inside the root, and outside it."""
    eps = n["epsilon"] if spec.epsilon not in ("none", "accumulated") else 0.0
    if spec.epsilon == "both":
        return n["epsilon_root"], eps
    return (eps, 0.0) if spec.epsilon == "inside" else (0.0, eps)


def accumulated(spec: RuleSpec, n: Numbers) -> Any:
    """What is added to the average square at every step."""
    if spec.epsilon == "accumulated, and outside":
        return n["epsilon_root"]
    return n["epsilon"] if spec.epsilon == "accumulated" else 0.0


COMMON: Final[Mapping[str, Kernel]] = {
    "momentum": _momentum,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "radam": _adam,
    "belief": _adam,
    "yogi": _adam,
    "adamax": _adamax,
}
