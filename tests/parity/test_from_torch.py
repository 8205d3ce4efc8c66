"""A torch optimizer's run continues in JAX with the steps that it would have taken."""

import sys
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import jaxmnist as jm
from jaxmnist import interop, parity

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
script = import_module("parity_optimizers")
CASES, wide_muon = script.CASES, script.wide_muon
scheduler = torch.optim.lr_scheduler

SHAPES = {"0.weight": (3, 2), "0.bias": (3,), "2.weight": (2, 3)}
STEPS = 20


def start(shapes=SHAPES, dtype=torch.float64):
    rng = np.random.default_rng(0)
    return {
        name: torch.tensor(rng.uniform(-1, 1, shape), dtype=dtype, requires_grad=True)
        for name, shape in shapes.items()
    }


def torch_steps(optimizer, weights, steps, after=lambda step: None):
    """On the gradient sin(w); SparseAdam's gradients are sparse."""
    for step in range(steps):
        for weight in weights.values():
            weight.grad = torch.sin(weight.detach())
            if isinstance(optimizer, torch.optim.SparseAdam):
                weight.grad = weight.grad.to_sparse(1)
        optimizer.step()
        after(step)


def jax_steps(tx, state, params, steps, **extra):
    @jax.jit
    def step(state, params, extra):
        updates, state = tx.update(jax.tree.map(jnp.sin, params), state, params, **extra)
        return state, optax.apply_updates(params, updates)

    for at in range(steps):
        state, params = step(state, params, {key: each[at] for key, each in extra.items()})
    return params


def numbers(weights):
    return {name: jnp.asarray(weight.detach().numpy().copy()) for name, weight in weights.items()}


@pytest.fixture(autouse=True)
def doubles():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), wide_muon():
        yield


@pytest.mark.slow_except("rmsprop(lr=0.001)")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_run_continues_with_the_same_steps(case):
    """Twenty steps in torch, then twenty in both; two groups, of other rates."""
    weights = start({n: s for n, s in SHAPES.items() if case.name != "muon" or len(s) == 2})
    named = list(weights.items())
    groups = [{"params": named[:1], "lr": 0.005}, {"params": named[1:]}]
    optimizer = getattr(torch.optim, case.torch)(groups, **case.arguments)
    torch_steps(optimizer, weights, STEPS)
    params = numbers(weights)
    tx, state = interop.optimizer_from_torch(optimizer, params)
    kept = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    torch_steps(optimizer, weights, STEPS)
    for before, now in zip(kept, jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(before, now, "the state is in torch's memory")
    found = jax_steps(tx, state, params, STEPS)
    for name, weight in weights.items():
        np.testing.assert_allclose(found[name], weight.detach().numpy(), rtol=1e-12)
        assert np.abs(found[name] - params[name]).max() > 1e-6


@pytest.mark.parametrize("case", {case.name: case for case in CASES}.values(), ids=str)
def test_state_is_that_of_a_run_here(case):
    """All of it: also averages that change no step, and scalars."""
    assert script.state_error(case, STEPS) < 1e-12


def test_parameter_that_was_added_to_adagrad_starts_where_torch_starts():
    """At the optimizer's own value, since PyTorch ignores a group's."""
    weights = start({"w": (3,), "b": (2,)})
    first, second = weights.items()
    optimizer = torch.optim.Adagrad([first], initial_accumulator_value=0.5)
    optimizer.add_param_group({"params": [second], "initial_accumulator_value": 9.0})
    params = numbers(weights)
    tx, opt_state = interop.optimizer_from_torch(optimizer, params)
    found = jax_steps(tx, opt_state, params, 3)
    torch_steps(optimizer, weights, 3)
    for name, weight in weights.items():
        np.testing.assert_allclose(found[name], weight.detach().numpy(), rtol=1e-12)


SCHEDULERS: dict[str, Any] = {
    "step": lambda o: scheduler.StepLR(o, 7, 0.3),
    "multi step": lambda o: scheduler.MultiStepLR(o, [3, 25, 25], 0.5),
    "constant": lambda o: scheduler.ConstantLR(o, 0.5, 25),
    "linear": lambda o: scheduler.LinearLR(o, 0.2, 0.9, 30),
    "exponential": lambda o: scheduler.ExponentialLR(o, 0.95),
    "polynomial": lambda o: scheduler.PolynomialLR(o, 35, 2.0),
    "cosine": lambda o: scheduler.CosineAnnealingLR(o, 30, 0.001),
    "restarts": lambda o: scheduler.CosineAnnealingWarmRestarts(o, 4, 2),
    "lambda": lambda o: scheduler.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: 0.9**t]),
    "multiplicative": lambda o: scheduler.MultiplicativeLR(o, lambda t: 1 - 1 / (1 + t)),
    "cyclic": lambda o: scheduler.CyclicLR(o, 0.01, [0.1, 0.2], 7, 4, "triangular2"),
    "one cycle": lambda o: scheduler.OneCycleLR(o, [0.1, 0.2], 40, three_phase=True),
    "sequence": lambda o: scheduler.SequentialLR(
        o, [scheduler.LinearLR(o, total_iters=6), scheduler.CosineAnnealingLR(o, 40)], [6]
    ),
    "chain": lambda o: scheduler.ChainedScheduler(
        [scheduler.ConstantLR(o, 0.3, 8), scheduler.ExponentialLR(o, 0.95)]
    ),
}


@pytest.mark.slow_except("exponential", "polynomial", "linear", "cosine")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedule_continues_from_its_step(name):
    """With Adam, whose first beta a cycle changes, or SGD, which does not count its steps."""
    weights, kind = start(), "Adam" if name in ("one cycle", "chain") else "SGD"
    groups = [{"params": [pair]} for pair in weights.items()][:2]
    optimizer = getattr(torch.optim, kind)(groups, lr=0.1)
    if kind == "SGD":
        optimizer.param_groups[0]["momentum"] = 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = SCHEDULERS[name](optimizer)
        torch_steps(optimizer, weights, STEPS, lambda _: made.step())
        params = numbers(weights)
        tx, state = interop.optimizer_from_torch(optimizer, params, made)
        found = jax_steps(tx, state, params, 19)
        torch_steps(optimizer, weights, 19, lambda _: made.step())
    for leaf, weight in weights.items():
        np.testing.assert_allclose(found[leaf], weight.detach().numpy(), rtol=1e-12)
    np.testing.assert_array_equal(found["2.weight"], params["2.weight"])  # in no group


def test_plateau_continues():
    weights, values = start(), np.random.default_rng(0).normal(size=2 * STEPS)
    optimizer = torch.optim.Adam(weights.items(), lr=0.1)
    made = scheduler.ReduceLROnPlateau(optimizer, patience=3, cooldown=2, factor=0.5)
    torch_steps(optimizer, weights, STEPS, lambda step: made.step(values[step]))
    params = numbers(weights)
    tx, state = interop.optimizer_from_torch(optimizer, params, made)
    found = jax_steps(tx, state, params, STEPS, value=jnp.asarray(values[STEPS:]))
    before = optimizer.param_groups[0]["lr"]
    torch_steps(optimizer, weights, STEPS, lambda step: made.step(values[STEPS + step]))
    assert optimizer.param_groups[0]["lr"] < before < 0.1
    for name, weight in weights.items():
        np.testing.assert_allclose(found[name], weight.detach().numpy(), rtol=1e-12)


# ------------------------------------------------------------------------------- which is which


def test_matched_parameters_have_their_state_in_the_other_layout():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 4)).double()
    params = {
        "Dense_0": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)},
        "Dense_1": {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)},
    }
    match = interop.match(params, module)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    weights = dict(module.named_parameters())
    torch_steps(optimizer, weights, STEPS)
    tx, state = interop.optimizer_from_torch(optimizer, match)
    found = jax_steps(tx, state, match.to_jax(module.state_dict()), STEPS)
    torch_steps(optimizer, weights, STEPS)
    for name, array in match.to_torch(found).items():
        np.testing.assert_allclose(array, weights[name].detach().numpy(), rtol=1e-12)


@pytest.mark.slow
def test_tutorials_network_needs_no_names(sequential):
    params = jm.MLP(hidden=(5,)).init(jax.random.key(0), jnp.zeros((1, 784)))
    params = jax.tree.map(lambda w: w.astype(jnp.float64), params)
    module = sequential(params)
    optimizer, weights = torch.optim.Adagrad(module.parameters()), dict(module.named_parameters())
    torch_steps(optimizer, weights, 3)
    tx, state = interop.optimizer_from_torch(optimizer, params)
    found = jax_steps(tx, state, interop.params_from_state_dict(module.state_dict()), 3)
    torch_steps(optimizer, weights, 3)
    for name, array in interop.params_to_state_dict(found).items():
        np.testing.assert_allclose(array, weights[name].detach().numpy(), rtol=1e-12)


def test_parameters_that_were_stepped_less_often_have_their_own_count():
    weights = start()
    optimizer = torch.optim.NAdam(weights.items())
    torch_steps(optimizer, {"0.bias": weights["0.bias"]}, 5)
    torch_steps(optimizer, weights, 5)
    params = numbers(weights)
    tx, state = interop.optimizer_from_torch(optimizer, params)
    found = jax_steps(tx, state, params, STEPS)
    torch_steps(optimizer, weights, STEPS)
    for name, weight in weights.items():
        np.testing.assert_allclose(found[name], weight.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", ["Rprop", "ASGD", "Adam", "SGD"])
def test_optimizer_that_has_made_no_step_starts_here(kind):
    weights = start()
    optimizer = getattr(torch.optim, kind)(weights.values(), lr=0.03)
    params = numbers(weights)
    tx, state = interop.optimizer_from_torch(optimizer, params)
    assert "inner" in state._fields
    found = jax_steps(tx, state, params, 3)
    torch_steps(optimizer, weights, 3)
    for name, weight in weights.items():
        np.testing.assert_allclose(found[name], weight.detach().numpy(), rtol=1e-12)


def test_complex_parameters_continue():
    weight = torch.tensor([1 + 2j, -1j], dtype=torch.complex128, requires_grad=True)
    optimizer = torch.optim.Adam([("w", weight)], amsgrad=True, lr=0.1)
    torch_steps(optimizer, {"w": weight}, 5)
    params = numbers({"w": weight})
    tx, state = interop.optimizer_from_torch(optimizer, params)
    found = jax_steps(tx, state, params, 5)
    torch_steps(optimizer, {"w": weight}, 5)
    np.testing.assert_allclose(found["w"], weight.detach().numpy(), rtol=1e-12)


# ------------------------------------------------------------------------------- refusals


def adam(weights, **arguments):
    return torch.optim.Adam(list(weights.items()), **arguments)


def other_optimizer():
    class Mine(torch.optim.Adam):
        pass

    return Mine(start().values()), numbers(start())


def plateau_of_asgd():
    optimizer = torch.optim.ASGD(start().items())
    return optimizer, numbers(start()), scheduler.ReduceLROnPlateau(optimizer)


def changed_by_hand():
    optimizer = adam(start())
    made = scheduler.StepLR(optimizer, 3)
    optimizer.param_groups[0]["lr"] = 0.5
    return optimizer, numbers(start()), made


def untraceable():
    optimizer = adam(start())
    return optimizer, numbers(start()), scheduler.LambdaLR(optimizer, lambda t: 1 if t < 3 else 0)


def chained_cosine():
    optimizer = adam(start())
    made = scheduler.ChainedScheduler([scheduler.CosineAnnealingLR(optimizer, 3)])
    return optimizer, numbers(start()), made


def transposed_muon():
    module = torch.nn.Linear(2, 3, bias=False).double()
    params = {"Dense_0": {"kernel": jnp.zeros((2, 3))}}
    return torch.optim.Muon(module.parameters()), interop.match(params, module)


def named(shapes):
    return [*start(shapes).items()]


@pytest.mark.slow
@pytest.mark.parametrize("before", [0, 1, 3])
def test_lbfgs_continues_with_its_memory(before):
    """The vectors there have another order than the leaves here, and the kernel is transposed."""
    module = torch.nn.Linear(2, 3).double()
    params = {"Dense_0": {"bias": jnp.zeros(3), "kernel": jnp.zeros((2, 3))}}
    match = interop.match(params, module)
    optimizer = torch.optim.LBFGS(module.parameters(), lr=0.1, max_iter=4, history_size=5)
    inputs = np.random.default_rng(0).normal(size=(6, 2))

    def closure():
        optimizer.zero_grad()
        value = (module(torch.from_numpy(inputs)) ** 4).mean() + (module.weight - 1).square().sum()
        value.backward()
        return value

    def loss(params):
        layer = params["Dense_0"]
        outputs = inputs @ layer["kernel"] + layer["bias"][None]
        return (outputs**4).mean() + ((layer["kernel"] - 1) ** 2).sum()

    for _ in range(before):
        optimizer.step(closure)
    tx, state = interop.optimizer_from_torch(optimizer, match)
    params = match.to_jax(module.state_dict())
    gradients = jax.grad(loss)(params)
    updates, state = jax.jit(partial(tx.update, value_fn=loss))(gradients, state, params)
    found = match.to_torch(optax.apply_updates(params, updates))
    optimizer.step(closure)
    for name, weight in module.named_parameters():
        np.testing.assert_allclose(found[name], weight.detach().numpy(), rtol=1e-12)
    kept = optimizer.state[module.weight]
    assert (state.inner.n_iter, state.inner.func_evals) == (kept["n_iter"], kept["func_evals"])


def other_scheduler():
    return adam(start()), numbers(start()), scheduler.StepLR(adam(start()), 3)


def without_names():
    weights = start({"a": (2,), "b": (2,)})
    return torch.optim.Adam(weights.values()), numbers(weights)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: (torch.nn.Linear(1, 1), {}), ["a Linear; it must be a torch.optim.Optimizer"]),
        (other_optimizer, ["Mine; it must be one of torch.optim's SGD, Adam"]),
        (
            lambda: (torch.optim.LBFGS(named({"a": (2,)})), numbers(start({"a": (2,), "b": (1,)}))),
            ["LBFGS's direction is one of all parameters", "has b,", "it trains a:"],
        ),
        (lambda: (adam(start()), {"0.weigth": jnp.zeros(3)}), ["0.weight (3, 2)", "0.weigth"]),
        (
            lambda: (adam(start({"w": (3, 2)})), {"w": jnp.zeros((2, 3))}),
            ["float64 of shape (3, 2) in the optimizer", "w is float64 of shape (2, 3) in params"],
        ),
        (
            lambda: (adam(start({"w": (2,)})), {"w": jnp.zeros(2, "float32")}),
            ["w is float64", "w is float32"],
        ),
        (without_names, ["2 parameters have no names", "named_parameters"]),
        (other_scheduler, ["a StepLR of another optimizer"]),
        (plateau_of_asgd, ["ASGD's update is not proportional"]),
        (changed_by_hand, ["group 0 has lr 0.5, and StepLR gives 0.001 at step 0"]),
        (untraceable, ["raised TracerBoolConversionError on a traced count"]),
        (chained_cosine, ["ChainedScheduler has CosineAnnealingLR"]),
        (transposed_muon, ["Muon's step depends on the layout", "Dense_0/kernel", "weight"]),
    ],
)
def test_what_cannot_continue_is_refused_in_one_line(make, words, refused):
    with refused(*words):
        interop.optimizer_from_torch(*make())


def test_function_is_reachable_from_both_packages():
    assert interop.optimizer_from_torch is parity.optimizer_from_torch
    assert "optimizer_from_torch" in dir(interop)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        interop.nonsense  # noqa: B018
