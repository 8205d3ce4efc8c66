"""Two optimizers, step by step: do they compute the same, and if not, from where on?

result = verify.optimizer(tx, lambda params: torch.optim.Adam(params, lr=0.001))
print(result)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import jax
import numpy as np
import optax

from jaxmnist.errors import InputError
from jaxmnist.verify.compare import Comparer, Comparison, Comparisons
from jaxmnist.verify.gradients import Gradients, source
from jaxmnist.verify.references import Recurrence
from jaxmnist.verify.sides import Side, make_side
from jaxmnist.verify.trees import Named, map_named

DISPLACEMENT: Final = "displacement"

# A step does some ten operations, each wrong by at most 2^-53 = 1.1e-16 of its result, and averages
# remember up to a thousand steps' worth of roundings. Their signs differ, so that the error is near
# 1e-14 of what was added up; 1e-12 leaves room for a library's `1 - b2**t`, which cancels to
# 1.1e-13 at t = 1, and none for a changed hyperparameter. The float32 tolerance is as many units.
TOLERANCES: Final = {"float64": 1e-12, "float32": 5e-4}

GROWTH_ALLOWED: Final = 10
"""How many times the growth of one unit in the last place may part two that follow a function."""


def optimizer(
    tx: optax.GradientTransformation,
    reference: optax.GradientTransformation | Recurrence | Callable[[Any], Any],
    *,
    params: Any = None,
    gradients: Any = "random",
    steps: int = 500,
    dtype: str = "float64",
    tolerance: float | None = None,
    seed: int = 0,
) -> Comparisons:
    """Compare two optimizers at every step: the displacement, and the state both keep.

    The relative error of an element is |a - e| / max |e|, the maximum over the steps so far: of
    the displacement from the start, not of the weight, so that a large weight cannot hide an
    error. Where the gradients are given, it may be `tolerance`.

    Where they follow the trajectory, rounding feeds back into them, so `tx` also runs from starts
    that are one unit in the last place off (five, or one for the network), and the error may be
    ten times the most that this has grown to by then, where it is more. The maximum is then over
    the leaf too: a gradient that is a sum is wrong by a part of its terms, however they cancel.

    Args:
        tx: any Optax gradient transformation.
        reference: another one; a `Recurrence`; or a torch.optim factory, a function from a list of
            parameters to an optimizer or to a pair of an optimizer and its scheduler.
        params: a tree of real arrays to start from, or None for the gradients' own shapes,
            starting at zero. Parameters other than zero round every step to their own last place;
            that much, a unit of the largest weight so far per step, is not counted as an error.
        gradients: where they come from. Given: "random" (scales 1e-6 to 1e3, both signs),
            "sparse" (exact zeros), "stream" (recorded from the network's run), or an iterable of
            trees, which may end before `steps`. Following the trajectory: "quadratic",
            "rosenbrock", "network" (the document's, on MNIST), or a function
            ``gradients(step, params) -> tree``.
        steps: how many, at most.
        dtype: "float64" or "float32": of the parameters and of all arithmetic.
        tolerance: the relative error allowed; None for 1e-12 in float64 and 5e-4 in float32.
        seed: of the gradients.

    Returns:
        A `Comparison` named "displacement", and one per accumulator that both keep, such as
        "average square"; together `.passed`, `.max_error` and `.first_divergence`, the step
        counted from 0.

    Raises:
        InputError: a side or the gradients' function raises, gradients are NaN or infinite, shapes
            or structures differ, or an argument is unknown; the message names the leaf.

    Source: document rows D20 to D25.

    >>> from jaxmnist import optim
    >>> from jaxmnist.verify.references import numpy_reference
    >>> result = optimizer(optim.rmsprop(), numpy_reference("rmsprop"), steps=20)
    >>> result.passed, [part.name for part in result]
    (True, ['displacement', 'average square'])
    >>> moved = optimizer(optim.rmsprop(eps=1e-5, eps_root=0.0), numpy_reference("rmsprop"))
    >>> moved.first_divergence.step, moved.first_divergence.leaf, moved["average square"].passed
    (0, 'scale 1e-04', True)
    """
    if dtype not in TOLERANCES:
        raise InputError(f"there is no dtype {dtype!r} here; choose one of {', '.join(TOLERANCES)}")
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be a whole number of at least 1")
    if tolerance is None:
        tolerance = TOLERANCES[dtype]
    elif not tolerance >= 0:
        raise InputError(f"tolerance is {tolerance}; it must be at least 0")
    with precision(dtype):
        given = source(gradients, params, steps=steps, dtype=dtype, seed=seed)
        return _compare(tx, reference, given, min(steps, given.steps or steps), tolerance)


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """JAX with or without 64 bits, and with its usual promotion of dtypes, which Optax needs.

    NumPy is silent about what overflows: a gradient that is not finite is refused by name, and a
    parameter that is not is a difference.
    """
    with (
        jax.enable_x64(dtype == "float64"),
        jax.numpy_dtype_promotion("standard"),
        np.errstate(all="ignore"),
    ):
        yield


def _compare(
    tx: Any, reference: Any, gradients: Gradients, steps: int, tolerance: float
) -> Comparisons:
    mine = _Walk(make_side(tx, gradients.params, "the optimizer"), gradients)
    theirs = _Walk(make_side(reference, gradients.params, "the reference"), gradients)
    nearby = [
        _Walk(make_side(tx, shaken.params, "the optimizer"), shaken)
        for shaken in map(gradients.shaken, range(gradients.shakes if gradients.follows else 0))
    ]

    comparers: dict[str, Comparer] = {}
    growths: dict[str, Comparer] = {}
    for step in range(steps):
        actual, expected = mine.walk(step), theirs.walk(step)
        near = [walk.walk(step) for walk in nearby]
        for name in (name for name in actual if name in expected):
            allowed = tolerance
            if near:
                growth = growths.setdefault(name, Comparer(name, np.inf, by_leaf=True))
                for other in near:
                    growth.add(step, other[name], actual[name])
                allowed = max(tolerance, GROWTH_ALLOWED * growth.result().max_error)
            comparer = comparers.setdefault(name, Comparer(name, tolerance, gradients.follows))
            slack = mine.rounding if name == DISPLACEMENT else None
            comparer.add(step, actual[name], expected[name], allowed, slack)

    def result(name: str) -> Comparison:
        return comparers[name].result(growths[name].result().max_error if nearby else None)

    return Comparisons(f"{gradients.name} gradients", tuple(map(result, comparers)))


class _Walk:
    """One side on its way: where it is from its start, and what it keeps."""

    def __init__(self, side: Side, gradients: Gradients) -> None:
        self._side, self._gradients = side, gradients
        self._start = map_named(np.copy, side.params)
        self._largest = map_named(np.abs, self._start)
        self._at_zero = not any(w.any() for w in self._start.values())
        self._steps = 0

    def walk(self, step: int) -> dict[str, Named]:
        """Take a step: the displacement, and every accumulator, by name and by leaf."""
        self._side.step(self._gradients(step, self._side.params))
        self._steps += 1
        params = self._side.params
        if self._at_zero:
            return {DISPLACEMENT: params, **self._side.states()}
        self._largest = map_named(np.maximum, self._largest, map_named(np.abs, params))
        displacement = map_named(np.subtract, params, self._start)
        return {DISPLACEMENT: displacement, **self._side.states()}

    @property
    def rounding(self) -> Named | None:
        """How much both sides' roundings of the weights may have moved each apart from the other.

        Half a unit in the last place of the weight, on each side, at each step. None at zero,
        where the weight is the displacement, and its rounding a relative one.
        """
        if self._at_zero:
            return None
        return map_named(lambda w: self._steps * np.spacing(w).astype(np.float64), self._largest)
