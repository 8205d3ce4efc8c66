"""What is zero on paper passes though rounding is all there is, and a wrong gradient does not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxmnist import verify
from jaxmnist.verify.model_runs.noise import signs, with_perturbed_intermediates

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _other_peoples_functions():
    """They add a bias to a batch."""
    with jax.numpy_rank_promotion("allow"):
        yield


class Case(NamedTuple):
    """A model in both frameworks, with a leaf whose gradient is zero on paper."""

    params: dict[str, np.ndarray]
    leaf: str
    ours: Callable[[Any, Any], Any]
    theirs: Callable[[Any, Any], Any]
    inputs: np.ndarray = RNG.normal(size=(8, 5))


class Written(torch.nn.Module):
    """A function of parameters and inputs as a module."""

    def __init__(self, params, function):
        super().__init__()
        for name, array in params.items():
            setattr(self, name, torch.nn.Parameter(torch.from_numpy(array)))
        self.function = function

    def forward(self, x):
        return self.function(dict(self.named_parameters()), x)


def normalised(p, x):
    h = x @ p["weight"].T + p["bias"]
    mean = h.mean(0)
    return (h - mean) / jnp.sqrt(((h - mean) ** 2).mean(0) + 1e-5) * p["gain"]


def normalised_in_torch(p, x):
    h = torch.nn.functional.linear(x, p["weight"], p["bias"])
    return torch.nn.functional.batch_norm(h, None, None, p["gain"], training=True)


def attended(p, x):
    q, k = x @ p["query"], x @ p["key"] + p["key_bias"]
    return jax.nn.softmax(q @ k.T / np.sqrt(3), axis=-1) @ (x @ p["value"])


def attended_in_torch(p, x):
    q, k, v = x @ p["query"], x @ p["key"] + p["key_bias"], x @ p["value"]
    return torch.nn.functional.scaled_dot_product_attention(q[None], k[None], v[None])[0]


def embedded(p, x):
    table = p["table"] * (jnp.arange(6) != 0)[:, None]
    return jnp.tanh(table[x]).sum(1)


def embedded_in_torch(p, x):
    table = p["table"] * (torch.arange(6) != 0)[:, None]
    return torch.nn.functional.embedding(x, table, padding_idx=0).tanh().sum(1)


def rectified(p, x):
    return jax.nn.relu(x @ p["weight"].T + p["bias"]) @ p["last"] + x @ p["skip"]


def rectified_in_torch(p, x):
    return torch.relu(x @ p["weight"].T + p["bias"]) @ p["last"] + x @ p["skip"]


def scaled(p, x):
    h = p["scale"] * (x @ p["weight"].T)
    h = h - h.mean(-1, keepdims=True)
    return h / jnp.sqrt((h**2).mean(-1, keepdims=True))


def scaled_in_torch(p, x):
    h = p["scale"] * (x @ p["weight"].T)
    return torch.nn.functional.layer_norm(h, (4,), eps=0.0)


def summed(p, x):
    return jax.nn.softmax(x @ p["weight"].T + p["shift"], axis=-1) + x.mean() * p["other"]


def summed_in_torch(p, x):
    return torch.softmax(x @ p["weight"].T + p["shift"], -1) + x.mean() * p["other"]


WEIGHT, BIAS = RNG.normal(size=(4, 5)), RNG.normal(size=4)
CASES = {
    "a bias before a normalisation": Case(
        {"weight": WEIGHT, "bias": BIAS, "gain": RNG.normal(size=4)},
        "bias",
        normalised,
        normalised_in_torch,
    ),
    "a key's bias": Case(
        {
            **{name: RNG.normal(size=(5, 3)) for name in ("query", "key", "value")},
            "key_bias": RNG.normal(size=3),
        },
        "key_bias",
        attended,
        attended_in_torch,
    ),
    "a padding row": Case(
        {"table": RNG.normal(size=(6, 3))},
        "table",
        embedded,
        embedded_in_torch,
        RNG.integers(0, 6, size=(4, 3)),
    ),
    "a layer of dead units": Case(
        {
            "weight": WEIGHT,
            "bias": BIAS - 100,
            "last": RNG.normal(size=(4, 2)),
            "skip": RNG.normal(size=(5, 2)),
        },
        "weight",
        rectified,
        rectified_in_torch,
    ),
    "a scale before a normalisation": Case(
        {"weight": WEIGHT, "scale": np.array(1.7)}, "scale", scaled, scaled_in_torch
    ),
    "a shift of a softmax": Case(
        {"weight": WEIGHT, "shift": np.array(0.3), "other": RNG.normal(size=4)},
        "shift",
        summed,
        summed_in_torch,
    ),
}


@pytest.mark.slow_except(
    "a padding row-float64", "a layer of dead units-float64", "a layer of dead units-float32"
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_a_gradient_that_is_zero_on_paper_passes(case: str, dtype: str) -> None:
    params, _, ours, theirs, x = CASES[case]
    result = verify.model(ours, params, Written(params, theirs), x, dtype=dtype)
    assert result.passed, result


@pytest.mark.slow_except("a layer of dead units-float32-0.003", "a padding row-float32-0.003")
@pytest.mark.parametrize(("dtype", "size"), [("float64", 1e-10), ("float32", 3e-3)])
@pytest.mark.parametrize("case", CASES)
def test_a_wrong_gradient_in_its_place_is_found(case: str, dtype: str, size: float) -> None:
    """The function is the same; a ten-billionth of the leaf flows back to it as well."""
    params, leaf, ours, theirs, x = CASES[case]

    def wrong(p, x):
        stray = jnp.sum(p[leaf] - jax.lax.stop_gradient(p[leaf]))
        return ours(p, x) + size * stray

    result = verify.model(wrong, params, Written(params, theirs), x, dtype=dtype)
    assert result.parts[0].passed
    assert result["gradients"].first_divergence is not None
    assert result["gradients"].first_divergence.leaf == leaf


@pytest.mark.slow_except("a bias before a normalisation")
@pytest.mark.parametrize("case", ["a bias before a normalisation", "a key's bias"])
def test_a_wrong_gradient_beside_it_is_found(case: str) -> None:
    params, zero, ours, theirs, x = CASES[case]
    for leaf in params.keys() - {zero}:

        def wrong(p, x, leaf=leaf):
            stopped = jax.lax.stop_gradient(p[leaf])
            return ours(p | {leaf: stopped + (1 + 1e-10) * (p[leaf] - stopped)}, x)

        result = verify.model(wrong, params, Written(params, theirs), x)
        assert result["gradients"].first_divergence is not None, leaf
        assert result["gradients"].first_divergence.leaf == leaf


@pytest.mark.slow
def test_outputs_that_cancel_pass_and_wrong_ones_do_not() -> None:
    """Rows of equal numbers less their mean, which is not computed exactly."""
    params = {"gain": np.full((4, 7), 0.1)}
    x = np.full((4, 7), 0.7)
    module = Written(params, lambda p, x: p["gain"] * x - (p["gain"] * x).mean(-1, keepdim=True))

    def centred(p, x):
        y = p["gain"] * x
        return y - jnp.sum(y[:, ::-1] / 7, axis=-1, keepdims=True)

    assert verify.model(centred, params, module, x).passed
    assert not verify.model(lambda p, x: centred(p, x) + 1e-14, params, module, x).passed


@pytest.mark.slow
def test_the_noise_of_a_sum_is_that_of_its_terms() -> None:
    terms = np.array([1e8, 3.0, -1e8, -3.0])

    def zero(x):
        return jnp.sum(x * 2.0), jnp.max(x) == x, x.astype(jnp.float32)

    with jax.enable_x64(True):
        run = jax.jit(with_perturbed_intermediates(zero, "float64"))
        sums, found, singles = zip(*(run(signs(seed), terms) for seed in range(5)), strict=True)
    assert 1e-9 < np.max(np.abs(sums)) < 4 * 2e8 * 2.0**-52 * 2
    # The largest stays the largest, and a narrower dtype keeps its own rounding.
    np.testing.assert_array_equal(found, [[True, False, False, False]] * 5)
    np.testing.assert_array_equal(singles, [terms.astype(np.float32)] * 5)


@pytest.mark.slow
def test_a_recurrence_is_perturbed_at_every_step() -> None:
    def run(x):
        return jax.lax.scan(lambda h, y: (jnp.tanh(h + y), h * y), x[0], x)

    x = np.linspace(-1, 1, 9)
    with jax.enable_x64(True):
        plain = jax.jit(run)(x)
        moved = jax.jit(with_perturbed_intermediates(run, "float64"))(signs(0), x)
    for a, b in zip(plain, moved, strict=True):
        assert 0 < np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-14
