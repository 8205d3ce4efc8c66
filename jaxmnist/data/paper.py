"""The ink of a drawing: how far each pixel of a picture is from the paper around it.

Light that falls off, a shadow and a coloured page change paper and ink by the same factor. The
paper is therefore estimated locally, the picture divided by it, and ink measured as what is darker
(on a board, lighter) than the paper next to it, in whichever colour channel shows it.
"""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

_SMALL = 32
"""Longest side, in pixels, of the copy to which the surface of the paper is fitted."""
_WINDOWS = (0.14, 0.22, 0.4)
"""Sides of the window of the closing, as shares of the picture's longer side."""
_OFFSET = 16.0
"""Added to greys before they are divided, so that black paper has no infinite contrast."""


def ink_of(
    picture: Float[np.ndarray, "height width 3"],
) -> Float[np.ndarray, "height width 3"]:
    """Measure the ink of a picture: its distance from the local paper, 0 on paper.

    Three steps: divide by a surface of second degree fitted to the page (light that falls off,
    dark corners); turn light ink on dark paper over; and subtract the picture from its
    morphological closing, which fills whatever is dark and narrower than a window, and follows
    the edge of a shadow, which is wider. The window is the narrowest that fills the strokes.

    Args:
        picture: Greys 0 to 255 in three channels.

    Returns:
        Ink in greys, at least 0, as it would be where the page has its median brightness.
    """
    flat, dark = _flattened(picture)
    calm = flat
    if min(flat.shape[:2]) > 2:
        # A grain of salt must not be taken for the paper around it.
        calm = np.stack([ndimage.median_filter(flat[..., c], 3) for c in range(3)], axis=2)
    widest = _above_paper(flat, calm, _WINDOWS[-1], dark)
    strongest = widest.max(axis=2)
    strokes = strongest >= 0.8 * np.percentile(strongest, 99.5)
    for window in _WINDOWS[:-1]:
        ink = _above_paper(flat, calm, window, dark)
        # A stroke wider than the window is taken for paper, and its ink is gone; where two strokes
        # nearly meet, the grey between them is, and ink is too weak.
        if np.mean(ink.max(axis=2)[strokes] > 0.9 * strongest[strokes]) > 0.95:
            return ink
    return widest


def _above_paper(flat: np.ndarray, calm: np.ndarray, window: float, dark: bool) -> np.ndarray:
    """Subtract from the closing with a window of that share of the longer side."""
    side = 2 * round(window * max(flat.shape[:2]) / 2) + 3
    level = np.median(np.concatenate(_border(calm)), axis=0)
    paper = np.empty_like(flat)
    for channel in range(3):
        # Beyond the picture there is paper: a stroke that touches the edge must be filled too.
        padded = np.pad(calm[..., channel], side, constant_values=level[channel])
        closed = ndimage.grey_closing(padded, (side, side), mode="nearest")
        paper[..., channel] = closed[side:-side, side:-side]
    ink = paper - flat
    if dark:  # A shadow weakens ink and paper alike.
        ink *= (level + _OFFSET) / (np.maximum(paper, 0) + _OFFSET)
    # The closing of grain is its upper edge; the median of what is left is the paper's own.
    return np.clip(ink - np.median(ink, axis=(0, 1)), 0, None)


def _flattened(picture: np.ndarray) -> tuple[np.ndarray, bool]:
    """Divide by the surface of the paper, and make the ink dark; say whether it was."""
    height, width, _ = picture.shape
    step = max(1, max(height, width) // _SMALL)
    rows, columns = np.arange(height), np.arange(width)
    down = ndimage.uniform_filter1d(picture, step, axis=0, mode="nearest")
    sample = ndimage.uniform_filter1d(down, step, axis=1, mode="nearest")[::step, ::step]
    design = _quadratic(rows[::step], columns[::step], (height, width))
    weights = _edge_weights(*sample.shape[:2])
    full = _quadratic(rows, columns, (height, width))
    flat = np.empty_like(picture)
    balance = 0.0
    for channel in range(3):
        values = sample[..., channel].ravel()
        fit = _least_absolute(design, values, weights)
        paper = np.clip(design @ fit, values.min(), values.max()) + _OFFSET
        # As a ratio, ink is farther from paper than a shadow is; the cube lets it count for more.
        balance += float(np.sum(weights * np.log((values + _OFFSET) / paper) ** 3))
        surface = np.clip(full @ fit, values.min(), values.max()).reshape(height, width) + _OFFSET
        level = np.median(surface)
        flat[..., channel] = (picture[..., channel] + _OFFSET) * (level / surface) - _OFFSET
    # Ink is what is farthest from the page; farther above than below is light ink on dark paper.
    return (255 - flat, False) if balance > 0 else (flat, True)


def _border(picture: np.ndarray) -> list[np.ndarray]:
    return [picture[0], picture[-1], picture[:, 0], picture[:, -1]]


def _quadratic(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return 1, y, x, y², xy, x² at each pixel, with x and y from -1 to 1 over the picture."""
    y, x = (
        (2 * index - (size - 1)) / max(1, size - 1)
        for index, size in zip((rows, columns), shape, strict=True)
    )
    y, x = (each.ravel() for each in np.meshgrid(y, x, indexing="ij"))
    return np.stack([np.ones_like(x), y, x, y * y, x * y, x * x], axis=1)


def _edge_weights(height: int, width: int) -> np.ndarray:
    """Let the outermost pixels, which are mostly paper, count as much as all the others."""
    weights = np.zeros((height, width))
    weights[[0, -1]] = weights[:, [0, -1]] = 1
    weights = weights / weights.sum() + 1 / weights.size
    return weights.ravel()


def _least_absolute(design: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fit with the least sum of absolute errors, by weighted least squares again and again.

    A minority of ink does not move it, as it does not move a median.
    """
    scale = weights
    fit = np.zeros(design.shape[1])
    for _ in range(12):
        scaled = design * scale[:, None]
        # A page of one row or one column has no surface: least norm decides.
        fit = np.linalg.pinv(scaled.T @ design, rcond=1e-9, hermitian=True) @ (scaled.T @ values)
        scale = weights / np.maximum(np.abs(values - design @ fit), 1.0)
    return fit
