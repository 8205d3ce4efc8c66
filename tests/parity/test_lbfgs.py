"""parity.lbfgs takes the steps of torch.optim.LBFGS, with and without its line search."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxmnist import parity
from jaxmnist.verify.rounding import allowed_by_growth

MATRIX = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 10.0]])
START = {"a": np.array([-1.2, 1.0, 0.7]), "b": np.array([[0.5, -2.0]])}
STEPS = 6

SEARCH: dict[str, Any] = {"line_search_fn": "strong_wolfe"}
FEW: dict[str, Any] = {**SEARCH, "max_iter": 4, "history_size": 3, "max_eval": 4}
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"lr": 0.1}),
    ({}, {"lr": 0.3, "tolerance_grad": 1e-2, "tolerance_change": 1e-3}),
    ({"max_iter": 3, "history_size": 2}, {"lr": 0.01}),
    (SEARCH, {}),
    # The minima of two cubics in a row are near an end: the room that is left there shows.
    (SEARCH, {"lr": 50.0}),
    (FEW, {"lr": 5.0}),
    (FEW, {"lr": 0.01}),
]
"""The arguments that a program is compiled for, and those that it is given."""


def loss(w: Any, is_rosenbrock: Any, matrix: Any = MATRIX) -> Any:
    """A quadratic or Rosenbrock's function, in both frameworks: each times 1 or 0."""
    x, rest = w["a"], (w["b"] ** 2).sum()
    quadratic = x @ (matrix @ x) / 2 + x.sum()
    rosenbrock = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum() + rest**2
    return (1 - is_rosenbrock) * (quadratic + rest) + is_rosenbrock * rosenbrock


def flat(w: Any) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in w.values()])


def torch_run(case: dict[str, Any], is_rosenbrock: float) -> tuple[np.ndarray, Any]:
    """The parameters after every step, and the optimizer's state."""
    weights = {name: torch.tensor(x, requires_grad=True) for name, x in START.items()}
    optimizer, found = torch.optim.LBFGS([*weights.values()], **case), []

    def closure() -> Any:
        optimizer.zero_grad()
        value = loss(weights, is_rosenbrock, torch.from_numpy(MATRIX))
        value.backward()
        return value

    for _ in range(STEPS):
        optimizer.step(closure)
        found.append(flat({name: w.detach().numpy() for name, w in weights.items()}))
    return np.array(found), optimizer.state[weights["a"]]


@functools.cache
def program(**case: Any) -> Any:
    """One compiled step from parameters and a state, of either function."""

    def step(w: Any, state: Any, is_rosenbrock: Any, numbers: Any) -> Any:
        def f(w: Any) -> Any:
            return loss(w, is_rosenbrock)

        value, gradient = jax.value_and_grad(f)(w)
        tx = parity.lbfgs(**case, **numbers)
        updates, state = tx.update(gradient, state, w, value=value, grad=gradient, value_fn=f)
        return optax.apply_updates(w, updates), state

    return jax.jit(step)


def start_state(case: Any, params: Any = START) -> Any:
    return parity.lbfgs(**case).init(params)


def jax_run(case: Any, numbers: Any, is_rosenbrock: float, start: Any = START) -> Any:
    w, state, found = jax.tree.map(jnp.asarray, start), start_state(case, start), []
    for _ in range(STEPS):
        w, state = program(**case)(w, state, is_rosenbrock, numbers)
        found.append(flat(w))
    return np.array(found), state.inner


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Compile with few of XLA's optimisations, which takes less time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.slow_except("{}-{'lr': 0.1}", "{'line_search_fn': 'strong_wolfe'}-{}")
@pytest.mark.parametrize(("case", "numbers"), CASES, ids=str)
def test_lbfgs_matches_torch_in_steps_and_counts(case, numbers):
    """To 1e-12, or ten times what a unit in the last place of the start grows to by then."""
    for is_rosenbrock in (0.0, 1.0):
        expected, kept = torch_run({**case, **numbers}, is_rosenbrock)
        with jax.enable_x64(True):
            found, memory = jax_run(case, numbers, is_rosenbrock)
            growth = np.zeros(STEPS)
            for sign in (-1, 1):
                moved = {name: np.nextafter(x, sign * np.inf) for name, x in START.items()}
                nearby, _ = jax_run(case, numbers, is_rosenbrock, moved)
                growth = np.maximum(growth, np.abs(nearby - found).max(1))
        scale = np.abs(expected).max()
        allowed = allowed_by_growth(np.maximum.accumulate(growth) / scale)
        errors = np.abs(found - expected).max(1) / scale
        assert (errors <= np.maximum(1e-12, allowed)).all(), errors
        assert np.abs(expected[0] - flat(START)).max() > 1e-3
        assert memory.n_iter == kept["n_iter"]
        assert memory.func_evals == kept["func_evals"]
        assert memory.num_old == len(kept["old_dirs"])


@pytest.mark.slow
def test_lbfgs_each_row_of_a_vmap_is_a_run_of_its_own():
    with jax.enable_x64(True):
        w, state = jax.tree.map(jnp.asarray, START), start_state(FEW)
        step = program(**FEW)
        rates, kinds = jnp.array([5.0, 0.01]), jnp.array([0.0, 1.0])
        together = jax.vmap(lambda rate, kind: step(w, state, kind, {"lr": rate})[0])(rates, kinds)
        for i in range(2):
            alone, _ = step(w, state, float(kinds[i]), {"lr": float(rates[i])})
            for name, array in together.items():
                np.testing.assert_allclose(array[i], alone[name], rtol=1e-12)


def test_lbfgs_stays_where_the_gradient_is_zero():
    with jax.enable_x64(True):
        w = {"a": jnp.ones(3), "b": jnp.zeros((1, 2))}
        found, state = program(**FEW)(w, start_state(FEW, w), 1.0, {"lr": 5.0})
    for name, array in found.items():
        np.testing.assert_array_equal(array, w[name])
    assert (state.inner.n_iter, state.inner.func_evals) == (0, 1)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_lbfgs_keeps_dtypes(dtype):
    tx, params = (
        parity.lbfgs(history_size=2, line_search_fn="strong_wolfe"),
        optax.tree.cast(START, dtype),
    )
    state = tx.init(params)

    def value_fn(w: Any) -> Any:
        return jnp.sum(w["a"] ** 2) + jnp.sum(w["b"])

    updates, after = jax.eval_shape(
        lambda g, s, w: tx.update(g, s, w, value_fn=value_fn), params, state, params
    )
    assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
    described = [[(x.shape, x.dtype) for x in jax.tree.leaves(s)] for s in (state, after)]
    assert described[0] == described[1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: parity.lbfgs(line_search_fn="zoom"), "line_search_fn is 'zoom'; it must be None"),
        (lambda: parity.lbfgs(max_iter=0), "lbfgs: max_iter is 0; it must be a whole number of"),
        (lambda: parity.lbfgs(history_size=-1), "lbfgs: history_size is -1; it must be a whole"),
        (lambda: parity.lbfgs(lr=-1.0), "lbfgs: lr is -1.0; it must be at least 0"),
        (lambda: parity.lbfgs(tolerance_grad=-1.0), "tolerance_grad is -1.0; it must be at least"),
        (lambda: parity.lbfgs().init({"w": jnp.zeros(2, complex)}), "lbfgs: w has shape (2,)"),
        (
            lambda: parity.lbfgs().update(START, parity.lbfgs().init(START), START),
            "lbfgs: value_fn is None; it evaluates the loss again: call update(",
        ),
        (
            lambda: parity.lbfgs().update(START, parity.lbfgs().init(START)),
            "lbfgs: params is None",
        ),
    ],
)
def test_lbfgs_refuses_in_one_line(make, words, refused):
    with refused(words):
        make()
