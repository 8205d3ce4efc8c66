"""The update rules of Optax's contributed optimizers: their numbers are found, and told apart."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import optax
import optax.contrib
import pytest
import torch

from jaxmnist import verify
from jaxmnist.verify.adapters import make_adapter
from jaxmnist.verify.identify.causes import find_causes
from jaxmnist.verify.identify.fit import ACCEPTED_ERROR, fit, identify, start_of
from jaxmnist.verify.identify.probe import Probe, probe_gradients, run_probe
from jaxmnist.verify.identify.recurrence import FittedRule
from jaxmnist.verify.identify.specs import rule_specs
from jaxmnist.verify.identify.words import algorithm, describe
from jaxmnist.verify.precision import precision

OC = optax.contrib

PLAIN: dict[str, Callable[..., Any]] = {
    "ACProp": lambda **n: OC.acprop(**{"learning_rate": 1e-3, **n}),
    "COCOB": lambda **n: OC.cocob(**n),
    "optimistic Adam": lambda **n: optax.optimistic_adam_v2(**{"learning_rate": 1e-3, **n}),
    "the simplified AdEMAMix": lambda **n: OC.simplified_ademamix(
        **{"learning_rate": 1e-3, "alpha": 20.0, **n}
    ),
    "Schedule-Free SGD": lambda **n: OC.schedule_free_sgd(**{"learning_rate": 0.1, **n}),
    "Schedule-Free Adam": lambda **n: OC.schedule_free_adamw(**n),
    "AdaBelief": lambda **n: optax.adabelief(**{"learning_rate": 1e-3, **n}),
}

# the algorithm, the arguments that are not the plain ones, and every cause with what it is here
NUMBERS: tuple[tuple[str, dict[str, float], dict[str, str]], ...] = (
    ("ACProp", {"b1": 0.8, "eps_root": 1e-14}, {"b1": "0.8", "epsilon's size": "1e-14"}),
    (
        "ACProp",
        {"b2": 0.99, "eps": 1e-6, "weight_decay": 0.1},
        {
            "b2": "0.99",
            "weight decay": "0.1, decoupled from it",
            "the size of the epsilon outside the root": "1e-06",
        },
    ),
    ("COCOB", {"alpha": 3.0}, {"alpha": "3"}),
    (
        "COCOB",
        {"eps": 1e-5, "weight_decay": 0.01},
        {"epsilon's size": "1e-05", "weight decay": "0.01, added to the gradient"},
    ),
    ("optimistic Adam", {"beta": 3.0}, {"optimism": "3"}),
    (
        "optimistic Adam",
        {"nesterov": False, "b2": 0.99, "learning_rate": 0.01},
        {"Nesterov's momentum": "not used", "b2": "0.99", "the learning rate": "0.01"},
    ),
    ("the simplified AdEMAMix", {"alpha": 1.0, "b1": 0.9}, {"alpha": "1", "b1": "0.9"}),
    (
        "the simplified AdEMAMix",
        {"eps": 0.0, "eps_root": 1e-10},
        {"epsilon's place": "inside the root", "epsilon's size": "1e-10"},
    ),
    (
        "Schedule-Free SGD",
        {"b1": 0.7, "weight_decay": 0.01},
        {"b1": "0.7", "weight decay": "0.01, added to the gradient"},
    ),
    ("Schedule-Free SGD", {"learning_rate": 0.2}, {"the learning rate": "0.2"}),
    (
        "Schedule-Free Adam",
        {"b1": 0.95, "b2": 0.99, "eps": 1e-6},
        {"b1": "0.95", "b2": "0.99", "epsilon's size": "1e-06"},
    ),
    (
        "Schedule-Free Adam",
        {"weight_decay": 0.1, "learning_rate": 0.01},
        {"weight decay": "0.1, decoupled from it", "the learning rate": "0.01"},
    ),
    ("AdaBelief", {"eps": 1e-8}, {"the size of the epsilon outside the root": "1e-08"}),
    (
        "AdaBelief",
        {"eps": 1e-8, "eps_root": 1e-14},
        {
            "the size of the epsilon outside the root": "1e-08",
            "the size of the epsilon in the average square": "1e-14",
        },
    ),
)


def probed(tx: Any) -> Probe:
    """What an optimizer does with the first stream."""
    gradients, start = probe_gradients()
    with precision("float64"):
        return run_probe(make_adapter(tx, {"w": start}, "the optimizer"), gradients)


def fitted(name: str, probe: Probe) -> FittedRule:
    """The plainest rule of an algorithm that takes the probe's steps."""
    specs = [spec for spec in rule_specs(probe, scheduled=False) if algorithm(spec) == name]
    for spec in sorted(specs, key=lambda spec: spec.deviations):
        with np.errstate(all="ignore"):
            rule = fit(spec, start_of(spec, probe).numbers, probe)
        if rule.error <= ACCEPTED_ERROR:
            return rule
    raise AssertionError(f"none of {len(specs)} specifications of {name} takes these steps")


@cache
def plain(name: str) -> tuple[FittedRule, Probe]:
    """An algorithm with the plain numbers."""
    probe = probed(PLAIN[name]())
    return fitted(name, probe), probe


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments", "causes"), NUMBERS)
def test_numbers_that_differ_are_named(
    name: str, arguments: dict[str, float], causes: dict[str, str]
) -> None:
    there, probe = plain(name)
    here = fitted(name, probed(PLAIN[name](**arguments)))
    assert {cause.what: cause.here for cause in find_causes(here, there, probe)} == causes


@pytest.mark.slow_except("Schedule-Free SGD", "ACProp")
@pytest.mark.parametrize("name", PLAIN)
def test_an_algorithm_is_recognised_among_all(name: str) -> None:
    rule = identify(plain(name)[1])
    assert rule is not None
    assert algorithm(rule.spec) == name


def test_descriptions_have_both_epsilons_and_every_b() -> None:
    assert describe(plain("Schedule-Free Adam")[0]) == (
        "Schedule-Free Adam (learning rate 0.0025, b2 0.999, b1 0.9, epsilon 1e-08 outside the "
        "root)"
    )
    two = fitted("AdaBelief", probed(optax.adabelief(1e-3, eps=1e-8, eps_root=1e-14)))
    assert describe(two) == (
        "AdaBelief (learning rate 0.001, b1 0.9, b2 0.999, epsilon in the average square 1e-14, "
        "epsilon 1e-08 outside the root, with another in the average square, at every step)"
    )


@pytest.mark.slow
def test_a_difference_of_two_schedule_free_runs_is_explained_whole() -> None:
    here, there = OC.schedule_free_sgd(0.1, b1=0.8), OC.schedule_free_sgd(0.1)
    explanation = verify.explain(here, there, steps=40)
    assert [cause[:3] for cause in explanation.causes] == [("b1", "0.8", "0.9")]


def test_a_warm_up_within_schedule_free_is_not_taken_for_another_rule() -> None:
    warmed = OC.schedule_free_sgd(0.1, warmup_steps=8)
    with pytest.raises(AssertionError, match="takes these steps"):
        fitted("Schedule-Free SGD", probed(warmed))


def with_short_last(base: Callable[[Any], Any], mean: bool) -> Callable[[Any], Any]:
    """A loop that steps after 4, 8 and 10 of each 10 gradients, with their sum over 4 or mean."""

    def factory(params: Any) -> Any:
        optimizer = base(params)
        step, kept = optimizer.step, optimizer.param_groups[0]["params"]
        sums = [torch.zeros_like(p) for p in kept]
        counts = {"all": 0, "since": 0}

        def accumulating(closure: Any = None) -> Any:
            counts["all"] += 1
            counts["since"] += 1
            for p, total in zip(kept, sums, strict=True):
                total += p.grad
            if counts["all"] % 10 not in (4, 8, 0):
                return None
            for p, total in zip(kept, sums, strict=True):
                p.grad = total / (counts["since"] if mean else 4)
                total.zero_()
            counts["since"] = 0
            return step(closure)

        optimizer.step = accumulating
        return optimizer

    return factory


SHORT: dict[str, tuple[Any, Any]] = {
    "SGD": (optax.sgd(0.1), lambda params: torch.optim.SGD(params, lr=0.1)),
    "Adam": (optax.adam(1e-3), torch.optim.Adam),
}


@pytest.mark.slow
@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("name", SHORT)
def test_a_shorter_last_batch_of_an_accumulation_is_not_explained_away(
    name: str, mean: bool
) -> None:
    tx, base = SHORT[name]
    reference = with_short_last(base, mean)
    explanation = verify.explain(optax.MultiSteps(tx, 4), reference, steps=20)
    assert not explanation.agree
    assert explanation.causes == ()
    assert explanation.reference is None
    assert explanation.here is not None
    assert explanation.here.accumulated == 4


@pytest.mark.slow
def test_the_contributed_rules_crowd_no_other_out() -> None:
    """Adafactor's fits start far from it, and are tried only if few others start nearer."""
    rule = identify(probed(optax.adafactor(0.01)))
    assert rule is not None
    assert rule.spec.kind == "adafactor"
