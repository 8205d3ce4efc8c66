"""Taylor's prediction of a gradient step, and what the step does (tutorial rows D18 and D19).

Everything takes any ``loss(params) -> scalar`` of a tree of real arrays of one dtype. g is its
gradient and H its Hessian, which is only ever multiplied by vectors.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxmnist.errors import InputError

Loss = Callable[[Any], Any]
"""``loss(params) -> scalar``."""


class GradientSteps(NamedTuple):
    """The predicted and the measured changes of gradient steps of several lengths."""

    squared_norm: Float[Array, ""]
    """``‖g‖²``: how fast the loss falls as the rate grows from 0."""
    curvature: Float[Array, ""]
    """``gᵀHg / ‖g‖²``, the second derivative along the gradient; NaN where g is 0."""
    first_order: Float[Array, " rates"]
    """The predicted change ``-η‖g‖²``."""
    second_order: Float[Array, " rates"]
    """The predicted change ``-η‖g‖² + η²/2 gᵀHg``; it is 0 again at ``2 / curvature``."""
    measured: Float[Array, " rates"]
    """``loss(params - ηg) - loss(params)``."""


def gradient_steps(
    loss: Loss, params: PyTree[Array], rates: Float[Array, " rates"]
) -> GradientSteps:
    """Predict and measure how a gradient step changes the loss, for several learning rates.

        loss(w - ηg) - loss(w) = -η‖g‖² + η²/2 gᵀHg + O(η³)

    Args:
        loss: From params to a scalar.
        params: Where the step starts, w.
        rates: The learning rates η, in the dtype of params.

    Returns:
        The predictions to first and to second order, and the measurement, per rate.

    Raises:
        InputError: The loss is not one real number, or params are not real arrays.

    Source: tutorial rows D18 and D19.

    On a quadratic the second order is exact; with H = 4 the steps stop descending at 2/4:

    >>> steps = gradient_steps(lambda w: 2 * w**2, jnp.array(1.0), jnp.array([0.25, 0.5, 0.75]))
    >>> print(steps.first_order, steps.second_order, steps.measured)
    [ -4.  -8. -12.] [-2.  0.  6.] [-2.  0.  6.]
    """
    flat_loss, w, _ = _flatten(loss, params)
    value, g = jax.value_and_grad(flat_loss)(w)
    squared_norm = jnp.vdot(g, g)
    bend = jnp.vdot(g, hessian_vector_product(flat_loss, w, g))
    first_order = -rates * squared_norm
    return GradientSteps(
        squared_norm=squared_norm,
        curvature=bend / squared_norm,
        first_order=first_order,
        second_order=first_order + rates**2 / 2 * bend,
        measured=jax.lax.map(lambda rate: flat_loss(w - rate * g) - value, rates),
    )


def largest_decreasing_rate(
    loss: Loss, params: PyTree[Array], rates: Float[Array, " rates"]
) -> Float[Array, ""]:
    """Find the learning rate up to which a step against the gradient lowers the loss.

    It is ``2 / H`` on a one-dimensional quadratic, and ``2 / λ`` where g is an eigenvector of H
    with eigenvalue λ. The rates are tried in rising order up to the first that does not lower the
    loss, and the interval below that one is halved until the dtype is exhausted. A loss may fall
    again further on: that is not looked for, and a rise between two neighbouring rates is missed.

    Args:
        loss: From params to a scalar.
        params: Where the step starts.
        rates: Positive learning rates to try, in the dtype of params, such as a geometric grid.

    Returns:
        The largest rate found to lower the loss: 0 if none does, infinite if all of `rates` do.

    Raises:
        InputError: The loss is not one real number, or params are not real arrays.

    Source: tutorial row D18.

    >>> rates = jnp.geomspace(0.01, 10.0, 20)
    >>> print(f"{largest_decreasing_rate(lambda w: 2 * w**2, jnp.array(1.0), rates):.4f}")
    0.5000
    """
    flat_loss, w, _ = _flatten(loss, params)
    value, g = jax.value_and_grad(flat_loss)(w)

    def decreases(rate: Float[Array, ""]) -> Bool[Array, ""]:
        return flat_loss(w - rate * g) < value

    def halve(_: Any, interval: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = interval
        middle = (low + high) / 2
        lower = decreases(middle)
        return jnp.where(lower, middle, low), jnp.where(lower, high, middle)

    rates = jnp.sort(rates)
    is_lower = jax.lax.map(decreases, rates)
    first = jnp.argmin(is_lower)
    below = jnp.where(first > 0, rates[first - 1], 0)
    low, _ = jax.lax.fori_loop(0, jnp.finfo(w.dtype).nmant, halve, (below, rates[first]))
    return jnp.where(is_lower.all(), jnp.inf, low)


def change_by_angle(
    loss: Loss,
    params: PyTree[Array],
    across: PyTree[Array],
    angles: Float[Array, " angles"],
    length: Float[Array, ""] | float,
) -> tuple[Float[Array, " angles"], Float[Array, " angles"]]:
    """Predict and measure how the loss changes over steps of one length in all directions.

    The inner product of g with a step d at the angle θ to it is ``‖g‖ ‖d‖ cos θ``, least at 180°:
    no direction falls faster than -g. The longer the step, the more the curvature moves that
    angle.

    Args:
        loss: From params to a scalar.
        params: Where the steps start.
        across: With g it spans the plane of the steps, on the side of positive angles; any
            direction that is not along g.
        angles: Between each step and g, in radians.
        length: Of every step, ‖d‖, in the units of params.

    Returns:
        The predicted change ``length ‖g‖ cos θ`` and the measured one, per angle.

    Raises:
        InputError: The loss is not one real number, or params are not real arrays; or the gradient
            is 0, to which there is no angle, or `across` is along it. Inside a transformation the
            numbers are not known yet, and the measured changes are NaN there.

    Source: tutorial row D19.

    >>> slope = lambda w: 3 * w[0]
    >>> angles = jnp.array([0.0, jnp.pi])
    >>> for change in change_by_angle(slope, jnp.zeros(2), jnp.array([0.0, 1.0]), angles, 0.5):
    ...     print(change)
    [ 1.5 -1.5]
    [ 1.5 -1.5]
    """
    flat_loss, w, _ = _flatten(loss, params)
    value, g = jax.value_and_grad(flat_loss)(w)
    norm = jnp.linalg.norm(g)
    along = g / norm
    given = ravel_pytree(across)[0]
    rest = given - jnp.vdot(along, given) * along
    height, far = jnp.linalg.norm(rest), jnp.linalg.norm(given)
    # As with three points on one line, below this angle the rest is mostly rounding.
    is_along = ~(height > jnp.finfo(w.dtype).eps ** 0.5 * far)
    if not isinstance(is_along, Tracer):
        if norm == 0:
            raise InputError("the gradient is 0 at params; take another point to have an angle")
        if is_along:
            raise InputError(
                f"across is {height:.3g} from the line along the gradient, of its length "
                f"{far:.3g}; it must be a direction that is not along the gradient"
            )
    normal = jnp.where(is_along, jnp.nan, rest / height)

    def change(angle: Float[Array, ""]) -> Float[Array, ""]:
        step = length * (jnp.cos(angle) * along + jnp.sin(angle) * normal)
        return flat_loss(w + step) - value

    return length * norm * jnp.cos(angles), jax.lax.map(change, angles)


def hessian_vector_product(
    loss: Loss, params: PyTree[Array], vector: PyTree[Array]
) -> PyTree[Array]:
    """Multiply the Hessian by a vector, at about the cost of two gradients.

    ``Hv`` is the derivative of the gradient along v, so H itself is never formed.

    Args:
        loss: From params to a scalar.
        params: Where the Hessian is taken.
        vector: v, with the structure, shapes and dtype of params.

    Returns:
        Hv, in the same structure.

    Source: Pearlmutter, 1994, https://doi.org/10.1162/neco.1994.6.1.147.

    >>> print(hessian_vector_product(lambda w: w[0] * w[1], jnp.zeros(2), jnp.array([1.0, 3.0])))
    [3. 1.]
    """
    return jax.jvp(jax.grad(loss), (params,), (vector,))[1]


class Eigenpair(NamedTuple):
    """An eigenvalue of a Hessian, its vector, and their residual."""

    value: Float[Array, ""]
    """μ, the Rayleigh quotient ``vᵀHv``."""
    vector: PyTree[Array]
    """v, of length 1, in the structure of the parameters."""
    residual: Float[Array, ""]
    """``‖Hv - μv‖``: some eigenvalue is within this distance of μ."""
    iterations: Int[Array, ""]
    """Products with H that it took."""


def largest_eigenvalue(
    loss: Loss,
    params: PyTree[Array],
    key: Key[Array, ""],
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
) -> Eigenpair:
    """Find the Hessian's largest eigenvalue, its sign counted, by power iteration.

    ``v ← Hv / ‖Hv‖`` from a random v ends at the eigenvalue of the largest modulus r. If that
    one is negative, or if r and -r both occur and nothing settles, the same iteration on ``H + r``,
    which has no negative eigenvalue left, ends at the largest: the sharpest bend upwards, which
    is what limits a learning rate. It is negative only if the loss bends downwards everywhere.

    Args:
        loss: From params to a scalar.
        params: Where the Hessian is taken.
        key: Of the random start.
        tolerance: The residual asked for, as a share of r. The value's own error is about its
            square, as a share of the distance to the next eigenvalue.
        max_iterations: Of each of the two iterations; after them the residual may be larger.

    Returns:
        The eigenvalue with its vector, residual and number of iterations.

    Raises:
        InputError: The loss is not one real number, or params are not real arrays.

    Source: von Mises and Pollaczek-Geiringer, 1929, https://doi.org/10.1002/zamm.19290090206;
    for tutorial rows D16, D18 and D19.

    The Hessian is diagonal, with 2 and -8:

    >>> saddle = lambda w: w[0] ** 2 - 4 * w[1] ** 2
    >>> print(f"{largest_eigenvalue(saddle, jnp.zeros(2), jax.random.key(0)).value:.3f}")
    2.000
    """
    flat_loss, w, unravel = _flatten(loss, params)

    def iterate(start: Array, shift: Array, scale: Array) -> tuple[Array, Eigenpair]:
        """Power iteration on H + shift; residuals are judged by r, which is at least `scale`."""

        def apply(v: Array, iterations: Any) -> tuple[Array, Array, Eigenpair]:
            product = hessian_vector_product(flat_loss, w, v)
            value = jnp.vdot(v, product)
            residual = jnp.linalg.norm(product - value * v)
            radius = jnp.maximum(jnp.linalg.norm(product), scale)
            return product, radius, Eigenpair(value, v, residual, iterations)

        def unsettled(carry: tuple[Array, Array, Eigenpair]) -> Bool[Array, ""]:
            _, radius, pair = carry
            return (pair.residual > tolerance * radius) & (pair.iterations < max_iterations)

        def advance(carry: tuple[Array, Array, Eigenpair]) -> tuple[Array, Array, Eigenpair]:
            product, _, pair = carry
            image = product + shift * pair.vector
            return apply(image / jnp.linalg.norm(image), pair.iterations + 1)

        _, radius, pair = jax.lax.while_loop(unsettled, advance, apply(start, jnp.array(1)))
        return radius, pair

    start = jax.random.normal(key, w.shape, w.dtype)
    start = start / jnp.linalg.norm(start)
    none = jnp.zeros((), w.dtype)
    radius, first = iterate(start, none, none)
    is_largest = (first.residual <= tolerance * radius) & (first.value >= 0)
    # If it is the largest already, the second iteration ends with its first product.
    _, pair = iterate(
        jnp.where(is_largest, first.vector, start), jnp.where(is_largest, none, radius), radius
    )
    return pair._replace(vector=unravel(pair.vector), iterations=first.iterations + pair.iterations)


def _flatten(loss: Loss, params: PyTree[Array]) -> tuple[Loss, Array, Callable[[Array], Any]]:
    """The loss as a function of one vector, that vector, and the way back to the tree."""
    leaves = jax.tree.leaves(params)
    dtypes = {jnp.result_type(leaf) for leaf in leaves}
    if len(dtypes) != 1 or not all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        names = ", ".join(sorted(str(dtype) for dtype in dtypes)) or "nothing"
        raise InputError(f"params hold {names}; they must be real arrays of one dtype")
    result = jax.eval_shape(loss, params)
    shape, dtype = getattr(result, "shape", None), getattr(result, "dtype", None)
    if shape != () or dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"loss returns {result}; it must return one real number")
    w, unravel = ravel_pytree(params)
    return (lambda w: loss(unravel(w))), w, unravel
