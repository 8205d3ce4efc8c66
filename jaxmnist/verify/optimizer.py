"""Two optimizers in lockstep: whether they compute the same, and where they first diverge.

result = verify.optimizer(tx, lambda params: torch.optim.Adam(params, lr=0.001))
print(result)
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import optax

from jaxmnist.errors import InputError
from jaxmnist.verify.adapters import Adapter, make_adapter
from jaxmnist.verify.compare import Comparer, Comparison, Comparisons
from jaxmnist.verify.gradient_sources import Gradients, source
from jaxmnist.verify.named_trees import Named, map_named
from jaxmnist.verify.precision import check_dtype, precision
from jaxmnist.verify.references import Recurrence
from jaxmnist.verify.rounding import OPTIMIZER_TOLERANCES, allowed_by_growth

DISPLACEMENT: Final = "displacement"


def optimizer(
    tx: optax.GradientTransformation | optax.MultiSteps,
    reference: optax.GradientTransformation | Recurrence | Callable[[Any], Any],
    *,
    params: Any = None,
    gradients: Any = "random",
    steps: int = 500,
    dtype: str = "float64",
    tolerance: float | None = None,
    seed: int = 0,
    loss: Callable[[Any, Any], Any] | None = None,
) -> Comparisons:
    """Compare two optimizers at every step: the displacement, and the state that both store.

    The relative error of an element is |a - e| / max |e|, the maximum over the steps so far: of
    the displacement from the start, not of the weight, so that a large weight cannot hide an
    error. Where the gradients are given, it may be `tolerance`.

    Where they follow the trajectory, rounding feeds back into them, so `tx` also runs from starts
    that are perturbed by one unit in the last place (five, or one for the network), and the error
    may be ten times the error growth of these runs by then, where that is more
    (`jaxmnist.verify.rounding`). The maximum is then over the leaf too: a gradient that is a sum
    is wrong by a part of its terms, however they cancel.

    Args:
        tx: Any Optax gradient transformation, or `optax.MultiSteps` as it is.
        reference: Another one; a `Recurrence`; or a torch.optim factory, a function from a list of
            parameters to an optimizer or to a pair of an optimizer and its scheduler.
        params: A tree of real or complex arrays to start from, or None for the gradients' shapes,
            starting at zero. Parameters other than zero round every step to their own last place;
            that much, a unit of the largest weight so far per step, is not counted as an error.
        gradients: Where they come from. Given: "random" (scales 1e-6 to 1e3, both signs),
            "sparse" (exact zeros), "stream" (recorded from the network's run), or an iterable of
            trees, which may end before `steps`. Following the trajectory: "quadratic",
            "rosenbrock", "network" (the tutorial's, on MNIST), or a function
            ``gradients(step, params) -> tree``.
        steps: How many, at most.
        dtype: "float64" or "float32": of the parameters and of all arithmetic.
        tolerance: The relative error allowed; None for 1e-12 in float64 and 5e-4 in float32.
        seed: Of the gradients.
        loss: A JAX function ``loss(step, params) -> number``, whose gradients are taken in place of
            `gradients`. It is for optimizers that ask for the loss again: PyTorch's get it as their
            closure and `ReduceLROnPlateau` its value; those of Optax that take extra arguments as
            ``value``, ``grad`` and ``value_fn``. The quadratic and Rosenbrock's are such losses.

    Returns:
        A `Comparison` named "displacement", and one per accumulator that both have, such as
        "average square"; together `.passed`, `.max_error` and `.first_divergence`, the step
        counted from 0. An accumulator that is the reference's times a negative constant adds up
        steps where the other adds up gradients, as Optax's RMSProp with momentum does: it passes,
        and its `.factor` is that constant.

    Raises:
        InputError: An optimizer or the gradients' function raises, gradients are NaN or infinite,
            shapes or structures differ, or an argument is unknown; the message names the leaf.

    Source: tutorial rows D20 to D25.

    >>> from jaxmnist import optim
    >>> from jaxmnist.verify.references import numpy_reference
    >>> result = optimizer(optim.rmsprop(), numpy_reference("rmsprop"), steps=20)
    >>> result.passed, [part.name for part in result]
    (True, ['displacement', 'average square'])
    >>> other = optimizer(optim.rmsprop(eps=1e-5, eps_root=0.0), numpy_reference("rmsprop"))
    >>> other.first_divergence.step, other.first_divergence.leaf, other["average square"].passed
    (0, 'scale 1e+00', True)
    """
    check_dtype(dtype)
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be a whole number of at least 1")
    if tolerance is None:
        tolerance = OPTIMIZER_TOLERANCES[dtype]
    elif not tolerance >= 0:
        raise InputError(f"tolerance is {tolerance}; it must be at least 0")
    with precision(dtype):
        given = source(gradients, params, steps=steps, dtype=dtype, seed=seed, loss=loss)
        return _compare(tx, reference, given, min(steps, given.steps or steps), tolerance)


def _compare(
    tx: Any, reference: Any, gradients: Gradients, steps: int, tolerance: float
) -> Comparisons:
    ours = _Trajectory(make_adapter(tx, gradients.params, "the optimizer"), gradients)
    theirs = _Trajectory(make_adapter(reference, gradients.params, "the reference"), gradients)
    perturbed = [
        _Trajectory(make_adapter(tx, nearby.params, "the optimizer"), nearby)
        for nearby in gradients.perturbations()
    ]

    comparers: dict[str, Comparer] = {}
    growths: dict[str, Comparer] = {}
    multiples: dict[str, _Multiple] = {}
    for step in range(steps):
        actual, expected = ours.advance(step), theirs.advance(step)
        others = [trajectory.advance(step) for trajectory in perturbed]
        for name in (name for name in actual if name in expected):
            if _differ_in_meaning(ours.degrees.get(name), theirs.degrees.get(name)):
                continue
            if actual[name].keys() != expected[name].keys():
                continue  # Other groups of parameters have it.
            allowed = tolerance
            if others:
                growth = growths.setdefault(name, Comparer(name, np.inf, by_leaf=True))
                for other in others:
                    growth.add(step, other[name], actual[name])
                allowed = max(tolerance, allowed_by_growth(growth.result().max_error))
            comparer = comparers.setdefault(name, Comparer(name, tolerance, gradients.follows))
            slack = ours.rounding if name == DISPLACEMENT else None
            comparer.add(step, actual[name], expected[name], allowed, slack)
            if name != DISPLACEMENT:
                multiple = multiples.setdefault(name, _Multiple(name, tolerance, gradients.follows))
                multiple.add(step, actual[name], expected[name], allowed)

    def result(name: str) -> Comparison:
        growth = growths[name].result().max_error if perturbed else None
        plain = comparers[name].result(growth)
        if plain.passed or name not in multiples:
            return plain
        return multiples[name].judged(plain, growth)

    return Comparisons(f"{gradients.name} gradients", tuple(map(result, comparers)))


def _differ_in_meaning(a: float | None, b: float | None) -> bool:
    """Whether two accumulators grow with other powers of the gradient, if both are known.

    Adamax's largest gradient has the name of Adam's average square in Optax, and is no square.
    """
    return a is not None and b is not None and abs(a - b) > 0.5


def _degree(before: Named, after: Named, gradients: Named) -> float | None:
    """The power of the gradient by which an accumulator has grown in a step, if it is one."""
    changes = np.concatenate([np.abs(after[n] - before[n]).ravel() for n in after])
    sizes = np.concatenate([np.abs(gradients[n]).ravel() for n in after])
    chosen = (changes > 0) & (sizes > 0)
    if not chosen.any():
        return None
    x, y = np.log(sizes[chosen]), np.log(changes[chosen])
    if np.ptp(x) < 1:
        return None
    slope, constant = np.polyfit(x, y, 1)
    is_power = np.abs(slope * x + constant - y).max() < 0.1
    return float(slope) if is_power else None


class _Multiple:
    """Whether an accumulator is the reference's times one constant at every step."""

    def __init__(self, name: str, tolerance: float, follows: bool) -> None:
        self._comparer, self._factor = Comparer(name, tolerance, follows), None

    def add(self, step: int, actual: Named, expected: Named, tolerance: float) -> None:
        """Compare one more step; the first that is not zero decides the constant."""
        if self._factor is None:
            ratios = [
                a.flat[at] / e.flat[at]
                for a, e in ((actual[leaf], expected[leaf]) for leaf in expected)
                for at in [int(np.abs(e).argmax())]
                if e.size and e.flat[at] != 0
            ]
            self._factor = float(np.median(np.real(ratios))) if ratios else None
        factor = 1.0 if self._factor is None else self._factor
        scaled = map_named(lambda e: e * factor, expected)
        self._comparer.add(step, actual, scaled, tolerance)

    def judged(self, plain: Comparison, growth: float | None) -> Comparison:
        """Take a negative multiple for another quantity, which the steps alone can judge.

        Gradients are added up in one, and steps, which go against them, in the other. A positive
        multiple is the same quantity in another convention, and a difference.
        """
        scaled = self._comparer.result(growth)
        if self._factor is None or not scaled.passed:
            return plain
        return replace(scaled if self._factor < 0 else plain, factor=self._factor)


class _Trajectory:
    """One optimizer on its gradients: its displacement from the start, and its state."""

    def __init__(self, adapter: Adapter, gradients: Gradients) -> None:
        self._adapter, self._gradients = adapter, gradients
        self._start = map_named(np.copy, adapter.params)
        self._largest = map_named(np.abs, self._start)
        self._at_zero = not any(w.any() for w in self._start.values())
        self._steps = 0
        self.degrees: dict[str, float | None] = {}
        """Of each accumulator the power of the first gradient in it, if that can be seen."""

    def advance(self, step: int) -> dict[str, Named]:
        """Take a step; return the displacement and every accumulator, by name and by leaf."""
        gradients = self._gradients(step, self._adapter.params)
        before = None if self._steps else self._adapter.states()
        if before:
            before = {name: map_named(np.copy, leaves) for name, leaves in before.items()}
        self._adapter.step(gradients, self._gradients.loss_of(step))
        self._steps += 1
        after = self._adapter.states()
        if self._steps == 1:
            start = before or {}
            self.degrees = {
                name: _degree(start.get(name, map_named(np.zeros_like, leaves)), leaves, gradients)
                for name, leaves in after.items()
            }
        params = self._adapter.params
        if self._at_zero:
            return {DISPLACEMENT: params, **after}
        self._largest = map_named(np.maximum, self._largest, map_named(np.abs, params))
        displacement = map_named(np.subtract, params, self._start)
        return {DISPLACEMENT: displacement, **after}

    @property
    def rounding(self) -> Named | None:
        """The distance that rounding the weights may have put between both optimizers.

        Half a unit in the last place of the weight, in each of them, at each step. None at zero,
        where the weight is the displacement, and its rounding a relative one.
        """
        if self._at_zero:
            return None
        return map_named(lambda w: self._steps * np.spacing(w).astype(np.float64), self._largest)
