"""One rule allows rounding: every verifier takes its tolerance from it."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

import jaxmnist as jm
from jaxmnist import optim, verify
from jaxmnist.verify import rounding


@pytest.mark.slow
@pytest.mark.parametrize("factor", [10, 20])
def test_error_growth_is_allowed_as_many_times_by_every_verifier(
    monkeypatch: pytest.MonkeyPatch, first_digits: Any, factor: int
) -> None:
    assert rounding.GROWTH_FACTOR == 10
    monkeypatch.setattr(rounding, "GROWTH_FACTOR", factor)
    steps = verify.optimizer(
        optim.sgd(), verify.numpy_reference("sgd"), gradients="quadratic", steps=5, tolerance=0.0
    )["displacement"]
    assert steps.growth is not None
    assert steps.tolerance == factor * steps.growth > 0
    config = jm.Config(hidden=(4,), epochs=1, eval_batch_size=64)
    run = verify.training(config, first_digits(130, 64))
    for name in ("batch loss", "epoch loss", "weights"):
        growth = run[name].growth
        assert growth is not None
        assert run[name].tolerance == factor * growth > 0


def tolerances() -> list[float]:
    weight, bias = np.ones((3, 2)), np.zeros(3)
    module = torch.nn.Sequential(torch.nn.Linear(2, 3))
    params = {"0": {"weight": weight, "bias": bias}}

    def apply_fn(params: Any, x: Any) -> Any:
        return x @ params["0"]["weight"].T + params["0"]["bias"][None, :]

    results = (
        verify.model(apply_fn, params, module, np.ones((4, 2))),
        verify.losses(),
        verify.losses(against="optax"),
    )
    by_hand = verify.calculus()["D12 by the chain rule"]
    return [part.tolerance for result in results for part in result] + [by_hand.tolerance]


@pytest.mark.slow
def test_operations_are_allowed_an_epsilon_each_by_every_verifier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = tolerances()
    allowed = rounding.allowed_by_arithmetic
    monkeypatch.setattr(rounding, "epsilon", lambda dtype: 2 * float(np.finfo(dtype).eps))
    assert allowed(3, "float64") == 6 * 2.0**-52
    assert tolerances() == [2 * tolerance for tolerance in once]
    assert jax.numpy.zeros(1).dtype == np.float32
