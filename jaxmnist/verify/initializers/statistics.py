"""Tests of two samples: whether they can be of one distribution, and what would be noticed."""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from scipy import stats

ALPHA: Final = 1e-6
"""The probability that equal distributions are called different, of each statistic."""

POWER: Final = 1 - 1e-3
"""The probability with which a distance of `noticed` is found."""

_QUANTILE: Final = float(stats.norm.isf(ALPHA / 2))


class Statistic(NamedTuple):
    """One way in which two samples may differ."""

    name: str
    here: float
    there: float
    difference: float
    """Between the two, in the statistic's own units."""
    allowed: float
    """What chance explains, but for a probability of `ALPHA`."""

    @property
    def passed(self) -> bool:
        """Whether chance explains it."""
        return bool(self.difference <= self.allowed)

    @property
    def multiple(self) -> float:
        """The difference over what chance explains."""
        if not self.allowed:
            return math.inf if self.difference else 0.0
        return self.difference / self.allowed


def noticed(n: int) -> float:
    """Return the distance of two distributions that so many draws of each find.

    By the inequality of Dvoretzky, Kiefer and Wolfowitz with Massart's constant, an empirical
    distribution of n draws is within ``sqrt(log(2 / p) / (2 n))`` of its own but with probability
    p.

    Args:
        n: Elements drawn of each, independent.

    Returns:
        The largest difference of the two distribution functions, found with probability `POWER`.

    >>> round(noticed(100_000), 3)
    0.025
    """
    return _critical(n) + 2 * math.sqrt(math.log(4 / (1 - POWER)) / (2 * n))


def two_samples(here: np.ndarray, there: np.ndarray) -> list[Statistic]:
    """Compare two samples by their moments, their ends, and their whole distributions.

    Args:
        here: float64[n].
        there: float64[n].

    Returns:
        The mean, the standard deviation, the numbers of elements below and above all of the other
        sample, and the largest difference of the distribution functions (Kolmogorov, Smirnov).
    """
    n = len(here)
    means, deviations = (here.mean(), there.mean()), (here.std(), there.std())
    spread = math.sqrt((here.var() + there.var()) / n)
    # That of a sample's variance is (fourth moment - variance²) / n.
    variances = [
        max(float(np.mean((x - x.mean()) ** 4) - x.var() ** 2), 0.0) / n for x in (here, there)
    ]
    gap = abs(here.var() - there.var())
    scale = (deviations[0] + deviations[1]) or 1.0
    found: Any = stats.ks_2samp(here, there, method="asymp")
    at = float(found.statistic_location)
    # Of 2 n draws the largest k are all of one sample with probability 2^-k.
    beyond = math.ceil(-math.log2(ALPHA))
    lowest = max(int(np.sum(here < there.min())), int(np.sum(there < here.min())))
    highest = max(int(np.sum(here > there.max())), int(np.sum(there > here.max())))
    return [
        Statistic("mean", *means, abs(means[0] - means[1]), _QUANTILE * spread),
        Statistic(
            "standard deviation",
            *deviations,
            gap / scale,
            _QUANTILE * math.sqrt(sum(variances)) / scale,
        ),
        Statistic("minimum", here.min(), there.min(), lowest, beyond),
        Statistic("maximum", here.max(), there.max(), highest, beyond),
        Statistic(
            "distribution",
            float(np.mean(here <= at)),
            float(np.mean(there <= at)),
            float(found.statistic),
            _critical(n),
        ),
    ]


def norms(here: np.ndarray, there: np.ndarray) -> Statistic | None:
    """Compare the largest singular values of matrices, which their elements alone do not show.

    Args:
        here: float64[n, ..., out], of two axes and more.
        there: As many; [n, ..., out], or [n, out, ...] as PyTorch has it.

    Returns:
        The distance of their distributions; None for vectors, or if neither end is the outputs.
    """
    if min(here.ndim, there.ndim) < 3 or here.shape[-1] not in (there.shape[-1], there.shape[1]):
        return None
    outputs = here.shape[-1]
    rows = (-1, outputs) if there.shape[-1] == outputs else (outputs, -1)
    matrices = (here.reshape(len(here), -1, outputs), there.reshape(len(there), *rows))
    largest = [np.linalg.norm(x, 2, axis=(1, 2)) for x in matrices]
    # Where all are 1 up to rounding, their order is that of their roundings.
    largest = [np.round(x, 9) for x in largest]
    found: Any = stats.ks_2samp(*largest, method="asymp")
    means = (float(largest[0].mean()), float(largest[1].mean()))
    return Statistic("norm", *means, float(found.statistic), _critical(len(here)))


def _critical(n: int) -> float:
    """The distance of two samples' distribution functions with probability `ALPHA` or less."""
    return math.sqrt(-math.log(ALPHA / 2) / n)
