"""`verify.explain` knows the rules and what comes before them; on the rest it is silent."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmnist import verify
from jaxmnist.verify.identify.before import Clip, clipped
from jaxmnist.verify.identify.probe import Probe

TORCH = torch.optim


def with_clipping(bound: float) -> Any:
    """SGD after clip_grad_norm_, as in a training loop."""

    def factory(params: Any) -> Any:
        optimizer = TORCH.SGD(params, lr=0.1)
        step = optimizer.step

        def after_clipping(closure: Any = None) -> Any:
            torch.nn.utils.clip_grad_norm_(params, bound)
            return step(closure)

        optimizer.step = after_clipping
        return optimizer

    return factory


# what is put there: the optimizer, the reference, and every cause with what it is in each
SEEDED: dict[str, tuple[Any, Any, set[tuple[str, str, str]]]] = {
    "the first gradient": (
        optax.chain(optax.ema(0.8, debias=False), optax.sgd(0.2)),
        lambda params: TORCH.SGD(params, lr=0.2, momentum=0.8, dampening=0.8),
        {("the first gradient's weight", "1 - dampening, as the others'", "1")},
    ),
    "NAdam's growing momentum, and an epsilon": (
        optax.nadam(2e-3, eps=1e-6),
        lambda params: TORCH.NAdam(params, momentum_decay=0.02),
        {
            (
                "the momentum's growth",
                "constant",
                "b1 · (1 - ½ · 0.96^(t · momentum decay)), as in NAdam's paper",
            ),
            ("epsilon's size", "1e-06", "1e-08"),
        },
    ),
    "RAdam's switch": (
        optax.radam(1e-3, threshold=4.0),
        optax.radam(1e-3),
        {("the switch to scaled steps", "above a rho of 4", "above a rho of 5")},
    ),
    "Rprop's lag": (
        optax.rprop(0.02),
        lambda params: TORCH.Rprop(params, 0.02),
        {("the step that is applied", "the one before's, so that the first is 0", "its own")},
    ),
    "ASGD": (
        optax.sgd(0.05),
        lambda params: TORCH.ASGD(params, 0.05, lambd=0.01, alpha=0.6),
        {
            ("weight decay", "none", "0.01, added to the gradient"),
            ("the learning rate", "0.05", "0.05 / (1 + 0.01 · 0.05 t)^0.6"),
        },
    ),
    "weight decay that is negated with the gradient": (
        optax.chain(optax.add_decayed_weights(0.1), optax.scale(-1.0), optax.sgd(0.1)),
        lambda params: TORCH.SGD(params, 0.1, weight_decay=0.1, maximize=True),
        {
            (
                "the weight decay's sign",
                "lets the weights grow, negated with the gradient",
                "shrinks the weights",
            )
        },
    ),
    "a term in the norm of a clip": (
        optax.chain(optax.clip_by_global_norm(0.7), optax.sgd(0.1)),
        with_clipping(0.7),
        {("what is added to the norm in clipping", "nothing", "1e-06")},
    ),
    "the kind of a clip": (
        optax.chain(optax.clip_by_block_rms(0.5), optax.sgd(0.1)),
        with_clipping(2.0),
        {
            (
                "clipping",
                "by the root mean square of each leaf's gradient, at 0.5",
                "by the norm of all gradients, at 2, with 1e-06 added to it",
            )
        },
    ),
    "accumulation": (
        optax.MultiSteps(optax.sgd(0.1), 3),
        lambda params: TORCH.SGD(params, lr=0.1),
        {("accumulation", "the mean, added up in float32, of 3 gradients", "every gradient")},
    ),
    "two Lions": (
        optax.lion(1e-3, b2=0.98, weight_decay=0.01),
        optax.lion(1e-3, weight_decay=0.01),
        {("b2", "0.98", "0.99")},
    ),
    "a velocity after RMSProp": (
        optax.rmsprop(0.01, decay=0.95, eps_in_sqrt=False, momentum=0.8),
        lambda params: TORCH.RMSprop(params, 0.01, alpha=0.95),
        {("the velocity of the scaled gradients", "used", "none")},
    ),
}


@pytest.mark.slow_except("the first gradient", "accumulation")
@pytest.mark.parametrize("case", SEEDED)
def test_a_seeded_difference_is_named(case: str) -> None:
    tx, reference, causes = SEEDED[case]
    explanation = verify.explain(tx, reference, steps=40)
    assert {cause[:3] for cause in explanation.causes} == causes, str(explanation)


@pytest.mark.slow
def test_a_row_without_a_gradient_is_told_from_one_with_zeros() -> None:
    params = {"w": np.zeros((8, 4))}
    explanation = verify.explain(optax.adam(1e-3), TORCH.SparseAdam, params=params, steps=5)
    assert {cause.what for cause in explanation.causes} == {
        "epsilon's place",
        "elements without a gradient",
    }


@pytest.mark.slow
def test_a_rule_that_changes_after_the_probe_is_not_believed() -> None:
    def init(params: Any) -> Any:
        return jax.tree.map(jnp.zeros_like, params), jnp.zeros((), int)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        velocity, count = state
        momentum = jnp.where(count < 35, 0.9, 0.5)
        velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, updates)
        return jax.tree.map(lambda v: -0.1 * v, velocity), (velocity, count + 1)

    changing = optax.GradientTransformation(init, update)
    assert not verify.explain(changing, optax.sgd(0.1, 0.99), steps=60).explained


def test_clips_by_hand() -> None:
    gradients = np.array([[3.0, 4.0], [0.3, 0.4]])
    weights = np.array([[0.0, 10.0], [0.0, 0.0]])
    tree = {"w": (gradients, weights), "b": (np.array([[12.0], [0.0]]), np.zeros((2, 1)))}
    probe = Probe(gradients, weights, gradients, np.ones(2), None, False, None, (2,), "w", tree)
    assert clipped(Clip("norm", bound=1.3), probe)[0] == pytest.approx([0.3, 0.4])
    assert clipped(Clip("norm", bound=1.3), probe)[1] == pytest.approx([0.3, 0.4])
    assert clipped(Clip("leaf's norm", bound=1.0), probe)[0] == pytest.approx([0.6, 0.8])
    assert clipped(Clip("value", bound=3.5), probe)[0] == pytest.approx([3.0, 3.5])
    assert clipped(Clip("norm", np.inf, bound=6.0), probe)[0] == pytest.approx([1.5, 2.0])
    decayed = clipped(Clip("value", decayed=True, bound=9.0), probe, weight_decay=1.0)
    assert decayed[0] == pytest.approx([3.0, 9.0])
