"""torch.optim.Muon: momentum whose singular values are all moved near 1."""

import math
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxmnist.errors import InputError
from jaxmnist.parity.optimizers import moments
from jaxmnist.parity.optimizers.drop_in import Number, Scheduled, decay, drop_in

Coefficients = tuple[float, float, float]

ITERATION_DTYPE: Any = jnp.bfloat16
"""PyTorch's; a comparison may set another to see past its rounding."""

_ADJUSTMENTS: Final = (None, "original", "match_rms_adamw")


class MuonState(NamedTuple):
    """State of Muon between two updates."""

    momentum_buffer: PyTree[Float[Array, "rows columns"]]  # the average of the gradients


def muon(
    lr: Scheduled = 1e-3,
    weight_decay: Number = 0.1,
    momentum: Scheduled = 0.95,
    nesterov: bool = True,
    ns_coefficients: Coefficients = (3.4445, -4.7750, 2.0315),
    eps: Number = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Descend as ``torch.optim.Muon`` does, for matrices in PyTorch's layout, (out, in).

    With the gradient g and the coefficients (a, b, c):

        m ← momentum·m + (1 - momentum)·g
        u = m, or with ``nesterov`` (1 - momentum)·g + momentum·m
        X = u / max(|u|, eps); `ns_steps` times: A = X·Xᵀ, X ← a·X + (b·A + c·A²)·X
        w ← w - lr · weight_decay · w - lr · f · X

    f is sqrt(max(1, out / in)), or with ``adjust_lr_fn="match_rms_adamw"`` 0.2·sqrt(max(out, in)).
    A matrix with more rows than columns is transposed for X.

    Args:
        lr: The learning rate; a number, or a schedule called with 0 for the first update.
        weight_decay: Times the learning rate and w, what each update takes from w.
        momentum: The share of the average gradient that each update keeps; a number or a schedule.
        nesterov: Whether to look ahead.
        ns_coefficients: Those of the Newton-Schulz iteration.
        eps: The least norm that u is divided by.
        ns_steps: The number of iterations, less than 100.
        adjust_lr_fn: None, "original" or "match_rms_adamw".

    Returns:
        A transformation whose updates are to be added to the parameters.

    Raises:
        InputError: A number is outside PyTorch's range, or a parameter is no real matrix.

    Precision: the iteration is in bfloat16, as PyTorch's: every product is summed in float32 and
    rounded to eight bits. The order of a sum is the libraries' own, so that X may differ by a unit
    in its last place, 2^-8, where a sum lies between two numbers; all else is in the parameters'
    precision.

    Optax: ``optax.contrib.muon`` iterates in the parameters' dtype, adds its eps, has no weight
    decay by default, corrects the momentum's bias, and takes a kernel for (in, out).

    References: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.

    >>> optimizer = muon(lr=1.0, weight_decay=0.0)
    >>> params = jnp.zeros((2, 2))
    >>> gradient = jnp.array([[2.0, 0.0], [0.0, 1.0]])
    >>> update, state = optimizer.update(gradient, optimizer.init(params))
    >>> print(jnp.round(update, 1))
    [[-0.7 -0. ]
     [-0.  -1.1]]
    """
    if adjust_lr_fn not in _ADJUSTMENTS:
        raise InputError(
            f"muon: adjust_lr_fn is {adjust_lr_fn!r}; it must be one of "
            f"{', '.join(map(repr, _ADJUSTMENTS))}"
        )
    if not 0 <= ns_steps < 100:
        raise InputError(f"muon: ns_steps is {ns_steps}; it must be at least 0 and less than 100")

    def make(
        lr: Number, weight_decay: Number, momentum: Number, eps: Number
    ) -> optax.GradientTransformation:
        def change(u: Any, _: Any) -> Array:
            ortho = orthogonalized(u, ns_coefficients, ns_steps, eps)
            return _adjustment(adjust_lr_fn, *u.shape) * ortho.astype(u.dtype)

        return optax.chain(
            _momentum(momentum, nesterov),
            optax.stateless_with_tree_map(change),
            decay(weight_decay),
            optax.scale(-lr),
        )

    numbers = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "eps": eps}
    return drop_in("muon", make, numbers, accepts=_real_matrix)


def orthogonalized(
    u: Float[Array, "rows columns"],
    coefficients: Coefficients,
    steps: int,
    eps: Number,
) -> Float[Array, "rows columns"]:
    """Move the singular values of a matrix near 1 by Newton and Schulz's iteration.

    Args:
        u: The matrix.
        coefficients: Of X, A·X and A²·X.
        steps: The number of iterations.
        eps: The least norm that u is divided by.

    Returns:
        A matrix of the same shape, in `ITERATION_DTYPE`.
    """
    a, b, c = coefficients
    dtype = ITERATION_DTYPE
    wide = jnp.promote_types(dtype, jnp.float32)

    def product(left: Array, right: Array) -> Array:
        return jnp.matmul(left, right, precision="highest", preferred_element_type=wide)

    def narrow(array: Array) -> Array:
        return array.astype(dtype)

    x = narrow(u)
    is_tall = u.shape[0] > u.shape[1]
    x = x.T if is_tall else x
    norm = narrow(jnp.sqrt(jnp.sum(jnp.square(x.astype(wide)))))
    x = narrow(x.astype(wide) / jnp.maximum(norm, narrow(jnp.asarray(eps))).astype(wide))
    for _ in range(steps):
        gram = narrow(product(x, x.T))
        gram_update = narrow(b * gram.astype(wide) + c * product(gram, gram))
        x = narrow(a * x.astype(wide) + product(gram_update, x))
    return x.T if is_tall else x


def _momentum(momentum: Number, nesterov: bool) -> optax.GradientTransformation:
    def init(params: optax.Params) -> MuonState:
        return MuonState(jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, MuonState]:
        del params
        buffer = moments.average(state.momentum_buffer, updates, momentum)
        ahead = moments.average(buffer, updates, momentum) if nesterov else buffer
        return ahead, MuonState(buffer)

    return optax.GradientTransformation(init, update)


def _adjustment(function: str | None, rows: int, columns: int) -> float:
    if function == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


def _real_matrix(leaf: Any) -> str | None:
    if jnp.ndim(leaf) == 2 and not jnp.iscomplexobj(leaf):
        return None
    return (
        "it must be a real matrix, as in PyTorch; give the others another optimizer with "
        "optax.partition"
    )
