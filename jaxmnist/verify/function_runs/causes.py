"""Why two functions differ: what is supposed is tried on the numbers, and named if it fits all."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.verify.function_runs.pair import GRADIENTS, VALUES, Outcome, Pair
from jaxmnist.verify.model_runs.judge import Parts, compared
from jaxmnist.verify.rounding import epsilon

_OF_FLOAT32: Final = 1e3 * epsilon("float32")
"""The largest relative error that some float32 inside a float64 function may explain."""

_FORMS: Final[dict[str, Callable[[Any], Any]]] = {
    "the logistic function": jax.nn.sigmoid,
    "the softmax": lambda x: jax.nn.softmax(x, axis=-1),
    "the log-softmax": lambda x: jax.nn.log_softmax(x, axis=-1),
    "the logarithm": jnp.log,
    "the exponential": jnp.exp,
    "the transpose": jnp.transpose,
}
"""What an argument may have to be given as."""


def find_cause(pair: Pair, outcome: Outcome) -> str | None:
    """Name the difference of two functions.

    Args:
        pair: The functions and their arguments.
        outcome: What they computed.

    Returns:
        Short words, or None if nothing known explains all numbers.
    """
    for suppose in (_float32, _factor, _infinite, _values_only, _gradients_only, _other_form):
        cause = suppose(pair, outcome)
        if cause is not None:
            return cause
    return None


def _float32(pair: Pair, outcome: Outcome) -> str | None:
    if max(part.max_error for part in outcome.parts) > _OF_FLOAT32 or pair.dtype != "float64":
        return None
    narrower = pair.narrower()
    if not narrower:
        return None
    where = " and ".join(narrower)
    return f"float32 inside: intermediate values are narrower than float64 in {where}"


def _factor(pair: Pair, outcome: Outcome) -> str | None:
    actual, expected = outcome.actual[VALUES], outcome.expected[VALUES]
    largest = max(expected, key=lambda name: np.abs(expected[name]).max(initial=0.0))
    if not expected[largest].size:
        return None
    at = np.abs(expected[largest]).argmax()
    with np.errstate(all="ignore"):
        factor = float(np.real(actual[largest].flat[at] / expected[largest].flat[at]))
    if not np.isfinite(factor) or factor == 0 or abs(factor - 1) < 1e-9:
        return None
    scaled: Parts = {
        part: {leaf: np.asarray(x * factor) for leaf, x in leaves.items()}
        for part, leaves in outcome.expected.items()
    }
    if not _same(outcome, outcome.actual, scaled):
        return None
    if abs(factor + 1) < outcome.allowed:
        return "the sign: f is -1 times torch_f's"
    return f"a factor: f is {_simple(factor)} times torch_f's{_reduction(pair, factor)}"


def _reduction(pair: Pair, factor: float) -> str:
    """The number of elements that a sum and a mean differ by, where that explains the factor."""
    ours, theirs = ("sum", "mean") if factor > 1 else ("mean", "sum")
    for rest in (1, 0.5, 2):  # As of squares with and without their half.
        for name, count in _counts(pair):
            times = (count if factor > 1 else 1 / count) * rest
            if count > 2 and abs(factor / times - 1) < 1e-9:
                more = "" if rest == 1 else f", times {rest}"
                return f": a {ours} here and a {theirs} there over {name}, {count}{more}"
    return ""


def _counts(pair: Pair) -> Iterator[tuple[str, int]]:
    for array in jax.tree.leaves(pair.arguments):
        if array.ndim:
            yield "all elements", array.size
            yield "the batch", array.shape[0]
            yield "the last axis", array.shape[-1]
            yield "the elements of one input", array.size // max(array.shape[0], 1)


def _simple(factor: float) -> str:
    for n in range(2, 1001):
        if factor < 1 and abs(factor * n - 1) < 1e-12 and n not in (2, 4, 5, 10):
            return f"1/{n}"
    return f"{factor:.6g}"


def _values_only(pair: Pair, outcome: Outcome) -> str | None:
    """Values that differ where all gradients agree: by what no argument enters."""
    if GRADIENTS not in outcome.actual or not _same(outcome, *_only(outcome, GRADIENTS)):
        return None
    differences = [
        np.ravel(outcome.actual[VALUES][leaf] - x) for leaf, x in outcome.expected[VALUES].items()
    ]
    flat = np.concatenate(differences)
    largest = max(np.abs(x).max(initial=0.0) for x in outcome.expected[VALUES].values())
    if np.ptp(flat) <= 10 * outcome.allowed * largest:
        return f"a constant: f is larger by {flat[0]:.6g}; the gradients agree"
    return "a term that the gradients do not see: values differ and gradients agree"


def _gradients_only(pair: Pair, outcome: Outcome) -> str | None:
    if not _same(outcome, *_only(outcome, VALUES)):
        return None
    actual, expected = outcome.actual[GRADIENTS], outcome.expected[GRADIENTS]
    for leaf, x in expected.items():
        if np.any(actual[leaf]) != np.any(x):
            where = "torch_f" if np.any(actual[leaf]) else "f"
            return f"no gradient: that in {leaf} is zero in {where}; the values agree"
    given, counts = np.unique(
        np.concatenate([np.ravel(x) for x in pair.differentiated.values()]), return_counts=True
    )
    ties, edges = given[counts > 1], 0
    for leaf, x in pair.differentiated.items():
        wrong = np.abs(actual[leaf] - expected[leaf]) > outcome.allowed * np.abs(expected[leaf])
        # Kinks are where elements are equal, or at whole numbers.
        if np.any(wrong & ~np.isin(x, ties) & (x != np.round(x))):
            return None
        edges += int(wrong.sum())
    return f"the derivative at a kink: gradients differ at {edges} elements; the values agree"


def _infinite(pair: Pair, outcome: Outcome) -> str | None:
    for leaf, e in outcome.expected[VALUES].items():
        a = outcome.actual[VALUES][leaf]
        bad_a, bad_e = ~np.isfinite(a), ~np.isfinite(e)
        if np.any(bad_a != bad_e):
            agree = np.isfinite(a) & np.isfinite(e)
            ours, theirs = {leaf: a[agree]}, {leaf: e[agree]}
            if not agree.any() or _same(outcome, {VALUES: ours}, {VALUES: theirs}, False):
                who = ("f", "torch_f") if np.any(bad_a & ~bad_e) else ("torch_f", "f")
                return f"a bound: {who[0]} is not finite where {who[1]} is"
    return None


def _other_form(pair: Pair, outcome: Outcome) -> str | None:
    """An argument that one side takes as it is and the other as its logarithm, or the like."""
    positional, keyword = pair.arguments
    if keyword:
        return None
    floats = [i for i, x in enumerate(positional) if getattr(x, "dtype", np.int8) == pair.dtype]
    swapped = list(positional)
    if len(floats) > 1 and positional[floats[0]].shape == positional[floats[1]].shape:
        i, j = floats[:2]
        swapped[i], swapped[j] = swapped[j], swapped[i]
        if _agrees(pair, outcome, swapped):
            return "the order of the arguments: f takes the first two the other way round"
    for i in floats:
        for name, form in _FORMS.items():
            with jax.enable_x64(pair.dtype == "float64"):
                given = [*positional[:i], np.asarray(form(positional[i])), *positional[i + 1 :]]
            if np.all(np.isfinite(given[i])) and _agrees(pair, outcome, given):
                return f"another form of args[{i}]: f takes {name} of what torch_f takes"
    return None


def _agrees(pair: Pair, outcome: Outcome, arguments: list[Any]) -> bool:
    values = pair.values_of((tuple(arguments), {}))
    expected = outcome.expected[VALUES]
    if values is None or values.keys() != expected.keys():
        return False
    if any(values[name].shape != expected[name].shape for name in expected):
        return False
    return _same(outcome, {VALUES: values}, {VALUES: expected}, False)


def _only(outcome: Outcome, part: str) -> tuple[Parts, Parts]:
    return {part: outcome.actual[part]}, {part: outcome.expected[part]}


def _same(outcome: Outcome, actual: Parts, expected: Parts, with_sizes: bool = True) -> bool:
    """Whether arrays agree within what was allowed, with room for the supposed number's rounding.

    Arrays that are zero on both sides agree too.
    """
    sizes = outcome.sizes if with_sizes else None
    found = compared(actual, expected, sizes, 10 * outcome.allowed)
    return all(part.first_divergence is None for part in found)
