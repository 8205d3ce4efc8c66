"""`verify.losses` and `verify.calculus` pass on what is right, and report what is made wrong."""

import importlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxmnist import InputError, losses, verify
from jaxmnist.verify import report, suite
from jaxmnist.verify.calculus import _EXAMPLES

# The package's name of it is the function.
CALCULUS = importlib.import_module("jaxmnist.verify.calculus")


@pytest.mark.slow_except("torch-float64")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("against", ["numpy", "torch", "optax"])
def test_losses_pass(against, dtype):
    result = verify.losses(against=against, dtype=dtype)
    assert result.passed, str(result)
    assert {part.name.split()[0] for part in result} >= {"D1", "D8"}
    # The inputs reach where rounding shows: a comparison of zeros would have no error at all.
    assert against == "optax" or result.max_error > 0


def clamped_at(smallest: float) -> Any:
    def clamped(p: Any, y: Any) -> Any:
        log_p, log_not_p = (jnp.log(jnp.maximum(x, smallest)) for x in (p, 1 - p))
        return -jnp.mean(y * log_p + (1 - y) * log_not_p)

    return clamped


def clamped_with_a_gradient(p: Any, y: Any) -> Any:
    """The right value, and the gradient as if nothing were clamped."""
    plain = clamped_at(1e-300)(p, y)
    return plain + jax.lax.stop_gradient(losses.binary_cross_entropy(p, y) - plain)


def naive_softmax(z: Any) -> Any:
    return jnp.exp(z) / jnp.sum(jnp.exp(z), axis=-1, keepdims=True)


def naive_cross_entropy(z: Any, labels: Any) -> Any:
    p = jnp.take_along_axis(naive_softmax(z), labels[:, None], axis=1)
    return -jnp.mean(jnp.log(p))


def smoothed_cross_entropy(z: Any, labels: Any) -> Any:
    uniform = jax.nn.logsumexp(z, axis=-1) - jnp.mean(z, axis=-1)
    one = losses.cross_entropy_with_integer_labels(z, labels)
    return (1 - 1e-6) * one + 1e-6 * jnp.mean(uniform)


def clamped_on_logits(z: Any, y: Any) -> Any:
    return losses.binary_cross_entropy(jax.nn.sigmoid(z), y)


MIDDLE, CLAMP = "D1 binary_cross_entropy", "D1 binary_cross_entropy, at the clamp"
ON_LOGITS, WITH_LABELS = (
    "D1 binary_cross_entropy_with_logits",
    "D8 cross_entropy_with_integer_labels",
)


@pytest.mark.parametrize(
    ("name", "wrong", "caught"),
    [
        ("binary_cross_entropy", clamped_at(1e-11), CLAMP),
        ("binary_cross_entropy", clamped_at(9.9e-13), CLAMP),
        ("binary_cross_entropy", clamped_with_a_gradient, CLAMP),
        ("binary_cross_entropy", lambda p, y: -jnp.mean(y * jnp.log(p)), MIDDLE),
        ("binary_cross_entropy", lambda p, y: losses.binary_cross_entropy(y, p), MIDDLE),
        ("binary_cross_entropy_with_logits", clamped_on_logits, f"{ON_LOGITS}, wrong by 800"),
        (
            "binary_cross_entropy_with_logits",
            lambda z, y: losses.binary_cross_entropy_with_logits(-z, y),
            ON_LOGITS,
        ),
        ("cross_entropy", lambda p, q: losses.cross_entropy(q, p), "D2 cross_entropy"),
        (
            "cross_entropy",
            lambda p, q: losses.cross_entropy(p, q) / jnp.log(2.0),
            "D2 cross_entropy, two classes",
        ),
        ("softmax", naive_softmax, "D3 softmax, at 10,000"),
        ("softmax", lambda z: losses.softmax(z * (1 + 1e-12)), "D3 softmax"),
        ("cross_entropy_with_integer_labels", naive_cross_entropy, f"{WITH_LABELS}, at 10,000"),
        ("cross_entropy_with_integer_labels", smoothed_cross_entropy, WITH_LABELS),
        (
            "cross_entropy_with_integer_labels",
            lambda z, labels: losses.cross_entropy_with_integer_labels(z, labels) * len(labels),
            WITH_LABELS,
        ),
    ],
)
def test_losses_catch_a_wrong_function(name, wrong, caught):
    result = verify.losses(**{name: wrong})
    failed = [part.name for part in result if not part.passed]
    assert caught in failed
    # Nothing but that function is blamed.
    assert all(part.split()[1].rstrip(",") == name for part in failed)


def test_losses_refuse_what_they_do_not_know():
    with pytest.raises(InputError, match="against is 'keras'; it must be one of numpy, torch, op"):
        verify.losses(against="keras")
    with pytest.raises(InputError, match="dtype is 'float16'; it must be one of"):
        verify.losses(dtype="float16")
    with pytest.raises(
        InputError, match="'hinge' is no loss function; it must be one of binary_cross_ent"
    ):
        verify.losses(hinge=jnp.maximum)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_calculus_passes(dtype):
    result = verify.calculus(dtype=dtype)
    assert result.passed, str(result)
    assert [part.name.split()[0] for part in result] == 3 * ["D12"] + 3 * ["D13"]
    assert result["D13 by the chain rule"].max_error > 0


@pytest.mark.parametrize(
    ("example", "input_", "leaf"), [(0, "x", "df/dx"), (0, "z", "df/dz"), (1, "w2", "da/dw2")]
)
def test_calculus_catches_a_gradient_that_is_cut(monkeypatch, example, input_, leaf):
    right = _EXAMPLES[example]

    def cut(at: Any) -> Any:
        return right.nodes({**at, input_: jax.lax.stop_gradient(at[input_])})

    monkeypatch.setattr(CALCULUS, "_EXAMPLES", (right._replace(nodes=cut),))
    result = verify.calculus()
    assert [part.passed for part in result] == [False, False, False]
    assert {part.first_divergence.leaf for part in result if part.first_divergence} == {leaf}


def test_calculus_catches_a_wrong_node(monkeypatch):
    right = _EXAMPLES[1]
    moved = right._replace(nodes=lambda at: right.nodes({**at, "power": at["power"] + 1e-6}))
    monkeypatch.setattr(CALCULUS, "_EXAMPLES", (moved,))
    by_hand, differences, printed = verify.calculus()
    assert (by_hand.passed, differences.passed, printed.passed) == (False, True, False)


@pytest.mark.slow
def test_calculus_has_every_number_of_the_tutorial():
    """D12 has 6, D13 has 8 nodes, the backward pass from the output to z, and 5 inputs."""
    assert [len(example.printed) for example in _EXAMPLES] == [6, 18]


@pytest.mark.slow
def test_numbers_that_json_lacks_are_text():
    result = verify.losses(softmax=lambda z: z * jnp.nan)
    check = suite.Check("losses", "losses", "numpy", lambda: result)
    text = json.dumps(report.as_json([report.Outcome(check, result)], "x"), allow_nan=False)
    assert '"relative": "inf"' in text
    assert '"actual": "nan"' in text
