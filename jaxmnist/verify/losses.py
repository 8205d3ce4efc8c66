"""The cross-entropies and softmax: values and gradients against PyTorch, Optax and the formulas."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    cross_entropy_with_integer_labels,
    softmax,
)
from jaxmnist.verify.compare import Comparer, Comparison, Comparisons
from jaxmnist.verify.precision import check_dtype, precision
from jaxmnist.verify.rounding import allowed_by_arithmetic

_REFERENCES = ("numpy", "torch", "optax")
_AROUND = 8
"""Operations of a loss besides its sums and its exponentials."""
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        binary_cross_entropy,
        binary_cross_entropy_with_logits,
        cross_entropy,
        softmax,
        cross_entropy_with_integer_labels,
    )
}


def losses(
    *, against: str = "numpy", dtype: str = "float64", **functions: Callable[..., Any]
) -> Comparisons:
    """Compare the loss functions with the formulas, PyTorch or Optax: values and gradients.

    "numpy" is the formulas on paper, value and derivative, in double precision whatever the dtype.
    The others compute in the dtype, and differentiate by themselves.

    Errors are relative to the largest value of the array they are in. What is allowed is ``eps``
    (`jaxmnist.verify.rounding`) times: the terms of the sums (the batch, the classes), the size of
    the largest logit, because an exponential is wrong by what its exponent is rounded by, and 8
    for the operations around them. Where the reference computes in the same dtype, it may be as
    wrong again.

    Args:
        against: numpy, torch or optax; Optax has only the two losses on logits.
        dtype: float64 or float32.
        **functions: Functions to compare in place of `jaxmnist.losses`' of those names; they take
            the same arguments.

    Returns:
        One comparison for each function, under its row of the tutorial. A step is a case:
        moderate inputs first, then large and certain ones, then the ends of the range.

    Raises:
        InputError: An unknown reference, dtype or function, or PyTorch is not installed.

    Source: tutorial rows D1-D3 and D8.

    >>> result = losses()
    >>> result.passed, [part.name for part in result][-2:]
    (True, ['D8 cross_entropy_with_integer_labels',
            'D8 cross_entropy_with_integer_labels, at 10,000'])
    >>> result = losses(softmax=lambda z: jax.nn.softmax(1.001 * z))
    >>> [part.name for part in result if not part.passed]
    ['D3 softmax', 'D3 softmax, at 10,000']
    """
    check_dtype(dtype)
    if against not in _REFERENCES:
        raise InputError(f"against is {against!r}; it must be one of {', '.join(_REFERENCES)}")
    if unknown := sorted(functions.keys() - _FUNCTIONS.keys()):
        raise InputError(
            f"{unknown[0]!r} is no loss function; it must be one of {', '.join(_FUNCTIONS)}"
        )
    references = {"numpy": _formulas, "torch": _torch, "optax": _optax}[against]()
    roundings = 1 if against == "numpy" else 2  # of ours alone, or of the reference too

    def compare(subject: _Subject) -> Comparison:
        ours = partial(_by_jax, {**_FUNCTIONS, **functions}[subject.name])
        theirs = references[subject.name]
        cases = [case.converted(dtype) for case in subject.cases]
        operations = _AROUND + max(case.terms + case.largest_logit for case in cases)
        allowed = allowed_by_arithmetic(roundings * operations, dtype)
        where = f", {subject.where}" if subject.where else ""
        comparer = Comparer(f"{subject.row} {subject.name}{where}", allowed, by_leaf=True)
        for step, case in enumerate(cases):
            comparer.add(step, _leaves(*ours(case)), _leaves(*theirs(case)))
        return comparer.result()

    with precision(dtype):
        parts = tuple(compare(subject) for subject in _subjects() if subject.name in references)
    return Comparisons(f"losses in JAX and in {against}, {dtype}", parts)


def _leaves(value: Any, gradient: Any) -> dict[str, np.ndarray]:
    return {"value": np.asarray(value), "gradient": np.asarray(gradient)}


class _Case(NamedTuple):
    """One call of a function."""

    arguments: tuple[np.ndarray, ...]
    cotangent: np.ndarray
    """The weights of the function's outputs in the number that is differentiated."""
    terms: int
    """Of the intermediate sums."""
    largest_logit: float = 0.0
    argument: int = 0
    """Which of them the gradient is taken in."""

    def converted(self, dtype: str) -> "_Case":
        """The same in the dtype, so that both start from equal numbers."""
        arguments = (x.astype(dtype) if x.dtype.kind == "f" else x for x in self.arguments)
        return self._replace(arguments=(*arguments,), cotangent=self.cotangent.astype(dtype))


class _Subject(NamedTuple):
    """A function, and what it is called with."""

    row: str
    """Of the tutorial."""
    name: str
    where: str
    """Which part of the function's range this is; empty for its middle."""
    cases: tuple[_Case, ...]


def _subjects() -> tuple[_Subject, ...]:
    rng = np.random.default_rng(0)
    one = np.array(1.0)

    p, some_y = rng.uniform(0.001, 0.999, 257), rng.uniform(size=257)
    y = np.round(rng.uniform(size=p.size))
    # Certain of the wrong class, at both ends of the clamp.
    near_0 = np.array([0.0, 1e-13, 1e-11])
    near_1 = np.array([1.0, 1 - 1e-13, 1 - 1e-4])

    def clamped(p: np.ndarray, y: np.ndarray) -> _Case:
        return _Case((p, y), one, terms=p.size)

    def binary(z: np.ndarray, y: np.ndarray) -> _Case:
        return _Case((z, y), one, terms=z.size, largest_logit=float(np.abs(z).max()))

    z = 2 * rng.normal(size=p.size)
    wrong = np.array([800.0, -800.0, 40.0, -40.0])

    def general(p: np.ndarray, q: np.ndarray, weights: np.ndarray) -> _Case:
        return _Case((p, q), weights, terms=p.shape[1], argument=1)

    weights, mean = rng.normal(size=33), np.full(p.size, 1 / p.size)
    some, other = rng.dirichlet(np.ones(7), size=(2, 33))
    impossible = np.where(some < 0.1, 0.0, some)
    impossible /= impossible.sum(axis=1, keepdims=True)
    two = np.stack([y, 1 - y], axis=1), np.stack([p, 1 - p], axis=1)

    cotangent, labels = rng.normal(size=(33, 7)), rng.integers(0, 10, 64)

    def soft(z: np.ndarray) -> _Case:
        return _Case((z,), cotangent, terms=7, largest_logit=float(np.abs(z).max()))

    def integer(z: np.ndarray) -> _Case:
        largest = float(np.abs(z).max())
        return _Case((z, labels), one, terms=sum(z.shape), largest_logit=largest)

    def ends(*shape: int) -> tuple[np.ndarray, np.ndarray]:
        """Shifted far, and certain."""
        certain = np.where(np.arange(shape[1]) < 2, 1e4, -1e4) + rng.integers(0, 3, shape)
        return 1e4 + np.round(rng.normal(size=shape), 2), certain

    z_33, z_64 = rng.normal(size=(33, 7)), rng.normal(size=(64, 10))
    on_probabilities, on_logits = "binary_cross_entropy", "binary_cross_entropy_with_logits"
    with_labels = "cross_entropy_with_integer_labels"
    return (
        _Subject("D1", on_probabilities, "", (clamped(p, y), clamped(p, some_y))),
        _Subject(
            "D1",
            on_probabilities,
            "at the clamp",
            (clamped(near_0, np.ones(3)), clamped(near_1, np.zeros(3))),
        ),
        _Subject("D1", on_logits, "", (binary(z, y), binary(z, some_y))),
        _Subject("D1", on_logits, "wrong by 800", (binary(wrong, (wrong < 0).astype(float)),)),
        _Subject(
            "D2",
            "cross_entropy",
            "",
            (general(some, other, weights), general(impossible, other, weights)),
        ),
        _Subject("D2", "cross_entropy", "two classes", (general(*two, mean),)),
        _Subject("D3", "softmax", "", (soft(z_33), soft(20 * z_33))),
        _Subject("D3", "softmax", "at 10,000", tuple(map(soft, ends(33, 7)))),
        _Subject("D8", with_labels, "", (integer(z_64), integer(20 * z_64))),
        _Subject("D8", with_labels, "at 10,000", tuple(map(integer, ends(64, 10)))),
    )


def _by_jax(function: Callable[..., Any], case: _Case) -> tuple[Any, Any]:
    """The value and the gradient of a function of JAX's arrays."""
    arguments = [jnp.asarray(x) for x in case.arguments]
    before, after = arguments[: case.argument], arguments[case.argument + 1 :]
    value, pull_back = jax.vjp(lambda x: function(*before, x, *after), arguments[case.argument])
    return value, *pull_back(jnp.asarray(case.cotangent))


def _torch() -> dict[str, Callable[[_Case], tuple[Any, Any]]]:
    """PyTorch's functions; the two on probabilities are the tutorial's programs."""
    torch = require_torch()
    functional = torch.nn.functional

    def clamped(p: Any, y: Any) -> Any:
        log_p, log_not_p = (x.clamp(min=1e-12).log() for x in (p, 1 - p))
        return -(y * log_p + (1 - y) * log_not_p).mean()

    functions = {
        "binary_cross_entropy": clamped,
        "binary_cross_entropy_with_logits": functional.binary_cross_entropy_with_logits,
        "cross_entropy": lambda p, q: -torch.xlogy(p, q).sum(-1),
        "softmax": lambda z: torch.softmax(z, -1),
        "cross_entropy_with_integer_labels": functional.cross_entropy,
    }

    def by_torch(function: Callable[..., Any], case: _Case) -> tuple[Any, Any]:
        arguments = [torch.tensor(x) for x in case.arguments]
        arguments[case.argument].requires_grad_()
        value = function(*arguments)
        value.backward(torch.tensor(case.cotangent))
        return value.detach(), arguments[case.argument].grad

    return {name: partial(by_torch, function) for name, function in functions.items()}


def _optax() -> dict[str, Callable[[_Case], tuple[Any, Any]]]:
    """Optax's two losses on logits, averaged."""
    functions = {
        "binary_cross_entropy_with_logits": optax.sigmoid_binary_cross_entropy,
        "cross_entropy_with_integer_labels": optax.softmax_cross_entropy_with_integer_labels,
    }

    def mean_by_jax(function: Callable[..., Any], case: _Case) -> tuple[Any, Any]:
        return _by_jax(lambda *arguments: jnp.mean(function(*arguments)), case)

    return {name: partial(mean_by_jax, function) for name, function in functions.items()}


def _formulas() -> dict[str, Callable[[_Case], tuple[Any, Any]]]:
    """The values and their derivatives as one writes them on paper, in double precision."""

    def clamped(c: Any, p: Any, y: Any) -> tuple[Any, Any]:
        smallest = 1e-12
        log_p, log_not_p = (np.log(np.maximum(x, smallest)) for x in (p, 1 - p))
        slope = np.where(p > smallest, y / np.maximum(p, smallest), 0.0)
        slope -= np.where(1 - p > smallest, (1 - y) / np.maximum(1 - p, smallest), 0.0)
        return -np.mean(y * log_p + (1 - y) * log_not_p), -c * slope / p.size

    def binary(c: Any, z: Any, y: Any) -> tuple[Any, Any]:
        value = np.mean(y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z))
        return value, c * (np.exp(-np.logaddexp(0, -z)) - y) / z.size

    def general(c: Any, p: Any, q: Any) -> tuple[Any, Any]:
        return -np.sum(p * np.log(q), axis=-1), -c[:, None] * p / q

    def log_softmax(z: Any) -> Any:
        z = z - z.max(axis=-1, keepdims=True)
        return z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))

    def soft(c: Any, z: Any) -> tuple[Any, Any]:
        p = np.exp(log_softmax(z))
        return p, p * (c - np.sum(c * p, axis=-1, keepdims=True))

    def integer(c: Any, z: Any, labels: Any) -> tuple[Any, Any]:
        log_p, is_label = log_softmax(z), labels[:, None] == np.arange(z.shape[1])
        return -np.mean(log_p[is_label]), c * (np.exp(log_p) - is_label) / len(z)

    formulas = {
        "binary_cross_entropy": clamped,
        "binary_cross_entropy_with_logits": binary,
        "cross_entropy": general,
        "softmax": soft,
        "cross_entropy_with_integer_labels": integer,
    }

    def in_double(formula: Callable[..., tuple[Any, Any]], case: _Case) -> tuple[Any, Any]:
        case = case.converted("float64")
        return formula(case.cotangent, *case.arguments)

    return {name: partial(in_double, formula) for name, formula in formulas.items()}
