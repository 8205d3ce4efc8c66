"""Initializers of both frameworks: whether they draw from one distribution, and why not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxmnist.errors import InputError
from jaxmnist.interop.parameters import require_torch
from jaxmnist.verify.compare import Comparer, Comparison, Comparisons, Divergence, Errors
from jaxmnist.verify.initializers.causes import find_cause
from jaxmnist.verify.initializers.draws import drawn_here, drawn_there, number_of_arrays
from jaxmnist.verify.initializers.statistics import (
    ALPHA,
    POWER,
    Statistic,
    norms,
    noticed,
    two_samples,
)
from jaxmnist.verify.precision import check_dtype


@dataclass(frozen=True)
class InitializerResult(Comparisons):
    """An initializer of JAX compared with one of PyTorch; prints as a table.

    Attributes:
        name: What was compared with what.
        parts: A comparison for each statistic, or "elements" of what is drawn without chance.
        statistics: The numbers behind them.
        here: All elements drawn in JAX, float64[n].
        reference: Those in PyTorch.
        independent: Draws that the power is of.
    """

    statistics: tuple[Statistic, ...]
    here: np.ndarray
    reference: np.ndarray
    independent: int

    @property
    def noticed(self) -> float:
        """The difference of two distribution functions that so many draws find."""
        return noticed(self.independent)

    @cached_property
    def cause(self) -> str | None:
        """Why they differ, in short words; None if they agree, or if nothing known explains it."""
        return None if self.passed else find_cause(self.here, self.reference)

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it: with ``cause``."""
        return super().as_dict() | {"cause": self.cause}

    def plot(self) -> Any:
        """Draw both distributions, and the quantiles of one against the other's.

        Returns:
            A matplotlib Figure.
        """
        from jaxmnist.plots import samples

        title = f"{self.name}: {'passed' if self.passed else 'FAILED'}"
        return samples(self.here, self.reference, title)

    def __str__(self) -> str:
        if not self.statistics:
            lines = [super().__str__()]
        else:
            lines = [f"{self.name}: {'passed' if self.passed else 'FAILED'}"]
            titles = ("here", "PyTorch", "difference", "by chance")
            lines.append(f"  {'compared':20}" + "".join(f" {title:>11}" for title in titles))
            for one in self.statistics:
                numbers = (one.here, one.there, one.difference, one.allowed)
                shown = "".join(f" {x:11.4g}" for x in numbers)
                lines.append(f"  {one.name:20}{shown}  {'passed' if one.passed else 'FAILED'}")
            lines.append(
                f"  {self.independent} draws of each: distributions that differ by "
                f"{self.noticed:.2g} are told apart with probability {POWER:.3f}; equal ones are "
                f"called different with at most {ALPHA:.0e} a line"
            )
        if not self.passed:
            lines.append(f"  cause: {self.cause or 'none of those that are known'}")
        return "\n".join(lines)


def initializer(
    init: Callable[..., Any],
    torch_init: Callable[[Any], Any],
    shape: Sequence[int],
    *,
    torch_shape: Sequence[int] | None = None,
    draws: int = 100_000,
    dtype: str = "float64",
    seed: int = 0,
) -> InitializerResult:
    """Compare what two initializers draw: moments, ends, and the whole distribution.

    Both draw arrays of the shape until there are so many elements. Compared are their means and
    standard deviations; how many elements of one lie outside all of the other's, which for equal
    distributions is k with probability 2^-k; the largest difference of the distribution functions
    (the two-sample test of Kolmogorov and Smirnov); and of matrices the largest singular value,
    which tells orthogonal ones from others. Each is allowed what chance exceeds with probability
    1e-6. Arrays without chance, such as zeros, are compared element by element.

    Args:
        init: ``init(key, shape, dtype)``, as in ``jax.nn.initializers``.
        torch_init: ``torch_init(tensor)`` that fills a tensor, as in ``torch.nn.init``, or
            returns another of its shape, such as ``lambda w: torch.nn.Linear(30, 20).weight``.
        shape: Of one array in JAX, such as (in, out): it decides the fans.
        torch_shape: In PyTorch, such as (out, in); None for the same.
        draws: Elements of each, at least.
        dtype: float64 or float32.
        seed: Of both.

    Returns:
        A comparison for each statistic, its error over what chance explains, and `.cause`: the
        scale, the distribution, or the mean. It
        prints as a table that states what so many draws can tell apart.

    Raises:
        InputError: PyTorch is not installed, one of the two raises, or a shape or a number is out
            of range.

    >>> import jax, torch
    >>> shape = {"shape": (20, 30), "torch_shape": (30, 20), "draws": 20_000}
    >>> lecun = jax.nn.initializers.lecun_uniform()
    >>> initializer(lecun, lambda w: torch.nn.init.kaiming_uniform_(w, a=1), **shape).passed
    True
    >>> initializer(lecun, torch.nn.init.kaiming_uniform_, **shape).cause
    "the scale: 0.71 times PyTorch's, about 1/√2"
    """
    torch = require_torch()
    check_dtype(dtype)
    if draws < 100:
        raise InputError(f"draws is {draws}; it must be at least 100 for a test of two samples")
    shapes = [tuple(shape), tuple(shape if torch_shape is None else torch_shape)]
    for who, each in zip(("shape", "torch_shape"), shapes, strict=True):
        if not all(isinstance(size, int) and size > 0 for size in each):
            raise InputError(f"{who} is {each}; it must be sizes of at least 1")
    if np.prod(shapes[0]) != np.prod(shapes[1]):
        raise InputError(
            f"shape is {shapes[0]} and torch_shape {shapes[1]}; both must have as many elements"
        )
    arrays = number_of_arrays(shapes[0], draws)
    here = drawn_here(init, shapes[0], arrays, dtype, seed)
    there = drawn_there(torch, torch_init, shapes[1], arrays, dtype, seed)
    name = f"the initializer in JAX and in PyTorch, {shapes[0]}, {dtype}"
    flat = here.ravel(), there.ravel()
    if not np.ptp(here, axis=0).any() and not np.ptp(there, axis=0).any():
        parts = (_without_chance(here[0], there[0], shapes[0] == shapes[1], dtype),)
        return InitializerResult(name, parts, (), *flat, 1)
    found = two_samples(*flat)
    largest = norms(here, there)
    statistics = tuple(found if largest is None else [*found, largest])
    return InitializerResult(name, tuple(map(_part, statistics)), statistics, *flat, flat[0].size)


def _without_chance(here: np.ndarray, there: np.ndarray, same_axes: bool, dtype: str) -> Comparison:
    comparer = Comparer("elements", 4 * float(np.finfo(dtype).eps))
    if not same_axes:
        here, there = np.sort(here.ravel()), np.sort(there.ravel())
    comparer.add(0, {"element": here + 1}, {"element": there + 1})  # So that zeros are compared.
    return comparer.result()


def _part(one: Statistic) -> Comparison:
    errors = Errors(one.difference, one.multiple, 0.0)
    first = None if one.passed else Divergence(0, one.name, (), one.here, one.there)
    return Comparison(one.name, 1, 1.0, errors, first)
