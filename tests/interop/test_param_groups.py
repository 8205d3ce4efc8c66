"""What the groups of PyTorch's optimizers say: whose state is whose, and what schedulers add."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jaxmnist as jm
from jaxmnist import interop


def of_equal_shapes(order: Any, **group: Any) -> tuple[Any, dict[str, Any], list[Any]]:
    """Params 9-9-9-9, Adam's state_dict after a step, and the gradients in the module's order.

    `order` lays out the module's (name, tensor) pairs as the optimizer is given them.
    """
    params = jm.MLP((9, 9), 9).init(jax.random.key(0), jnp.zeros((1, 9)))
    pairs = [(k, torch.from_numpy(a)) for k, a in interop.params_to_state_dict(params).items()]
    for index, (_, leaf) in enumerate(pairs):
        leaf.grad = torch.full_like(leaf, index + 1.0)
    optimizer = torch.optim.Adam(order(pairs), **group)
    optimizer.step()
    return params, optimizer.state_dict(), [leaf.grad for _, leaf in pairs]


def assert_own_averages(params: Any, state_dict: dict[str, Any], gradients: Any, **kw: Any) -> None:
    opt_state, _ = interop.opt_state_from_state_dict("adam", state_dict, params, **kw)
    for mu, g in zip(interop.flatten(opt_state.mu).values(), gradients, strict=True):
        np.testing.assert_allclose(mu, 0.1 * g, rtol=1e-6)


ORDERS: dict[str, Any] = {
    "backwards": lambda pairs: pairs[::-1],
    "weights, then biases": lambda pairs: [*pairs[::2], *pairs[1::2]],
    "two groups": lambda pairs: [{"params": pairs[::2]}, {"params": pairs[1::2]}],
    "last layer first": lambda pairs: [{"params": pairs[4:]}, {"params": pairs[:4]}],
}


@pytest.mark.parametrize("order", ORDERS)
def test_names_decide_whose_state_is_whose(order):
    assert_own_averages(*of_equal_shapes(ORDERS[order]))


def without_names(laid_out: Any) -> Any:
    if isinstance(laid_out[0], dict):
        return [{"params": without_names(group["params"])} for group in laid_out]
    return [leaf for _, leaf in laid_out]


@pytest.mark.parametrize("order", ["two groups", "last layer first", "weights, then biases"])
def test_order_that_cannot_be_known_is_refused_unless_names_are_given(order, refused):
    found = of_equal_shapes(lambda pairs: without_names(ORDERS[order](pairs)))
    params, state_dict, _ = found
    with refused("0.weight and 2.weight and 4.weight have the same shape (9, 9)", "names=[...]"):
        interop.opt_state_from_state_dict("adam", state_dict, params)
    laid_out = ORDERS[order]([(name, None) for name in interop.flatten(params)])
    groups = laid_out if isinstance(laid_out[0], dict) else [{"params": laid_out}]
    names = [name for group in groups for name, _ in group["params"]]
    assert_own_averages(*found, names=names)


def test_one_group_without_names_is_in_the_modules_order():
    assert_own_averages(*of_equal_shapes(without_names))


def test_shapes_decide_where_they_all_differ():
    params = jm.MLP((7,), 4).init(jax.random.key(0), jnp.zeros((1, 9)))
    leaves = [torch.from_numpy(a) for a in interop.params_to_state_dict(params).values()]
    for index, leaf in enumerate(leaves):
        leaf.grad = torch.full_like(leaf, index + 1.0)
    optimizer = torch.optim.Adam([{"params": leaves[3:]}, {"params": leaves[:3]}])
    optimizer.step()
    assert_own_averages(params, optimizer.state_dict(), [leaf.grad for leaf in leaves])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.net."])
def test_names_of_a_wrapped_module_are_read_with_a_warning(prefix):
    found = of_equal_shapes(
        lambda pairs: [(f"{prefix}{int(k[0]) + 1}{k[1:]}", p) for k, p in pairs[::-1]]
    )
    with pytest.warns(UserWarning, match=rf"{prefix}5.weight as 4.weight, {prefix}5.bias as"):
        assert_own_averages(*found)


def test_names_of_another_module_are_refused(refused):
    params, state_dict, _ = of_equal_shapes(lambda pairs: [(f"fc{k}", p) for k, p in pairs])
    with refused("named ['fc0.weight'", "must be ['0.weight'"):
        interop.opt_state_from_state_dict("adam", state_dict, params)


# --- What schedulers and users add to a group. ---

CYCLES: dict[str, Any] = {
    "OneCycleLR": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=9),
    "CyclicLR": lambda o: torch.optim.lr_scheduler.CyclicLR(o, base_lr=0.01, max_lr=0.1),
}
SCHEDULERS: dict[str, Any] = {
    **CYCLES,
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=0.05),
    "ReduceLROnPlateau": torch.optim.lr_scheduler.ReduceLROnPlateau,
    "LambdaLR": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.5),
}
FACTORIES: dict[str, Any] = {
    "momentum": (lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8), "velocity", lambda g: g),
    "adam": (torch.optim.Adam, "nu", lambda g: 0.001 * g**2),
    "rmsprop": (torch.optim.RMSprop, "mean_square", lambda g: 0.01 * g**2),
}


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [
        (name, scheduler)
        for name in FACTORIES
        for scheduler in SCHEDULERS
        if name != "rmsprop" or scheduler not in CYCLES  # Which would turn its momentum on.
    ],
)
def test_state_under_a_scheduler_goes_on_at_its_rate(name, scheduler):
    params = jm.MLP((), 4).init(jax.random.key(0), jnp.zeros((1, 9)))
    leaves = [torch.from_numpy(a) for a in interop.params_to_state_dict(params).values()]
    factory, field, average = FACTORIES[name]
    optimizer = factory(leaves)
    at = SCHEDULERS[scheduler](optimizer)
    for leaf in leaves:
        leaf.grad = torch.full_like(leaf, 3.0)
    optimizer.step()
    at.step(*([1.0] if scheduler == "ReduceLROnPlateau" else []))
    (group,) = optimizer.param_groups
    if scheduler != "ReduceLROnPlateau":
        assert "initial_lr" in group
    opt_state, hyper = interop.opt_state_from_state_dict(
        name, optimizer.state_dict(), params, "pytorch"
    )
    assert hyper["learning_rate"] == group["lr"]
    for leaf in interop.flatten(getattr(opt_state, field)).values():
        # The first beta may be the scheduler's; the accumulators named here do not use it.
        np.testing.assert_allclose(leaf, average(3.0), rtol=1e-5)
    if name == "momentum":
        assert hyper["momentum"] == group["momentum"]
    if name == "adam":
        assert (hyper["b1"], hyper["b2"]) == group["betas"]


def test_named_groups_and_a_users_own_keys_are_passed_over():
    params, state_dict, gradients = of_equal_shapes(
        lambda pairs: [{"params": pairs, "name": "all", "note": [1, 2]}], lr=0.5
    )
    assert_own_averages(params, state_dict, gradients)
