"""Taylor expansions, by series and by nested derivatives, compared with closed forms."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import InputError
from jaxmnist.calculus import taylor, taylor_coefficients

ORDER = 10


def binomial(exponent: Fraction, k: int) -> float:
    return float(math.prod((exponent - i for i in range(k)), start=Fraction(1))) / math.factorial(k)


def sigmoid_coefficients(x0: float, order: int) -> list[float]:
    """From s' = s(1 - s), coefficient by coefficient: (k+1) c[k+1] = c[k] - sum c[i] c[k-i]."""
    c = [1 / (1 + math.exp(-x0))]
    for k in range(order):
        c.append((c[k] - sum(c[i] * c[k - i] for i in range(k + 1))) / (k + 1))
    return c


def arctan_coefficients(x0: float, order: int) -> list[float]:
    """The derivative is the imaginary part of 1/(x - i), a geometric series."""
    inverse = 1 / complex(x0, -1)
    series = [((-1) ** k * inverse ** (k + 1)).imag / (k + 1) for k in range(order)]
    return [math.atan(x0), *series]


KS = range(ORDER + 1)
CLOSED_FORMS = {
    "exp": (jnp.exp, 0.0, [1 / math.factorial(k) for k in KS]),
    "exp elsewhere": (jnp.exp, -1.5, [math.exp(-1.5) / math.factorial(k) for k in KS]),
    "sin": (
        jnp.sin,
        0.7,
        [math.sin(0.7 + k * math.pi / 2) / math.factorial(k) for k in KS],
    ),
    "log1p": (jnp.log1p, 0.0, [0.0, *((-1) ** (k + 1) / k for k in range(1, ORDER + 1))]),
    "log1p, negative": (
        jnp.log1p,
        -0.5,
        [math.log(0.5), *((-1) ** (k + 1) / k * 2**k for k in range(1, ORDER + 1))],
    ),
    "sigmoid": (jax.nn.sigmoid, 0.0, sigmoid_coefficients(0.0, ORDER)),
    "sigmoid, negative": (jax.nn.sigmoid, -2.0, sigmoid_coefficients(-2.0, ORDER)),
    "sqrt": (jnp.sqrt, 4.0, [binomial(Fraction(1, 2), k) * 2 / 4**k for k in KS]),
    "cube": (lambda x: x**3, -2.0, [-8, 12, -6, 1, *[0] * 7]),
    "composition": (
        lambda x: jnp.exp(-(x**2)),
        0.0,
        [0 if k % 2 else (-1) ** (k // 2) / math.factorial(k // 2) for k in KS],
    ),
    "constant": (lambda x: 3.0, 0.5, [3, *[0] * 10]),
    "nested jit": (jax.jit(lambda x: 1 / x), -2.0, [(-1) ** k / (-2.0) ** (k + 1) for k in KS]),
}


@pytest.mark.slow_except(
    "exp elsewhere", "log1p, negative", "sigmoid, negative", "constant", "log1p"
)
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_coefficients_match_closed_form(name):
    f, x0, expected = CLOSED_FORMS[name]
    with jax.enable_x64(True):
        found = taylor_coefficients(f, x0, ORDER)
    assert found.dtype == np.float64
    # Each is a sum of at most ORDER terms of its own size, give or take cancellation.
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


FALLBACKS = {
    "no rule": (jnp.arctan, -0.5, arctan_coefficients(-0.5, 8)),
    "custom derivative": (
        jax.nn.softplus,
        0.3,
        [
            math.log1p(math.exp(0.3)),
            *(c / (k + 1) for k, c in enumerate(sigmoid_coefficients(0.3, 5))),
        ],
    ),
    "custom derivative, folded": (jax.nn.relu, 0.5, [0.5, 1, 0, 0, 0]),
    "loop": (
        lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y * x, 2 * x),
        -1.0,
        [2, -8, 12, -8, 2],
    ),
    "branch": (lambda x: jax.lax.cond(x > 0, jnp.cos, jnp.exp, x), -1.0, [math.exp(-1)] * 2),
    # The series rule of a power takes the logarithm of its base.
    "rule gives NaN": (lambda x: x**3.0, -2.0, [-8, 12, -6, 1, 0]),
}


@pytest.mark.slow_except("rule gives NaN", "loop", "custom derivative, folded")
@pytest.mark.parametrize("name", FALLBACKS)
def test_coefficients_without_a_series_rule_match_closed_form(name):
    f, x0, expected = FALLBACKS[name]
    with jax.enable_x64(True):
        found = taylor_coefficients(f, x0, len(expected) - 1)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_series_and_nested_derivatives_agree():
    def f(x):
        return jnp.sin(x) * jnp.exp(-x) / (2 + x**2)

    nested = jax.custom_jvp(f)
    nested.defjvp(lambda primals, tangents: jax.jvp(f, primals, tangents))
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            taylor_coefficients(f, -0.4, 4), taylor_coefficients(nested, -0.4, 4), rtol=1e-12
        )


def test_coefficients_under_transformations():
    with jax.enable_x64(True):
        points = jnp.array([-1.0, 0.5])
        found = jax.jit(jax.vmap(lambda x: taylor_coefficients(jnp.exp, x, 3)))(points)
        expected = np.exp(points)[:, None] / np.array([1, 1, 2, 6])
        np.testing.assert_allclose(found, expected, rtol=1e-14)
        # d/dx of f^(2)/2! is 3 f^(3)/3!.
        slope = jax.grad(lambda x: taylor_coefficients(jnp.sin, x, 2)[2])(0.3)
        np.testing.assert_allclose(slope, -math.cos(0.3) / 2, rtol=1e-14)


def test_order_zero_is_the_value():
    np.testing.assert_array_equal(taylor_coefficients(jnp.exp, 0.0, 0), [1.0])
    np.testing.assert_array_equal(taylor(jnp.exp, 0.0, 0)(jnp.array([3.0, 4.0])), [1.0, 1.0])


def test_coefficients_are_float32_by_default():
    assert taylor_coefficients(jnp.exp, 0.0, 2).dtype == np.float32
    assert taylor_coefficients(jnp.arctan, jnp.array(0.0), 2).dtype == np.float32


def test_polynomial_of_a_polynomial_is_itself():
    with jax.enable_x64(True):
        x = jnp.linspace(-3.0, 3.0, 12).reshape(3, 4)
        found = taylor(lambda x: 2 * x**3 - x + 5, -1.25, 3)(x)
        np.testing.assert_allclose(found, 2 * x**3 - x + 5, rtol=0, atol=1e-12)


def test_polynomial_is_within_taylors_bound():
    with jax.enable_x64(True):
        x = jnp.linspace(-0.5, 1.5, 41)
        for order in (0, 1, 5):
            error = jnp.abs(taylor(jnp.exp, 0.5, order)(x) - jnp.exp(x))
            bound = math.exp(1.5) * np.abs(x - 0.5) ** (order + 1) / math.factorial(order + 1)
            assert (error <= bound + 1e-14).all()
            # It is no polynomial of a higher order: at the far end more than half a bound is left.
            assert error[0] > 0.3 * math.exp(-0.5 - 1.5) * bound[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((jnp.exp, 0.0, -1), "order is -1; it must be at least 0"),
        ((jnp.exp, 1, 2), "x0 is 1, of dtype int32; it must be a real number, such as 1.0"),
        ((jnp.exp, True, 2), "x0 is True, of dtype bool"),
        ((jnp.exp, 1j, 2), "x0 is 1j, of dtype complex64"),
        ((jnp.exp, jnp.zeros(3), 2), r"x0 has the shape \(3,\); it must be one number"),
        ((lambda x: jnp.stack([x, x]), 0.0, 2), r"f returns float32\[2\] at a number; it must"),
        ((lambda x: (x, x), 0.0, 2), "f returns a tuple at a number"),
        ((lambda x: jnp.int32(1), 0.0, 2), r"f returns int32\[\] at a number"),
    ],
)
@pytest.mark.parametrize("function", [taylor, taylor_coefficients])
def test_input_that_has_no_expansion_is_refused(function, arguments, message):
    with pytest.raises(InputError, match=message):
        function(*arguments)


def test_errors_of_the_function_reach_the_caller():
    def broken(x):
        return {}["missing"]

    with pytest.raises(KeyError, match="missing"):
        taylor_coefficients(broken, 0.0, 2)
