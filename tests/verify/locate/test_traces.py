"""Both traces hold what the programs compute, and of which submodule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxmnist.verify.locate import jax_trace, torch_trace
from jaxmnist.verify.locate.backward import gradients_in
from jaxmnist.verify.locate.replay import replayed

X = np.random.default_rng(0).normal(size=(3, 4))


class Net(torch.nn.Module):
    """A submodule that is called twice, a function, and a change in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)
        self.out = torch.nn.Linear(4, 2)

    def forward(self, x):
        h = self.inner(torch.tanh(self.inner(x)))
        h += x
        return {"y": self.out(h)}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().double()


@pytest.fixture(scope="module")
def trace(net):
    x = torch.from_numpy(X).requires_grad_(True)
    given = x.clone()
    found = torch_trace.record(torch, net, lambda: net(given), {"x": given}, lambda r: r)
    found.returned["y"].sum().backward()
    return found


def test_operations_are_of_the_innermost_submodule(trace) -> None:
    named = [(o.module, o.name) for o in trace.operations if o.name in ("addmm", "tanh", "add_")]
    assert named == [
        ("inner", "addmm"),
        ("", "tanh"),
        ("inner", "addmm"),
        ("", "add_"),
        ("out", "addmm"),
    ]
    assert [c.module for c in trace.calls] == ["inner", "inner", "out"]


def test_values_are_kept_as_they_were_before_they_were_changed_in_place(net, trace) -> None:
    with torch.no_grad():
        before = net.inner(torch.tanh(net.inner(torch.from_numpy(X))))
    (second,) = trace.calls[1].outputs
    np.testing.assert_array_equal(trace.values[second].array(), before.numpy())
    (given,) = trace.calls[2].inputs
    np.testing.assert_array_equal(trace.values[given].array(), before.numpy() + X)


def test_gradients_are_those_at_the_submodules_boundaries(net, trace) -> None:
    (number,) = trace.calls[2].inputs
    expected = np.broadcast_to(net.out.weight.detach().numpy().sum(0), (3, 4))
    np.testing.assert_allclose(trace.gradients[number], expected, rtol=1e-14)


def test_hooks_are_gone_afterwards(net, trace) -> None:
    assert not net.inner._forward_hooks
    assert not net.inner._forward_pre_hooks


def test_operations_can_be_computed_again_with_other_values(net, trace) -> None:
    (index,) = [i for i, o in enumerate(trace.operations) if o.name == "tanh"]
    (number,) = trace.operations[index].inputs
    changed = np.full((3, 4), 0.5)
    results = replayed(trace, range(index, len(trace.operations)), {number: changed})
    with torch.no_grad():
        expected = net.out(net.inner(torch.tanh(torch.from_numpy(changed))) + torch.from_numpy(X))
    np.testing.assert_allclose(results[trace.outputs["y"]], expected.numpy(), rtol=1e-13)


def function(params, inputs):
    """A call, a custom derivative and a loop."""
    (x,) = inputs

    def step(carry, row):
        carry = jnp.tanh(carry + row)
        return carry, 2 * carry

    last, rows = jax.lax.scan(step, jnp.zeros(4), jax.nn.gelu(x @ params["w"]))
    return {"last": last, "rows": jax.jit(jnp.cumsum)(rows)}


PARAMS = {"w": np.random.default_rng(1).normal(size=(4, 4))}


def test_a_jax_trace_has_every_value_and_the_steps_of_loops() -> None:
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found = jax_trace.record(function, PARAMS, [X], (["w"], ["x"]))
        expected = function(PARAMS, [X])
        hidden = jax.nn.gelu(jnp.asarray(X) @ PARAMS["w"])
    for name, number in found.outputs.items():
        np.testing.assert_allclose(found.values[number].array, expected[name], rtol=1e-12)
    assert any(
        v.array.shape == (3, 4) and np.allclose(v.array, hidden, rtol=1e-12) for v in found.values
    )
    stacked = [v for v in found.values if v.steps == 3 and v.primitive == "tanh"]
    assert [v.array.shape for v in stacked] == [(3, 4)]
    (product,) = [v for v in found.values if v.primitive == "dot_general"]
    assert {found.values[p].name for p in product.parents} == {"w", "x"}
    assert product.data


@pytest.mark.slow
def test_gradients_in_intermediate_values_have_the_traces_numbers() -> None:
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        found = jax_trace.record(function, PARAMS, [X], (["w"], ["x"]))
        (number,) = [i for i, v in enumerate(found.values) if v.primitive == "dot_general"]
        ends = {"last": np.ones(4), "rows": np.ones((12,))}
        got = gradients_in(function, PARAMS, [X], [number, found.outputs["rows"]])(ends)

        def after(product):
            def step(carry, row):
                carry = jnp.tanh(carry + row)
                return carry, 2 * carry

            last, rows = jax.lax.scan(step, jnp.zeros(4), jax.nn.gelu(product))
            return last.sum() + jnp.cumsum(rows).sum()

        expected = jax.grad(after)(jnp.asarray(X) @ PARAMS["w"])
    np.testing.assert_allclose(got[number], expected, rtol=1e-12)
    np.testing.assert_array_equal(got[found.outputs["rows"]], ends["rows"])
