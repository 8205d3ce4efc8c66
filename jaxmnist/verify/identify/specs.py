"""The specifications that a probe does not rule out."""

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import numpy as np

from jaxmnist.verify.identify.probe import Probe
from jaxmnist.verify.identify.rules import RuleSpec

_DECAYS: Final = ("none", "coupled", "decoupled")
_PLACES: Final = ("none", "outside", "inside", "before correction")


def rule_specs(probe: Probe, scheduled: bool) -> Iterator[RuleSpec]:
    """Enumerate the specifications that a probe does not rule out.

    Args:
        probe: What an optimizer did.
        scheduled: Whether the learning rate may change with the steps.

    Yields:
        One specification after another.
    """
    decays = _DECAYS if probe.decays is None else _DECAYS[1:] if probe.decays else _DECAYS[:1]
    linear = _is_linear(probe)
    for weight_decay in decays:
        common: dict[str, Any] = {"scheduled": scheduled, "weight_decay": weight_decay}
        if linear is not False:
            yield from _linear(common)
        # The first steps of RAdam and of ACProp are not scaled, and so are linear too.
        yield from _radams(common)
        yield from _acprops(common)
        if linear is not True:
            yield from _of_squares(probe, common)
            yield from _adams(probe, common)
            yield from _rare(probe, common)
            yield from _by_leaf(probe, common)


def _linear(common: dict[str, Any]) -> Iterator[RuleSpec]:
    yield RuleSpec("momentum", has_momentum=False, **common)
    for nesterov, dampened in product((False, True), repeat=2):
        yield RuleSpec("momentum", nesterov=nesterov, dampened=dampened, **common)
    if common["scheduled"]:
        yield RuleSpec("momentum", rate_inside=True, **common)
    if not common["scheduled"] and common["weight_decay"] != "coupled":
        yield RuleSpec("optimistic", **common)
    if not common["scheduled"] and common["weight_decay"] != "decoupled":
        yield RuleSpec("momentum", has_momentum=False, averaged=True, **common)
    if common["weight_decay"] != "decoupled":
        yield RuleSpec("momentum", trust="gradient", **common)
    yield RuleSpec("momentum", has_momentum=False, trust="gradient", **common)
    for epsilon in ("outside", "none"):
        yield RuleSpec("novograd", epsilon=epsilon, **common)


def _of_squares(probe: Probe, common: dict[str, Any]) -> Iterator[RuleSpec]:
    """Adagrad, RMSProp and Adadelta."""
    initial = (False, True) if probe.initial is None else (probe.initial != 0,)
    inside = (False, True) if common["scheduled"] else (False,)
    for epsilon in ("none", "outside", "inside"):
        # Where it cannot be seen, an initial value is the same as an epsilon inside the root.
        yield RuleSpec("adagrad", epsilon=epsilon, initial=bool(probe.initial), **common)
        for start, centered, corrected in product(initial, (False, True), ("none", "second")):
            of_rms: dict[str, Any] = {"initial": start, "centered": centered}
            of_rms |= {"epsilon": epsilon, "corrected": corrected, **common}
            yield RuleSpec("rmsprop", **of_rms)
            for post, rate_inside in product(("velocity", "nesterov"), inside):
                if not (rate_inside and post == "nesterov"):
                    yield RuleSpec("rmsprop", post=post, rate_inside=rate_inside, **of_rms)
    for epsilon in ("outside", "inside"):
        yield RuleSpec("adadelta", epsilon=epsilon, **common)


def _adams(probe: Probe, common: dict[str, Any]) -> Iterator[RuleSpec]:
    initial = (False, True) if probe.initial is None else (probe.initial != 0,)
    for start, epsilon, corrected, nesterov, first_count, largest in product(
        initial,
        _PLACES,
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
    yield RuleSpec("adam", epsilon="both", **common)
    for epsilon in _PLACES:
        for single in (False, True):
            yield RuleSpec(
                "adam",
                epsilon=epsilon,
                nesterov=True,
                momentum_decays=True,
                single=single,
                **common,
            )
    for epsilon, corrected in product(("none", "inside", "outside"), ("both", "none")):
        yield RuleSpec("adamax", epsilon=epsilon, corrected=corrected, **common)


def _radams(common: dict[str, Any]) -> Iterator[RuleSpec]:
    for epsilon, threshold, nesterov in product(_PLACES, (5, 4), (False, True)):
        yield RuleSpec("radam", epsilon=epsilon, threshold=threshold, nesterov=nesterov, **common)


def _acprops(common: dict[str, Any]) -> Iterator[RuleSpec]:
    for epsilon in ("accumulated", "outside", "none", "accumulated, and outside"):
        yield RuleSpec("acprop", epsilon=epsilon, **common)


def _rare(probe: Probe, common: dict[str, Any]) -> Iterator[RuleSpec]:
    """Those that are in Optax alone, and those that need a matrix."""
    places = "accumulated", "outside", "none", "accumulated, and outside"
    for epsilon, nesterov in product(places, (False, True)):
        yield RuleSpec("belief", epsilon=epsilon, nesterov=nesterov, **common)
    for epsilon in ("outside", "inside"):
        yield RuleSpec("yogi", epsilon=epsilon, initial=True, **common)
    for epsilon in ("both", "outside", "inside"):
        yield RuleSpec("adan", epsilon=epsilon, **common)
    yield RuleSpec("ademamix", epsilon="outside", **common)
    for epsilon in ("outside", "inside", "none"):
        if not common["scheduled"]:
            of_rms: dict[str, Any] = {"epsilon": epsilon, "corrected": "second", **common}
            yield RuleSpec("rmsprop", averaged=True, **of_rms)
    for epsilon in ("outside", "inside"):
        yield RuleSpec("simplified ademamix", epsilon=epsilon, **common)
        for nesterov in (False, True):
            yield RuleSpec("optimistic adam", epsilon=epsilon, nesterov=nesterov, **common)
    if not common["scheduled"] and common["weight_decay"] != "decoupled":
        yield RuleSpec("cocob", epsilon="outside", **common)
    yield RuleSpec("adopt", epsilon="clamped", **common)
    yield RuleSpec("lion", **common)
    yield RuleSpec("sign", **common)
    yield RuleSpec("sm3", **common)
    if not common["scheduled"]:
        for lag in (False, True):
            yield RuleSpec("rprop", lag=lag, **common)
    if len(probe.shape) == 2:
        for nesterov, corrected, bfloat16 in product(
            (False, True), ("both", "none"), (False, True)
        ):
            yield RuleSpec(
                "muon", nesterov=nesterov, corrected=corrected, bfloat16=bfloat16, **common
            )


def _by_leaf(probe: Probe, common: dict[str, Any]) -> Iterator[RuleSpec]:
    """Those whose step is relative to the size of its leaf."""
    if common["weight_decay"] == "coupled":
        return
    for epsilon in ("outside", "inside"):
        yield RuleSpec("adam", trust="update", epsilon=epsilon, **common)
    for epsilon, factored, single in product(
        ("none", "inside", "clamped"),
        (False, True) if len(probe.shape) > 1 else (False,),
        (False, True),
    ):
        yield RuleSpec("adafactor", epsilon=epsilon, factored=factored, single=single, **common)


def _is_linear(probe: Probe) -> bool | None:
    """Whether the first step that moves is the gradient times one number; None if unknown."""
    moved = np.flatnonzero(probe.changes.any(axis=1))
    if not moved.size or moved[0] != 0:
        return None
    chosen = probe.weights[0] == 0
    with np.errstate(all="ignore"):
        ratios = (probe.changes[0] / probe.gradients[0])[chosen]
    if not ratios.size or not np.isfinite(ratios).all():
        return None
    return bool(np.ptp(ratios) <= 1e-9 * np.abs(ratios).max())
