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
    names: Sequence[str] = (),
) -> Figure:
    """Draw images in a grid, each under its label; wrong predictions are framed.

    Args:
        images: uint8 [count, 28, 28].
        labels: True class of each.
        predictions: Predicted class of each, or None to show the labels alone. A wrong one reads
            ``label→prediction``.
        title: Above the grid.
        names: Of the classes, to be shown in the place of their numbers; they may have any
            characters, and long ones are shortened.

    Returns:
        A picture with up to sixteen images in a row, fewer where the names need room.

    Source: tutorial rows D4 and D10.

    >>> figure = digits(np.zeros((3, 28, 28), np.uint8), [1, 2, 3], [1, 2, 8])
    >>> [axes.get_title() for axes in figure.axes]
    ['1', '2', '3→8']
    """
    shown = [_titles(index, labels, predictions, names) for index in range(len(images))]
    longest = max((len(line) for title, _ in shown for line in title.split("\n")), default=1)
    width = max(0.62, _INCHES_PER_LETTER * longest) if names else 0.62
    columns = min(int(16 * 0.62 / width), len(images))
    rows = -(-len(images) // columns)
    height = 1.02 if names else 0.82  # A wrong prediction by name has a line of its own.
    figure = Figure(figsize=(width * columns + 0.2, height * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(images) :]:
        axes.remove()
    for index, (axes, image) in enumerate(zip(grid, images, strict=False)):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=255)
        axes.set_xticks([])
        axes.set_yticks([])
        text, wrong = shown[index]
        axes.set_title(
            text,
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


_INCHES_PER_LETTER = 0.085
_LONGEST_NAME = 16


def _titles(
    index: int,
    labels: Sequence[int] | np.ndarray,
    predictions: Sequence[int] | np.ndarray | None,
    names: Sequence[str],
) -> tuple[str, bool]:
    """Return what stands above an image, and whether its prediction is wrong."""
    label = int(labels[index])
    prediction = label if predictions is None else int(predictions[index])
    one, other = (
        style.literal(names[each], _LONGEST_NAME) if 0 <= each < len(names) else str(each)
        for each in (label, prediction)
    )
    if prediction == label:
        return one, False
    return f"{one}\n→{other}" if names else f"{one}→{other}", True


def inputs(
    pictures: Sequence[np.ndarray],
    images: Sequence[np.ndarray],
    names: Sequence[str],
    predictions: Sequence[int | str] | np.ndarray,
) -> Figure:
    """Draw pictures of digits, each beside what the network was shown of it.

    Args:
        pictures: uint8 [height, width, 3] each.
        images: uint8 [28, 28] each.
        names: Of the pictures.
        predictions: Predicted class of each, or its name.

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
        right.set_title(f"read as {style.literal(str(prediction), 30)}", pad=2)
        for axes in (left, right):
            axes.set_xticks([])
            axes.set_yticks([])
    return figure
