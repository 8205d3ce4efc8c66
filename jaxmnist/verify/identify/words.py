"""A recognised optimizer in words: its algorithm, its numbers and their places."""

from typing import Final

import numpy as np

from jaxmnist.verify.identify.recurrence import FittedRule
from jaxmnist.verify.identify.rules import RuleSpec

PLACES: Final = {
    "none": "nowhere",
    "inside": "inside the root",
    "outside": "outside the root",
    "before correction": "outside the root, before the bias correction",
}
CORRECTED: Final = {
    "both": "of both averages",
    "first": "of the average gradient only",
    "second": "of the average square only",
    "none": "of neither average",
}
_PLAIN: Final = ("momentum", "b1", "decay", "dampening", "initial")


def describe(rule: FittedRule) -> str:
    """Describe a recognised optimizer.

    >>> print(describe(FittedRule(RuleSpec("rmsprop"), {"decay": 0.9}, rates=0.1, error=0.0)))
    RMSProp (learning rate 0.1, decay 0.9)
    """
    spec, numbers = rule.spec, rule.numbers
    words = [f"learning rate {rates_text(rule.rates)}"]
    words += [
        f"{number_name(name, spec)} {number_text(x)}"
        for name, x in numbers.items()
        if name in _PLAIN
    ]
    if spec.epsilon != "none":
        words.append(f"epsilon {number_text(numbers['epsilon'])} {PLACES[spec.epsilon]}")
    if spec.weight_decay != "none":
        words.append(f"{spec.weight_decay} weight decay {number_text(numbers['weight_decay'])}")
    if spec.kind == "adam" and spec.corrected != "both":
        words.append(f"bias correction {CORRECTED[spec.corrected]}")
    words += ["Nesterov"] * spec.nesterov + ["centered"] * spec.centered
    words += ["the largest average square"] * (spec.largest != "none")
    return f"{algorithm(spec)} ({', '.join(words)})"


def algorithm(spec: RuleSpec) -> str:
    """Name the algorithm of a specification."""
    if spec.kind == "momentum":
        return "momentum" if spec.has_momentum else "SGD"
    return {"adagrad": "Adagrad", "rmsprop": "RMSProp", "adadelta": "Adadelta", "adam": "Adam"}[
        spec.kind
    ]


def number_name(name: str, spec: RuleSpec) -> str:
    """Name a number as the algorithm's authors do."""
    if name == "decay" and spec.kind in ("adam", "adadelta"):
        return {"adam": "b2", "adadelta": "rho"}[spec.kind]
    return "initial accumulator" if name == "initial" else name


def number_text(x: float) -> str:
    """Write a number in three digits where these are enough, and else in six."""
    return f"{x:.6g}" if abs(x - float(f"{x:.3g}")) > 1e-5 * abs(x) else f"{x:.3g}"


def rates_text(rates: np.ndarray | float, first: int = 0) -> str:
    """Write a learning rate, or three of a schedule from a step on."""
    if np.ndim(rates) == 0:
        return number_text(float(rates))
    shown = [number_text(float(rate)) for rate in np.ravel(rates)[first : first + 3]]
    return f"{', '.join(shown)} ... by step" + (f" from step {first}" if first else "")
