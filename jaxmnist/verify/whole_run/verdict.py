"""The verdict on a run in both frameworks: whether their distance is rounding or a bug."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxmnist import interop
from jaxmnist.config import Config
from jaxmnist.errors import InputError
from jaxmnist.verify.compare import (
    Comparisons,
    Curve,
    compare_curves,
    compare_means,
    distance,
    relative_error,
)
from jaxmnist.verify.rounding import allowed_by_growth, allowed_without_growth, epsilon
from jaxmnist.verify.whole_run.jax_run import JaxRun
from jaxmnist.verify.whole_run.torch_run import TorchRun


@dataclass(frozen=True)
class TrainingResult(Comparisons):
    """The comparisons of a run, and the curves that the verdict is derived from.

    The parts are "batch loss", "batch accuracy", "epoch loss", "epoch accuracy" and "weights".
    A step counts the updates made before it; an epoch's metrics and the weights have the number
    of the last step before them. Positions are ``[epoch, batch]`` and ``[epoch]``. Errors of a
    loss are relative to itself, of an accuracy absolute; those of the weights are a leaf's mean
    error over its mean displacement from the start.

    Attributes:
        steps_per_epoch: Batches in an epoch.
        error: Relative error of each batch's loss, by step.
        perturbation: The error growth at each step: the largest relative error of the same loss in
            our own runs from perturbed initial weights; None if not asked.
        allowed: What `error` may be at each step.
    """

    steps_per_epoch: int
    error: Float[np.ndarray, " steps"]
    perturbation: Float[np.ndarray, " steps"] | None
    allowed: Float[np.ndarray, " steps"]

    @property
    def verdict(self) -> str | None:
        """What the error is, "rounding" or "a bug"; None if untested, or large and unperturbed."""
        if self.passed:
            return "rounding"
        if self.first_divergence is None or self.perturbation is None:
            return None
        return "a bug"

    def plot(self) -> Any:
        """Draw the error of every batch's loss, with what the perturbed runs allow.

        Returns:
            A matplotlib Figure.
        """
        from jaxmnist.plots import run_errors

        loss = self.parts[0].first_divergence
        title = f"{self.name}: {'passed' if self.passed else 'FAILED'}"
        first = None if loss is None else loss.step
        return run_errors(self.error, self.perturbation, self.allowed, first, title)

    def __str__(self) -> str:
        lines = [super().__str__(), f"  a batch's loss is off by up to {self.error.max():.1e}"]
        if self.perturbation is not None:
            growth = f"{self.perturbation.max():.1e}"
            lines[-1] += f"; a one-ULP perturbation of the initial weights grows to {growth}"
        if self.verdict:
            lines[-1] += f": {self.verdict}"
        return "\n".join(lines)


def check_finite(
    ours: Float[np.ndarray, "epochs batches"], theirs: Float[np.ndarray, "epochs batches"]
) -> None:
    """Refuse runs that break together: from there on nothing is left to compare.

    Args:
        ours: Each batch's loss in JAX.
        theirs: The same in PyTorch.

    Raises:
        InputError: Both become NaN or infinite at the same step.
    """
    first = [int(np.argmin([*np.isfinite(loss.ravel()), False])) for loss in (ours, theirs)]
    if first[0] == first[1] < ours.size:
        raise InputError(
            f"the loss becomes {ours.flat[first[0]]} here and {theirs.flat[first[1]]} in PyTorch, "
            f"both at step {first[0]}; it must stay finite to be compared: take a lower learning "
            "rate or fewer epochs"
        )


def judge(ours: JaxRun, theirs: TorchRun, config: Config, dtype: str) -> TrainingResult:
    """Compare all that both runs measured, by the error growth of the perturbed ones.

    Args:
        ours: The run in JAX.
        theirs: The run in PyTorch.
        config: The run.
        dtype: Of its arithmetic.

    Returns:
        The comparisons and their curves.
    """
    ulp = epsilon(dtype)
    shape = theirs.train.loss.shape
    steps = np.arange(theirs.train.loss.size).reshape(shape)
    ends = steps[:, -1]

    allowed, loss_growth, perturbation = loss_allowance(
        ours.batches.loss, [run.loss for run in ours.perturbed], dtype
    )
    weights_growth, weights_allowed = None, allowed_without_growth(dtype)
    if ours.perturbed:
        spread = max(
            compare_means("weights", run.displacement, ours.batches.displacement, dtype).max_error
            for run in ours.perturbed
        )
        weights_growth = max(spread if np.isfinite(spread) else 0.0, ulp)
        weights_allowed = allowed_by_growth(weights_growth)

    rounding = allowed_by_growth(ulp)  # of an accuracy that no sample's class changes
    batch_loss, batch_accuracy = _batch_curves(ours, theirs, allowed, rounding)
    epoch_loss, epoch_accuracy = _epoch_curves(ours, theirs, allowed[:, -1], rounding)
    return TrainingResult(
        f"{config.optimizer} ({config.convention}) in JAX and in PyTorch, {dtype}",
        (
            compare_curves("batch loss", steps, [batch_loss], dtype, loss_growth),
            compare_curves("batch accuracy", steps, [batch_accuracy], dtype),
            compare_curves("epoch loss", ends, epoch_loss, dtype, loss_growth),
            compare_curves("epoch accuracy", ends, epoch_accuracy, dtype),
            compare_means(
                "weights",
                ours.displacement,
                theirs.displacement,
                dtype,
                tolerance=weights_allowed,
                step=int(ends[-1]),
                growth=weights_growth,
                start=interop.params_to_state_dict(ours.start),
            ),
        ),
        shape[1],
        loss_error(batch_loss.actual, batch_loss.expected).ravel(),
        None if perturbation is None else perturbation.ravel(),
        allowed.ravel(),
    )


def _batch_curves(
    ours: JaxRun, theirs: TorchRun, allowed: np.ndarray, rounding: float
) -> tuple[Curve, Curve]:
    """Loss and accuracy of every training batch."""
    here, there = ours.batches, theirs.train
    may_differ = there.undecided(allowed) + rounding
    return (
        Curve("loss", here.loss, there.loss, allowed, np.abs(there.loss)),
        Curve("accuracy", here.accuracy, there.accuracy, may_differ, 1.0),
    )


def _epoch_curves(
    ours: JaxRun, theirs: TorchRun, allowed: np.ndarray, rounding: float
) -> tuple[list[Curve], list[Curve]]:
    """The history's losses and accuracies, by what is allowed at the end of each epoch."""
    losses, accuracies = [], []
    for split, batches in (("train", theirs.train), ("eval", theirs.eval)):
        every_batch = np.repeat(allowed[:, None], batches.loss.shape[1], axis=1)
        may_differ = batches.means(batches.undecided(every_batch))
        mean_accuracy = batches.means(batches.accuracy)
        for suffix, loss in batches.means(batches.loss).items():
            leaf = f"{split}_loss{suffix}"
            losses.append(Curve(leaf, ours.history[leaf], loss, allowed, np.abs(loss)))
            leaf = f"{split}_accuracy{suffix}"
            share, accuracy = may_differ[suffix] + rounding, mean_accuracy[suffix]
            accuracies.append(Curve(leaf, ours.history[leaf], accuracy, share, 1.0))
    return losses, accuracies


def loss_allowance(
    losses: Float[np.ndarray, "epochs batches"],
    perturbed: list[Float[np.ndarray, "epochs batches"]],
    dtype: str,
) -> tuple[np.ndarray, float | None, np.ndarray | None]:
    """Derive the error that each batch's loss may have from the runs of perturbed starts.

    Args:
        losses: Our run's.
        perturbed: Those of our runs from perturbed starts; none if the growth was not measured.
        dtype: Of the arithmetic.

    Returns:
        The relative error that is allowed at each step, the error growth by the last one, and the
        largest error of a perturbed run at each step; the last two None without such runs.
    """
    if not perturbed:
        return np.full(losses.shape, allowed_without_growth(dtype)), None, None
    perturbation = np.max([loss_error(other, losses) for other in perturbed], axis=0)
    # Where a run breaks, its distance is infinite and allows nothing.
    finite = np.where(np.isfinite(perturbation), perturbation, 0.0)
    grown = np.maximum.accumulate(np.maximum(finite, epsilon(dtype)).ravel())
    return allowed_by_growth(grown.reshape(losses.shape)), float(grown[-1]), perturbation


def loss_error(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the relative error of each batch's loss; without bound where a run breaks."""
    return relative_error(distance(actual, expected, equal_nan=False), np.abs(expected))
