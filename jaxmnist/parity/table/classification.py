"""The parity table's losses of classes: cross-entropies and CTC."""

import jax
import jax.numpy as jnp
import optax

from jaxmnist import losses as jm_losses
from jaxmnist.parity.table.inputs import SEED, compare_functions
from jaxmnist.parity.table.row import DIFFERS, Kind, Row

_WITH_INTEGERS = optax.softmax_cross_entropy_with_integer_labels


def rows() -> list[Row]:
    """Return the rows."""
    import torch.nn.functional as F  # noqa: N812

    return [
        Row(
            lambda logits, labels: F.cross_entropy(logits, labels),
            lambda logits, labels: optax.softmax_cross_entropy_with_integer_labels(
                logits, labels
            ).mean(),
        ),
        Row(
            lambda logits, labels: F.cross_entropy(logits, labels),
            lambda logits, labels: jm_losses.cross_entropy_with_integer_labels(logits, labels),
        ),
        Row(
            lambda logits, labels: F.cross_entropy(logits, labels),
            lambda logits, labels: optax.softmax_cross_entropy_with_integer_labels(
                logits, labels
            ).sum(),
            DIFFERS,
            "PyTorch's default is the mean over the batch.",
            lambda logits, labels: optax.softmax_cross_entropy_with_integer_labels(
                logits, labels
            ).mean(),
            "a sum here and a mean there over the batch, 6",
        ),
        Row(
            lambda logits, labels: F.cross_entropy(logits, labels, reduction="none"),
            lambda logits, labels: optax.softmax_cross_entropy_with_integer_labels(logits, labels),
        ),
        Row(
            lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"),
            lambda logits, labels: optax.softmax_cross_entropy_with_integer_labels(
                logits, labels
            ).sum(),
        ),
        Row(
            lambda maps, map_labels: F.cross_entropy(maps, map_labels),
            lambda maps, map_labels: optax.softmax_cross_entropy_with_integer_labels(
                maps, map_labels, axis=1
            ).mean(),
            difference="PyTorch's classes are axis 1, Optax's the last unless axis is given.",
        ),
        Row(
            lambda logits, ignored: F.cross_entropy(logits, ignored, ignore_index=-100),
            lambda logits, ignored: optax.softmax_cross_entropy_with_integer_labels(
                logits, ignored
            ).mean(),
            DIFFERS,
            "Optax ignores no label: -100 is out of range, and the loss NaN.",
            lambda logits, ignored: optax.softmax_cross_entropy_with_integer_labels(
                logits, jnp.maximum(ignored, 0)
            ).mean(where=ignored != -100),
            "a bound",
        ),
        Row(
            lambda logits, ignored: F.cross_entropy(logits, ignored),
            lambda logits, ignored: jnp.where(
                ignored == -100, 0, _WITH_INTEGERS(logits, jnp.maximum(ignored, 0))
            ).mean(),
            DIFFERS,
            "The mean is over the labels that are not ignored.",
            lambda logits, ignored: _WITH_INTEGERS(logits, jnp.maximum(ignored, 0)).mean(
                where=ignored != -100
            ),
            "a factor",
        ),
        Row(
            lambda logits, labels, weight: F.cross_entropy(logits, labels, weight=weight),
            lambda logits, labels, weight: (weight[labels] * _WITH_INTEGERS(logits, labels)).mean(),
            DIFFERS,
            "PyTorch divides by the sum of the labels' weights, not by the batch.",
            lambda logits, labels, weight: (
                (weight[labels] * _WITH_INTEGERS(logits, labels)).sum() / weight[labels].sum()
            ),
            "a factor",
            wrt=("logits",),
        ),
        Row(
            lambda logits, labels, weight: F.cross_entropy(
                logits, labels, weight=weight, reduction="sum"
            ),
            lambda logits, labels, weight: (weight[labels] * _WITH_INTEGERS(logits, labels)).sum(),
            wrt=("logits",),
        ),
        Row(
            lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=0.1),
            lambda logits, labels: optax.softmax_cross_entropy(
                logits, optax.smooth_labels(jax.nn.one_hot(labels, 5), 0.1)
            ).mean(),
        ),
        Row(
            lambda logits, labels: F.cross_entropy(logits, labels, label_smoothing=0.1),
            lambda logits, labels: optax.softmax_cross_entropy(
                logits, jax.nn.one_hot(labels, 5) * 0.9 + 0.1 / 4 * (1 - jax.nn.one_hot(labels, 5))
            ).mean(),
            DIFFERS,
            "The smoothed mass is shared by all classes, the label's own too.",
            lambda logits, labels: optax.softmax_cross_entropy(
                logits, optax.smooth_labels(jax.nn.one_hot(labels, 5), 0.1)
            ).mean(),
        ),
        Row(
            lambda logits, labels, weight: F.cross_entropy(
                logits, labels, weight=weight, label_smoothing=0.1
            ),
            lambda logits, labels, weight: (
                jnp.sum(weight[labels] * optax.softmax_cross_entropy(logits, _smooth(labels)))
                / weight[labels].sum()
            ),
            DIFFERS,
            "Each class's share of the smoothed label has that class's weight, not the label's.",
            lambda logits, labels, weight: (
                optax.softmax_cross_entropy(logits, weight * _smooth(labels)).sum()
                / weight[labels].sum()
            ),
            wrt=("logits",),
        ),
        Row(
            lambda logits, ignored: F.cross_entropy(logits, ignored, label_smoothing=0.1),
            lambda logits, ignored: optax.softmax_cross_entropy(
                logits, _smooth(jnp.maximum(ignored, 0))
            ).mean(where=ignored != -100),
        ),
        Row(
            lambda logits, targets: F.cross_entropy(logits, targets),
            lambda logits, targets: optax.softmax_cross_entropy(logits, targets).mean(),
            difference="Floats as targets are probabilities of classes.",
        ),
        Row(
            lambda logits, targets: F.cross_entropy(logits, targets, label_smoothing=0.2),
            lambda logits, targets: optax.softmax_cross_entropy(
                logits, optax.smooth_labels(targets, 0.2)
            ).mean(),
        ),
        Row(
            lambda logits, targets, weight: F.cross_entropy(logits, targets, weight=weight),
            lambda logits, targets, weight: (
                optax.softmax_cross_entropy(logits, weight * targets).sum()
                / jnp.sum(weight * targets)
            ),
            DIFFERS,
            "With probabilities as targets PyTorch divides by the batch, whatever the weights.",
            lambda logits, targets, weight: optax.softmax_cross_entropy(
                logits, weight * targets
            ).mean(),
            wrt=("logits",),
            cause="a factor",
        ),
        Row(
            lambda log_p, labels: F.nll_loss(log_p, labels),
            lambda log_p, labels: -jnp.take_along_axis(log_p, labels[:, None], 1).mean(),
        ),
        Row(
            lambda log_p, labels: F.nll_loss(log_p, labels),
            lambda log_p, labels: optax.softmax_cross_entropy_with_integer_labels(
                log_p, labels
            ).mean(),
            DIFFERS,
            "On log-probabilities the values agree, for log-softmax changes none; the gradients "
            "do not.",
            lambda log_p, labels: -jnp.take_along_axis(log_p, labels[:, None], 1).mean(),
        ),
        Row(
            lambda log_p, ignored: F.nll_loss(log_p, ignored, ignore_index=-100),
            lambda log_p, ignored: (
                -jnp.take_along_axis(log_p, jnp.maximum(ignored, 0)[:, None], 1).mean(
                    where=ignored[:, None] != -100
                )
            ),
        ),
        Row(
            lambda log_p, labels, weight: F.nll_loss(log_p, labels, weight=weight),
            lambda log_p, labels, weight: -(weight[labels] * log_p[jnp.arange(6), labels]).mean(),
            DIFFERS,
            "PyTorch divides by the sum of the labels' weights, not by the batch.",
            lambda log_p, labels, weight: (
                -jnp.average(log_p[jnp.arange(6), labels], weights=weight[labels])
            ),
            "a factor",
            wrt=("log_p",),
        ),
        Row(
            lambda logits, labels: F.nll_loss(F.log_softmax(logits, -1), labels),
            lambda logits, labels: optax.softmax_cross_entropy_with_integer_labels(
                logits, labels
            ).mean(),
        ),
        Row(
            lambda p, bits: F.binary_cross_entropy_with_logits(p, bits),
            lambda p, bits: optax.sigmoid_binary_cross_entropy(p, bits).mean(),
        ),
        Row(
            lambda p, bits: F.binary_cross_entropy_with_logits(p, bits),
            lambda p, bits: jm_losses.binary_cross_entropy_with_logits(p, bits),
        ),
        Row(
            lambda p, bits: F.binary_cross_entropy_with_logits(p, bits, reduction="sum"),
            lambda p, bits: optax.sigmoid_binary_cross_entropy(p, bits).sum(),
        ),
        Row(
            lambda p, bits: F.binary_cross_entropy_with_logits(p, bits),
            lambda p, bits: optax.sigmoid_binary_cross_entropy(p, bits).sum(-1).mean(),
            DIFFERS,
            "PyTorch's mean is over the labels too.",
            lambda p, bits: optax.sigmoid_binary_cross_entropy(p, bits).mean(),
            "a sum here and a mean there over the last axis, 5",
        ),
        Row(
            lambda p, bits, var: F.binary_cross_entropy_with_logits(p, bits, weight=var),
            lambda p, bits, var: (var * optax.sigmoid_binary_cross_entropy(p, bits)).mean(),
            wrt=("p",),
            difference="Here PyTorch divides by the elements, not by the sum of the weights.",
        ),
        Row(
            lambda p, bits, pos_weight: F.binary_cross_entropy_with_logits(
                p, bits, pos_weight=pos_weight
            ),
            lambda p, bits, pos_weight: (
                jnp.where(bits == 1, pos_weight, 1) * optax.sigmoid_binary_cross_entropy(p, bits)
            ).mean(),
            wrt=("p",),
        ),
        Row(
            lambda p, soft, pos_weight: F.binary_cross_entropy_with_logits(
                p, soft, pos_weight=pos_weight
            ),
            lambda p, soft, pos_weight: (
                (1 + (pos_weight - 1) * soft) * optax.sigmoid_binary_cross_entropy(p, soft)
            ).mean(),
            DIFFERS,
            "pos_weight multiplies the positive term alone; the two agree for labels 0 and 1 only.",
            lambda p, soft, pos_weight: (
                pos_weight * soft * jax.nn.softplus(-p) + (1 - soft) * jax.nn.softplus(p)
            ).mean(),
            wrt=("p",),
        ),
        Row(
            lambda frames, symbols, frame_lengths, symbol_lengths: F.ctc_loss(
                frames, symbols, frame_lengths, symbol_lengths, reduction="sum"
            ),
            lambda frames, symbols, frame_lengths, symbol_lengths: _ctc(
                frames, symbols, frame_lengths, symbol_lengths
            ).sum(),
            difference="Optax's axes are (batch, time), and paddings stand for lengths.",
        ),
        Row(
            lambda frames, symbols, frame_lengths, symbol_lengths: F.ctc_loss(
                frames, symbols, frame_lengths, symbol_lengths
            ),
            lambda frames, symbols, frame_lengths, symbol_lengths: _ctc(
                frames, symbols, frame_lengths, symbol_lengths
            ).mean(),
            DIFFERS,
            "PyTorch's mean divides each loss by its target's length first.",
            lambda frames, symbols, frame_lengths, symbol_lengths: (
                _ctc(frames, symbols, frame_lengths, symbol_lengths) / symbol_lengths
            ).mean(),
        ),
        Row(
            lambda frames, symbols_from_0, frame_lengths, symbol_lengths: F.ctc_loss(
                frames, symbols_from_0, frame_lengths, symbol_lengths, blank=3, reduction="none"
            ),
            lambda frames, symbols_from_0, frame_lengths, symbol_lengths: _ctc(
                frames, symbols_from_0, frame_lengths, symbol_lengths, 3
            ),
        ),
        Row(
            lambda frames, symbols, few_frames, symbol_lengths: F.ctc_loss(
                frames, symbols, few_frames, symbol_lengths, reduction="none"
            ),
            lambda frames, symbols, few_frames, symbol_lengths: _ctc(
                frames, symbols, few_frames, symbol_lengths
            ),
            DIFFERS,
            "A target that does not fit into its frames has infinite loss in PyTorch, and 1e5 and "
            "more in Optax, whose log(0) is -1e5.",
            cause="a bound",
            wrt=(),
        ),
        Row(
            lambda frames, symbols, few_frames, symbol_lengths: F.ctc_loss(
                frames, symbols, few_frames, symbol_lengths, reduction="none", zero_infinity=True
            ),
            lambda frames, symbols, few_frames, symbol_lengths: _ctc(
                frames, symbols, few_frames, symbol_lengths
            ),
            DIFFERS,
            "zero_infinity sets those losses and their gradients to 0.",
            lambda frames, symbols, few_frames, symbol_lengths: _finite(
                _ctc(frames, symbols, few_frames, symbol_lengths)
            ),
        ),
    ]


def _finite(losses: jax.Array) -> jax.Array:
    """Losses of 0 in place of those that Optax's log(0), -1e5, is in."""
    return jnp.where(losses < 1e4, losses, 0)


def _smooth(labels: jax.Array) -> jax.Array:
    return optax.smooth_labels(jax.nn.one_hot(labels, 5), 0.1)


def _ctc(
    frames: jax.Array,
    symbols: jax.Array,
    frame_lengths: jax.Array,
    symbol_lengths: jax.Array,
    blank: int = 0,
) -> jax.Array:
    """Optax's CTC with PyTorch's axes and lengths."""
    time, length = frames.shape[0], symbols.shape[1]
    frame_padding = (jnp.arange(time) >= frame_lengths[:, None]).astype(frames.dtype)
    padding = (jnp.arange(length) >= symbol_lengths[:, None]).astype(frames.dtype)
    logits = jnp.swapaxes(frames, 0, 1)
    return optax.ctc_loss(logits, frame_padding, symbols, padding, blank_id=blank)


KIND = Kind(
    "Losses of classes",
    rows,
    compare_functions,
    f"Values and all gradients in float64, a batch of 6 with 5 classes, seed {SEED}.",
)
