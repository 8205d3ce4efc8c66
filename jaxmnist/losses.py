"""Cross-entropies, softmax and accuracy on arrays (tutorial rows D1-D3, D8 and D9)."""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float, Int

SMALLEST_PROBABILITY = 1e-12
"""The value at which the tutorial clamps a probability before its logarithm (D1)."""


def binary_cross_entropy(
    probabilities: Float[Array, "*batch"], targets: Float[Array, "*batch"]
) -> Float[Array, ""]:
    """Compute the mean binary cross-entropy of probabilities, clamped before the logarithm.

    ``L = -mean(y log max(p, 1e-12) + (1 - y) log max(1 - p, 1e-12))``

    Below the clamp the loss is flat and its gradient is zero, so a confident mistake teaches
    nothing. For ``p = sigmoid(z)`` in float32 that happens at ``z < -27.6`` where ``y = 1``, and
    already at ``z > 16.6`` where ``y = 0``, because there ``p`` rounds to 1.
    `binary_cross_entropy_with_logits` has a gradient everywhere.

    Args:
        probabilities: Predicted probability of the class 1, in [0, 1].
        targets: True label, 0 or 1, or the probability of the class 1.

    Returns:
        The mean over all elements, in nats.

    Source: tutorial row D1.

    >>> print(f"{binary_cross_entropy(jnp.array([0.5, 0.25]), jnp.array([1.0, 0.0])):.6f}")
    0.490415
    """
    dtype = jnp.result_type(probabilities, targets)
    if dtype == jnp.float16:  # In it the clamp is 0.
        probabilities, targets = (x.astype(jnp.float32) for x in (probabilities, targets))
    log_p = jnp.log(jnp.maximum(probabilities, SMALLEST_PROBABILITY))
    log_not_p = jnp.log(jnp.maximum(1 - probabilities, SMALLEST_PROBABILITY))
    return -jnp.mean(targets * log_p + (1 - targets) * log_not_p).astype(dtype)


def binary_cross_entropy_with_logits(
    logits: Float[Array, "*batch"], targets: Float[Array, "*batch"]
) -> Float[Array, ""]:
    """Compute the mean binary cross-entropy of ``sigmoid(logits)``, exact for any logits.

    ``L = mean(y softplus(-z) + (1 - y) softplus(z))``, which is `binary_cross_entropy` of
    ``p = sigmoid(z)`` without the clamp; its gradient ``(sigmoid(z) - y) / n`` never vanishes
    on a mistake.

    Args:
        logits: Log-odds ``z`` of the class 1.
        targets: True label, 0 or 1, or the probability of the class 1.

    Returns:
        The mean over all elements, in nats.

    Source: the numerically stable form of tutorial row D1.

    >>> print(f"{binary_cross_entropy_with_logits(jnp.array([100.0]), jnp.array([0.0])):.1f}")
    100.0
    """
    return jnp.mean(targets * jax.nn.softplus(-logits) + (1 - targets) * jax.nn.softplus(logits))


def softmax(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Divide each exponential by the sum of all of them.

    ``p_i = exp(z_i - max z) / sum_j exp(z_j - max z)``; subtracting the maximum changes nothing
    in the quotient and keeps every exponential at or below 1.

    Args:
        logits: Scores, one per class on the last axis.

    Returns:
        Probabilities that sum to 1 over the last axis, finite for any finite logits.

    Derivatives: ``dp_i = p_i (dz_i - sum_j p_j dz_j)``. A probability that underflows counts in
    them as a tiny positive one, the same as in those of `cross_entropy`: so the gradient of
    ``cross_entropy(p, softmax(z))`` by z is ``q - p`` for all finite z.

    Source: tutorial row D3.

    >>> print(softmax(jnp.log(jnp.array([1.0, 2.0, 5.0]))).round(4))
    [0.125 0.25  0.625]
    """
    return _softmax(logits)


def cross_entropy(
    p: Float[Array, "*batch classes"], q: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    """Compute the cross-entropy: nats to describe draws from p with a code made for q.

    ``H(p, q) = -sum_i p_i log q_i``, where a class with ``p_i = 0`` costs nothing and a class
    with ``p_i > 0 = q_i`` costs infinitely much. With two classes it is the binary
    cross-entropy: ``H((y, 1-y), (p, 1-p)) = -(y log p + (1-y) log(1-p))``.

    Args:
        p: True distribution over the last axis.
        q: Predicted distribution over the last axis.

    Returns:
        H(p, q) in nats, one per distribution; infinite where some ``p_i > 0 = q_i``, which is
        also so where q is a `softmax` that underflows (in float32 from a logit 87 below the
        largest). `cross_entropy_with_integer_labels` stays finite there.

    Derivatives: ``dH = -sum_i (p_i / q_i) dq_i + log q_i dp_i``, with a tiny positive number in
    the place of a q_i that is 0 or underflows: they are finite, and 0 by q_i where ``p_i = 0``.
    Through `softmax` they are exact, ``q - p`` by the logits, even where H is infinite; another
    function's q that is 0 has no derivative left to multiply.

    Source: tutorial row D2.

    >>> print(cross_entropy(jnp.array([0.0, 1.0]), jnp.array([0.5, 0.5])).round(4))
    0.6931
    """
    p, q = jnp.asarray(p), jnp.asarray(q)
    if not jnp.issubdtype(p.dtype, jnp.inexact):
        p = p.astype(q.dtype)
    return -jnp.sum(_p_log_q(p, q), axis=-1)


def cross_entropy_with_integer_labels(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, ""]:
    """Compute the mean cross-entropy of the softmax of logits against the true classes.

    ``L = mean_b(log sum_j exp(z_bj) - z_b,label(b))``, the same as `cross_entropy` of the
    one-hot labels and ``softmax(logits)``, computed without leaving the logarithm.

    Args:
        logits: Scores, one row per sample.
        labels: True class of each sample, in 0 ... classes - 1.

    Returns:
        The mean over the batch, in nats; NaN if a label is out of range.

    Source: tutorial row D8 (PyTorch's ``CrossEntropyLoss`` with its defaults).

    >>> uniform = jnp.zeros((2, 10))
    >>> print(cross_entropy_with_integer_labels(uniform, jnp.array([3, 7])).round(4))
    2.3026
    """
    return jnp.mean(cross_entropy_per_sample(logits, labels))


def cross_entropy_per_sample(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Compute every sample's cross-entropy of the softmax of its logits against its true class.

    ``L_b = log sum_j exp(z_bj) - z_b,label(b)``

    Args:
        logits: Scores, one row per sample.
        labels: True class of each sample, in 0 ... classes - 1.

    Returns:
        In nats; NaN where a label is out of range, since a traced value cannot raise.

    Source: tutorial row D8 (PyTorch's ``CrossEntropyLoss`` with ``reduction="none"``).

    >>> print(cross_entropy_per_sample(jnp.zeros((2, 10)), jnp.array([3, 10])).round(4))
    [2.3026    nan]
    """
    # A masked sum, not an indexed read: its gradient is then a product and not a scatter.
    classes = jnp.arange(logits.shape[-1], dtype=labels.dtype)
    is_label = labels[:, None] == classes[None, :]
    label_logits = jnp.sum(jnp.where(is_label, logits, 0), axis=-1)
    losses = jax.nn.logsumexp(logits, axis=-1) - label_logits
    return jnp.where((labels >= 0) & (labels < logits.shape[-1]), losses, jnp.nan)


def accuracy(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, ""]:
    """Return the share of samples whose largest logit is the true class (the first one wins a tie).

    Args:
        logits: Scores, one row per sample.
        labels: True class of each sample.

    Returns:
        The mean over the batch, in [0, 1], in the logits' dtype.

    Source: tutorial row D9.

    >>> print(accuracy(jnp.array([[0.0, 1.0], [2.0, 1.0]]), jnp.array([1, 1])))
    0.5
    """
    return jnp.mean(correct(logits, labels))


def correct(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """Return for every sample 1 if its largest logit is the true class, else 0.

    Args:
        logits: Scores, one row per sample; of equal ones the first counts as the largest.
        labels: True class of each sample.

    Returns:
        In the logits' dtype.

    Source: tutorial row D9.

    >>> print(correct(jnp.array([[0.0, 1.0], [2.0, 1.0]]), jnp.array([1, 1])))
    [1. 0.]
    """
    predictions = jnp.argmax(logits, axis=-1).astype(labels.dtype)
    return (predictions == labels).astype(logits.dtype)


# ------------------------------------------------------------------- derivatives at underflow

# p/q and the q of dq = q(dz - ...) undo each other in a chain of cross_entropy and softmax, unless
# q underflows: then they are infinity and 0. Both rules take the same positive number instead.


@jax.custom_jvp
def _softmax(logits: Array) -> Array:
    exponentials = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    return exponentials / jnp.sum(exponentials, axis=-1, keepdims=True)


@_softmax.defjvp
def _softmax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (q,), (dz,) = map(_softmax, primals), tangents
    positive = _positive(q)
    return q, positive * (dz - jnp.sum(positive * dz, axis=-1, keepdims=True))


@jax.custom_jvp
def _p_log_q(p: Array, q: Array) -> Array:
    return xlogy(p, q)


@_p_log_q.defjvp
def _p_log_q_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (p, q), (dp, dq) = primals, tangents
    return _p_log_q(p, q), _log(q) * dp + _ratio(p, q) * dq


@jax.custom_jvp
def _log(q: Array) -> Array:
    return jnp.log(_positive(q))


@_log.defjvp
def _log_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _log(*primals), _ratio(*tangents, *primals)


@jax.custom_jvp
def _ratio(x: Array, q: Array) -> Array:
    return x / _positive(q)


@_ratio.defjvp
def _ratio_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    # Without q², which underflows long before q does.
    (x, q), (dx, dq) = primals, tangents
    ratio = _ratio(x, q)
    return ratio, _ratio(dx, q) - _ratio(ratio * dq, q)


def _positive(q: Array) -> Array:
    """q, or a small number where it is 0 or underflows; its derivative is that of q."""
    info = jnp.finfo(q.dtype)
    # Above the smallest normal number, since XLA flushes what is below, and there is more to
    # multiply; but not in float16, whose smallest is 6e-5.
    least = info.tiny / info.eps if info.tiny < info.eps**4 else info.tiny
    small = jnp.asarray(least, q.dtype)
    return q + jax.lax.stop_gradient(jnp.where(jnp.abs(q) < info.tiny, small - q, 0))
