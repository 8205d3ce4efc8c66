"""Images with what they are, and what the network takes them for (tutorial rows D4 and D10)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxmnist.plots import style


def digits(
    images: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    predictions: Sequence[int] | np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Draw images in a grid, each under its label; wrong predictions are framed.

    Args:
        images: uint8 [count, 28, 28].
        labels: True class of each.
        predictions: Predicted class of each, or None to show the labels alone. A wrong one reads
            ``label→prediction``.
        title: Above the grid.

    Returns:
        A picture with up to sixteen images in a row.

    Source: tutorial rows D4 and D10.

    >>> figure = digits(np.zeros((3, 28, 28), np.uint8), [1, 2, 3], [1, 2, 8])
    >>> [axes.get_title() for axes in figure.axes]
    ['1', '2', '3→8']
    """
    columns = min(16, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(0.62 * columns + 0.2, 0.82 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(images) :]:
        axes.remove()
    for index, (axes, image) in enumerate(zip(grid, images, strict=False)):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=255)
        axes.set_xticks([])
        axes.set_yticks([])
        label = int(labels[index])
        prediction = label if predictions is None else int(predictions[index])
        wrong = prediction != label
        axes.set_title(
            f"{label}→{prediction}" if wrong else f"{label}",
            pad=2,
            color=style.BAD if wrong else style.ink(),
            fontweight="bold" if wrong else "normal",
        )
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_edgecolor(style.BAD if wrong else style.muted())
            spine.set_linewidth(3 if wrong else 0.8)
    figure.suptitle(title)
    return figure


def inputs(
    pictures: Sequence[np.ndarray],
    images: Sequence[np.ndarray],
    names: Sequence[str],
    predictions: Sequence[int] | np.ndarray,
) -> Figure:
    """Draw pictures of digits, each beside what the network was shown of it.

    Args:
        pictures: uint8 [height, width, 3] each.
        images: uint8 [28, 28] each.
        names: Of the pictures.
        predictions: Predicted class of each.

    Returns:
        A picture of a row for each.

    >>> page, digit = np.zeros((90, 60, 3), np.uint8), np.zeros((28, 28), np.uint8)
    >>> [axes.get_title() for axes in inputs([page], [digit], ["photo.png"], [7]).axes]
    ['photo.png', 'read as 7']
    """
    figure = Figure(figsize=(4.4, 2.3 * len(pictures)), layout="constrained")
    grid = figure.subplots(len(pictures), 2, squeeze=False)
    rows = zip(grid, pictures, images, names, predictions, strict=True)
    for (left, right), picture, image, name, prediction in rows:
        left.imshow(picture)
        right.imshow(image, cmap="gray_r", vmin=0, vmax=255)
        left.set_title(style.literal(name), pad=2)
        right.set_title(f"read as {prediction}", pad=2)
        for axes in (left, right):
            axes.set_xticks([])
            axes.set_yticks([])
    return figure
