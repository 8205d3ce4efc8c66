"""What an initializer draws, and in which respect two of them differ."""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from jaxmnist.verify.initializers.statistics import ALPHA, two_samples

_TRUNCATED: Final = float(stats.truncnorm.std(-2, 2))
"""The standard deviation of a normal number that is drawn again outside ±2."""


class Form(NamedTuple):
    """A known distribution."""

    kind: str
    """Such as "uniform"; "" for none that is known."""
    text: str
    """With its numbers."""


def form(sample: np.ndarray) -> Form:
    """Recognise a sample's distribution.

    Args:
        sample: float64[n].

    Returns:
        It: one number, uniform, normal, or normal and truncated at two deviations.

    >>> form(np.zeros(100))
    Form(kind='constant', text='0')
    >>> form(np.random.default_rng(0).uniform(-0.5, 0.5, 10_000)).kind
    'uniform'
    """
    low, high, deviation = float(sample.min()), float(sample.max()), float(sample.std())
    if np.ptp(sample) == 0:
        return Form("constant", f"{low:g}")
    if np.mean(sample == 0) > 0.01:
        return Form("sparse", f"{np.mean(sample == 0):.0%} zeros")
    mean = float(sample.mean())
    middle = mean if abs(mean) > 5 * deviation / math.sqrt(len(sample)) else 0.0
    half = (high - low) / 2 * (1 + 1 / len(sample))
    scale = deviation / _TRUNCATED
    candidates: dict[str, tuple[Callable[..., object], str]] = {
        "uniform": (
            stats.uniform(middle - half, 2 * half).cdf,
            f"uniform, {middle:.3g} ± {half:.3g}",
        ),
        "normal": (stats.norm(middle, deviation).cdf, f"normal, deviation {deviation:.3g}"),
        "truncated": (
            stats.truncnorm(-2, 2, middle, scale).cdf,
            f"normal truncated at ±{2 * scale:.3g}, deviation {deviation:.3g}",
        ),
    }
    likely = {kind: stats.kstest(sample, cdf).pvalue for kind, (cdf, _) in candidates.items()}
    # A truncated normal and a whole one of one deviation differ most at their ends.
    if max(abs(low - middle), abs(high - middle)) > 2.05 * scale:
        likely["truncated"] = 0.0
    best = max(likely, key=lambda kind: likely[kind])
    if likely[best] < ALPHA:
        return Form("", f"of deviation {deviation:.3g}")
    return Form(best, candidates[best][1])


def find_cause(here: np.ndarray, there: np.ndarray) -> str | None:
    """Name the difference of two samples.

    Args:
        here: float64[n].
        there: float64[n].

    Returns:
        Short words; None if neither a factor nor the distributions' kinds explain it.
    """
    ours, theirs = form(here), form(there)
    if "constant" in (ours.kind, theirs.kind) or ours.kind != theirs.kind:
        known = ours.kind and theirs.kind
        return f"the distribution: {ours.text} here, {theirs.text} in PyTorch" if known else None
    if not here.std() or not there.std():
        return None
    for factor in (float(here.std() / there.std()), float(np.ptp(here) / np.ptp(there))):
        if all(one.passed for one in two_samples(here / factor, there)):
            return f"the scale: {factor:.2g} times PyTorch's{_root(factor)}"
    if abs(here.mean() - there.mean()) > 1e-3 * there.std():
        moved = here - here.mean() + there.mean()
        if all(one.passed for one in two_samples(moved, there)):
            return f"the mean: {here.mean():.3g} here, {there.mean():.3g} in PyTorch"
    if ours.text != theirs.text:
        return f"the distribution: {ours.text} here, {theirs.text} in PyTorch"
    return None


def _root(factor: float) -> str:
    """A factor as the root of a small whole number or its inverse, where it is one within 1 %."""
    for n in (2, 3, 5, 6, 7, 8, 10, 12):
        for value, text in ((math.sqrt(n), f"√{n}"), (1 / math.sqrt(n), f"1/√{n}")):
            if abs(factor / value - 1) < 0.01:
                return f", about {text}"
    return ""
