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
    "both": "outside the root, with another inside it",
    "accumulated": "in the average square, at every step",
    "accumulated, and outside": (
        "outside the root, with another in the average square, at every step"
    ),
    "clamped": "the least root that is divided by",
}
CORRECTED: Final = {
    "both": "of both averages",
    "first": "of the average gradient only",
    "second": "of the average square only",
    "none": "of neither average",
}
_PLAIN: Final = ("epsilon", "weight_decay")

_ALGORITHMS: Final = {
    "adagrad": "Adagrad",
    "rmsprop": "RMSProp",
    "adadelta": "Adadelta",
    "adam": "Adam",
    "adamax": "Adamax",
    "radam": "RAdam",
    "belief": "AdaBelief",
    "yogi": "Yogi",
    "adan": "Adan",
    "adopt": "ADOPT",
    "ademamix": "AdEMAMix",
    "simplified ademamix": "the simplified AdEMAMix",
    "acprop": "ACProp",
    "cocob": "COCOB",
    "lion": "Lion",
    "sign": "the sign of the gradient",
    "rprop": "Rprop",
    "novograd": "NovoGrad",
    "sm3": "SM3",
    "optimistic": "optimistic gradient descent",
    "optimistic adam": "optimistic Adam",
    "adafactor": "Adafactor",
    "muon": "Muon",
}
_NAMES: Final = {
    "initial": "initial accumulator",
    "momentum_decay": "momentum decay",
    "epsilon_root": "epsilon inside the root",
    "eta_minus": "eta-",
    "eta_plus": "eta+",
    "least": "least step",
    "most": "largest step",
    "power": "power of the decay",
    "share": "b1",
    "bound": "bound of the update's root mean square",
}


def describe(rule: FittedRule) -> str:
    """Describe a recognised optimizer.

    >>> print(describe(FittedRule(RuleSpec("rmsprop"), {"decay": 0.9}, rates=0.1, error=0.0)))
    RMSProp (learning rate 0.1, decay 0.9)
    """
    spec, numbers = rule.spec, rule.numbers
    words = [f"learning rate {rates_text(rule.rates)}"]
    words += [
        f"{number_name(name, spec)} {number_text(shown(name, rule))}"
        for name in numbers
        if name not in _PLAIN
    ]
    if spec.epsilon != "none":
        words.append(f"epsilon {number_text(numbers['epsilon'])} {PLACES[spec.epsilon]}")
    if spec.weight_decay != "none":
        words.append(f"{spec.weight_decay} weight decay {number_text(numbers['weight_decay'])}")
    if spec.kind == "adam" and spec.corrected != "both":
        words.append(f"bias correction {CORRECTED[spec.corrected]}")
    words += ["Nesterov"] * (spec.nesterov or spec.post == "nesterov")
    words += ["centered"] * spec.centered
    words += ["the largest average square"] * (spec.largest != "none")
    words += [f"clipped {rule.clip}"] * (rule.clip is not None)
    words += [f"of {rule.accumulated} gradients each"] * (rule.accumulated > 1)
    return f"{algorithm(spec)} ({', '.join(words)})"


def algorithm(spec: RuleSpec) -> str:
    """Name the algorithm of a specification."""
    if spec.averaged:
        return "Schedule-Free SGD" if spec.kind == "momentum" else "Schedule-Free Adam"
    if spec.kind == "momentum":
        plain = "momentum" if spec.has_momentum else "SGD"
        return plain if spec.trust == "none" else f"{plain} with a trust ratio"
    return "LAMB" if spec.trust == "update" else _ALGORITHMS[spec.kind]


def number_name(name: str, spec: RuleSpec) -> str:
    """Name a number as the algorithm's authors do."""
    if name == "epsilon_root" and spec.epsilon != "both":
        return "epsilon in the average square"
    if name == "decay" and (spec.kind != "rmsprop" or spec.averaged):
        return {"adadelta": "rho", "adan": "b3"}.get(spec.kind, "b2")
    return _NAMES.get(name, name)


def shown(name: str, rule: FittedRule) -> float:
    """Take a number as it is written: Rprop's bounds are in the fit over the learning rate."""
    size = float(np.ravel(rule.rates)[0]) if name in ("least", "most") else 1.0
    return size * rule.numbers[name]


def number_text(x: float) -> str:
    """Write a number in three digits where these are enough, and else in six."""
    return f"{x:.6g}" if abs(x - float(f"{x:.3g}")) > 1e-5 * abs(x) else f"{x:.3g}"


def rates_text(rates: np.ndarray | float, first: int = 0) -> str:
    """Write a learning rate, or three of a schedule from a step on."""
    if np.ndim(rates) == 0:
        return number_text(float(rates))
    shown = [number_text(float(rate)) for rate in np.ravel(rates)[first : first + 3]]
    return f"{', '.join(shown)} ... by step" + (f" from step {first}" if first else "")
