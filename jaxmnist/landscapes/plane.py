"""Planes in the space of a network's parameters, and the loss on them (tutorial row D28).

`random_plane` draws a plane around given parameters, `plane_through` lays one through three
points. `loss_on_plane` evaluates a loss on a grid of a plane, `project` finds the nearest point of
a plane to given parameters, and `share_in_plane` how much of a displacement lies in the plane.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree

from jaxmnist.errors import InputError
from jaxmnist.optim.arithmetic import root
from jaxmnist.training import (
    Params,
)

Direction = PyTree[Float[Array, "..."]]
"""A vector in the space of parameters: a tree like theirs."""


class Plane(NamedTuple):
    """The points ``origin + x · u + y · v`` of the space of parameters."""

    origin: Params
    """Where x and y are 0."""
    u: Direction
    """One step along x."""
    v: Direction
    """One step along y; it need be neither orthogonal to u nor of its length."""


def random_plane(key: Key[Array, ""], params: Params) -> Plane:
    """Draw a plane around given parameters along two random filter-normalised directions.

    Every row of a weight matrix (the weights of one unit; in general, the first axis of a leaf
    counts its filters) is drawn from a normal distribution and scaled to the norm of the
    parameters' own row:

        d_i = g_i · |w_i| / |g_i|

    so that one step along a direction changes every unit by as much as it weighs. Without that,
    a network whose weights are large would look flatter than the same function with small ones.
    Biases, and other leaves of fewer than two axes, have no filters: they stay as they are, their
    part of a direction is 0. The two directions are drawn independently and are not made
    orthogonal, for that would undo the scaling; with many parameters they almost are.

    Args:
        key: The source of randomness.
        params: The plane's origin.

    Returns:
        The plane, with both directions of the length of all weights together.

    Source: Li, Xu, Taylor, Studer and Goldstein, 2018, "Visualizing the Loss Landscape of Neural
    Nets", section 4, https://arxiv.org/abs/1712.09913; tutorial row D28.

    >>> params = {"weight": jnp.array([[3.0, 4.0], [0.0, 2.0]]), "bias": jnp.ones(2)}
    >>> plane = random_plane(jax.random.key(0), params)
    >>> print(jnp.linalg.norm(plane.u["weight"], axis=1).round(4), plane.u["bias"])
    [5. 2.] [0. 0.]
    """
    key_u, key_v = jax.random.split(key)
    return Plane(params, _filter_normalised(key_u, params), _filter_normalised(key_v, params))


def plane_through(a: Params, b: Params, c: Params) -> Plane:
    """Lay a plane through three points, such as three trained networks.

        u = (b - a) / |b - a|
        v = w / |w|,   w = (c - a) - ((c - a) · u) u

    Args:
        a: The plane's origin.
        b: Lies at (|b - a|, 0).
        c: Lies at ((c - a) · u, |w|), above the axis through a and b.

    Returns:
        The plane. u and v are orthonormal, so coordinates are distances.

    Raises:
        InputError: The three are not alike as trees; or they lie on one line, and no one plane
            goes through them. "On one line" is an angle below the root of the arithmetic's
            epsilon (0.02 degrees in float32), where v would be mostly rounding.

    Source: Garipov, Izmailov, Podoprikhin, Vetrov and Wilson, 2018, "Loss Surfaces, Mode
    Connectivity, and Fast Ensembling of DNNs", appendix A.1, https://arxiv.org/abs/1802.10026;
    tutorial row D28.

    >>> plane = plane_through(jnp.zeros(3), jnp.array([0.0, 2.0, 0.0]), jnp.array([3.0, 1.0, 0.0]))
    >>> print(plane.u, plane.v, project(plane, jnp.array([3.0, 1.0, 0.0])))
    [0. 1. 0.] [1. 0. 0.] [1. 3.]
    """
    _check_alike("b", b, a)
    _check_alike("c", c, a)
    to_b, to_c = optax.tree.sub(b, a), optax.tree.sub(c, a)
    u = optax.tree.scale(1 / _length(to_b), to_b)
    w = optax.tree.sub(to_c, optax.tree.scale(_dot(to_c, u), u))
    height, far = float(_length(w)), float(_length(to_c))
    # Not `<=`: where two points are one, this is NaN, and all three are on one line too.
    if not height > float(jnp.finfo(_length(w).dtype).eps) ** 0.5 * far:
        raise InputError(
            f"the three points lie on one line: c is {height:.3g} from the line through a and b, "
            f"at a distance of {far:.3g} from a; choose three that do not"
        )
    return Plane(a, u, optax.tree.scale(1 / _length(w), w))


def point_on(plane: Plane, x: Float[Array, ""], y: Float[Array, ""]) -> Params:
    """The parameters at (x, y): ``origin + x · u + y · v``.

    >>> plane = Plane(jnp.array([1.0, 1.0]), jnp.array([1.0, 0.0]), jnp.array([0.0, 2.0]))
    >>> print(point_on(plane, jnp.array(0.5), jnp.array(0.25)))
    [1.5 1.5]
    """
    return optax.tree.add(plane.origin, _step(plane, x, y))


def loss_on_plane(
    loss: Callable[[Params], PyTree[Array]],
    plane: Plane,
    xs: Float[Array, " columns"],
    ys: Float[Array, " rows"],
    *,
    batch_size: int = 8,
) -> PyTree[Array]:
    """Measure a loss on a grid of a plane, as one program.

    Args:
        loss: ``loss(params)``, an array or a tree of them, such as a loss and an accuracy. It is
            traced twice at most.
        plane: The plane.
        xs: Coordinates along u.
        ys: Coordinates along v.
        batch_size: How many points are computed side by side; this many copies of the
            parameters are in memory, and this many times what the loss needs.

    Returns:
        What the loss gives, with [rows, columns] before its own axes: entry [i, j] is at
        ``point_on(plane, xs[j], ys[i])``.

    Source: tutorial row D28.

    >>> plane = Plane(jnp.zeros(2), jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    >>> xs, ys = jnp.array([0.0, 1.0, 2.0]), jnp.array([0.0, 10.0])
    >>> print(loss_on_plane(jnp.sum, plane, xs, ys))
    [[ 0.  1.  2.]
     [10. 11. 12.]]
    """
    x, y = (grid.ravel() for grid in jnp.meshgrid(xs, ys))
    flat = jax.lax.map(lambda at: loss(point_on(plane, *at)), (x, y), batch_size=batch_size)
    return jax.tree.map(lambda values: values.reshape(ys.size, xs.size, *values.shape[1:]), flat)


def project(plane: Plane, params: Params) -> Float[Array, "2"]:
    """The coordinates of the point of a plane that lies nearest to given parameters.

    The least squares of ``params - origin`` by u and v, which for orthonormal u and v are its
    inner products with them. A path is projected by
    ``jax.vmap(project, in_axes=(None, 0))(plane, path)``.

    Args:
        plane: The plane.
        params: Parameters, in the plane or not.

    Returns:
        x and y.

    Raises:
        InputError: The parameters are not like the plane's.

    >>> plane = Plane(jnp.zeros(3), jnp.array([1.0, 0.0, 0.0]), jnp.array([1.0, 2.0, 0.0]))
    >>> print(project(plane, jnp.array([3.0, 4.0, 7.0])))
    [1. 2.]
    """
    _check_alike("params", params, plane.origin)
    return _coordinates(plane, optax.tree.sub(params, plane.origin))


def share_in_plane(plane: Plane, start: Params, end: Params) -> Float[Array, ""]:
    """How long a displacement is as a plane shows it, as a share of its real length.

        |P (end - start)| / |end - start|

    with P the orthogonal projection onto the plane's two directions; it is the cosine of the
    angle between the displacement and the plane. For a direction of n numbers that has nothing
    to do with the plane it is about sqrt(2 / n): 0.003 for the tutorial's network.

    Args:
        plane: The plane; only its directions matter.
        start: From.
        end: To.

    Returns:
        From 0, at right angles, to 1, in parallel; NaN where end is start.

    Raises:
        InputError: The parameters are not like the plane's.

    >>> plane = Plane(jnp.zeros(3), jnp.array([1.0, 0.0, 0.0]), jnp.array([1.0, 2.0, 0.0]))
    >>> print(share_in_plane(plane, jnp.array([0.0, 0.0, 1.0]), jnp.array([0.0, 3.0, 5.0])))
    0.6
    """
    _check_alike("start", start, plane.origin)
    _check_alike("end", end, plane.origin)
    displacement = optax.tree.sub(end, start)
    return _length(_step(plane, *_coordinates(plane, displacement))) / _length(displacement)


def _filter_normalised(key: Key[Array, ""], params: Params) -> Direction:
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        _scaled_like(leaf, jax.random.normal(key, leaf.shape, leaf.dtype))
        if leaf.ndim > 1
        else jnp.zeros_like(leaf)
        for key, leaf in zip(keys, leaves, strict=True)
    )


def _scaled_like(weight: Array, drawn: Array) -> Array:
    rest = tuple(range(1, weight.ndim))

    def norm(of: Array) -> Array:
        return root(jnp.sum(of**2, axis=rest, keepdims=True))

    return drawn * (norm(weight) / norm(drawn))


def _coordinates(plane: Plane, displacement: Direction) -> Float[Array, "2"]:
    """Solve the normal equations of the least squares, two by two."""
    _, u, v = plane
    uu, uv, vv = _dot(u, u), _dot(u, v), _dot(v, v)
    du, dv = _dot(displacement, u), _dot(displacement, v)
    return jnp.stack([vv * du - uv * dv, uu * dv - uv * du]) / (uu * vv - uv * uv)


def _step(plane: Plane, x: Float[Array, ""], y: Float[Array, ""]) -> Direction:
    return jax.tree.map(lambda u, v: x * u + y * v, plane.u, plane.v)


def _dot(a: Direction, b: Direction) -> Float[Array, ""]:
    return jnp.asarray(optax.tree.vdot(a, b))


def _length(a: Direction) -> Float[Array, ""]:
    return root(_dot(a, a))


def _check_alike(name: str, tree: Params, like: Params) -> None:
    """Refuse a tree of another structure or of other shapes, traced or not."""
    theirs, ours = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/") or "the array": np.shape(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(side)
        }
        for side in (tree, like)
    )
    for leaf in [*ours, *theirs]:
        if theirs.get(leaf) != ours.get(leaf):
            found = f"has shape {theirs[leaf]}" if leaf in theirs else "is missing"
            wanted = f"its shape is {ours[leaf]}" if leaf in ours else "there is no such leaf"
            raise InputError(
                f"{name}: {leaf} {found}, and in the plane's origin {wanted}; "
                "both must come from one network"
            )
