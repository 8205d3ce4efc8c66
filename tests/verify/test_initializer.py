"""Initializers compared with PyTorch's: by distribution, with what so many draws can tell."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import init

from jaxmnist import verify
from jaxmnist.verify.initializers.causes import form
from jaxmnist.verify.initializers.statistics import ALPHA, noticed, two_samples

jn = jax.nn.initializers
SIZES = {"shape": (20, 30), "torch_shape": (30, 20), "draws": 8_000}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (jn.xavier_uniform(), init.xavier_uniform_),
        (jn.variance_scaling(2.0, "fan_in", "normal"), init.kaiming_normal_),
        (jn.variance_scaling(1 / 3, "fan_in", "uniform"), lambda w: torch.nn.Linear(20, 30).weight),
        (jn.zeros, init.zeros_),
        (jn.constant(0.3), lambda w: init.constant_(w, 0.3)),
    ],
)
def test_equal_distributions_pass(ours, theirs):
    result = verify.initializer(ours, theirs, **SIZES)
    assert result.passed
    assert result.cause is None
    assert result.max_error < 1


@pytest.mark.parametrize(
    ("ours", "theirs", "cause"),
    [
        (jn.he_normal(), init.kaiming_normal_, "normal truncated at .* here, normal, "),
        (jn.normal(1.0), lambda w: init.normal_(w, std=0.5), "the scale: 2 times PyTorch's"),
        (jn.uniform(1.0), lambda w: init.uniform_(w, 0, 0.5), "the scale: 2 times PyTorch's"),
        (jn.normal(1.0), lambda w: init.normal_(w, 0.3), "the mean: .* here, 0.3"),
        (jn.zeros, init.normal_, "the distribution: 0 here, normal, deviation 1"),
        (jn.zeros, init.ones_, "the distribution: 0 here, 1 in PyTorch"),
        (
            jn.variance_scaling(1.0, "fan_in", "uniform"),
            lambda w: init.normal_(w, std=20**-0.5),
            "uniform, .* here, normal, .* in PyTorch",
        ),
    ],
)
def test_cause(ours, theirs, cause):
    result = verify.initializer(ours, theirs, **SIZES)
    assert not result.passed
    assert re.search(cause, str(result.cause))
    assert str(result.cause) in str(result)


def test_orthogonal_differs_from_normal_elements_of_one_variance():
    square = {"shape": (16, 16), "draws": 8_000}
    assert verify.initializer(jn.orthogonal(), init.orthogonal_, **square).passed
    result = verify.initializer(jn.normal(0.25), init.orthogonal_, **square)
    assert [part.name for part in result if not part.passed] == ["norm"]


def test_convolutions_compare_fans_in_both_layouts():
    kernel = {"shape": (3, 3, 4, 8), "torch_shape": (8, 4, 3, 3), "draws": 8_000}
    assert verify.initializer(jn.he_uniform(), init.kaiming_uniform_, **kernel).passed
    fan_out = jn.variance_scaling(2.0, "fan_out", "uniform")
    assert not verify.initializer(fan_out, init.kaiming_uniform_, **kernel).passed


def test_draws_are_equal_twice_and_leave_pytorchs_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = verify.initializer(jn.normal(1.0), init.normal_, **SIZES)
    np.testing.assert_array_equal(torch.rand(2), expected)
    second = verify.initializer(jn.normal(1.0), init.normal_, **SIZES)
    np.testing.assert_array_equal(first.here, second.here)
    np.testing.assert_array_equal(first.reference, second.reference)


def test_equal_samples_are_seldom_called_different():
    rng = np.random.default_rng(0)
    failed = sum(
        not one.passed
        for _ in range(50)
        for one in two_samples(rng.normal(size=500), rng.normal(size=500))
    )
    assert failed <= 1  # Of 250, each with a probability of 1e-6.
    assert ALPHA == 1e-6


def test_what_is_said_to_be_noticed_is():
    n = 2000
    rng = np.random.default_rng(1)
    # Uniform numbers shifted by d have distribution functions that differ by d.
    shift = noticed(n)
    found = [not two_samples(rng.random(n), rng.random(n) + shift)[-1].passed for _ in range(50)]
    assert all(found)


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        (lambda rng: rng.uniform(-0.2, 0.2, 5000), "uniform"),
        (lambda rng: rng.normal(size=5000), "normal"),
        (
            lambda rng: np.asarray(
                jax.random.truncated_normal(jax.random.key(0), -2, 2, (5000,)), np.float64
            ),
            "truncated",
        ),
        (lambda rng: rng.exponential(size=5000), ""),
        (lambda rng: rng.normal(size=5000) * (rng.random(5000) < 0.5), "sparse"),
    ],
)
def test_form_is_recognised(sample, kind):
    assert form(sample(np.random.default_rng(0))).kind == kind


@pytest.mark.parametrize(
    ("ours", "theirs", "options", "words"),
    [
        (jn.zeros, init.zeros_, {"draws": 3}, ("draws is 3",)),
        (jn.zeros, init.zeros_, {"shape": (0, 2)}, ("shape is (0, 2)",)),
        (jn.zeros, init.zeros_, {"torch_shape": (7,)}, ("torch_shape (7,)", "as many elements")),
        (jn.orthogonal(), init.orthogonal_, {"shape": (5,)}, ("init raised", "shape (5,)")),
        (jn.zeros, init.xavier_uniform_, {"shape": (5,)}, ("torch_init raised", "shape (5,)")),
        (lambda key, shape, dtype: jnp.zeros(3), init.zeros_, {}, ("init returned shape (3,)",)),
        (jn.zeros, lambda w: torch.zeros(3), {}, ("torch_init returned shape (3,)",)),
        (jn.zeros, lambda w: 1.0, {}, ("torch_init returned a float",)),
        (jn.zeros, lambda w: None, {}, ("torch_init left a number that is NaN",)),
    ],
)
def test_bad_input_is_refused_in_one_line(ours, theirs, options, words, refused):
    with refused(*words):
        verify.initializer(ours, theirs, **{"shape": (20, 30), **options})


@pytest.mark.slow
def test_assert_same_takes_initializers():
    assert verify.assert_same(jn.normal(1.0), init.normal_, (20, 30), draws=8_000).passed
    with pytest.raises(AssertionError, match="the scale"):
        verify.assert_same(jn.normal(0.5), init.normal_, (20, 30), draws=8_000)
