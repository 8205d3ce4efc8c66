"""Schedules compared with PyTorch's schedulers: the first rate that differs, and why."""

import re

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from torch.optim import lr_scheduler as L  # noqa: N812

from jaxmnist import verify


def half_every_three(optimizer):
    return L.StepLR(optimizer, 3, gamma=0.5)


HALVED = optax.piecewise_constant_schedule(0.1, {3: 0.5, 6: 0.5, 9: 0.5})


def test_equal_rates_pass_and_print_side_by_side():
    result = verify.schedule(HALVED, half_every_three, 10)
    assert result.passed
    assert result.cause is None
    assert result.max_error < 1e-15
    np.testing.assert_allclose(result.here, 0.1 * 0.5 ** (np.arange(10) // 3), rtol=1e-15)
    assert "0.0125" in str(result).splitlines()[-1]


@pytest.mark.parametrize(
    ("schedule", "step", "cause"),
    [
        (optax.piecewise_constant_schedule(0.1, {4: 0.5, 7: 0.5}), 3, "off by one: .* step before"),
        (optax.piecewise_constant_schedule(0.1, {2: 0.5, 5: 0.5, 8: 0.5}), 2, "step after"),
        (lambda t: 3 * HALVED(t), 0, "a factor: the rate here is 3 times PyTorch's"),
        (optax.piecewise_constant_schedule(0.1, {3: 0.5}), 6, "the end: up to step 5 .* here stay"),
        (lambda t: jnp.where(t < 2, 0.05, HALVED(t)), 0, "the beginning: from step 2 on"),
        (lambda t: jnp.where(t > 7, 0.1 / t, HALVED(t)), 8, "a later part: up to step 7"),
    ],
)
def test_cause_and_first_divergence(schedule, step, cause):
    result = verify.schedule(schedule, half_every_three, 10, learning_rate=0.1)
    assert not result.passed
    assert result.first_divergence is not None
    assert result.first_divergence.step == step
    assert re.search(cause, str(result.cause))
    assert str(result.cause) in str(result)


def test_end_value_that_stays_in_pytorch():
    def warmed(optimizer):
        return L.LinearLR(optimizer, 0.25, 1.0, total_iters=3)

    def rising(t):
        return 0.025 + 0.025 * t.astype(float)

    result = verify.schedule(rising, warmed, 8, learning_rate=0.1)
    assert result.cause == (
        "the end: up to step 3 they agree, and then PyTorch's rate stays; how long it goes on: "
        "to step 7 here, to step 3 in PyTorch"
    )


def test_float32_is_named_and_passes_as_float32():
    decay = optax.exponential_decay(0.1, 1, 0.9)

    def exponential(optimizer):
        return L.ExponentialLR(optimizer, 0.9)

    result = verify.schedule(decay, exponential, 20, learning_rate=0.1)
    assert not result.passed
    assert "equal up to float32" in str(result.cause)
    assert "is equal from a float64 one" in str(result.cause)
    assert verify.schedule(decay, exponential, 20, learning_rate=0.1, dtype="float32").passed
    exact = verify.schedule(
        lambda count: decay(count.astype(float)), exponential, 20, learning_rate=0.1
    )
    assert exact.passed


def test_small_real_difference_is_not_float32():
    result = verify.schedule(
        lambda t: HALVED(t) * (1 + 1e-4), half_every_three, 10, learning_rate=0.1
    )
    assert "a factor" in str(result.cause)


def test_schedule_that_decides_in_python():
    assert verify.schedule(
        lambda t: 0.1 if t < 3 else 0.05, half_every_three, 6, learning_rate=0.1
    ).passed


@pytest.mark.parametrize(
    ("schedule", "factory", "steps", "words"),
    [
        (HALVED, half_every_three, 0, ("steps is 0",)),
        (lambda t: 1 / 0, half_every_three, 5, ("the schedule raised ZeroDivisionError",)),
        (lambda t: jnp.ones(3), half_every_three, 5, ("the schedule returned", "shape (3,)")),
        (HALVED, lambda o: L.StepLR(*[o]), 5, ("torch_factory raised TypeError", "step_size")),
        (HALVED, lambda o: o.zero_grad(), 5, ("torch_factory returned a NoneType",)),
        (
            HALVED,
            lambda o: L.OneCycleLR(o, 0.1, total_steps=3),
            9,
            ("the scheduler raised ValueError on step",),
        ),
        (
            HALVED,
            lambda o: L.ReduceLROnPlateau(o),
            5,
            ("the scheduler raised TypeError on step 0", "metrics"),
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(schedule, factory, steps, words, refused):
    with refused(*words):
        verify.schedule(schedule, factory, steps)


def test_assert_same_takes_schedules():
    assert verify.assert_same(HALVED, half_every_three, 10).passed
    with pytest.raises(AssertionError, match="off by one"):
        verify.assert_same(
            optax.piecewise_constant_schedule(0.1, {4: 0.5, 7: 0.5}), half_every_three, 9
        )
