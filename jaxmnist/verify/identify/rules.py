"""The update rules among which a black box is recognised: their specifications."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from typing import Any, Final

from jaxmnist.verify.identify.probe import Probe

ADAPTIVE: Final = ("adagrad", "rmsprop", "adam", "adadelta")


@dataclass(frozen=True)
class RuleSpec:
    """The specification of an update rule, without its numbers. The defaults are plain."""

    kind: str
    """"momentum", which without one is SGD, or one of `ADAPTIVE`."""
    has_momentum: bool = True
    """Of "momentum" only."""
    epsilon: str = "none"
    """"none", "outside" the root, "inside" it, or outside "before correction" of the average."""
    weight_decay: str = "none"
    """"none", "coupled" to the gradient, or "decoupled" from it."""
    nesterov: bool = False
    dampened: bool = False
    """Of "momentum": whether gradients after the first enter with weight 1 - dampening."""
    rate_inside: bool = False
    """Of "momentum": whether the velocity holds the rate, which shows under a schedule."""
    corrected: str = "both"
    """Of Adam: "both", "first", "second" or "none" of its averages. RMSProp: "none" or "second"."""
    first_count: int = 1
    """Of a correction: t at the first update."""
    centered: bool = False
    """Of RMSProp: whether the square of the average gradient is subtracted."""
    largest: str = "none"
    """Of Adam: whether the largest average square so far is used (AMSGrad), and if so whether it
    is found "before correction" or "after correction"."""
    initial: bool = False
    """Whether the accumulator of squares starts above 0."""
    scheduled: bool = False
    """Whether the learning rate changes with the steps."""

    @property
    def deviations(self) -> int:
        """The number of choices that are not the plain one."""
        plain = RuleSpec(self.kind, corrected="none" if self.kind == "rmsprop" else "both")
        free = ("kind", "has_momentum", "epsilon", "scheduled", "weight_decay")
        different = [
            field.name
            for field in fields(self)
            if field.name not in free and getattr(self, field.name) != getattr(plain, field.name)
        ]
        return len(different) + (self.epsilon == "before correction")

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the numbers to fit."""
        names = {
            "momentum": ("momentum",) if self.has_momentum else (),
            "adagrad": (),
            "rmsprop": ("decay",),
            "adam": ("b1", "decay"),
            "adadelta": ("decay",),
        }[self.kind]
        return (
            *names,
            *(("dampening",) if self.dampened else ()),
            *(("epsilon",) if self.epsilon != "none" else ()),
            *(("initial",) if self.initial else ()),
            *(("weight_decay",) if self.weight_decay != "none" else ()),
        )


def rule_specs(probe: Probe, scheduled: bool) -> Iterator[RuleSpec]:
    """Enumerate the specifications that a probe does not rule out.

    Args:
        probe: What an optimizer did.
        scheduled: Whether the learning rate may change with the steps.

    Yields:
        One specification after another.
    """
    decays = ("coupled", "decoupled") if probe.decays else ("none",)
    places = ("none", "outside", "inside")
    initial = (False, True) if probe.initial is None else (probe.initial != 0,)
    common: dict[str, Any] = {"scheduled": scheduled}
    for weight_decay in decays:
        common["weight_decay"] = weight_decay
        yield RuleSpec("momentum", has_momentum=False, **common)
        for nesterov, dampened in product((False, True), repeat=2):
            yield RuleSpec("momentum", nesterov=nesterov, dampened=dampened, **common)
        if scheduled and weight_decay == "none":
            yield RuleSpec("momentum", rate_inside=True, **common)
        for epsilon in places:
            # Where it cannot be seen, an initial value is the same as an epsilon inside the root.
            yield RuleSpec("adagrad", epsilon=epsilon, initial=bool(probe.initial), **common)
            for start in initial:
                for centered, corrected in product((False, True), ("none", "second")):
                    yield RuleSpec(
                        "rmsprop",
                        epsilon=epsilon,
                        initial=start,
                        centered=centered,
                        corrected=corrected,
                        **common,
                    )
        for epsilon in ("outside", "inside"):
            yield RuleSpec("adadelta", epsilon=epsilon, **common)
        for start, epsilon, corrected, nesterov, first_count, largest in product(
            initial,
            (*places, "before correction"),
            ("both", "first", "second", "none"),
            (False, True),
            (1, 2),
            ("none", "before correction", "after correction"),
        ):
            if corrected == "none" and first_count != 1:
                continue
            if epsilon == "before correction" and corrected not in ("both", "second"):
                continue
            yield RuleSpec(
                "adam",
                initial=start,
                epsilon=epsilon,
                corrected=corrected,
                nesterov=nesterov,
                first_count=first_count,
                largest=largest,
                **common,
            )
