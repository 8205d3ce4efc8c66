"""Surfaces of two parameters, each with its minima, a box to draw it in, and a start for races.

All are bounded below, so that a race on them has an end. Their functions take one point and
return its height, so that `jax.grad`, `jax.hessian` and `jax.vmap` apply as they are.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmnist.errors import InputError, nearest

Point = tuple[float, float]


class Surface(NamedTuple):
    """A loss of two parameters."""

    title: str
    function: Callable[[Float[Array, "2"]], Float[Array, ""]]
    minima: tuple[Point, ...]
    """All inside the box, a lowest one first."""
    bounds: tuple[Point, Point]
    """Of x and of y, to be drawn."""
    start: Point
    """Where races begin."""
    relief: float = 1.0
    """The power of a height that is drawn, below 1 where walls would dwarf the floor."""
    view: tuple[float, float] = (45.0, -60.0)
    """From where it is best seen: degrees above the ground, and around."""


def surface(name: str) -> Surface:
    """The surface of that name.

    Args:
        name: A key of `SURFACES`.

    Returns:
        The surface.

    Raises:
        InputError: There is none; the message lists those that there are.

    >>> surface("rosenbrock").minima
    ((1.0, 1.0),)
    """
    if name not in SURFACES:
        raise InputError(
            f"there is no surface {name!r}; choose one of {', '.join(SURFACES)}"
            f"{nearest(name, SURFACES)}"
        )
    return SURFACES[name]


def heights(
    surface: Surface, columns: int, rows: int
) -> tuple[Float[Array, " columns"], Float[Array, " rows"], Float[Array, "rows columns"]]:
    """Heights on an even grid over the surface's box.

    Args:
        surface: The surface.
        columns: How many values of x, both ends included.
        rows: How many values of y, both ends included.

    Returns:
        The values of x, the values of y, and the height at each pair.

    >>> x, y, height = heights(SURFACES["saddle"], 3, 5)
    >>> bool(height[2, 1] == 0)
    True
    """
    (left, right), (bottom, top) = surface.bounds
    x, y = jnp.linspace(left, right, columns), jnp.linspace(bottom, top, rows)
    over_x = jax.vmap(lambda a, b: surface.function(jnp.stack([a, b])), in_axes=(0, None))
    return x, y, jax.vmap(over_x, in_axes=(None, 0))(x, y)


def valley(w: Float[Array, "2"]) -> Float[Array, ""]:
    """A long flat valley: x²/20 + 10y², 200 times more curved across than along.

    Plain gradient descent must step below 2/20 for the walls' sake, and then forgets the way along
    by a factor of at most 1 - 0.01 a step.

    Args:
        w: The point (x, y).

    Returns:
        The height; its minimum is 0 at (0, 0).

    Source: tutorial rows D21 and D27.

    >>> print(valley(jnp.array([2.0, 1.0])))
    10.2
    """
    x, y = w
    return x**2 / 20 + 10 * y**2


def turned_valley(w: Float[Array, "2"]) -> Float[Array, ""]:
    """The valley, turned by an eighth of a circle: (x + y)²/40 + 5(y - x)².

    Optimizers that scale each parameter by itself see through `valley`, whose axes are the
    parameters'. Here the axes are not, and that help is gone.

    Args:
        w: The point (x, y).

    Returns:
        The height; its minimum is 0 at (0, 0).

    Source: tutorial row D27.

    >>> print(turned_valley(jnp.array([1.0, 1.0])))
    0.1
    """
    x, y = w
    return (x + y) ** 2 / 40 + 5 * (y - x) ** 2


def saddle(w: Float[Array, "2"]) -> Float[Array, ""]:
    """A saddle with an end: x² - y² + y⁴/4.

    At (0, 0) the gradient is 0 and the Hessian diag(2, -2), as on the bottomless x² - y².

    Args:
        w: The point (x, y).

    Returns:
        The height; its minima are -1 at (0, ±√2).

    Source: tutorial rows D16 and D27.

    >>> print(saddle(jnp.array([1.0, 0.0])))
    1.0
    """
    x, y = w
    return x**2 - y**2 + y**4 / 4


def monkey_saddle(w: Float[Array, "2"]) -> Float[Array, ""]:
    """A saddle for two legs and a tail, with an end: x³ - 3xy² + ¾(x² + y²)².

    In polar coordinates r³·cos(3θ) + ¾r⁴. At (0, 0) the whole Hessian is 0.

    Args:
        w: The point (x, y).

    Returns:
        The height; its minima are -1/4 at (-1, 0) and (1/2, ±√3/2).

    Source: Hilbert and Cohn-Vossen, 1932, "Anschauliche Geometrie", for the cubic; the quartic
    gives it a floor.

    >>> print(monkey_saddle(jnp.array([-1.0, 0.0])))
    -0.25
    """
    x, y = w
    return x**3 - 3 * x * y**2 + 0.75 * (x**2 + y**2) ** 2


def beale(w: Float[Array, "2"]) -> Float[Array, ""]:
    """Beale's function: (1.5 - x + xy)² + (2.25 - x + xy²)² + (2.625 - x + xy³)².

    Args:
        w: The point (x, y).

    Returns:
        The height; its minimum is 0 at (3, 1/2).

    Source: Beale, 1958, "On an iterative method for finding a local minimum of a function of more
    than one variable", technical report 25, Princeton University.

    >>> print(beale(jnp.array([3.0, 0.5])))
    0.0
    """
    x, y = w
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def rosenbrock(w: Float[Array, "2"]) -> Float[Array, ""]:
    """Rosenbrock's function, a bent valley: (1 - x)² + 100(y - x²)².

    Args:
        w: The point (x, y).

    Returns:
        The height; its minimum is 0 at (1, 1).

    Source: Rosenbrock, 1960, https://doi.org/10.1093/comjnl/3.3.175, with its start (-1.2, 1).

    >>> print(rosenbrock(jnp.array([0.0, 1.0])))
    101.0
    """
    x, y = w
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def himmelblau(w: Float[Array, "2"]) -> Float[Array, ""]:
    """Himmelblau's function, with four equal minima: (x² + y - 11)² + (x + y² - 7)².

    Args:
        w: The point (x, y).

    Returns:
        The height; its minima are 0, at (3, 2) and at three points near (-2.81, 3.13),
        (-3.78, -3.28) and (3.58, -1.85).

    Source: Himmelblau, 1972, "Applied Nonlinear Programming", McGraw-Hill.

    >>> print(himmelblau(jnp.array([3.0, 2.0])))
    0.0
    """
    x, y = w
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def rastrigin(w: Float[Array, "2"]) -> Float[Array, ""]:
    """Rastrigin's function, a bowl full of dents: 20 + x² + y² - 10cos(2πx) - 10cos(2πy).

    Args:
        w: The point (x, y).

    Returns:
        The height; its lowest minimum is 0 at (0, 0), and there is another near every point of
        whole numbers.

    Source: Rastrigin, 1974, "Systems of extremal control", Nauka, in two dimensions.

    >>> print(rastrigin(jnp.array([0.0, 0.0])))
    0.0
    """
    return 20 + jnp.sum(w**2 - 10 * jnp.cos(2 * math.pi * w))


def local_minimum(w: Float[Array, "2"]) -> Float[Array, ""]:
    """A wide bowl with a dent on its slope: ((x-1)² + y²)/8 - 0.9·exp(-2((x+2)² + y²)).

    The dent holds a local minimum, 14 times more curved than the bowl's own: a step that is too
    large for the dent is still small for the bowl. Between them lies a pass at (-1.01, 0), 0.38
    high.

    Args:
        w: The point (x, y).

    Returns:
        The height; its minimum is 0 near (1, 0), and a local one 0.15 near (-1.79, 0).

    Source: tutorial row D15.

    >>> print(f"{local_minimum(jnp.array([-1.7882, 0.0])):.4f}")
    0.1490
    """
    x, y = w
    return ((x - 1) ** 2 + y**2) / 8 - 0.9 * jnp.exp(-2 * ((x + 2) ** 2 + y**2))


SURFACES: Final[Mapping[str, Surface]] = MappingProxyType(
    {
        "valley": Surface(
            "Long flat valley",
            valley,
            minima=((0.0, 0.0),),
            bounds=((-10.0, 3.0), (-1.3, 1.3)),
            start=(-9.0, 1.0),
            view=(50.0, -40.0),
        ),
        "turned_valley": Surface(
            "The same valley, turned",
            turned_valley,
            minima=((0.0, 0.0),),
            bounds=((-8.0, 3.0), (-8.0, 3.0)),
            start=(-7.07, -5.66),
            relief=0.5,
        ),
        "saddle": Surface(
            "Saddle",
            saddle,
            minima=((0.0, -math.sqrt(2)), (0.0, math.sqrt(2))),
            bounds=((-1.4, 1.4), (-2.0, 2.0)),
            start=(-1.2, 0.001),
            view=(45.0, -30.0),
        ),
        "monkey_saddle": Surface(
            "Monkey saddle",
            monkey_saddle,
            minima=((-1.0, 0.0), (0.5, -math.sqrt(3) / 2), (0.5, math.sqrt(3) / 2)),
            bounds=((-1.4, 1.4), (-1.4, 1.4)),
            start=(0.9, 0.01),
        ),
        "beale": Surface(
            "Beale",
            beale,
            minima=((3.0, 0.5),),
            bounds=((-0.5, 4.5), (-2.7, 2.3)),
            start=(1.0, 1.6),
            relief=0.25,
        ),
        "rosenbrock": Surface(
            "Rosenbrock",
            rosenbrock,
            minima=((1.0, 1.0),),
            bounds=((-1.8, 1.8), (-0.7, 2.2)),
            start=(-1.2, 1.0),
            relief=0.3,
        ),
        "himmelblau": Surface(
            "Himmelblau",
            himmelblau,
            minima=(
                (3.0, 2.0),
                (-2.805118086952745, 3.131312518250573),
                (-3.779310253377747, -3.283185991286169),
                (3.5844283403304917, -1.8481265269644034),
            ),
            bounds=((-5.0, 5.0), (-5.0, 5.0)),
            start=(-0.3, -0.9),
            relief=0.5,
        ),
        "rastrigin": Surface(
            "Rastrigin",
            rastrigin,
            minima=((0.0, 0.0),),
            bounds=((-3.0, 3.0), (-3.0, 3.0)),
            start=(2.3, 1.3),
        ),
        "local_minimum": Surface(
            "A local minimum with an escape",
            local_minimum,
            minima=((0.9999993420598248, 0.0), (-1.7882001546059585, 0.0)),
            bounds=((-4.5, 3.5), (-2.5, 2.5)),
            start=(-3.8, 0.8),
            relief=0.7,
        ),
    }
)
"""Every surface by its name on the command line."""
