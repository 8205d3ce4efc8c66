"""What of many predictions a page shows: counts, the images to look at, and distributions."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int

SHOWN: Final = 40
"""How many of the worst images, and how many of the most confidently wrong."""
MOST_IMAGES: Final = 1500
"""How many images a page has at most for the cells of its confusion matrices."""
MOST_CLASSES: Final = 64
"""Of more classes a matrix is not shown; the most frequent confusions are."""
_PER_CELL: Final = (60, 40, 24, 12, 6, 3, 1)
_BINS: Final = 41


class Guesses(NamedTuple):
    """What a network made of the test images after some epochs."""

    epochs: int
    """How many it was trained for."""
    predictions: Int[np.ndarray, " samples"]
    confidence: Float[np.ndarray, " samples"]
    """The probability of the predicted class."""
    loss: Float[np.ndarray, " samples"]
    """The cross-entropy, in nats."""


def guesses(
    epochs: int, outputs: Float[np.ndarray, "samples classes"], labels: Int[np.ndarray, " samples"]
) -> Guesses:
    """Read a network's outputs.

    Args:
        epochs: How many it was trained for.
        outputs: Logits; or probabilities, where every row is at least 0 and sums to 1.
        labels: The classes.

    Returns:
        The predictions, how sure they are, and the losses.

    >>> found = guesses(1, np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([0, 1]))
    >>> found.predictions.tolist(), found.loss.round(3).tolist()
    ([0, 0], [0.693, 2.127])
    """
    outputs = outputs.astype(np.float64)
    if outputs.min(initial=0) >= 0 and np.allclose(outputs.sum(axis=1), 1, atol=1e-4):
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(outputs), -750.0)  # Of 0 there is no logarithm.
    else:
        shifted = outputs - outputs.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    predictions = outputs.argmax(axis=1)
    return Guesses(epochs, predictions, np.exp(logs[rows, predictions]), -logs[rows, labels])


def confusion(
    labels: Int[np.ndarray, " samples"], predictions: Int[np.ndarray, " samples"]
) -> dict[tuple[int, int], int]:
    """Count the samples of each class by what was predicted.

    Args:
        labels: The classes.
        predictions: The predicted classes.

    Returns:
        Counts by class and prediction, in that order; of those that occur, so that a data set may
        have any number of classes.

    >>> confusion(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]))
    {(0, 0): 1, (1, 0): 1, (1, 1): 2}
    """
    pairs, counts = np.unique(np.stack([labels, predictions], axis=1), axis=0, return_counts=True)
    return {
        (int(label), int(guess)): int(count)
        for (label, guess), count in zip(pairs, counts, strict=True)
    }


def worst(guess: Guesses) -> list[int]:
    """Return the samples with the largest loss, the largest first."""
    return np.argsort(-guess.loss, kind="stable")[:SHOWN].tolist()


def confidently_wrong(guess: Guesses, labels: Int[np.ndarray, " samples"]) -> list[int]:
    """Return the wrong samples that the network is surest of, the surest first."""
    wrong = np.flatnonzero(guess.predictions != labels)
    return wrong[np.argsort(-guess.confidence[wrong], kind="stable")][:SHOWN].tolist()


def cells(
    each: Sequence[Guesses], labels: Int[np.ndarray, " samples"]
) -> list[dict[tuple[int, int], list[int]]]:
    """Choose the images for every cell of the confusion matrices, as many as a page has room for.

    Args:
        each: The predictions after several numbers of epochs.
        labels: The classes.

    Returns:
        For each of them, samples by label and prediction: where the prediction is wrong, the
        surest first, and where it is right, the least sure.
    """
    chosen: list[dict[tuple[int, int], list[int]]] = []
    for most in _PER_CELL:
        chosen = [_cells(guess, labels, most) for guess in each]
        if len({sample for some in chosen for row in some.values() for sample in row}) <= (
            MOST_IMAGES
        ):
            break
    return chosen


def _cells(
    guess: Guesses, labels: Int[np.ndarray, " samples"], most: int
) -> dict[tuple[int, int], list[int]]:
    is_right = guess.predictions == labels
    order = np.argsort(np.where(is_right, guess.confidence, -guess.confidence), kind="stable")
    found: dict[tuple[int, int], list[int]] = {}
    for sample in order.tolist():
        key = int(labels[sample]), int(guess.predictions[sample])
        row = found.setdefault(key, [])
        if len(row) < (most if key[0] != key[1] else min(most, 12)):
            row.append(sample)
    return found


def as_matrix(counts: Mapping[tuple[int, int], int], classes: int) -> list[list[int]] | None:
    """Return the counts as rows of a matrix, a row a class; None where it would be too large.

    >>> as_matrix({(0, 0): 1, (1, 0): 2}, 2)
    [[1, 0], [2, 0]]
    """
    if classes > MOST_CLASSES:
        return None
    return [[counts.get((row, column), 0) for column in range(classes)] for row in range(classes)]


def most_frequent(counts: Mapping[tuple[int, int], int], most: int = 100) -> list[list[int]]:
    """Return the most frequent confusions as label, prediction and count.

    >>> most_frequent({(0, 0): 5, (0, 1): 1, (1, 0): 2})
    [[1, 0, 2], [0, 1, 1]]
    """
    wrong = [[*pair, count] for pair, count in counts.items() if pair[0] != pair[1]]
    return sorted(wrong, key=lambda row: -row[2])[:most]


def distribution(values: np.ndarray) -> Mapping[str, Any]:
    """Count numbers in bins of one width.

    Args:
        values: Finite numbers, at least one.

    Returns:
        ``low`` and ``high``, ``counts`` of the bins between them, ``mean``, ``deviation`` and
        ``zeros``, the share that is exactly 0.

    >>> found = distribution(np.array([0.0, 0.0, 1.0]))
    >>> found["low"], found["high"], round(found["zeros"], 3)
    (0.0, 1.0, 0.667)
    """
    values = np.asarray(values, np.float64).ravel()
    low, high = float(values.min()), float(values.max())
    span = (low, high) if high > low else (low - 0.5, high + 0.5)
    counts, _ = np.histogram(values, _BINS, span)
    return {
        "low": low,
        "high": high,
        "counts": counts.tolist(),
        "mean": float(values.mean()),
        "deviation": float(values.std()),
        "zeros": float((values == 0).mean()),
    }
