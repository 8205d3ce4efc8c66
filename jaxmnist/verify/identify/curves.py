"""The formulas that a learning rate follows: constant, linear, exponential, harmonic, and so on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.optimize import brentq


class Fitted(NamedTuple):
    """A formula with its numbers."""

    text: Callable[[int], str]
    """From the number of the first step to the formula in words."""
    end: float | None = None
    """Where it leads; None for the rate at its last step."""
    steps: float | None = None
    """After how many steps; None for as many as there are."""


class Curve(NamedTuple):
    """A formula without its numbers."""

    numbers: int
    """How many it has."""
    fit: Callable[[np.ndarray, float], Fitted | None]
    """From rates and the error that is none, to the formula; None if they do not follow it."""
    ends: Callable[[np.ndarray, float], Sequence[int] | None] | None = None
    """The lengths that a piece at the beginning of these rates may have; None for any."""


def _constant(r: np.ndarray, room: float) -> Fitted | None:
    return Fitted(lambda first: number(r[0])) if np.ptp(r) <= room else None


def _linear(r: np.ndarray, room: float) -> Fitted | None:
    if np.ptp(r) <= room or _apart(r, np.linspace(r[0], r[-1], len(r)), room):
        return None
    return Fitted(
        lambda first: (
            f"linear from {number(r[0])} at step {first} to {number(r[-1])} at step "
            f"{first + len(r) - 1}"
        )
    )


def _exponential(r: np.ndarray, room: float) -> Fitted | None:
    if (r <= 0).any() or np.ptp(r) <= room:
        return None
    factor = float(r[-1] / r[0]) ** (1 / (len(r) - 1))
    if _apart(r, r[0] * factor ** np.arange(len(r)), room):
        return None
    return Fitted(lambda first: f"{number(r[0])} · {number(factor)}^{_since(first)}")


def _harmonic(r: np.ndarray, room: float) -> Fitted | None:
    if (r <= 0).any() or np.ptp(r) <= room:
        return None
    if _apart(r, 1 / np.linspace(1 / r[0], 1 / r[-1], len(r)), room):
        return None
    slope = (r[0] / r[-1] - 1) / (len(r) - 1)
    return Fitted(lambda first: f"{number(r[0])} / (1 + {number(slope)} {_since(first)})")


def _power(r: np.ndarray, room: float) -> Fitted | None:
    """By a (1 + c t)^p: c decides the ratio of the logarithms at the middle and the end."""
    if (r <= 0).any() or np.ptp(r) <= room:
        return None
    last, middle = len(r) - 1, (len(r) - 1) // 2
    whole, half = np.log(r[-1] / r[0]), np.log(r[middle] / r[0])
    if whole == 0 or half == 0:
        return None

    def gap(log_c: float) -> float:
        return (
            float(np.log1p(np.exp(log_c) * middle) / np.log1p(np.exp(log_c) * last)) - half / whole
        )

    low, high = np.log(1e-9), np.log(1e9)
    if gap(low) * gap(high) >= 0:
        return None
    root: Any = brentq(gap, low, high, xtol=1e-14)
    c = float(np.exp(root))
    p = float(whole / np.log1p(c * last))
    if _apart(r, r[0] * (1 + c * np.arange(len(r))) ** p, room):
        return None
    return Fitted(lambda first: f"{number(r[0])} · (1 + {number(c)} {_since(first)})^{number(p)}")


def _cosine(r: np.ndarray, room: float) -> Fitted | None:
    """r[t + 1] + r[t - 1] - 2 a = 2 cos(angle) (r[t] - a) decides the middle a and the angle."""
    if np.ptp(r) <= room:
        return None
    x = np.stack([r[1:-1], np.full(len(r) - 2, np.abs(r).max())], axis=1)
    k = float(np.linalg.lstsq(x, r[2:] + r[:-2], rcond=None)[0][0])
    if not -2 < k < 2:
        return None
    angle = float(np.arccos(k / 2))
    if angle * len(r) < 0.3:
        return None  # Nearly a parabola: of a cosine this short too little is seen.
    t = np.arange(len(r))
    waves = np.stack([np.cos(angle * t), np.sin(angle * t), np.ones(len(r))], axis=1)
    a, b, middle = np.linalg.lstsq(waves, r, rcond=None)[0]
    if _apart(r, waves @ np.array([a, b, middle]), room):
        return None
    height = float(np.hypot(a, b))
    if abs(r[0] - middle) < (1 - 1e-4) * height:
        return None  # A schedule's cosine begins at its top or at its bottom.
    end = float(middle + (height if r[0] < middle else -height))
    steps = np.pi / angle
    return Fitted(
        lambda first: (
            f"a cosine of {number(round(steps, 3))} steps from {number(r[0])} at step {first} to "
            f"{number(end if abs(end) > 1e-6 * height else 0.0)}"
        ),
        end,
        float(steps),
    )


def _polynomial(r: np.ndarray, room: float) -> Fitted | None:
    """By b + (a - b) (1 - t / T)^p, which ends at T."""
    span = r[0] - r[-1]
    if abs(span) <= room or len(r) < 5:
        return None
    t = np.arange(1, len(r) - 1)
    with np.errstate(all="ignore"):
        powers = np.log((r[1:-1] - r[-1]) / span) / np.log1p(-t / (len(r) - 1))
    p = float(np.median(powers))
    if not np.isfinite(p) or p <= 0:
        return None
    curve = r[-1] + span * (1 - np.arange(len(r)) / (len(r) - 1)) ** p
    if _apart(r, curve, room):
        return None
    return Fitted(
        lambda first: (
            f"a polynomial of power {number(round(p, 4))} from {number(r[0])} at step {first} to "
            f"{number(r[-1])} at step {first + len(r) - 1}"
        )
    )


def _where_it_stays(r: np.ndarray, room: float) -> Sequence[int] | None:
    """The length up to where the rate is what it is at the end; or that of everything."""
    moving = np.flatnonzero(np.abs(r - r[-1]) > room)
    return [int(moving[-1]) + 2] if moving.size else [len(r)]


def number(x: float) -> str:
    """Write a number in as many digits as it needs, at most six."""
    return f"{x:.6g}"


def _since(first: int) -> str:
    return f"(t - {first})" if first else "t"


def _apart(r: np.ndarray, curve: np.ndarray, room: float) -> bool:
    return not bool(np.abs(r - curve).max() <= room)


CURVES: Final[Mapping[str, Curve]] = {
    "constant": Curve(1, _constant),
    "linear": Curve(2, _linear),
    "exponential": Curve(2, _exponential),
    "harmonic": Curve(2, _harmonic),
    "power": Curve(3, _power),
    "cosine": Curve(4, _cosine),
    "polynomial": Curve(3, _polynomial, _where_it_stays),
}
