"""Nothing passes because nothing was exercised, and no result's truth is taken for its verdict."""

import jax
import numpy as np
import optax
import pytest
import torch

from jaxmnist import optim, verify
from jaxmnist.errors import InputError
from jaxmnist.verify import Comparer, Comparisons
from jaxmnist.verify.compare import compare_means


@pytest.fixture(autouse=True)
def _other_peoples_functions():
    """They add a bias to a batch."""
    with jax.numpy_rank_promotion("allow"):
        yield


X = np.random.default_rng(0).normal(size=(8, 5))


def params_of(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def linear(params, x):
    return x @ params["weight"].T + params["bias"]


def linear_without_gradient(params, x):
    return x @ jax.lax.stop_gradient(params["weight"]).T + params["bias"]


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_stopped_gradient_is_found_whatever_the_number_of_outputs(outputs) -> None:
    module = torch.nn.Linear(5, outputs)
    assert verify.model(linear, params_of(module), module, X).passed
    wrong = verify.model(linear_without_gradient, params_of(module), module, X)
    assert wrong.first_divergence is not None
    assert wrong.first_divergence.leaf == "weight"


def test_one_output_is_no_logit() -> None:
    module = torch.nn.Linear(5, 1)
    result = verify.model(linear, params_of(module), module, X)
    assert [part.name for part in result] == ["outputs", "gradients"]


@pytest.mark.parametrize("shape", [(), (8,), (8, 5, 2)])
def test_outputs_of_any_shape_are_compared(shape) -> None:
    """A sum, a row and a volume of the same linear layer."""
    module = torch.nn.Linear(5, 10)

    class Shaped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = module.weight, module.bias

        def forward(self, x):
            return reshaped(torch.nn.functional.linear(x, self.weight, self.bias))

    def reshaped(y):
        return {(): y.sum, (8,): lambda: y.sum(-1)}.get(shape, lambda: y.reshape(*shape))()

    result = verify.model(lambda p, x: reshaped(linear(p, x)), params_of(module), Shaped(), X)
    assert result.passed, result
    wrong = verify.model(
        lambda p, x: reshaped(linear_without_gradient(p, x)), params_of(module), Shaped(), X
    )
    assert not wrong.passed


class Detached(torch.nn.Linear):
    def forward(self, input):
        return torch.nn.functional.linear(input.detach(), self.weight.detach(), self.bias.detach())


def test_gradients_that_are_zero_on_both_sides_are_not_a_pass() -> None:
    module = Detached(5, 3)
    result = verify.model(
        lambda p, x: jax.lax.stop_gradient(linear(p, x)), params_of(module), module, X
    )
    assert result["logits"].passed
    assert not result["gradients"].passed
    assert not result.passed
    assert result.first_divergence is None
    assert "NOT TESTED" in str(result)


def test_a_parameter_without_a_part_in_it_is_listed() -> None:
    module = torch.nn.Linear(5, 3)
    module.unused = torch.nn.Parameter(torch.ones(2))
    result = verify.model(linear, params_of(module), module, X)
    assert result.passed
    assert result["gradients"].untested == ("unused",)
    assert "not tested, zero on both sides: unused" in str(result)


def test_zeros_against_zeros_are_no_pass_in_any_comparison() -> None:
    zeros = {"w": np.zeros(3)}
    comparer = Comparer("zeros", 1e-12)
    comparer.add(0, zeros, zeros)
    assert not comparer.result().passed
    comparer.add(1, zeros, {"w": np.array([0.0, 1e-300, 0.0])}, tolerance=np.inf)
    assert comparer.result().passed
    assert not compare_means("weights", zeros, zeros, "float64").passed


def test_two_optimizers_that_do_not_move_are_not_the_same() -> None:
    result = verify.optimizer(optax.set_to_zero(), optim.sgd(0.0), steps=3)
    assert not result.passed
    assert "NOT TESTED" in str(result)


SGD = optim.sgd(), verify.numpy_reference("sgd")


def test_the_truth_of_a_result_is_refused() -> None:
    optimizer = verify.optimizer(*SGD, steps=3)
    results = (optimizer, optimizer["displacement"], verify.explain(*SGD, steps=3))
    for result in (*results, Comparisons("nothing", ())):
        with pytest.raises(TypeError, match=r"is not its verdict; use \.passed"):
            bool(result)


@pytest.mark.slow
def test_assert_same_takes_a_result_or_what_a_verifier_takes() -> None:
    module = torch.nn.Linear(5, 1)
    verify.assert_same(verify.optimizer(*SGD, steps=3))
    verify.assert_same(*SGD, steps=3)
    verify.assert_same(linear, params_of(module), module, X)
    with pytest.raises(AssertionError, match=r"gradients .* FAILED\n +first divergence .*weight"):
        verify.assert_same(linear_without_gradient, params_of(module), module, X)
    with pytest.raises(InputError, match="to compare a float by"):
        verify.assert_same(3.0)
