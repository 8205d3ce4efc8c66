"""Every drop-in takes the steps of torch.optim, in float64 to 1e-12."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmnist import parity, verify

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
script = import_module("parity_optimizers")
MUON: Any = import_module("torch.optim._muon")
orthogonalized = import_module("jaxmnist.parity.optimizers.muon").orthogonalized

FIRST = {case.name: case for case in reversed(script.CASES)}
STEPS = 40


MATRICES = {"a": np.zeros((2, 3)), "b": [np.zeros((3, 2))]}
EVERY_SHAPE = {"a": [np.zeros(3), np.zeros(())], "b": np.zeros((2, 1, 2))}


def shapes_for(case):
    return MATRICES if case.name in ("muon", "sparse_adam") else EVERY_SHAPE


@pytest.mark.slow_except("sgd(lr=0.01, momentum=0.9, dampening=0.3, weight_decay=0.02)")
@pytest.mark.parametrize("case", script.CASES, ids=str)
def test_drop_in_matches_torch_trajectory(case):
    """On gradients of scales from 1e-6 to 1e3, of which some are zero at every step."""
    assert script.compare(case, "sparse", STEPS, shapes_for(case)).passed


def test_table_has_every_optimizer_of_torch():
    classes = {name for name in torch.optim.__all__ if name != "Optimizer"}
    classes = {name for name in classes if isinstance(getattr(torch.optim, name), type)}
    assert {case.torch for case in script.CASES} == classes - {"LBFGS"}


@pytest.mark.parametrize("case", FIRST.values(), ids=str)
def test_defaults_are_those_of_torch(case):
    theirs = getattr(torch.optim, case.torch)([torch.zeros(2, 2)]).defaults
    ours = getattr(parity, case.name)
    given = ours.__wrapped__ if hasattr(ours, "__wrapped__") else ours
    found = dict(zip(given.__code__.co_varnames, given.__defaults__, strict=False))
    found |= given.__kwdefaults__ or {}
    how = {"foreach", "capturable", "differentiable", "fused"}
    assert found == {
        name: theirs[name]
        for name in theirs
        if name not in how and (name in found or name != "decoupled_weight_decay")
    }


# ------------------------------------------------------------------------------- rounding


def muon_direction(u):
    made = MUON._zeropower_via_newtonschulz(torch.from_numpy(u), (3.4445, -4.7750, 2.0315), 5, 1e-7)
    return made.float().numpy()


@pytest.mark.slow_except("shape2")
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 16), (64, 64)])
def test_muon_iterates_in_bfloat16_as_torch_does(shape):
    """Small sums bit by bit; large ones, which are summed in another order, nearer than rounding.

    The rounding is PyTorch's own: the distance of its iteration from the same one in float64.
    """
    u = np.random.default_rng(0).normal(size=(8, *shape)) * np.logspace(-6, 3, 8)[:, None, None]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):

        def iterate() -> Any:  # Compiled anew, for the precision is read when it is traced.
            one = lambda u: orthogonalized(u, (3.4445, -4.7750, 2.0315), 5, 1e-7)  # noqa: E731
            return jax.jit(jax.vmap(one))(u)

        ours = np.asarray(iterate(), np.float32)
        with script.wide_muon():
            exact = np.asarray(iterate())
    theirs = np.stack([muon_direction(each) for each in u])
    if np.prod(shape) < 100:
        np.testing.assert_array_equal(ours, theirs)
    assert np.abs(ours - theirs).max() < np.abs(theirs - exact).max()


def test_nadam_and_asgd_round_to_float32_what_torch_does():
    """With PyTorch's default dtype float64 it rounds to that, and both differ by 1e-8."""
    for name in ("nadam", "asgd"):
        case = FIRST[name]
        tx = getattr(parity, name)(**case.arguments)
        torch.set_default_dtype(torch.float64)
        try:
            result = verify.optimizer(tx, case.torch_factory(), steps=3)
        finally:
            torch.set_default_dtype(torch.float32)
        assert not result.passed
        assert 1e-12 < result["displacement"].max_error < 1e-6


# ------------------------------------------------------------------------------- complex


@pytest.mark.slow_except("adadelta", "adamw", "adam", "nadam", "adagrad", "rmsprop")
@pytest.mark.parametrize(
    "name", [name for name in FIRST if name not in ("muon", "adafactor", "sparse_adam")]
)
def test_complex_parameters_are_two_real_ones(name):
    case, rng = FIRST[name], np.random.default_rng(0)
    gradients = rng.normal(size=(6, 4)) + 1j * rng.normal(size=(6, 4))
    weight = torch.zeros(4, dtype=torch.complex128, requires_grad=True)
    theirs = case.torch_factory()([weight])
    with jax.enable_x64(True):
        tx = getattr(parity, name)(**case.arguments)
        params: Any = jnp.zeros(4, complex)
        state = tx.init(params)
        for g in gradients:
            weight.grad = torch.from_numpy(g.copy())
            theirs.step()
            updates, state = tx.update(jnp.asarray(g), state, params)
            params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, weight.detach().numpy(), rtol=1e-12)
