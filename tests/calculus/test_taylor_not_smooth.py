"""Taylor coefficients where rules of derivatives give 0/0, and what `jet` may raise."""

import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import InputError
from jaxmnist.calculus import taylor_coefficients

INF = math.inf

# By hand: the polynomial itself, or the series of sin, cos and log.
POWERS = {
    "square": (lambda x: x**2.0, 0.0, [0, 0, 1, 0, 0, 0]),
    "an array": (lambda x: x ** jnp.array(3.0), 0.0, [0, 0, 0, 1, 0, 0]),
    "a whole number in an array": (lambda x: jnp.power(x, jnp.array(4)), 0.0, [0, 0, 0, 0, 1, 0]),
    "nothing": (lambda x: x**0.0, 0.0, [1, 0, 0, 0]),
    "itself": (lambda x: x**1.0, 0.0, [0, 1, 0, 0]),
    "below 0": (lambda x: x**3.0, -2.0, [-8, 12, -6, 1, 0]),
    "a reciprocal": (lambda x: x**-2.0, -1.0, [1, 2, 3, 4, 5]),
    "computed": (lambda x: x ** (jnp.ones(()) + 1), 0.0, [0, 0, 1, 0, 0]),
    "under jit": (jax.jit(lambda x: 3 * jnp.float_power(x, 5.0)), 0.0, [0, 0, 0, 0, 0, 3, 0]),
    "of a sine": (lambda x: jnp.sin(x) ** 2.0, 0.0, [0, 0, 1, 0, -1 / 3, 0, 2 / 45]),
    "times a logarithm": (lambda x: x**2.0 * jnp.log1p(x), 0.0, [0, 0, 0, 1, -1 / 2, 1 / 3]),
    "a polynomial": (
        lambda x: jnp.sum(jnp.array([5.0, -1, 2, 7]) * x ** jnp.arange(4.0)), 0.0, [5, -1, 2, 7, 0]
    ),
    "a polynomial elsewhere": (
        lambda x: jnp.sum(x ** jnp.array([0.0, 3.0])), 2.0, [9, 12, 6, 1, 0]
    ),
    "some not whole": (
        lambda x: jnp.sum(x ** jnp.array([2.0, 0.5])), 4.0, [18, 8.25, 1 - 1 / 64, 1 / 512]
    ),
    "sinc": (jnp.sinc, 0.0, [1, 0, -math.pi**2 / 6, 0, math.pi**4 / 120]),
    "the branch not taken": (
        lambda x: jnp.where(x < 1, x**3.0, jnp.sqrt(x - 1)), 0.0, [0, 0, 0, 1, 0]
    ),
    # Not whole: the orders below the exponent are 0, those above are infinite.
    "five halves": (lambda x: jnp.power(x, 2.5), 0.0, [0, 0, 0, INF, -INF]),
    "a root": (jnp.sqrt, 0.0, [0, INF, -INF, INF]),
    "a pole": (lambda x: x**-1.0, 0.0, [INF, -INF, INF, -INF]),
    # At a kink, as documented.
    "a kink": (jnp.abs, 0.0, [0, 1, 0]),
    "a ramp": (lambda x: jnp.maximum(x, 0.0), 0.0, [0, 0.5, 0]),
}  # fmt: skip


@pytest.mark.slow_except("a ramp", "a kink", "some not whole", "itself", "below 0")
@pytest.mark.parametrize("name", POWERS)
def test_coefficients_are_those_on_paper(name):
    f, x0, expected = POWERS[name]
    with jax.enable_x64(True):
        found = taylor_coefficients(f, x0, len(expected) - 1)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    low = taylor_coefficients(f, x0, len(expected) - 1)
    assert low.dtype == np.float32
    np.testing.assert_allclose(low, expected, rtol=3e-5, atol=1e-6)


def test_powers_are_exact_at_zero_under_transformations():
    points = jnp.array([0.0, -1.0, 2.0])
    for power in (lambda x: x**3.0, lambda x: x**3):
        found = jax.jit(jax.vmap(lambda x, f=power: taylor_coefficients(f, x, 4)))(points)
        np.testing.assert_array_equal(found, [[0, 0, 0, 1, 0], [-1, 3, -3, 1, 0], [8, 12, 6, 1, 0]])
    # By a factor that is closed over, and so is traced too.
    slope = jax.grad(lambda a: taylor_coefficients(lambda x: a * x**2.0, 0.0, 3)[2])(5.0)
    assert slope == 1


@pytest.mark.parametrize(
    ("f", "x0", "order"),
    [
        (lambda x: x**x, 0.0, 1),
        (lambda x: jnp.sqrt(x * x), 0.0, 1),
        (lambda x: (1 - jnp.cos(x)) ** 2.5, 0.0, 3),
        (lambda x: jnp.linalg.norm(jnp.stack([x, 2 * x])), 0.0, 1),
        (lambda x: jnp.exp(-1 / x**2), 0.0, 1),
    ],
)
def test_derivative_that_comes_out_as_nan_is_refused_with_its_order(f, x0, order):
    with pytest.raises(InputError, match=f"the derivative of order {order} at x0 = {x0} comes out"):
        taylor_coefficients(f, x0, 3)
    assert taylor_coefficients(f, x0, order - 1).shape == (order,)


@pytest.mark.parametrize("f", [lambda x: x * jnp.log(x), lambda x: jnp.sin(x) / x])
def test_where_the_function_is_nan_all_coefficients_are(f):
    assert np.isnan(taylor_coefficients(f, 0.0, 3)).all()


# ------------------------------------------------------------------------------- jet's errors


@jax.custom_jvp
def half_square(x):
    return x * x / 2


half_square.defjvp(lambda primals, tangents: (half_square(*primals), primals[0] * tangents[0]))


@pytest.mark.parametrize(
    "error", [AttributeError, KeyError, NotImplementedError, TypeError, AssertionError, ValueError]
)
def test_whatever_jet_raises_derivatives_are_nested(error, monkeypatch):
    def without_rule(*arguments, **options):
        raise error("inside JAX")

    module = sys.modules[taylor_coefficients.__module__]
    monkeypatch.setattr(module, "jet", without_rule)
    np.testing.assert_array_equal(taylor_coefficients(half_square, 3.0, 3), [4.5, 3, 0.5, 0])
    np.testing.assert_array_equal(taylor_coefficients(lambda x: x**2.0, 0.0, 3), [0, 0, 1, 0])
    jitted = jax.jit(lambda x: taylor_coefficients(half_square, x, 2))
    np.testing.assert_array_equal(jitted(3.0), [4.5, 3, 0.5])


@pytest.mark.parametrize("error", [AttributeError, KeyError, NotImplementedError, RuntimeError])
def test_errors_of_the_function_and_of_its_rules_come_through(error):
    def broken(x):
        raise error("of my own")

    @jax.custom_jvp
    def rule_is_broken(x):
        return x * x

    rule_is_broken.defjvp(lambda primals, tangents: broken(primals))
    calls = 0

    def breaks_later(x):
        nonlocal calls
        calls += 1
        return x if calls == 1 else broken(x)

    for f in (broken, rule_is_broken):
        with pytest.raises(error, match="of my own"):
            taylor_coefficients(f, 1.0, 2)
    # It is called once, so there is no later call whose error could be swallowed.
    np.testing.assert_array_equal(taylor_coefficients(breaks_later, 1.0, 2), [1, 1, 0])
    assert calls == 1
