"""Angles to a gradient that has none are refused, and NaN where nothing can be refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmnist import InputError
from jaxmnist.calculus import change_by_angle

ANGLES = jnp.array([0.0, 1.0])


def bowl(w):
    return w @ w


def test_angle_to_a_zero_gradient_is_refused():
    with pytest.raises(InputError, match="the gradient is 0 at params"):
        change_by_angle(bowl, jnp.zeros(2), jnp.array([0.0, 1.0]), ANGLES, 0.5)


@pytest.mark.parametrize("across", [(2.0, 4.0), (-1.0, -2.0), (0.0, 0.0), (1.0, 2.00001)])
def test_direction_along_the_gradient_spans_no_plane(across):
    with pytest.raises(InputError, match="it must be a direction that is not along the gradient"):
        change_by_angle(bowl, jnp.array([1.0, 2.0]), jnp.array(across), ANGLES, 0.5)


def test_angle_to_a_zero_gradient_is_nan_inside_jit():
    for w, across in ((jnp.zeros(2), (0.0, 1.0)), (jnp.ones(2), (1.0, 1.0))):
        change = jax.jit(lambda w, a: change_by_angle(bowl, w, a, ANGLES, 0.5)[1])
        assert np.isnan(change(w, jnp.array(across))).all()
