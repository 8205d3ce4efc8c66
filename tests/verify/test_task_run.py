"""`verify.training` of a task: its counterpart in PyTorch passes, and a changed one does not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import jaxmnist as jm
from jaxmnist import verify

RNG = np.random.default_rng(0)
X = RNG.normal(size=(70, 5))
Y = np.sin(X @ RNG.normal(size=5))
DATA = ((X, Y), (X[:33], Y[:33]))


def init(key, x):
    keys = jax.random.split(key, 2)
    return {
        "inner": jax.random.normal(keys[0], (8, 5), x.dtype),
        "outer": jax.random.normal(keys[1], (8,), x.dtype),
    }


def apply(params, x):
    return jnp.tanh(x @ params["inner"].T) @ params["outer"]


TASK = jm.task(
    (init, apply),
    lambda hyper: optax.adamw(hyper["learning_rate"], weight_decay=hyper["weight_decay"]),
    lambda outputs, targets: (outputs - targets) ** 2,
    hyper={"learning_rate": 0.01, "weight_decay": 0.1},
)


class Module(torch.nn.Module):
    def __init__(self, params):
        super().__init__()
        self.inner = torch.nn.Parameter(torch.tensor(params["inner"]))
        self.outer = torch.nn.Parameter(torch.tensor(params["outer"]))

    def forward(self, x):
        return torch.tanh(x @ self.inner.T) @ self.outer


def program(loss_factor: float = 1.0, weight_decay: float = 0.1) -> verify.TorchProgram:
    return verify.TorchProgram(
        module=lambda model: Module(model.params),
        loss=lambda module, batch: loss_factor * ((module(batch[0]) - batch[1]) ** 2).mean(),
        optimizer=lambda params: torch.optim.AdamW(params, lr=0.01, weight_decay=weight_decay),
        params=lambda module: {
            "inner": module.inner.detach().numpy(),
            "outer": module.outer.detach().numpy(),
        },
    )


def compare(torch_program: verify.TorchProgram, **options):
    sizes = {"epochs": 2, "batch_size": 16, "eval_batch_size": 8}
    # Optax's Adam promotes its int32 count in float64.
    with jax.numpy_dtype_promotion("standard"):
        return verify.training(TASK, DATA, torch=torch_program, **sizes, **options)


@pytest.mark.slow
def test_counterpart_of_a_task_agrees_to_the_error_growth():
    result = compare(program())
    assert result.passed, result
    assert result.verdict == "rounding"
    assert result.steps_per_epoch == 5
    names = [comparison.name for comparison in result]
    assert names == ["batch loss", "epoch loss", "weights inner", "weights outer"]
    assert result.error.shape == (10,)
    # Ten float64 steps of a network of 48 weights.
    assert result.error.max() < 1e-13


@pytest.mark.slow_except("changed1-batch loss-1")
@pytest.mark.parametrize(
    ("changed", "part", "step"),
    [
        ({"loss_factor": 1 + 1e-9}, "batch loss", 0),
        # The first update is the first difference, so the second batch is the first to show it.
        ({"weight_decay": 0.1 + 1e-6}, "batch loss", 1),
    ],
)
def test_changed_counterpart_is_found_where_it_diverges(changed, part, step):
    result = compare(program(**changed))
    assert not result.passed
    assert result.verdict == "a bug"
    (found,) = (comparison for comparison in result if comparison.name == part)
    assert found.first_divergence is not None
    assert found.first_divergence.step == step


def test_hyperparameters_are_those_given():
    same = compare(program(weight_decay=0.3), hyper={**TASK.hyper, "weight_decay": 0.3})
    assert same.passed, same


def test_task_without_a_counterpart_and_other_parameters_are_refused():
    with pytest.raises(jm.InputError, match=r"give it as torch=verify\.TorchProgram"):
        verify.training(TASK, DATA, epochs=1, batch_size=16)
    wrong = program()._replace(params=lambda module: {"inner": module.inner.detach().numpy()})
    with pytest.raises(jm.InputError, match="the task's parameters are"):
        compare(wrong)
