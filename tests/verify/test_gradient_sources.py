"""The built-in sources of gradients are what they are described as."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

from jaxmnist import load_dataset
from jaxmnist.verify.gradient_sources import source
from jaxmnist.verify.named_trees import map_named


def test_random_gradients_have_every_scale_both_signs_and_a_seed() -> None:
    first, again, other = (source("random", seed=seed) for seed in (0, 0, 1))
    for leaf, gradient in first(3, {}).items():
        scale = float(leaf.split()[1])
        assert gradient.dtype == np.float64
        assert 0.3 * scale < np.abs(gradient).mean() < 3 * scale
        assert (gradient > 0).any()
        assert (gradient < 0).any()
        np.testing.assert_array_equal(gradient, again(3, {})[leaf])
        assert not np.array_equal(gradient, other(3, {})[leaf])
        assert not np.array_equal(gradient, first(4, {})[leaf])


def test_sparse_gradients_are_mostly_exactly_zero() -> None:
    sparse = source("sparse")
    steps = np.stack([np.concatenate(list(sparse(step, {}).values())) for step in range(200)])
    steps = steps.reshape(200, 10, 8)
    assert 0.05 < (steps != 0).mean() < 0.1
    assert not steps[:, :, -1].any()
    assert not steps[:20, :, -2].any()
    assert steps[20:, :, -2].any()


@pytest.mark.parametrize(("name", "h"), [("quadratic", 1e-6), ("rosenbrock", 1e-6)])
def test_gradients_are_those_of_a_function(name: str, h: float) -> None:
    """A gradient's Jacobian is symmetric; central differences give it."""
    gradients = source(name)
    origin = gradients.origin
    assert origin is not None
    for leaf, start in origin.items():

        def at(w: np.ndarray, leaf: str = leaf, start: np.ndarray = start) -> np.ndarray:
            shifted = {**origin, leaf: w.reshape(start.shape)}
            return gradients.at(0, shifted)[leaf].ravel()

        flat, basis = start.ravel(), np.eye(start.size)
        jacobian = np.stack([(at(flat + h * e) - at(flat - h * e)) / (2 * h) for e in basis])
        np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-9)
        eigenvalues = np.linalg.eigvalsh(jacobian)
        if name == "quadratic":
            np.testing.assert_allclose(eigenvalues, np.logspace(-4, 0, start.size), rtol=1e-5)
        np.testing.assert_allclose(at(np.ones_like(flat)) if name == "rosenbrock" else 0, 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_perturbed_start_is_one_unit_in_the_last_place_off(dtype: Any) -> None:
    """A zero by a unit of its leaf's largest element, or of 1."""
    params = {"w": np.array([1.5, -3e-5, 0.0], dtype), "zeros": np.zeros(2, dtype)}
    given = source(lambda step, params: params, params, dtype=np.dtype(dtype).name)
    for seed in range(3):
        near = given.perturbed(seed).params
        assert near["w"].dtype == dtype
        unit = np.spacing(np.array([1.5, 3e-5, 1.5], dtype))
        np.testing.assert_array_equal(np.abs(near["w"] - params["w"]), unit)
        np.testing.assert_array_equal(np.abs(near["zeros"]), np.spacing(np.ones(2, dtype)))
    own = source("quadratic", dtype=np.dtype(dtype).name)
    assert own.origin is not None
    other = own.perturbed(0)
    assert other.origin is not None
    for leaf, start in own.origin.items():
        np.testing.assert_array_equal(np.abs(other.origin[leaf] - start), np.spacing(np.abs(start)))


@pytest.mark.slow
def test_network_gradients_are_the_networks() -> None:
    """The mean cross-entropy of the first batch, by PyTorch."""
    with jax.enable_x64(True):
        gradients = source("network")
        assert gradients.origin is not None
        actual = gradients(0, map_named(np.zeros_like, gradients.origin))
    mnist = load_dataset("mnist")
    chosen = np.random.default_rng((0, 0)).permutation(60_000)[:64]
    pixels = torch.from_numpy(mnist.train_images[chosen].reshape(64, -1)).float()
    h = ((pixels / 255 - 0.5) / 0.5).double()
    weights = {name: torch.tensor(w, requires_grad=True) for name, w in gradients.origin.items()}
    for layer in range(5):
        h = h.relu() if layer else h
        affine = f"params/dense_{layer}"
        h = h @ weights[f"{affine}/weight"].T + weights[f"{affine}/bias"]
    labels = torch.from_numpy(mnist.train_labels[chosen].astype(np.int64))
    torch.nn.functional.cross_entropy(h, labels).backward()
    for name, weight in weights.items():
        assert weight.grad is not None
        expected = weight.grad.numpy()
        np.testing.assert_allclose(actual[name], expected, rtol=0, atol=1e-12 * expected.std())
