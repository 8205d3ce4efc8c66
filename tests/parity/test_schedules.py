"""Every schedule has the rates of torch.optim.lr_scheduler, in float64 to 1e-12 of the largest."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmnist import parity

STEPS = 40
RATE = 0.1
scheduler = torch.optim.lr_scheduler


def wave(count):
    """A factor that both frameworks can compute, the one from an int and the other traced."""
    return 1 - 0.5 * (count % 7) / 7


def late_wave(count):
    """The same, and not 1 at the first count, which MultiplicativeLR leaves out."""
    return wave(count + 3)


def sequence(optimizer: Any) -> Any:
    each = [
        scheduler.LinearLR(optimizer, total_iters=6),
        scheduler.CosineAnnealingLR(optimizer, 9, eta_min=0.01),
        scheduler.StepLR(optimizer, 4, gamma=0.5),
        scheduler.CosineAnnealingWarmRestarts(optimizer, 5),
    ]
    return scheduler.SequentialLR(optimizer, each, [6, 17, 26])


def chain(optimizer: Any) -> Any:
    return scheduler.ChainedScheduler(
        [
            scheduler.ConstantLR(optimizer, 0.3, 8),
            scheduler.ExponentialLR(optimizer, 0.95),
            scheduler.LinearLR(optimizer, 0.2, 0.7, 12),
            scheduler.MultiplicativeLR(optimizer, wave),
        ]
    )


SCHEDULES: dict[str, tuple[Any, Any]] = {
    "step_lr": (parity.step_lr(RATE, 7, 0.3), lambda o: scheduler.StepLR(o, 7, 0.3)),
    "multi_step_lr": (
        parity.multi_step_lr(RATE, [3, 11, 11, 30], 0.5),
        lambda o: scheduler.MultiStepLR(o, [3, 11, 11, 30], 0.5),
    ),
    "constant_lr": (parity.constant_lr(RATE), lambda o: scheduler.ConstantLR(o)),
    "linear_lr": (
        parity.linear_lr(RATE, 0.2, 0.9, 13),
        lambda o: scheduler.LinearLR(o, 0.2, 0.9, 13),
    ),
    "exponential_lr": (
        parity.exponential_lr(RATE, 0.93),
        lambda o: scheduler.ExponentialLR(o, 0.93),
    ),
    "polynomial_lr": (
        parity.polynomial_lr(RATE, 23, 1.7),
        lambda o: scheduler.PolynomialLR(o, 23, 1.7),
    ),
    "lambda_lr": (parity.lambda_lr(RATE, wave), lambda o: scheduler.LambdaLR(o, wave)),
    "multiplicative_lr": (
        parity.multiplicative_lr(RATE, late_wave),
        lambda o: scheduler.MultiplicativeLR(o, late_wave),
    ),
    "cosine_annealing_lr": (
        parity.cosine_annealing_lr(RATE, 11, 0.02),
        lambda o: scheduler.CosineAnnealingLR(o, 11, 0.02),
    ),
    "cosine_annealing_warm_restarts": (
        parity.cosine_annealing_warm_restarts(RATE, 6, eta_min=0.01),
        lambda o: scheduler.CosineAnnealingWarmRestarts(o, 6, eta_min=0.01),
    ),
    "cosine_annealing_warm_restarts, longer": (
        parity.cosine_annealing_warm_restarts(RATE, 3, 2),
        lambda o: scheduler.CosineAnnealingWarmRestarts(o, 3, 2),
    ),
    "sequential_lr": (
        parity.sequential_lr(
            [
                parity.linear_lr(RATE, total_iters=6),
                parity.cosine_annealing_lr(RATE, 9, 0.01),
                parity.step_lr(RATE, 4, 0.5),
                parity.cosine_annealing_warm_restarts(RATE, 5),
            ],
            [6, 17, 26],
        ),
        sequence,
    ),
    "chained": (
        parity.chained(
            RATE,
            [
                parity.constant_lr(RATE, 0.3, 8),
                parity.exponential_lr(RATE, 0.95),
                parity.linear_lr(RATE, 0.2, 0.7, 12),
                parity.multiplicative_lr(RATE, wave),
            ],
        ),
        chain,
    ),
}


def of_torch(factory, steps=STEPS):
    """The rate and the momentum of every step."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=RATE, momentum=0.5)
    made, found = factory(optimizer), []
    for step in range(steps):
        found.append([optimizer.param_groups[0][key] for key in ("lr", "momentum")])
        optimizer.step()
        if step + 1 < steps:
            made.step()
    return np.array(found).T


def of_jax(schedule, steps=STEPS):
    """Compiled, for all counts at once; and each alone, as Optax does."""
    with jax.enable_x64(True):
        rates = jax.jit(jax.vmap(schedule))(jnp.arange(steps, dtype=jnp.int32))
        assert rates.dtype == jnp.float64
        np.testing.assert_allclose(schedule(jnp.asarray(3, jnp.int32)), rates[3], rtol=1e-14)
        return np.asarray(rates)


@pytest.mark.slow_except(
    "exponential_lr",
    "cosine_annealing_warm_restarts",
    "cosine_annealing_lr",
    "polynomial_lr",
    "lambda_lr",
    "linear_lr",
)
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_matches_torch(name):
    ours, theirs = SCHEDULES[name]
    expected = of_torch(theirs)[0]
    np.testing.assert_allclose(of_jax(ours), expected, atol=1e-12 * expected.max(), rtol=0)
    assert len(set(expected)) > 1


CYCLES = [
    {"step_size_up": 5, "step_size_down": 3},
    {"step_size_up": 4, "mode": "triangular2"},
    {"step_size_up": 4, "mode": "exp_range", "gamma": 0.9},
    {"step_size_up": 4, "scale_fn": wave, "scale_mode": "iterations"},
    {"step_size_up": 4, "scale_fn": wave},
]


@pytest.mark.parametrize("arguments", CYCLES, ids=lambda arguments: " ".join(arguments))
def test_cyclic_lr_matches_torch_in_rate_and_momentum(arguments):
    cycle = parity.cyclic_lr(0.01, RATE, **arguments)
    rates, momenta = of_torch(lambda o: scheduler.CyclicLR(o, 0.01, RATE, **arguments))
    np.testing.assert_allclose(of_jax(cycle.rate), rates, atol=1e-13, rtol=0)
    np.testing.assert_allclose(of_jax(cycle.momentum), momenta, atol=1e-12, rtol=0)


@pytest.mark.parametrize("arguments", [{}, {"pct_start": 0.13}, {"final_div_factor": 7.0}], ids=str)
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_matches_torch_in_rate_and_momentum(arguments, strategy, three_phase):
    arguments = {**arguments, "anneal_strategy": strategy, "three_phase": three_phase}
    cycle = parity.one_cycle(RATE, STEPS, **arguments)
    rates, momenta = of_torch(lambda o: scheduler.OneCycleLR(o, RATE, STEPS, **arguments))
    np.testing.assert_allclose(of_jax(cycle.rate), rates, atol=1e-13, rtol=0)
    np.testing.assert_allclose(of_jax(cycle.momentum), momenta, atol=1e-12, rtol=0)


@pytest.mark.slow
def test_schedules_are_float32_without_x64_and_take_a_python_count():
    for schedule, _ in SCHEDULES.values():
        assert schedule(3).dtype == jnp.float32


def test_numbers_of_a_schedule_may_be_traced():
    rates = jax.vmap(lambda lr, n: parity.linear_lr(lr, 0.5, total_iters=n)(2))(
        jnp.array([1.0, 2.0]), jnp.array([4, 8])
    )
    np.testing.assert_allclose(rates, [0.75, 1.25])


PLATEAUS = [
    {},
    {"mode": "max", "patience": 1},
    {"patience": 1, "cooldown": 2, "threshold_mode": "abs", "threshold": 0.3},
    {"patience": 0, "mode": "max", "threshold_mode": "abs", "threshold": 0.3, "min_lr": 0.02},
    {"patience": 0, "factor": 0.999, "eps": 1e-4},
    {"patience": 0, "factor": 0.5, "eps": 1e-3},
]


@pytest.mark.parametrize("arguments", PLATEAUS, ids=str)
def test_reduce_on_plateau_matches_torch(arguments):
    values = np.random.default_rng(0).normal(size=60).cumsum() * 0.3 - 1
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=RATE)
    plateau, expected = scheduler.ReduceLROnPlateau(optimizer, **arguments), []
    for value in values:
        expected.append(optimizer.param_groups[0]["lr"])
        plateau.step(value)
    with jax.enable_x64(True):
        tx = optax.chain(parity.sgd(RATE), parity.reduce_on_plateau(RATE, **arguments))
        step = jax.jit(lambda state, value: tx.update(jnp.ones(()), state, value=value))
        state, found = tx.init(jnp.zeros(())), []
        for value in values:
            update, state = step(state, value)
            found.append(-np.asarray(update))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: parity.step_lr(0.1, 0), "step_lr: step_size is 0; it must be at least 1"),
        (lambda: parity.constant_lr(0.1, 1.5), "constant_lr: factor is 1.5; it must be at least 0"),
        (lambda: parity.linear_lr(0.1, 0.0), "linear_lr: start_factor is 0.0; it must be more"),
        (lambda: parity.linear_lr(0.1, total_iters=0), "linear_lr: total_iters is 0"),
        (lambda: parity.polynomial_lr(0.1, 0), "polynomial_lr: total_iters is 0"),
        (lambda: parity.cosine_annealing_lr(0.1, 0), "cosine_annealing_lr: T_max is 0"),
        (lambda: parity.cosine_annealing_warm_restarts(0.1, 3, 0), "T_mult is 0"),
        (lambda: parity.cyclic_lr(0.1, 1.0, mode="square"), "mode is 'square'; it must be one of"),
        (lambda: parity.cyclic_lr(0.1, 1.0, scale_mode="x"), "scale_mode is 'x'"),
        (lambda: parity.one_cycle(0.1, 9, anneal_strategy="x"), "anneal_strategy is 'x'"),
        (lambda: parity.one_cycle(0.1, 9, 1.5), "pct_start is 1.5"),
        (lambda: parity.sequential_lr([], []), "0 schedules and 0 milestones"),
        (lambda: parity.sequential_lr([parity.step_lr(1.0, 1)] * 3, [4, 2]), "they must rise"),
        (lambda: parity.chained(1.0, []), "there are no schedules"),
        (lambda: parity.reduce_on_plateau(0.1, "least"), "mode is 'least'; it must be min or max"),
        (lambda: parity.reduce_on_plateau(0.1, threshold_mode="x"), "threshold_mode is 'x'"),
        (lambda: parity.reduce_on_plateau(0.1, factor=1.0), "factor is 1.0; it must be less than"),
        (
            lambda: parity.reduce_on_plateau(0.1).update(
                [], parity.reduce_on_plateau(0.1).init([])
            ),
            "value is None; call update",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(make, words, refused):
    with refused(words):
        make()


@pytest.fixture(autouse=True)
def quiet():
    """PyTorch warns of its own ``SequentialLR``'s deprecated call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
