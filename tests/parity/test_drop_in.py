"""What all drop-ins have in common: traced numbers, schedules, dtypes, refusals; and clipping."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmnist import parity

OPTIMIZERS = (
    *("sgd", "adam", "adamw", "nadam", "radam", "adagrad", "adadelta", "adamax", "rmsprop"),
    *("rprop", "asgd", "adafactor", "muon", "sparse_adam"),
)
PARAMS = {"w": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)}
GRADIENTS = [{"w": jnp.full((2, 3), g)} for g in (1.0, -0.3, 0.2)]


def last(tx: Any, params: Any, gradients: Any = GRADIENTS) -> Any:
    state = tx.init(params)
    for g in gradients:
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.slow_except("adamax", "rmsprop", "adam", "adadelta", "radam")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_row_of_a_vmap_is_a_run_of_its_own(name):
    """Over the learning rate and every other number that the drop-in takes."""
    make = getattr(parity, name)
    numbers = {
        key: parameter.default
        for key, parameter in inspect.signature(make).parameters.items()
        if isinstance(parameter.default, float)
    }
    rows = {key: jnp.array([value, value * 0.9 + 0.01]) for key, value in numbers.items()}
    if name == "adafactor":
        rows |= {"beta2_decay": jnp.array([-0.8, -0.7]), "d": jnp.array([1.0, 1.5])}
    run = jax.jit(lambda row: last(make(**row), PARAMS)[0]["w"])
    together = jax.vmap(run)(rows)
    for i in range(2):
        alone = run({key: row[i] for key, row in rows.items()})
        np.testing.assert_allclose(together[i], alone, rtol=2e-5, atol=1e-6)
    assert not np.allclose(together[0], together[1], atol=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_is_arrays_and_dtypes_stay(name):
    """By tracing alone; the other tests run what is traced."""

    def step(gradients, params, rate):
        tx = getattr(parity, name)(lr=rate)
        before = tx.init(params)
        return (before, *tx.update(gradients, before, params))

    with jax.enable_x64(True):
        for dtype in (jnp.float64, jnp.float32, jnp.bfloat16):
            given = [optax.tree.cast(each, dtype) for each in (GRADIENTS[0], PARAMS)]
            before, updates, after = jax.eval_shape(step, *given, jnp.asarray(0.01))
            assert updates["w"].dtype == dtype
            assert jax.tree.structure(before) == jax.tree.structure(after)
            described = [
                [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(state)]
                for state in (before, after)
            ]
            assert described[0] == described[1]


def test_schedules_are_called_with_the_updates_made_before():
    """An int64 under x64, from which Optax's schedules compute in float64."""
    with jax.enable_x64(True):
        schedule = optax.linear_schedule(1.0, 0.0, 3)
        tx, params = parity.sgd(lr=schedule), jnp.zeros(())
        state, steps = tx.init(params), []
        for _ in range(3):
            update, state = tx.update(jnp.ones(()), state)
            steps.append(-np.asarray(update))
        np.testing.assert_allclose(steps, [1, 2 / 3, 1 / 3], rtol=1e-15)


@pytest.mark.slow
def test_momentum_and_betas_may_be_schedules():
    """As PyTorch's one-cycle scheduler has it: every step with the value of that step."""
    values = [0.5, 0.9, 0.1]
    with jax.enable_x64(True):
        gradients = [jnp.asarray(g) for g in (1.0, -0.3, 0.2)]
        for name, theirs, key in (("sgd", "SGD", "momentum"), ("adam", "Adam", "betas")):

            def schedule(count):
                return jnp.array(values)[count]

            given = schedule if name == "sgd" else (schedule, 0.99)
            tx = getattr(parity, name)(lr=0.1, **{key: given})
            ours, _ = last(tx, jnp.zeros(()), gradients)
            weight = torch.zeros((), dtype=torch.float64, requires_grad=True)
            first = values[0] if name == "sgd" else (values[0], 0.99)
            optimizer = getattr(torch.optim, theirs)([weight], lr=0.1, **{key: first})
            for value, g in zip(values, gradients, strict=True):
                optimizer.param_groups[0][key] = value if name == "sgd" else (value, 0.99)
                weight.grad = torch.tensor(float(g), dtype=torch.float64)
                optimizer.step()
            np.testing.assert_allclose(ours, weight.detach().numpy(), rtol=1e-13)


def test_extra_arguments_are_passed_over():
    tx = parity.adam()
    tx.update(GRADIENTS[0], tx.init(PARAMS), PARAMS, value=jnp.array(1.0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: parity.adam(lr=-1.0), "adam: lr is -1.0; it must be at least 0"),
        (lambda: parity.adamw(betas=(0.9, 1.0)), "adamw: beta2 is 1.0; it must be at least 0 and"),
        (lambda: parity.adafactor(d=0.5), "adafactor: d is 0.5; it must be at least 1"),
        (lambda: parity.adafactor(beta2_decay=0.1), "beta2_decay is 0.1; it must be at most 0"),
        (lambda: parity.rprop(etas=(1.1, 1.2)), "rprop: etaminus is 1.1"),
        (lambda: parity.sgd(nesterov=True), "nesterov is True with momentum 0.0"),
        (lambda: parity.muon(adjust_lr_fn="rms"), "adjust_lr_fn is 'rms'; it must be one of"),
        (lambda: parity.muon(ns_steps=100), "ns_steps is 100"),
        (lambda: parity.clip_grad_norm(-1.0), "max_norm is -1.0; it must be at least 0"),
        (lambda: parity.clip_grad_norm(1.0, 0.0), "norm_type is 0.0; it must be above 0"),
        (lambda: parity.clip_grad_value(-1.0), "clip_value is -1.0; it must be at least 0"),
        (lambda: parity.muon().init({"b": jnp.zeros(3)}), "muon: b has shape (3,) and dtype float"),
        (lambda: parity.adafactor().init([jnp.zeros(2, complex)]), "adafactor: 0 has shape (2,)"),
        (
            lambda: parity.sparse_adam().init(jnp.zeros(2, complex)),
            "complex parameters are refused",
        ),
        (lambda: parity.adam().init([jnp.arange(3)]), "adam: 0 has dtype int32; it must be"),
        (
            lambda: parity.asgd().update(PARAMS, parity.asgd().init(PARAMS)),
            "asgd: params is None; this optimizer's step depends on them",
        ),
        (
            lambda: parity.adam(weight_decay=0.1).update(PARAMS, parity.adam().init(PARAMS)),
            "adam: params is None",
        ),
    ],
)
def test_what_torch_refuses_is_refused_in_one_line(make, words, refused):
    with refused(words):
        make()


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("limit", [0.1, 100.0])
def test_clip_grad_norm_matches_torch(order, limit):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in [(3,), (2, 2), ()]]
    weights: Any = [torch.zeros(array.shape, dtype=torch.float64) for array in arrays]
    for weight, array in zip(weights, arrays, strict=True):
        weight.grad = torch.tensor(array)
    torch.nn.utils.clip_grad_norm_(weights, limit, norm_type=float(order))
    with jax.enable_x64(True):
        tx = parity.clip_grad_norm(limit, float(order))
        clipped: Any = tx.update(arrays, tx.init(arrays))[0]
        for weight, array in zip(weights, clipped, strict=True):
            np.testing.assert_allclose(array, weight.grad.numpy(), rtol=1e-14)


def test_clip_grad_norm_of_nothing_and_of_nan():
    tx = parity.clip_grad_norm(1.0)
    assert tx.update({}, tx.init({}))[0] == {}
    clipped: Any = tx.update([jnp.array(jnp.nan), jnp.ones(())], optax.EmptyState())[0]
    assert np.isnan(clipped).all()


@pytest.mark.slow
def test_clip_grad_value_matches_torch():
    weight: Any = torch.zeros(4)
    weight.grad = torch.tensor([-3.0, -0.5, 0.5, 3.0])
    torch.nn.utils.clip_grad_value_([weight], 1.0)
    tx = parity.clip_grad_value(1.0)
    clipped: Any = tx.update(jnp.array([-3.0, -0.5, 0.5, 3.0]), optax.EmptyState())[0]
    np.testing.assert_array_equal(clipped, weight.grad.numpy())
