"""Derivatives of the losses where a probability underflows: those on paper, and never NaN."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import losses

LOGITS = (
    (100.0, 0.0, 1.0), (1.0, 0.0, 100.0), (88.0, 0.0, 1.0), (86.0, 0.0, -3.0), (0.0, 0.0, 0.0),
    (50.0, 0.0, 1.0), (30.0, 45.0, 0.0), (100.0, 100.0, 0.0), (720.0, 0.0, 1.0),
    (1e4, -1e4, 0.0), (3e38, 0.0, 1.0), (-200.0, -3e37, -190.0),
)  # fmt: skip
# The last but one is no distribution, and the gradient is then q·sum(p) - p.
TARGETS = (
    (0.2, 0.3, 0.5), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.5, 0.5),
    (0.5, 0.5, 0.5), (0.0, 0.0, 0.0),
)  # fmt: skip
Z, P = (np.array(rows) for rows in zip(*itertools.product(LOGITS, TARGETS), strict=True))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def of_logits(z, p):
    return losses.cross_entropy(p, losses.softmax(z))


def batched(z, p):
    return losses.cross_entropy(p[None, None], losses.softmax(z[None, None])).sum()


def each_by_itself(z, p):
    q = jax.jit(jax.vmap(losses.softmax))(z[None])
    return jax.vmap(losses.cross_entropy)(p[None], q).sum()


def on_all(derivative: Callable, dtype: str) -> np.ndarray:
    with jax.enable_x64(dtype == "float64"):
        return np.asarray(jax.jit(jax.vmap(derivative))(Z.astype(dtype), P.astype(dtype)))


@pytest.mark.slow_except(
    "grad-each_by_itself-float32", "grad-each_by_itself-float64", "grad-batched-float64"
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [of_logits, batched, each_by_itself])
@pytest.mark.parametrize("mode", [jax.grad, jax.jacfwd])
def test_gradient_of_cross_entropy_of_softmax_is_q_minus_p(function, mode, dtype):
    z = Z.astype(dtype).astype(float)
    expected = softmax(z) * P.sum(axis=1, keepdims=True) - P
    np.testing.assert_allclose(on_all(mode(function), dtype), expected, 0, 4 * np.finfo(dtype).eps)


def test_gradient_is_q_minus_p_without_jit():
    gradient = jax.grad(of_logits)(jnp.array([100.0, 0.0, 1.0]), jnp.array([0.2, 0.3, 0.5]))
    np.testing.assert_allclose(gradient, [0.8, -0.3, -0.5], atol=1e-6)
    same = jax.grad(of_logits)(jnp.array([5.0, 100.0, 0.0]), jnp.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(same, 0, atol=1e-30)


@pytest.mark.slow_except("hessian-float64")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "mode", [jax.hessian, lambda f: jax.jacrev(jax.jacrev(f)), lambda f: jax.jacfwd(jax.jacfwd(f))]
)
def test_hessian_of_cross_entropy_of_softmax_is_that_of_log_sum_exp(mode, dtype):
    q = softmax(Z.astype(dtype).astype(float))
    expected = P.sum(axis=1)[:, None, None] * (
        q[:, :, None] * np.eye(3) - q[:, :, None] * q[:, None, :]
    )
    found = on_all(mode(of_logits), dtype)
    np.testing.assert_allclose(found, expected, 0, 8 * np.finfo(dtype).eps)


@pytest.mark.slow
def test_entropy_of_a_softmax_has_its_gradient():
    # dH/dz_i = -q_i (log q_i + H), 0 where q_i is.
    z = np.array([[100.0, 0.0, 1.0], [10.0, 1.0, 1.0], [1e4, 0.0, 1.0], [0.0, 0.0, 200.0]])
    q = softmax(z)
    log_q = np.log(q, where=q > 0, out=np.zeros_like(q))
    expected = -q * (log_q - (q * log_q).sum(axis=1, keepdims=True))
    found = jax.vmap(jax.grad(lambda z: of_logits(z, losses.softmax(z))))(z.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.slow
def test_derivatives_of_cross_entropy_are_its_own():
    p, q = np.array([0.3, 0.0, 0.7]), np.array([0.4, 1e-30, 0.6])
    by_p, by_q = jax.grad(losses.cross_entropy, argnums=(0, 1))(
        jnp.asarray(p, jnp.float32), jnp.asarray(q, jnp.float32)
    )
    np.testing.assert_allclose(by_p, -np.log(q), rtol=1e-6)
    np.testing.assert_allclose(by_q, -p / q, rtol=1e-6)
    second = jax.hessian(losses.cross_entropy, argnums=1)(jnp.float32(p), jnp.float32(q))
    np.testing.assert_allclose(second, np.diag(p / q**2), rtol=1e-6)


@pytest.mark.parametrize(("p", "value"), [((0.0, 1.0), 0.0), ((0.5, 0.5), np.inf)])
def test_cross_entropy_of_a_q_that_is_zero_keeps_its_value_and_has_finite_derivatives(p, value):
    q = jnp.array([0.0, 1.0])
    found, (by_p, by_q) = jax.value_and_grad(losses.cross_entropy, argnums=(0, 1))(jnp.array(p), q)
    assert found == value
    assert np.isfinite(by_p).all()
    assert np.isfinite(by_q).all()
    assert by_q[1] == -p[1]
    assert by_q[0] == 0 if p[0] == 0 else by_q[0] < -1e30


@pytest.mark.slow_except("bfloat16")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_binary_cross_entropy_is_clamped_in_every_precision(dtype):
    # Certain and right, certain and wrong, and neither.
    p, y = jnp.array([0, 1, 0, 1, 0.5], dtype), jnp.array([0, 1, 1, 0, 1], dtype)
    found, gradient = jax.value_and_grad(losses.binary_cross_entropy)(p, y)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, (2 * 12 * np.log(10) + np.log(2)) / 5, rtol=1e-2)
    np.testing.assert_allclose(gradient, [1 / 5, -1 / 5, 0, 0, -2 / 5], rtol=1e-2)
