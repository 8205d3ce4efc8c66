"""`verify.explain` reports the cause of every difference that is put there, and no other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmnist import optim, verify
from jaxmnist.errors import InputError
from jaxmnist.verify import Recurrence
from jaxmnist.verify.adapters import make_adapter
from jaxmnist.verify.identify.fit import identify
from jaxmnist.verify.identify.probe import probe_gradients, run_probe
from jaxmnist.verify.identify.words import describe
from jaxmnist.verify.precision import precision


def harmonic(count: Any) -> Any:
    return 0.1 / (1.0 + count)


def sgd_with_scheduler(params: Any) -> Any:
    optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1.0 / (1.0 + t))


def torch_with(factory: Callable[..., Any], **arguments: Any) -> Callable[[Any], Any]:
    return lambda params: factory(params, **arguments)


def written_adam(corrected: bool = True, first_count: int = 1, inside: bool = False) -> Recurrence:
    """PyTorch's Adam by hand, with the mistakes that people make in it."""

    def init(w: Any) -> Any:
        return {"count": np.zeros(()), "m": np.zeros_like(w), "s": np.zeros_like(w)}

    def update(g: Any, state: Any) -> Any:
        m = 0.9 * state["m"] + 0.1 * g
        s = 0.999 * state["s"] + 0.001 * g**2
        t = state["count"] + first_count
        c1, c2 = (1 - 0.9**t, 1 - 0.999**t) if corrected else (1.0, 1.0)
        if inside:
            # The epsilon is added before the second correction, as Kingma's last form has it.
            change = -1e-3 * np.sqrt(c2) / c1 * m / (np.sqrt(s) + 1e-8)
        else:
            change = -1e-3 * (m / c1) / (np.sqrt(s / c2) + 1e-8)
        return change, {"count": state["count"] + 1, "m": m, "s": s}

    return Recurrence(init, update)


ADAM = optim.create("adam", convention="pytorch")

# what is put there: the optimizer, the reference, and every cause with what it is in each
SEEDED: dict[str, tuple[Any, Any, list[tuple[str, str, str]]]] = {
    "epsilon's place": (
        optim.rmsprop(0.01, decay=0.99, eps_root=1e-8),
        torch.optim.RMSprop,
        [("epsilon's place", "inside the root", "outside the root")],
    ),
    "epsilon's size": (
        optax.adam(1e-3, eps=1e-7),
        torch.optim.Adam,
        [("epsilon's size", "1e-07", "1e-08")],
    ),
    "epsilon's absence": (
        optim.adam(eps_root=0.0),
        ADAM,
        [("epsilon", "none", "1e-08, outside the root")],
    ),
    "epsilon before the correction": (
        ADAM,
        written_adam(inside=True),
        [
            (
                "epsilon's place",
                "outside the root",
                "outside the root, before the bias correction",
            )
        ],
    ),
    "initial accumulator": (
        optim.adagrad(eps_root=1e-7),
        optax.adagrad(0.01),
        [("the initial accumulator", "0", "0.1")],
    ),
    "learning rate's place": (
        optim.momentum(harmonic),
        sgd_with_scheduler,
        [("the learning rate's place", "inside the velocity", "outside it")],
    ),
    "no bias correction": (
        ADAM,
        written_adam(corrected=False),
        [("bias correction", "of both averages", "of neither average")],
    ),
    "bias correction of RMSProp": (
        optax.rmsprop(1e-3, bias_correction=True),
        optax.rmsprop(1e-3),
        [("bias correction", "of the average square only", "of neither average")],
    ),
    "step counter": (
        ADAM,
        written_adam(first_count=2),
        [("the step counter", "1 at the first update", "2 at the first update")],
    ),
    "schedule's counter": (
        optax.sgd(lambda count: harmonic(count + 1)),
        optax.sgd(harmonic),
        [("the schedule's counter", "a step ahead", "a step behind")],
    ),
    "b1": (optim.adam(b1=0.901), optim.adam(), [("b1", "0.901", "0.9")]),
    "b2": (optim.adam(b2=0.998), optim.adam(), [("b2", "0.998", "0.999")]),
    "rho": (
        optim.adadelta(rho=0.95),
        torch.optim.Adadelta,
        [("rho", "0.95", "0.9")],
    ),
    "momentum": (
        optax.sgd(0.1, 0.9),
        torch_with(torch.optim.SGD, lr=0.1, momentum=0.99),
        [("momentum", "0.9", "0.99")],
    ),
    "weight decay": (
        optax.adam(1e-3),
        torch_with(torch.optim.AdamW, weight_decay=0.01),
        [("weight decay", "none", "0.01, decoupled from it")],
    ),
    "weight decay's size": (
        optax.adamw(1e-3),
        torch.optim.AdamW,
        [("weight decay's size", "0.0001", "0.01")],
    ),
    "weight decay's place": (
        optax.adamw(1e-3, weight_decay=0.01),
        torch_with(torch.optim.Adam, weight_decay=0.01),
        [("weight decay's place", "decoupled from it", "added to the gradient")],
    ),
    "Nesterov": (
        optax.sgd(0.1, 0.9, nesterov=True),
        torch_with(torch.optim.SGD, lr=0.1, momentum=0.9),
        [("Nesterov's momentum", "used", "not used")],
    ),
    "dampening": (
        optax.sgd(0.1, 0.9),
        torch_with(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.5),
        [("dampening", "none", "used")],
    ),
    "centring": (
        optim.create("rmsprop", convention="pytorch"),
        torch_with(torch.optim.RMSprop, centered=True),
        [("centring", "none", "the mean subtracted")],
    ),
    "AMSGrad": (
        ADAM,
        torch_with(torch.optim.Adam, amsgrad=True),
        [
            (
                "AMSGrad",
                "the current average square",
                "the largest average square, before its correction",
            )
        ],
    ),
    "learning rate": (
        optim.sgd(),
        torch.optim.SGD,
        [("the learning rate", "0.1", "0.001")],
    ),
    "sign": (
        optax.adadelta(),
        optim.adadelta(),
        [("the sign", "climbs", "descends")],
    ),
    "algorithm": (
        optax.sgd(0.1),
        torch_with(torch.optim.SGD, lr=0.1, momentum=0.9),
        [
            (
                "the algorithm",
                "SGD (learning rate 0.1)",
                "momentum (learning rate 0.1, momentum 0.9)",
            )
        ],
    ),
    "several at once": (
        optim.rmsprop(),
        torch.optim.RMSprop,
        [
            ("epsilon's size", "1e-10", "1e-08"),
            ("epsilon's place", "inside the root", "outside the root"),
            ("the learning rate", "0.001", "0.01"),
            ("decay", "0.9", "0.99"),
        ],
    ),
}


@pytest.mark.slow_except("algorithm", "learning rate", "dampening", "Nesterov", "momentum")
@pytest.mark.parametrize("case", SEEDED)
def test_a_seeded_difference_is_named(case: str) -> None:
    tx, reference, causes = SEEDED[case]
    explanation = verify.explain(tx, reference, steps=20)
    assert [cause[:3] for cause in explanation.causes] == causes
    assert not explanation.agree
    assert explanation.explained
    effects = [cause.effect for cause in explanation.causes]
    assert min(effects) > 1e-8
    assert effects == sorted(effects, reverse=True)
    what, here, there = causes[0]
    assert f"They differ by {what}: {here} here, {there} in the reference" in str(explanation)


@pytest.mark.slow_except(
    "sgd-optax",
    "sgd-pytorch",
    "sgd-document",
    "adadelta-optax",
    "momentum-optax",
    "adadelta-pytorch",
)
@pytest.mark.parametrize("convention", optim.CONVENTIONS)
@pytest.mark.parametrize("name", optim.NAMES)
def test_every_optimizer_is_recognised_with_its_numbers(name: str, convention: str) -> None:
    gradients, start = probe_gradients()
    with precision("float64"):
        tx = optim.create(name, convention=convention)
        rule = identify(run_probe(make_adapter(tx, {"w": start}, "the optimizer"), gradients))
    assert rule is not None
    assert rule.spec.kind == {"sgd": "momentum"}.get(name, name)
    assert rule.spec.deviations == (name == "adagrad" and convention == "optax")
    theirs = optim.hyperparameters(name, convention)
    assert rule.rates == pytest.approx(theirs["learning_rate"] or 1.0, rel=1e-8)
    for ours, theirs_name in (
        ("momentum", "momentum"),
        ("b1", "b1"),
        ("decay", {"adam": "b2", "adadelta": "rho"}.get(name, "decay")),
    ):
        if ours in rule.numbers:
            assert rule.numbers[ours] == pytest.approx(theirs[theirs_name], rel=1e-7)
    place = {"inside": "eps_root", "outside": "eps"}.get(rule.spec.epsilon)
    if place:
        assert rule.numbers["epsilon"] == pytest.approx(theirs[place], rel=1e-4)
    assert (place is None) == (name in ("sgd", "momentum"))


def test_equal_optimizers_have_no_cause() -> None:
    explanation = verify.explain(ADAM, torch.optim.Adam, steps=20)
    assert explanation.agree
    assert explanation.causes == ()
    assert str(explanation).startswith("They take the same 20 steps, to ")


def test_a_rate_in_the_velocity_is_reported_though_the_steps_are_the_same() -> None:
    reference = torch_with(torch.optim.SGD, lr=0.01, momentum=0.9)
    explanation = verify.explain(optim.momentum(0.01), reference, steps=20)
    assert explanation.agree
    assert str(explanation) == (
        "They take the same 20 steps; their state differs by the learning rate's place: inside the "
        "velocity here, outside it in the reference."
    )


@pytest.mark.slow
def test_what_no_convention_explains_is_said_to_be_so() -> None:
    root = optax.stateless(
        lambda updates, params: jax.tree.map(
            lambda g: -0.1 * jnp.sign(g) * jnp.abs(g) ** 0.3, updates
        )
    )
    explanation = verify.explain(root, optim.sgd(), steps=20)
    assert not explanation.explained
    assert explanation.here is None
    text = str(explanation)
    assert text.startswith("No known convention explains the difference. The optimizer is none")
    assert "The reference is SGD (learning rate 0.1)." in text
    assert "First divergence at step 0" in text


@pytest.mark.slow
def test_a_difference_that_only_shows_later_is_not_made_up() -> None:
    """Equal for 100 steps, then not: both are recognised as the same, and that is reported."""
    base = verify.numpy_reference("adam", convention="pytorch")

    def update(g: Any, state: Any) -> Any:
        change, new = base.update(g, state)
        return change * (2.0 if new["count"] > 100 else 1.0), new

    explanation = verify.explain(ADAM, Recurrence(base.init, update))
    assert not explanation.explained
    assert "Both look like Adam (learning rate 0.001, b1 0.9, b2 0.999" in str(explanation)
    assert "First divergence at step 100" in str(explanation)


def test_what_does_not_move_is_none_of_the_known() -> None:
    explanation = verify.explain(optax.set_to_zero(), optim.sgd(), steps=5)
    assert explanation.here is None
    assert not explanation.explained


def test_a_reference_that_raises_is_named() -> None:
    def reference(params: Any) -> Any:
        raise ValueError("no such rate")

    with pytest.raises(InputError, match=r"the reference raised ValueError .*no such rate"):
        verify.explain(optim.sgd(), reference)


@pytest.mark.slow
def test_descriptions_have_every_number() -> None:
    explanation = verify.explain(optax.adamw(1e-3), optax.nadam(1e-3), steps=5)
    assert explanation.here is not None
    assert explanation.reference is not None
    assert describe(explanation.here) == (
        "Adam (learning rate 0.001, b1 0.9, b2 0.999, epsilon 1e-08 outside the root, decoupled "
        "weight decay 0.0001)"
    )
    assert describe(explanation.reference) == (
        "Adam (learning rate 0.001, b1 0.9, b2 0.999, epsilon 1e-08 outside the root, Nesterov)"
    )


def test_another_state_without_a_known_cause_is_said() -> None:
    """Half the momentum's velocity, doubled when it is used."""
    base = verify.numpy_reference("momentum", 0.1)

    def update(g: Any, state: Any) -> Any:
        change, new = base.update(g, {**state, "velocity": 2 * state["velocity"]})
        return change, {**new, "velocity": new["velocity"] / 2}

    explanation = verify.explain(optim.momentum(0.1), Recurrence(base.init, update), steps=9)
    assert explanation.agree
    assert explanation.causes == ()
    assert str(explanation).endswith("but store another velocity.")
