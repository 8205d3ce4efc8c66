"""Optimizers racing over a surface, all of them and all learning rates as one program."""

import functools
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from jaxmnist import optim
from jaxmnist.conventions import shown
from jaxmnist.errors import InputError
from jaxmnist.landscapes.surfaces import Point, Surface
from jaxmnist.reading import check_bytes

Loss = Callable[[Float[Array, "2"]], Float[Array, ""]]

LEARNING_RATES: Final = 10.0 ** (np.arange(-32, 25) / 8)
"""Eight to a decade, from 0.0001 to 1000, the same for every optimizer."""

FLOOR: Final = 1e-5
"""The share of the start's height below which a race's score no longer tells heights apart."""


_BYTES_OF_POINT: Final = 32
"""What a step of one try takes while a race is computed, in float32."""


class Race(NamedTuple):
    """What became of every optimizer."""

    learning_rates: Float[Array, " rates"]
    """Those that each optimizer was tried with."""
    scores: Float[Array, "optimizers rates"]
    """Each try's mean height above the surface's minimum, over the second half of its steps;
    infinity where it left the surface's box, or a height of that half is NaN or infinite."""
    final_losses: Float[Array, "optimizers rates"]
    """After the last step of each try; infinity or NaN where it diverged."""
    learning_rate: Float[Array, " optimizers"]
    """The one with the lowest score, for each optimizer; the smallest where all are infinite."""
    path: Float[Array, "optimizers points 2"]
    """The start and the point after each step, at that rate."""
    loss: Float[Array, "optimizers points"]
    """The height of each."""


def race(
    surface: Surface,
    optimizers: tuple[str, ...] = optim.NAMES,
    steps: int = 100,
    learning_rates: Sequence[float] | Float[np.ndarray, " rates"] = LEARNING_RATES,
    start: Point | None = None,
) -> Race:
    """Race optimizers from one start, each at its best learning rate for this race.

    One rule for all: every optimizer is run with every rate of one grid. Of those that never leave
    the surface's box it gets the one with the lowest mean height over the second half of the
    steps: to be down by then, and to stay there. A rate with a height in that half that is NaN or
    infinite, such as beyond the edge of a logarithm, counts as one that leaves the box. Heights
    that are above the surface's minimum by less than `FLOOR` of the start's count as equal; of
    equals the smallest rate wins, and where no rate stays, the smallest: its score is infinite.
    For Adadelta, which has no rate of its own, it is the factor on its change that PyTorch calls
    so; the tutorial's is 1. All other hyperparameters are the tutorial's.

    Args:
        surface: The surface. Another function is another program; another start is not.
        optimizers: Names of `optim.NAMES`.
        steps: How many, at least 1.
        learning_rates: The grid, ascending; as many rates as before run the program that is
            already compiled.
        start: Where to begin; None for the surface's own.

    Returns:
        The race, with optimizers in the order given.

    Raises:
        InputError: An optimizer is unknown or none is given, there are no steps, or so many that
            the race takes more memory than `jaxmnist.reading.max_bytes`, or the start is
            outside the box; or the surface's height at the start or at its minimum is NaN or
            infinite, so that no height can be measured against them.

    Source: tutorial row D27.

    >>> from jaxmnist.landscapes.surfaces import SURFACES
    >>> result = race(SURFACES["valley"], ("sgd", "momentum"), steps=100)
    >>> bool(result.loss[1, -1] < result.loss[0, -1] / 100)
    True
    """
    if not optimizers:
        raise InputError(f"a race needs optimizers; choose from: {', '.join(optim.NAMES)}")
    if not isinstance(steps, numbers.Integral) or steps < 1:
        raise InputError(f"a race of {shown(steps)} steps is none; 1 is the least")
    begin = surface.start if start is None else start
    low, high = zip(*surface.bounds, strict=True)
    if not np.all(np.less_equal(low, begin) & np.less_equal(begin, high)):
        raise InputError(f"the start {begin} is outside the box from {low} to {high}")
    rates = jnp.asarray(learning_rates, float)
    # Two coordinates of every point, its height, and whether it is inside the box.
    check_bytes(
        f"a race of {len(optimizers)} optimizers at {rates.size} learning rates for {shown(steps)} "
        "steps",
        len(optimizers) * rates.size * (int(steps) + 1) * _BYTES_OF_POINT,
    )
    points = jnp.asarray([begin, surface.minima[0], low, high], float)
    heights, *found = _race(surface.function, tuple(optimizers), steps, rates, points)
    # Inside a transformation the heights are not known yet.
    if not isinstance(heights, Tracer):
        _check_heights(heights, {"start": begin, "first minimum": surface.minima[0]})
    return Race(rates, *found)


def trajectories(
    function: Loss,
    optimizers: tuple[str, ...],
    learning_rates: Float[Array, "optimizers rates"],
    starts: Float[Array, "starts 2"],
    steps: int,
) -> Float[Array, "optimizers rates starts points 2"]:
    """Follow every optimizer at each of its learning rates from every start.

    A run that diverges fills its own rows with infinities and NaN, and no others.

    Args:
        function: The loss.
        optimizers: Names of `optim.NAMES`; their other hyperparameters are the tutorial's.
        learning_rates: For each optimizer its own.
        starts: The points to begin at.
        steps: How many.

    Returns:
        The start and the point after each step.

    Raises:
        InputError: An optimizer is unknown.

    Source: tutorial rows D16 and D27.

    >>> paths = trajectories(jnp.sum, ("sgd",), jnp.array([[1.0, 2.0]]), jnp.zeros((1, 2)), 3)
    >>> print(paths[0, :, 0, -1])
    [[-3. -3.]
     [-6. -6.]]
    """
    rows = []
    for name, rates in zip(optimizers, learning_rates, strict=True):

        def run(rate: Float[Array, ""], start: Float[Array, "2"], name: str = name) -> Array:
            return trajectory(function, optim.create(name, rate), start, steps)

        from_starts = jax.vmap(run, in_axes=(None, 0))
        rows.append(jax.vmap(from_starts, in_axes=(0, None))(rates, starts))
    return jnp.stack(rows)


def trajectory(
    function: Callable[[Float[Array, "*shape"]], Float[Array, ""]],
    optimizer: optax.GradientTransformation,
    start: Float[Array, "*shape"],
    steps: int,
) -> Float[Array, "points *shape"]:
    """Follow one optimizer from one start.

    Args:
        function: The loss of a point of any shape.
        optimizer: Any Optax transformation.
        start: The point to begin at.
        steps: How many.

    Returns:
        The start and the point after each step.

    Source: tutorial row D14.

    >>> print(trajectory(jnp.sum, optim.sgd(0.5), jnp.zeros(2), 2))
    [[ 0.   0. ]
     [-0.5 -0.5]
     [-1.  -1. ]]
    """
    gradient = jax.grad(function)

    def step(carry: tuple[Array, Any], _: None) -> tuple[tuple[Any, Any], Array]:
        w, state = carry
        updates, state = optimizer.update(gradient(w), state, w)
        return (optax.apply_updates(w, updates), state), w

    (end, _), before = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)
    return jnp.concatenate([before, end[None]])


def arrival(
    path: Float[Array, "points 2"], targets: Float[Array, "targets 2"], tolerance: float
) -> Int[Array, ""]:
    """After how many steps a path is near one of several points, and stays near them.

    Args:
        path: The start and the point after each step.
        targets: The points, such as a surface's minima.
        tolerance: The greatest distance that is near.

    Returns:
        The number of steps, or -1 if the path does not end near any.

    >>> path = jnp.array([[0.0, 0.0], [3.0, 0.0], [0.1, 0.0], [0.0, 0.0]])
    >>> print(arrival(path, jnp.zeros((1, 2)), 0.2), arrival(path, jnp.ones((1, 2)), 0.2))
    2 -1
    """
    gaps = path[:, None, :] - targets[None, :, :]
    near = (jnp.linalg.norm(gaps, axis=-1) <= tolerance).any(axis=1)
    return first_step(jnp.flip(jnp.cumprod(jnp.flip(near).astype(int))).astype(bool))


def first_step(condition: Bool[Array, "*runs points"]) -> Int[Array, "*runs"]:
    """After how many steps a condition first holds, or -1 where it never does.

    Args:
        condition: At the start and after each step.

    Returns:
        The number of steps, 0 for the start.

    >>> print(first_step(jnp.array([[False, True, True], [False, False, False]])))
    [ 1 -1]
    """
    return jnp.where(condition.any(axis=-1), condition.argmax(axis=-1), -1)


def _check_heights(heights: Float[Array, "2"], points: Mapping[str, Point]) -> None:
    for (what, point), height in zip(points.items(), np.asarray(heights), strict=True):
        if not np.isfinite(height):
            raise InputError(
                f"the surface's height at its {what} {point} is {height}; it must be finite"
            )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _race(
    function: Loss,
    optimizers: tuple[str, ...],
    steps: int,
    rates: Float[Array, " rates"],
    points: Float[Array, "4 2"],
) -> tuple[Array, ...]:
    """The heights at the first two points, and all of `Race` but its grid.

    The points are the start, the minimum, and the box's corners.
    """
    start, lowest, low, high = points
    every = jnp.tile(rates, (len(optimizers), 1))
    paths = trajectories(function, optimizers, every, start[None], steps)[:, :, 0]
    losses = jax.vmap(jax.vmap(jax.vmap(function)))(paths)
    is_inside = jax.vmap(jax.vmap(jax.vmap(lambda w: ((low <= w) & (w <= high)).all())))
    inside = is_inside(paths).all(axis=-1)
    height, bottom = function(start), function(lowest)
    late = losses[..., -(steps // 2 + 1) :]
    mean = jnp.maximum(late - bottom, FLOOR * (height - bottom)).mean(axis=-1)
    # A mask of its own: a compiled `maximum` may drop a NaN, and `argmin` prefers one.
    counts = inside & jnp.isfinite(late).all(axis=-1) & jnp.isfinite(mean)
    score = jnp.where(counts, mean, jnp.inf)
    best = score.argmin(axis=1)
    row = jnp.arange(len(optimizers))
    return (
        jnp.stack([height, bottom]),
        score,
        losses[..., -1],
        rates[best],
        paths[row, best],
        losses[row, best],
    )
