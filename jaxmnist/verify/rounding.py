"""How far rounding may grow: the one rule by which every tolerance of this package is derived.

Two correct programs differ because each rounds in its own order. What that difference may come to
follows from one of two things:

**The arithmetic**, where the inputs of every step are given. One operation is wrong by at most
half an ``eps`` of its result, where ``eps`` is the distance from 1 to the next number; a sum of n
terms by up to ``n eps`` of its terms' magnitudes. So a formula of n operations may differ by
``n eps`` of what went into it: `allowed_by_arithmetic`. As a rule the roundings have different
signs and come to about ``sqrt(n) eps``; the room between the two is for sums that cancel.

**Perturbed runs**, where each step works on what the steps before it computed. Then a rounding
comes back, damped or amplified, by as much as the trajectory damps or amplifies any other small
change, and no count of operations says how much that is. It is measured instead: the run is
repeated from starts that are perturbed by one unit in the last place (ULP), and its error growth
is the largest distance from the unperturbed run. The other program may be `GROWTH_FACTOR` times as
far away: `allowed_by_growth`.

Why ten: a start is perturbed once and rounding happens at every step, so that after n steps about
``sqrt(n)`` perturbations have been added up. Where the trajectory forgets the early ones, or
amplifies them above all others, only a few of them count. Ten covers a hundred steps that count
equally. That is a judgement and no proof; the mutation scripts show what it catches.

Why five perturbed starts (`PERTURBATIONS`): what one unit becomes depends on which elements it
moved, up or down. From one start it can come out small by chance; with one, RMSProp in Optax's
convention failed at the step where its error growth sets in. With hundreds of thousands of elements
one perturbed start is an average of many, and one is enough (`PERTURBATIONS_OF_MANY`).

A run whose error growth is not measured (``verify.training(perturb=False)``) has neither; then
half of the digits must agree, and there is no verdict on what does not: `allowed_without_growth`.
"""

from typing import Any, Final

import numpy as np

GROWTH_FACTOR: Final = 10
"""How many times the error growth of a one-ULP perturbation is still taken for rounding."""

PERTURBATIONS: Final = 5
"""The number of perturbed starts that the error growth is measured from."""

PERTURBATIONS_OF_MANY: Final = 1
"""The same where the start has very many elements."""

# A step does some ten operations, each wrong by at most 2^-53 = 1.1e-16 of its result, and averages
# remember up to a thousand steps' worth of roundings. Their signs differ, so that the error is near
# 1e-14 of what was added up; 1e-12 leaves room for a library's `1 - b2**t`, which cancels to
# 1.1e-13 at t = 1, and none for a changed hyperparameter. The float32 tolerance is as many units.
OPTIMIZER_TOLERANCES: Final = {"float64": 1e-12, "float32": 5e-4}
"""The relative error of an optimizer's displacement and state on given gradients."""


def epsilon(dtype: str) -> float:
    """Return the distance from 1 to the next number of a dtype.

    >>> epsilon("float64") == 2.0**-52
    True
    """
    return float(np.finfo(dtype).eps)


def allowed_by_arithmetic(operations: int | float, dtype: str) -> float:
    """Allow one ``eps`` for each operation between the inputs and the result.

    Args:
        operations: Their number, terms of sums included. Where the reference rounds in the same
            dtype, its operations count too.
        dtype: Of the arithmetic.

    Returns:
        The relative error allowed.

    >>> allowed_by_arithmetic(4, "float64") == 2.0**-50
    True
    """
    return operations * epsilon(dtype)


def allowed_by_growth(growth: Any) -> Any:
    """Allow `GROWTH_FACTOR` times the error growth of a one-ULP perturbation.

    Args:
        growth: The relative error that the perturbation has grown to, one number or one per step.

    Returns:
        The relative error allowed.

    >>> allowed_by_growth(0.25)
    2.5
    """
    return GROWTH_FACTOR * growth


def allowed_without_growth(dtype: str) -> float:
    """Allow half of the dtype's digits where a run's error growth is not measured.

    Args:
        dtype: Of the arithmetic.

    Returns:
        The relative error allowed, ``sqrt(eps)``.

    >>> allowed_without_growth("float64") == 2.0**-26
    True
    """
    return float(np.sqrt(epsilon(dtype)))
