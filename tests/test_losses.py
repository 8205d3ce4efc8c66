import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import losses

RNG = np.random.default_rng(0)
EPSILON = {np.float32: 2.0**-23, np.float64: 2.0**-52}


def test_binary_cross_entropy_matches_the_tutorials_program(torch):
    p = RNG.uniform(size=257)
    p[:4] = [0.0, 1.0, 1e-13, 1 - 1e-13]
    y = RNG.integers(0, 2, size=257).astype(float)
    y[:4] = [1.0, 0.0, 1.0, 0.0]
    p_torch, y_torch = torch.from_numpy(p), torch.from_numpy(y)
    expected = -(
        y_torch * p_torch.clamp(1e-12).log() + (1 - y_torch) * (1 - p_torch).clamp(1e-12).log()
    ).mean()
    with jax.enable_x64(True):
        actual = losses.binary_cross_entropy(jnp.asarray(p), jnp.asarray(y))
    # A mean of 257 terms of size up to 28: each is rounded, and so is each partial sum.
    np.testing.assert_allclose(actual, expected.item(), rtol=300 * EPSILON[np.float64])


def test_binary_cross_entropy_clamps_at_1e_12():
    wrong = losses.binary_cross_entropy(jnp.array([0.0, 1.0]), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(wrong, 12 * np.log(10), rtol=1e-6)


def test_binary_cross_entropy_with_logits_matches_torch_far_from_zero(torch):
    z = np.concatenate([RNG.normal(size=200) * 5, [-800.0, 800.0, -40.0, 40.0]])
    y = np.concatenate([RNG.uniform(size=200), [1.0, 0.0, 0.0, 1.0]])
    z_torch = torch.tensor(z, requires_grad=True)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z_torch, torch.tensor(y))
    expected.backward()
    with jax.enable_x64(True):
        loss = losses.binary_cross_entropy_with_logits
        actual, grads = jax.value_and_grad(loss)(jnp.asarray(z), jnp.asarray(y))
    np.testing.assert_allclose(actual, expected.item(), rtol=1e-13)
    assert z_torch.grad is not None
    np.testing.assert_allclose(grads, z_torch.grad, rtol=1e-13, atol=1e-17)


def test_binary_cross_entropy_with_logits_is_the_unclamped_one():
    z, y = jnp.linspace(-6, 6, 49), jnp.asarray(RNG.integers(0, 2, 49), jnp.float32)
    clamped = losses.binary_cross_entropy(jax.nn.sigmoid(z), y)
    np.testing.assert_allclose(losses.binary_cross_entropy_with_logits(z, y), clamped, rtol=2e-5)


@pytest.mark.parametrize(("label", "vanishes_beyond"), [(1.0, -27.7), (0.0, 16.7)])
def test_clamped_gradient_vanishes_where_the_docstring_says(label, vanishes_beyond):
    def clamped(z):
        return losses.binary_cross_entropy(jax.nn.sigmoid(z), jnp.asarray(label))

    def stable(z):
        return losses.binary_cross_entropy_with_logits(z, jnp.asarray(label))

    inside = vanishes_beyond - np.sign(vanishes_beyond) * 0.2
    assert jax.grad(clamped)(jnp.float32(vanishes_beyond)) == 0
    assert abs(jax.grad(clamped)(jnp.float32(inside))) > 0.5
    assert abs(jax.grad(stable)(jnp.float32(vanishes_beyond))) > 0.99


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_softmax_matches_torch(scale, torch):
    z = RNG.normal(size=(33, 7)) * scale
    with jax.enable_x64(True):
        actual = losses.softmax(jnp.asarray(z))
    np.testing.assert_allclose(actual, torch.softmax(torch.tensor(z), -1), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_softmax_is_finite_and_shift_invariant_at_extremes(extreme):
    z = jnp.array([0.0, 1.0, 3.0])
    shifted = losses.softmax(z + extreme)
    # The shift itself rounds: 1e4 + z keeps z to 2**-11, half a unit in the last place of 1e4.
    np.testing.assert_allclose(shifted, losses.softmax(z), rtol=2.0**-9)
    lone = losses.softmax(jnp.array([extreme, 0.0, 0.0]))
    np.testing.assert_array_equal(lone, [1, 0, 0] if extreme > 0 else [0, 0.5, 0.5])
    jacobian = jax.jacobian(losses.softmax)(jnp.array([extreme, 0.0, 0.0]))
    assert np.isfinite(jacobian).all()


def test_softmax_jacobian_is_diagonal_minus_outer():
    z = jnp.asarray(RNG.normal(size=5), jnp.float32)
    p = np.asarray(losses.softmax(z), np.float64)
    jacobian = jax.jacobian(losses.softmax)(z)
    np.testing.assert_allclose(jacobian, np.diag(p) - np.outer(p, p), atol=2e-7)


def test_cross_entropy_of_two_classes_is_the_binary_one():
    y, p = RNG.uniform(size=100), RNG.uniform(0.01, 0.99, size=100)
    with jax.enable_x64(True):
        y, p = jnp.asarray(y), jnp.asarray(p)
        pairs = losses.cross_entropy(jnp.stack([y, 1 - y], -1), jnp.stack([p, 1 - p], -1))
        binary = losses.binary_cross_entropy(p, y)
    np.testing.assert_allclose(np.asarray(pairs).mean(), binary, rtol=1e-14)


def test_cross_entropy_of_impossible_classes():
    p, q = jnp.array([0.0, 1.0]), jnp.array([0.5, 0.5])
    np.testing.assert_allclose(losses.cross_entropy(p, q), np.log(2), rtol=1e-6)
    assert losses.cross_entropy(p, jnp.array([0.0, 1.0])) == 0
    assert losses.cross_entropy(q, p) == np.inf


def test_cross_entropy_with_integer_labels_matches_torch_and_the_general_formula(torch):
    z, labels = RNG.normal(size=(64, 10)) * 20, RNG.integers(0, 10, 64)
    z_torch = torch.tensor(z, requires_grad=True)
    expected = torch.nn.CrossEntropyLoss()(z_torch, torch.tensor(labels))
    expected.backward()
    with jax.enable_x64(True):
        loss = losses.cross_entropy_with_integer_labels
        actual, grads = jax.value_and_grad(loss)(jnp.asarray(z), jnp.asarray(labels))
        one_hot = jax.nn.one_hot(labels, 10)
        general = jnp.mean(losses.cross_entropy(one_hot, losses.softmax(jnp.asarray(z))))
    np.testing.assert_allclose(actual, expected.item(), rtol=1e-14)
    np.testing.assert_allclose(general, expected.item(), rtol=1e-14)
    assert z_torch.grad is not None
    np.testing.assert_allclose(grads, z_torch.grad, rtol=1e-12, atol=1e-17)


@pytest.mark.slow
def test_accuracy_gives_ties_to_the_first_class():
    logits = jnp.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [0.0, 0.0, 1.0], [3.0, 0.0, 1.0]])
    assert losses.accuracy(logits, jnp.array([0, 2, 2, 1])) == 0.5
