"""Functions compared with PyTorch's: what passes, what does not, and what is named as the cause."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from jaxmnist import verify

RNG = np.random.default_rng(0)
P, T = RNG.normal(size=(6, 5)), RNG.normal(size=(6, 5))
LABELS = np.arange(6) % 5
IMAGE = RNG.normal(size=(2, 4, 4, 3))


def test_loss_agrees_in_values_and_gradients():
    result = verify.function(
        lambda p, y: optax.softmax_cross_entropy_with_integer_labels(p, y).mean(),
        F.cross_entropy,
        (P, LABELS),
    )
    assert result.passed
    assert result.cause is None
    assert [part.name for part in result] == ["values", "gradients"]
    assert 0 < result.max_error < 1e-14


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_error_just_above_rounding_is_found(dtype):
    slightly = 1 + 1e3 * float(np.finfo(dtype).eps)
    result = verify.function(
        lambda p, t: slightly * optax.squared_error(p, t).mean(), F.mse_loss, (P, T), dtype=dtype
    )
    assert not result.passed
    assert verify.function(
        lambda p, t: optax.squared_error(p, t).mean(), F.mse_loss, (P, T), dtype=dtype
    ).passed


def test_cancelling_sum_is_allowed_its_noise():
    far = P + 1e3
    result = verify.function(
        lambda x: (x**2).mean() - x.mean() ** 2, lambda x: x.var(correction=0), far
    )
    assert result.passed
    assert result["values"].errors.absolute > 100 * result["values"].tolerance


@pytest.mark.parametrize(
    ("f", "torch_f", "cause"),
    [
        (
            lambda p, t: optax.squared_error(p, t).sum(),
            F.mse_loss,
            "a factor: f is 30 times torch_f's: a sum here and a mean there over all elements, 30",
        ),
        (
            lambda p, t: optax.l2_loss(p, t).mean(0).sum(),
            lambda p, t: F.mse_loss(p, t, reduction="sum"),
            "a factor: f is 1/12 times torch_f's: a mean here and a sum there over the batch, 6, "
            "times 0.5",
        ),
        (lambda p, t: (p * t).sum(), lambda p, t: -(p * t).sum(), "the sign: f is -1 times"),
        (lambda p, t: (p * t).sum() + 2.5, lambda p, t: (p * t).sum(), "a constant: f is larger"),
        (
            lambda p, t: (p.astype(jnp.float32) * t.astype(jnp.float32)).sum().astype(float),
            lambda p, t: (p * t).sum(),
            "float32 inside: intermediate values are narrower than float64 in JAX",
        ),
        (
            lambda p, t: (p * t).sum(),
            lambda p, t: (p.float() * t.float()).sum().double(),
            "float32 inside: intermediate values are narrower than float64 in PyTorch",
        ),
        (
            lambda p, t: (jax.lax.stop_gradient(p) * t).sum(),
            lambda p, t: (p * t).sum(),
            "no gradient: that in args[0] is zero in f",
        ),
        (
            lambda p, t: jnp.log(jnp.maximum(p, 0)),
            lambda p, t: torch.log(p.clamp(min=1e-30)),
            "a bound: f is not finite where torch_f is",
        ),
        (
            lambda p, t: (p - jnp.exp(t)).sum(),
            lambda p, t: (t - p.exp()).sum(),
            "the order of the arguments",
        ),
        (
            lambda p, t: (p * t).sum(),
            lambda p, t: (torch.softmax(p, -1) * t).sum(),
            "another form of args[0]: f takes the softmax",
        ),
        (lambda p, t: (p * t).sum(), lambda p, t: (p**2 * t.cos()).sum(), None),
    ],
)
def test_cause(f, torch_f, cause):
    result = verify.function(f, torch_f, (P, T))
    assert not result.passed
    assert result.cause is None if cause is None else cause in result.cause
    assert f"cause: {cause or 'none of those that are known'}" in str(result)


def test_derivative_at_a_kink_is_named():
    result = verify.function(jnp.abs, torch.abs, np.array([0.0, 1.5, -2.5]))
    assert result["values"].passed
    assert "the derivative at a kink: gradients differ at 1 elements" in str(result.cause)


def test_arguments_by_name_trees_integers_and_modules():
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    result = verify.function(
        lambda p, y: {
            "loss": jnp.average(
                optax.softmax_cross_entropy_with_integer_labels(p["logits"], y),
                weights=jnp.arange(1.0, 6.0)[y],
            )
        },
        lambda p, y: {"loss": torch.nn.CrossEntropyLoss(weights.double())(p["logits"], y)},
        {"p": {"logits": P}, "y": LABELS},
    )
    assert result.passed
    module = torch.nn.CrossEntropyLoss(weight=weights)
    averaged = verify.function(
        lambda p, y: jnp.average(
            optax.softmax_cross_entropy_with_integer_labels(p, y), weights=jnp.arange(1.0, 6.0)[y]
        ),
        module,
        (P, LABELS),
    )
    assert averaged.passed
    assert module.weight is not None
    assert module.weight.dtype == torch.float32


def test_layouts_may_differ():
    result = verify.function(
        lambda x: x[:, ::2, ::2].mean((1, 2)) + 0 * x.sum(),
        lambda x: x[:, :, ::2, ::2].mean((2, 3)),
        IMAGE,
        torch_args=IMAGE.transpose(0, 3, 1, 2),
    )
    assert result.passed
    assert "gradients" in [part.name for part in result]


def test_wrt_chooses_the_gradients():
    def f(p, t):
        return (p * jax.lax.stop_gradient(t)).sum()

    def torch_f(p, t):
        return (p * t).sum()

    assert verify.function(f, torch_f, (P, T), wrt=0).passed
    assert not verify.function(f, torch_f, (P, T), wrt=1).passed
    assert [part.name for part in verify.function(f, torch_f, (P, T), wrt=())] == ["values"]


def test_zeros_on_both_sides_are_no_proof():
    assert not verify.function(lambda p: 0 * p, lambda p: 0 * p, P).passed


@pytest.mark.parametrize(
    ("f", "torch_f", "options", "words"),
    [
        (lambda p: p, lambda p: p.sum(), {}, ("f returns shape (6, 5), and torch_f ()", "mean")),
        (lambda p: p.T, lambda p: p, {}, ("shape (5, 6) here and (6, 5) in torch_f",)),
        (
            lambda p: {"a": p, "b": p},
            lambda p: p,
            {},
            ("f returns a (6, 5), b (6, 5), and torch_f an array of (6, 5)",),
        ),
        (lambda p: p @ p, lambda p: p, {}, ("f raised on float64 inputs of shape (6, 5)",)),
        (lambda p: p, lambda p: p @ p, {}, ("torch_f raised on float64 inputs of shape (6, 5)",)),
        (lambda p: "no", lambda p: p, {}, ("f returned a str",)),
        (lambda p: p, lambda p: p, {"wrt": 1}, ("wrt is 1", "floats: 0")),
        (lambda p: p, lambda p: p, {"tolerance": -1.0}, ("tolerance is -1.0",)),
        (lambda p: p, lambda p: p, {"dtype": "int8"}, ("dtype is 'int8'",)),
        (lambda p: p * jnp.nan, lambda p: p * torch.nan, {}, ("nan here and in torch_f",)),
    ],
)
def test_bad_input_is_refused_in_one_line(f, torch_f, options, words, refused):
    with refused(*words):
        verify.function(f, torch_f, P, **options)


def test_assert_same_takes_functions():
    def squares(p, t):
        return optax.squared_error(p, t).mean()

    assert verify.assert_same(squares, F.mse_loss, (P, T)).passed
    assert verify.assert_same(verify.function(squares, F.mse_loss, (P, T))).passed
    with pytest.raises(AssertionError, match="a factor: f is 2 times"):
        verify.assert_same(lambda p, t: 2 * squares(p, t), F.mse_loss, (P, T))
