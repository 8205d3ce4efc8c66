"""The parity table's losses."""

import jax
import jax.numpy as jnp
import optax
from jax.scipy.special import xlogy

from jaxmnist import losses as jm_losses
from jaxmnist.parity.table.inputs import SEED, compare_functions
from jaxmnist.parity.table.row import DIFFERS, Kind, Row


def rows() -> list[Row]:
    """Return the rows of regression, divergences, margins and distances."""
    import torch.nn.functional as F  # noqa: N812

    return [
        Row(
            lambda p, t: F.mse_loss(p, t),
            lambda p, t: optax.l2_loss(p, t).mean(),
            DIFFERS,
            "Optax's l2_loss has the factor 1/2.",
            lambda p, t: optax.squared_error(p, t).mean(),
            "a factor: f is 0.5 times",
        ),
        Row(
            lambda p, t: F.mse_loss(p, t, reduction="sum"),
            lambda p, t: optax.squared_error(p, t).sum(),
        ),
        Row(
            lambda p, t: F.mse_loss(p, t, reduction="none"),
            lambda p, t: optax.squared_error(p, t),
        ),
        Row(
            lambda p, t: F.mse_loss(p, t),
            lambda p, t: optax.squared_error(p, t).sum(-1).mean(),
            DIFFERS,
            "PyTorch's mean is over all elements, not over the batch alone.",
            lambda p, t: optax.squared_error(p, t).mean(),
            "a sum here and a mean there over the last axis, 5",
        ),
        Row(lambda p, t: F.l1_loss(p, t), lambda p, t: jnp.abs(p - t).mean()),
        Row(
            lambda p, t: F.l1_loss(p, t, reduction="sum"),
            lambda p, t: jnp.abs(p - t).sum(),
        ),
        Row(
            lambda ties, tied: F.l1_loss(ties, tied),
            lambda ties, tied: jnp.abs(ties - tied).mean(),
            DIFFERS,
            "The derivative of |x| at 0 is 0 in PyTorch and 1 in JAX.",
            lambda ties, tied: ((ties - tied) * jnp.sign(ties - tied)).mean(),
            "the derivative at a kink",
        ),
        Row(
            lambda p, t: F.smooth_l1_loss(p, t),
            lambda p, t: optax.huber_loss(p, t).mean(),
        ),
        Row(
            lambda p, t: F.smooth_l1_loss(p, t, beta=0.5),
            lambda p, t: optax.huber_loss(p, t, delta=0.5).mean(),
            DIFFERS,
            "Smooth L1 is Huber's loss divided by beta.",
            lambda p, t: optax.huber_loss(p, t, delta=0.5).mean() / 0.5,
            "a factor: f is 0.5 times",
        ),
        Row(
            lambda p, t: F.huber_loss(p, t, delta=0.5),
            lambda p, t: optax.huber_loss(p, t, delta=0.5).mean(),
        ),
        Row(
            lambda p, t: F.huber_loss(p, t, delta=2.0, reduction="sum"),
            lambda p, t: optax.huber_loss(p, t, delta=2.0).sum(),
        ),
        Row(
            lambda log_p, targets: F.kl_div(log_p, targets, reduction="batchmean"),
            lambda log_p, targets: optax.kl_divergence(log_p, targets).mean(),
        ),
        Row(
            lambda log_p, targets: F.kl_div(log_p, targets, reduction="mean"),
            lambda log_p, targets: optax.kl_divergence(log_p, targets).mean(),
            DIFFERS,
            "PyTorch's default 'mean' divides by the classes too.",
            lambda log_p, targets: optax.kl_divergence(log_p, targets).mean() / log_p.shape[-1],
            "a sum here and a mean there over the last axis, 5",
        ),
        Row(
            lambda log_p, targets: F.kl_div(log_p, targets, reduction="sum"),
            lambda log_p, targets: optax.kl_divergence(log_p, targets).sum(),
        ),
        Row(
            lambda log_p, p: F.kl_div(log_p, p, reduction="batchmean", log_target=True),
            lambda log_p, p: optax.losses.kl_divergence_with_log_targets(log_p, p).mean(),
        ),
        Row(
            lambda log_p, targets: F.kl_div(log_p, targets, reduction="batchmean"),
            lambda log_p, targets: optax.kl_divergence(jnp.log(targets), jnp.exp(log_p)).mean(),
            DIFFERS,
            "PyTorch's first argument is log q of KL(p, q), and its second p.",
            lambda log_p, targets: optax.kl_divergence(log_p, targets).mean(),
        ),
        Row(
            lambda p, t, var: F.gaussian_nll_loss(p, t, var),
            lambda p, t, var: -jax.scipy.stats.norm.logpdf(t, p, jnp.sqrt(var)).mean(),
            DIFFERS,
            "PyTorch omits the constant ½ log 2π unless full=True.",
            lambda p, t, var: ((jnp.log(var) + (p - t) ** 2 / var) / 2).mean(),
            "a constant: f is larger by 0.918939",
        ),
        Row(
            lambda p, t, var: F.gaussian_nll_loss(p, t, var, full=True),
            lambda p, t, var: -jax.scipy.stats.norm.logpdf(t, p, jnp.sqrt(var)).mean(),
        ),
        Row(
            lambda p, counts: F.poisson_nll_loss(p, counts),
            lambda p, counts: -jax.scipy.stats.poisson.logpmf(counts, jnp.exp(p)).mean(),
            DIFFERS,
            "PyTorch omits log(count!), which has no gradient.",
            lambda p, counts: (jnp.exp(p) - counts * p).mean(),
            "a constant",
        ),
        Row(
            lambda var, counts: F.poisson_nll_loss(var, counts, log_input=False),
            lambda var, counts: (var - counts * jnp.log(var)).mean(),
            DIFFERS,
            "PyTorch adds eps, 1e-8, to the rate inside the logarithm.",
            lambda var, counts: (var - counts * jnp.log(var + 1e-8)).mean(),
        ),
        Row(
            lambda p, counts: F.poisson_nll_loss(p, counts, full=True),
            lambda p, counts: -jax.scipy.stats.poisson.logpmf(counts, jnp.exp(p)).mean(),
            DIFFERS,
            "With full=True PyTorch has Stirling's approximation of log(count!), and 0 up to 1, "
            "which it computes in float32 where the counts are integers.",
            lambda p, counts: (jnp.exp(p) - counts * p + _stirling(counts)).mean(),
            "a constant",
        ),
        Row(
            lambda p, sign_table: F.hinge_embedding_loss(p, sign_table, margin=1.0),
            lambda p, sign_table: optax.hinge_loss(p, sign_table).mean(),
            DIFFERS,
            "PyTorch takes the input itself where the label is 1, and max(0, margin - input) else.",
            lambda p, sign_table: jnp.where(sign_table == 1, p, jax.nn.relu(1.0 - p)).mean(),
        ),
        Row(
            lambda p, sign_table: F.soft_margin_loss(p, sign_table),
            lambda p, sign_table: optax.sigmoid_binary_cross_entropy(
                p, (sign_table + 1) / 2
            ).mean(),
        ),
        Row(
            lambda u, v, signs: F.margin_ranking_loss(u, v, signs, margin=0.5),
            lambda u, v, signs: optax.hinge_loss(u - v, signs).mean(),
            DIFFERS,
            "Optax's hinge has the margin 1; PyTorch's default is 0.",
            lambda u, v, signs: jax.nn.relu(0.5 - signs * (u - v)).mean(),
        ),
        Row(
            lambda u, v, signs: F.margin_ranking_loss(u, v, signs, margin=1.0),
            lambda u, v, signs: optax.hinge_loss(u - v, signs).mean(),
        ),
        Row(
            lambda a, b: F.cosine_similarity(a, b),
            lambda a, b: optax.cosine_similarity(a, b),
        ),
        Row(
            lambda with_zeros, b: F.cosine_similarity(with_zeros, b),
            lambda with_zeros, b: optax.cosine_similarity(with_zeros, b),
            DIFFERS,
            "Of a zero vector PyTorch's is 0, by its bound of 1e-8 on each norm. Optax's is NaN, "
            "and with its epsilon the gradient differs.",
            lambda with_zeros, b: (
                jnp.sum(with_zeros * b, -1)
                / (optax.safe_norm(with_zeros, 1e-8, axis=-1) * optax.safe_norm(b, 1e-8, axis=-1))
            ),
            "a bound",
        ),
        Row(
            lambda a, b, signs: F.cosine_embedding_loss(a, b, signs, margin=0.2),
            lambda a, b, signs: jnp.where(
                signs == 1, optax.cosine_distance(a, b), optax.cosine_similarity(a, b) - 0.2
            ).mean(),
            DIFFERS,
            "Of the pairs that are to differ, those already further than the margin count as 0; "
            "and PyTorch adds 1e-12 to each sum of squares.",
            lambda a, b, signs: jnp.where(
                signs == 1, 1 - _cosine(a, b), jax.nn.relu(_cosine(a, b) - 0.2)
            ).mean(),
        ),
        Row(
            lambda logits, labels: F.multi_margin_loss(logits, labels),
            lambda logits, labels: optax.losses.multiclass_hinge_loss(logits, labels).mean(),
            DIFFERS,
            "PyTorch averages the hinges of all wrong classes; Optax takes the largest.",
            lambda logits, labels: _multi_margin(logits, labels).mean(),
        ),
        Row(
            lambda logits, labels: F.multi_margin_loss(logits, labels, p=2, margin=0.5),
            lambda logits, labels: _multi_margin(logits, labels, 0.5).mean(),
            DIFFERS,
            "With p=2 each hinge is squared.",
            lambda logits, labels: _multi_margin(logits, labels, 0.5, 2).mean(),
        ),
        Row(
            lambda logits, labels, weight: F.multi_margin_loss(logits, labels, weight=weight),
            lambda logits, labels, weight: (
                jnp.sum(weight[labels] * _multi_margin(logits, labels)) / jnp.sum(weight[labels])
            ),
            DIFFERS,
            "Unlike cross_entropy, PyTorch divides by the batch, not by the sum of the weights.",
            lambda logits, labels, weight: (weight[labels] * _multi_margin(logits, labels)).mean(),
            wrt=("logits",),
        ),
        Row(
            lambda logits, chosen: F.multilabel_margin_loss(logits, chosen),
            lambda logits, chosen: _multilabel_margin(logits, chosen).mean(),
            difference="Labels after the first -1 do not count; JAX has no function for it.",
        ),
        Row(
            lambda logits, bits: F.multilabel_soft_margin_loss(logits, bits),
            lambda logits, bits: optax.sigmoid_binary_cross_entropy(logits, bits).mean(),
        ),
        Row(
            lambda a, b: F.pairwise_distance(a, b),
            lambda a, b: jnp.linalg.norm(a - b, axis=-1),
            DIFFERS,
            "PyTorch adds eps, 1e-6, to every difference.",
            lambda a, b: jnp.linalg.norm(a - b + 1e-6, axis=-1),
        ),
        Row(
            lambda a, b, c: F.triplet_margin_loss(a, b, c),
            lambda a, b, c: optax.losses.triplet_margin_loss(a, b, c).mean(),
            DIFFERS,
            "PyTorch adds eps, 1e-6, to every difference; Optax adds it to the sum of squares.",
            lambda a, b, c: jax.nn.relu(
                jnp.linalg.norm(a - b + 1e-6, axis=-1)
                - jnp.linalg.norm(a - c + 1e-6, axis=-1)
                + 1.0
            ).mean(),
        ),
        Row(
            lambda a, b, c: F.triplet_margin_loss(a, b, c, margin=0.5, swap=True),
            lambda a, b, c: jax.nn.relu(_distance(a, b) - _distance(a, c) + 0.5).mean(),
            DIFFERS,
            "With swap the negative's distance is the smaller of those from anchor and positive.",
            lambda a, b, c: jax.nn.relu(
                _distance(a, b) - jnp.minimum(_distance(a, c), _distance(b, c)) + 0.5
            ).mean(),
        ),
        Row(
            lambda a, b, c: F.triplet_margin_with_distance_loss(
                a, b, c, distance_function=lambda x, y: 1 - F.cosine_similarity(x, y)
            ),
            lambda a, b, c: jax.nn.relu(
                optax.cosine_distance(a, b) - optax.cosine_distance(a, c) + 1.0
            ).mean(),
        ),
        Row(
            lambda q, bits: F.binary_cross_entropy(q, bits),
            lambda q, bits: -(bits * jnp.log(q) + (1 - bits) * jnp.log(1 - q)).mean(),
        ),
        Row(
            lambda q, bits: F.binary_cross_entropy(q, bits),
            lambda q, bits: jm_losses.binary_cross_entropy(q, bits),
        ),
        Row(
            lambda q, bits: F.binary_cross_entropy(q, bits),
            lambda q, bits: optax.sigmoid_binary_cross_entropy(q, bits).mean(),
            DIFFERS,
            "Optax's takes logits, and PyTorch's probabilities.",
            lambda q, bits: optax.sigmoid_binary_cross_entropy(
                jnp.log(q) - jnp.log1p(-q), bits
            ).mean(),
        ),
        Row(
            lambda sure, sure_bits: F.binary_cross_entropy(sure, sure_bits, reduction="none"),
            lambda sure, sure_bits: -xlogy(sure_bits, sure) - xlogy(1 - sure_bits, 1 - sure),
            DIFFERS,
            "PyTorch bounds each logarithm below by -100.",
            lambda sure, sure_bits: (
                -sure_bits * jnp.maximum(jnp.log(sure), -100)
                - (1 - sure_bits) * jnp.maximum(jnp.log(1 - sure), -100)
            ),
            "a bound",
            wrt=(),
        ),
        Row(
            lambda q, bits, var: F.binary_cross_entropy(q, bits, weight=var),
            lambda q, bits, var: -(var * (bits * jnp.log(q) + (1 - bits) * jnp.log(1 - q))).mean(),
            wrt=("q",),
        ),
    ]


def _stirling(n: jax.Array) -> jax.Array:
    """PyTorch's approximation of log(n!)."""
    n = n.astype(jnp.float32)
    safe = jnp.maximum(n, 1.0)
    return jnp.where(n > 1, n * jnp.log(safe) - n + 0.5 * jnp.log(2 * jnp.pi * safe), 0.0)


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.linalg.norm(a - b + 1e-6, axis=-1)


def _cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """The cosine of `cosine_embedding_loss`, with 1e-12 in both sums of squares."""
    squares = (jnp.sum(a**2, -1) + 1e-12) * (jnp.sum(b**2, -1) + 1e-12)
    return jnp.sum(a * b, -1) / jnp.sqrt(squares)


def _multi_margin(
    logits: jax.Array, labels: jax.Array, margin: float = 1.0, p: int = 1
) -> jax.Array:
    own = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    hinges = jax.nn.relu(margin - own + logits) ** p
    others = jnp.arange(logits.shape[-1]) != labels[:, None]
    return jnp.sum(hinges * others, axis=-1) / logits.shape[-1]


def _multilabel_margin(logits: jax.Array, chosen: jax.Array) -> jax.Array:
    counted = jnp.cumprod(chosen >= 0, axis=-1)
    own = jnp.take_along_axis(logits, jnp.maximum(chosen, 0), axis=-1)
    rows = jnp.arange(len(logits))[:, None]
    is_own = jnp.zeros(logits.shape).at[rows, jnp.maximum(chosen, 0)].max(counted)
    hinges = jax.nn.relu(1 - own[:, :, None] + logits[:, None, :])
    return jnp.sum(hinges * counted[:, :, None] * (1 - is_own)[:, None, :], (1, 2)) / 5


KIND = Kind(
    "Losses",
    rows,
    compare_functions,
    f"Values and all gradients in float64, a batch of 6 with 5 classes, seed {SEED}.",
)
