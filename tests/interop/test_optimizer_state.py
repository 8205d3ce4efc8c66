"""A run begun in PyTorch resumes here, and the other way round, with the same numbers."""

import copy
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import jaxmnist as jm
from jaxmnist import interop, optim

STEPS = 30
HIDDEN, CLASSES = (7, 5), 4

# What it stands for, PyTorch's factory, and other values than any default.
TORCH: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.03),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.02, eps=1e-3, initial_accumulator_value=0.2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.003, alpha=0.95, eps=1e-3),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.7, rho=0.8, eps=1e-4),
    "adam": lambda p: torch.optim.Adam(p, lr=0.004, betas=(0.8, 0.99), eps=1e-3),
}
CASES = [(name, "document") for name in optim.NAMES] + [("momentum", "pytorch")]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def initial_params() -> Any:
    params = jm.MLP(HIDDEN, CLASSES).init(jax.random.key(0), jnp.zeros((1, 9)))
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)


def inputs(step: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(step)
    return rng.normal(size=(6, 9)), rng.integers(0, CLASSES, 6)


def step_in_torch(module: torch.nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        x, labels = map(torch.from_numpy, inputs(step))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(x), labels).backward()
        optimizer.step()


def step_here(params: Any, opt_state: Any, tx: Any, steps: range) -> tuple[Any, Any]:
    def loss(params: Any, x: Any, labels: Any) -> Any:
        logits: Any = jm.MLP(HIDDEN, CLASSES).apply(params, x)
        return jm.losses.cross_entropy_with_integer_labels(logits, labels)

    @jax.jit
    def update(params, opt_state, x, labels):
        updates, opt_state = tx.update(jax.grad(loss)(params, x, labels), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for step in steps:
        params, opt_state = update(params, opt_state, *map(jnp.asarray, inputs(step)))
    return params, opt_state


def assert_same_displacement(actual: Any, expected: Any, start: Any) -> None:
    """Within 1e-12 of the furthest that a parameter of the layer has moved."""
    actual, expected, start = (interop.params_to_state_dict(p) for p in (actual, expected, start))
    for name in start:
        displacement = expected[name] - start[name]
        assert np.abs(displacement).max() > 1e-3
        error = np.abs(actual[name] - expected[name]).max()
        assert error <= 1e-12 * np.abs(displacement).max(), (name, error)


def as_params(module: torch.nn.Module) -> Any:
    return interop.params_from_state_dict(copy.deepcopy(module.state_dict()))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "convention"), CASES)
def test_run_begun_in_torch_goes_on_here(sequential, name, convention):
    start = initial_params()
    module = sequential(start)
    optimizer = TORCH[name](module.parameters())
    step_in_torch(module, optimizer, range(STEPS))

    params = as_params(module)
    opt_state, hyper = interop.opt_state_from_state_dict(
        name, optimizer.state_dict(), params, convention
    )
    tx = optim.create(name, convention=convention, **hyper)
    assert jax.tree.structure(opt_state) == jax.tree.structure(tx.init(params))
    if name not in ("sgd", "momentum"):
        assert opt_state.count == STEPS
    params, _ = step_here(params, opt_state, tx, range(STEPS, 2 * STEPS))

    step_in_torch(module, optimizer, range(STEPS, 2 * STEPS))
    assert_same_displacement(params, as_params(module), start)


@pytest.mark.slow_except("sgd-document", "momentum-pytorch")
@pytest.mark.parametrize(("name", "convention"), CASES)
def test_run_begun_here_goes_on_in_torch(sequential, name, convention):
    start = initial_params()
    twin = TORCH[name](sequential(start).parameters())
    _, hyper = interop.opt_state_from_state_dict(name, twin.state_dict(), start, convention)
    tx = optim.create(name, convention=convention, **hyper)
    params, opt_state = step_here(start, tx.init(start), tx, range(STEPS))

    state_dict = interop.opt_state_to_state_dict(
        name, opt_state, params, convention=convention, **hyper
    )
    module = sequential(params)
    optimizer = getattr(torch.optim, type(twin).__name__)(module.parameters(), lr=9.0)
    optimizer.load_state_dict(state_dict)
    step_in_torch(module, optimizer, range(STEPS, 2 * STEPS))

    params, _ = step_here(params, opt_state, tx, range(STEPS, 2 * STEPS))
    assert_same_displacement(as_params(module), params, start)


@pytest.mark.slow_except("sgd-document")
@pytest.mark.parametrize(("name", "convention"), CASES)
def test_state_comes_back_as_it_went(name, convention):
    params = initial_params()
    fields = ("eps", "eps_root") if name in ("adagrad", "rmsprop", "adam") else ()
    overrides = dict(zip(fields, (1e-8, 0.0), strict=False))
    tx = optim.create(name, 0.25, convention, **overrides)
    _, opt_state = step_here(params, tx.init(params), tx, range(3))
    state_dict = interop.opt_state_to_state_dict(
        name, opt_state, params, 0.25, convention, **overrides
    )
    back, hyper = interop.opt_state_from_state_dict(name, state_dict, params, convention)
    if name in ("sgd", "momentum"):
        back = back._replace(count=opt_state.count)  # PyTorch counts nothing there.
    # A power of two for the learning rate, so that dividing by it and multiplying is exact.
    jax.tree.map(np.testing.assert_array_equal, back, opt_state)
    assert jax.tree.map(jnp.result_type, back) == jax.tree.map(jnp.result_type, opt_state)
    assert hyper["learning_rate"] == 0.25


@pytest.mark.parametrize("name", optim.NAMES)
def test_state_before_the_first_step_is_the_initial_one(name):
    params = initial_params()
    leaves = [
        torch.zeros(leaf.shape, dtype=torch.float64) for leaf in interop.flatten(params).values()
    ]
    opt_state, hyper = interop.opt_state_from_state_dict(
        name, TORCH[name](leaves).state_dict(), params
    )
    expected = optim.create(name, **hyper).init(params)
    jax.tree.map(np.testing.assert_array_equal, opt_state, expected)


def test_hyper_serves_a_training_program():
    params = initial_params()
    leaves = [
        torch.zeros(leaf.shape, dtype=torch.float64) for leaf in interop.flatten(params).values()
    ]
    for name in optim.NAMES:
        state_dict = TORCH[name](leaves).state_dict()
        _, hyper = interop.opt_state_from_state_dict(name, state_dict, params)
        assert hyper.keys() == jm.default_hyper(jm.Config(optimizer=name)).keys()


def test_adadelta_without_a_rate_has_rate_one_in_torch():
    params = initial_params()
    opt_state = optim.adadelta().init(params)
    state_dict = interop.opt_state_to_state_dict("adadelta", opt_state, params)
    assert state_dict["param_groups"][0]["lr"] == 1.0
    assert state_dict["param_groups"][0]["eps"] == 1e-6


def test_state_in_bfloat16_is_read_in_float32():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), initial_params())
    module = interop.params_to_module(params)
    leaves = list(module.parameters())
    for leaf in leaves:
        leaf.grad = torch.full_like(leaf, 0.3)
    optimizer = torch.optim.Adam(leaves)
    optimizer.step()
    state_dict = optimizer.state_dict()
    opt_state, _ = interop.opt_state_from_state_dict("adam", state_dict, params)
    for index, mu in enumerate(interop.flatten(opt_state.mu).values()):
        assert mu.dtype == jnp.float32
        np.testing.assert_array_equal(mu, state_dict["state"][index]["exp_avg"].float().numpy())


# --- What cannot move is refused by name. ---


def stepped(factory: Any) -> tuple[Any, dict[str, Any]]:
    """The parameters, and the state_dict of a PyTorch optimizer that has made a step on them."""
    params = initial_params()
    leaves = [torch.from_numpy(a) for a in interop.params_to_state_dict(params).values()]
    for leaf in leaves:
        leaf.grad = torch.ones_like(leaf)
    optimizer = factory(leaves)
    optimizer.step()
    return params, optimizer.state_dict()


@pytest.mark.parametrize(
    ("name", "factory", "complaint"),
    [
        ("adam", torch.optim.RMSprop, r"another optimizer than torch.optim.Adam.* no 'beta1'"),
        ("adam", torch.optim.NAdam, r"another optimizer .* param_group has no 'amsgrad'"),
        ("adam", torch.optim.RAdam, r"another optimizer .* param_group has no 'amsgrad'"),
        ("momentum", torch.optim.ASGD, r"another optimizer .* param_group has no 'momentum'"),
        ("sgd", torch.optim.Rprop, r"another optimizer .* param_group has no 'dampening'"),
        ("rmsprop", torch.optim.Adadelta, r"another optimizer .* no 'alpha'"),
        ("momentum", torch.optim.RMSprop, r"another optimizer .* has no 'dampening'"),
        ("sgd", TORCH["momentum"], r"momentum 0.8, which sgd here does not have"),
        ("adam", torch.optim.AdamW, r"weight_decay 0.01, which adam here does not have"),
        ("adam", lambda p: torch.optim.Adam(p, amsgrad=True), "amsgrad True"),
        ("adam", lambda p: torch.optim.Adam(p, maximize=True), "maximize True"),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, centered=True), "centered True"),
        ("adagrad", lambda p: torch.optim.Adagrad(p, lr_decay=0.1), "lr_decay 0.1"),
        (
            "momentum",
            lambda p: torch.optim.SGD(p, momentum=0.9, nesterov=True),
            "nesterov True",
        ),
        (
            "sgd",
            lambda p: torch.optim.SGD([{"params": p[:2]}, {"params": p[2:], "lr": 0.5}], lr=0.25),
            r"param_groups 0 and 1 have learning_rate 0.25 and 0.5",
        ),
        ("sgd", lambda p: torch.optim.SGD(p[:4]), "is of 4 parameters; params has 6"),
    ],
)
def test_from_torch_refuses_what_does_not_exist_here(name, factory, complaint):
    params, state_dict = stepped(factory)
    with pytest.raises(jm.InputError, match=complaint):
        interop.opt_state_from_state_dict(name, state_dict, params)


@pytest.mark.parametrize(
    ("key", "value"), [("exp_avg_diff", torch.ones(7, 9)), ("mu_product", torch.tensor(0.5))]
)
def test_accumulators_of_another_optimizer_are_refused(key, value, refused):
    params, state_dict = stepped(torch.optim.Adam)
    state_dict["state"][0][key] = value  # As Adan and NAdam keep, in a group like Adam's.
    with refused("another optimizer than torch.optim.Adam", f"state of parameter 0 has {key!r}"):
        interop.opt_state_from_state_dict("adam", state_dict, params)


def test_several_groups_of_one_kind_are_one():
    params, state_dict = stepped(
        lambda p: torch.optim.Adam([{"params": p[:3]}, {"params": p[3:]}], lr=0.5)
    )
    opt_state, hyper = interop.opt_state_from_state_dict("adam", state_dict, params)
    assert opt_state.count == 1
    assert hyper["learning_rate"] == 0.5


def corrupt(state_dict: dict[str, Any], how: str) -> dict[str, Any]:
    state = state_dict["state"]
    if how == "no key":
        del state[2]["exp_avg_sq"]
    elif how == "no parameter":
        del state[3]
    elif how == "another shape":
        state[2]["exp_avg"] = state[2]["exp_avg"].T
    elif how == "another count":
        state[4]["step"] = torch.tensor(7.0)
    elif how == "no array":
        state[0]["exp_avg"] = torch.zeros((7, 9), device="meta")
    elif how == "no state":
        del state_dict["state"]
    else:
        state_dict["param_groups"] = []
    return state_dict


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("no key", r"parameter 2 \(2.weight\) has no 'exp_avg_sq'; it has \['exp_avg', 'step'\]"),
        ("no parameter", r"parameter 3 \(2.bias\) has no 'exp_avg'; it has \[\]"),
        (
            "another shape",
            r"\(2.weight\): 'exp_avg' has shape \(7, 5\), and the parameter has shape \(5, 7\)",
        ),
        ("another count", r"0.weight has been stepped 1 times and 4.weight 7 times"),
        ("no array", r"parameter 0 \(0.weight\): 'exp_avg' cannot be read as an array"),
        ("no state", r"has no 'state'; .* this one \['param_groups'\]"),
        ("no groups", "param_groups are empty"),
    ],
)
def test_from_torch_names_what_is_damaged(how, complaint):
    params, state_dict = stepped(torch.optim.Adam)
    with pytest.raises(jm.InputError, match=complaint):
        interop.opt_state_from_state_dict("adam", corrupt(state_dict, how), params)


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("adam", {}, r"eps_root is 1e-08, and torch.optim.Adam has none.*convention='pytorch'"),
        ("adadelta", {"eps": 1e-3}, r"eps is 0.001, and torch.optim.Adadelta has none"),
        ("momentum", {"learning_rate": 0.0}, "velocity contains the learning rate"),
        ("sgd", {"learning_rate": lambda count: 0.1}, "give the rate at the next step"),
        ("sgd", {"momentum": 0.5}, "sgd has no argument 'momentum'"),
        ("adamw", {}, "no optimizer 'adamw'; choose one of sgd"),
    ],
)
def test_to_torch_refuses_what_torch_cannot_compute(name, arguments, complaint):
    params = initial_params()
    state = optim.create(name if name in optim.NAMES else "adam").init(params)
    with pytest.raises(jm.InputError, match=complaint):
        interop.opt_state_to_state_dict(name, state, params, **arguments)


@pytest.mark.slow
def test_to_torch_refuses_another_state():
    params = initial_params()
    with pytest.raises(jm.InputError, match="opt_state is a SgdState, and adam's is a AdamState"):
        interop.opt_state_to_state_dict(
            "adam", optim.sgd().init(params), params, convention="pytorch"
        )
    larger = jm.MLP((8, 5), CLASSES).init(jax.random.key(0), jnp.zeros((1, 9)))
    with pytest.raises(jm.InputError, match=r"shape \(8, 9\) at 0.weight, .* has shape \(7, 9\)"):
        interop.opt_state_to_state_dict(
            "momentum", optim.momentum().init(larger), params, convention="pytorch"
        )
    deeper = jm.MLP((7, 5, 3), CLASSES).init(jax.random.key(0), jnp.zeros((1, 9)))
    with pytest.raises(jm.InputError, match="velocity is not a tree of the structure of params"):
        interop.opt_state_to_state_dict(
            "momentum", optim.momentum().init(deeper), params, convention="pytorch"
        )
