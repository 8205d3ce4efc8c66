"""The strokes of one digit among the marks of a page, and MNIST's form of them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from jaxmnist.data.paper import ink_of
from jaxmnist.errors import InputError

FAINTEST_INK = 24
"""The smallest difference between ink and paper, of 255, that is taken for a drawing."""
_CORE = 0.4
"""The share of a digit's strongest ink from which a pixel belongs to a stroke."""
_EDGE = 0.2
"""The share of it down to which a stroke's soft edge goes."""
_EIGHT = np.ones((3, 3), bool)


class FoundDigit(NamedTuple):
    """A digit in MNIST's form, and what else was on the page."""

    image: UInt8[np.ndarray, "28 28"]
    """0 for paper, 255 for the strongest ink."""
    left_out: tuple[str, ...]
    """What was there and is not part of the digit, in words."""


class _Marks(NamedTuple):
    """Connected marks, in the order of their labels 1, 2 ..."""

    labels: np.ndarray
    areas: np.ndarray
    boxes: list[tuple[slice, slice]]


def find_digit(picture: Float[np.ndarray, "height width 3"], name: str) -> FoundDigit:
    """Find the one digit of a picture, and bring it into the form of MNIST's images.

    The digit is the heaviest connected mark, with the marks next to it that are no specks (the
    bar of a 5). Lines across the whole page, a frame around the digit and everything much fainter
    than it are left out. It is cropped, scaled so that its longer side is 20 pixels, and placed
    with its centre of mass in the middle of 28x28.

    Args:
        picture: Greys 0 to 255 in three channels; dark on light or light on dark.
        name: Of the picture; error messages begin with it.

    Returns:
        The digit and what was left out.

    Raises:
        InputError: There is no digit, or there are several.

    Source: the preparation described with the MNIST data (LeCun, Cortes and Burges).
    """
    picture, edge = _without_dark_edge(picture)
    colours = ink_of(picture)
    ink = colours.max(axis=2)
    if ink.max(initial=0) < FAINTEST_INK:
        raise InputError(f"{name} shows no digit: its pixels are all of nearly one grey")
    ink, lines = _without_lines(ink)
    core, left_out = _digit(ink, name)
    # Once its colour is known, what has another colour is told apart.
    chosen = colours[core]
    colour = np.median(chosen, axis=0)
    colour /= np.linalg.norm(colour)
    ink = np.clip(colours @ colour, 0, None) * (ink > 0)
    if _depth(core).max() > 6:  # Wide enough to lose single pixels.
        ink = ndimage.median_filter(ink, 3)
    strength = np.percentile(ink[core], 95)
    size = max(int(np.ptp(np.flatnonzero(core.any(axis=axis)))) + 1 for axis in (0, 1))
    distance = _depth(~core) / max(1.5, size / 9)
    inked = _inked(ink, strength, distance, max(1, size // 30))
    edges = ndimage.binary_propagation(core, mask=(distance <= 1) & inked)
    drawn = np.where(core | edges, np.minimum(ink, strength), 0)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    cropped = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return FoundDigit(centered(cropped / strength), (*edge, *lines, *left_out))


def _inked(
    ink: Float[np.ndarray, "height width"],
    strength: float,
    distance: Float[np.ndarray, "height width"],
    width: int,
) -> Bool[np.ndarray, "height width"]:
    """Tell ink from noise next to the strokes.

    Strong ink is ink. Weak ink, a stroke's soft edge, is so where it is as wide as part of a
    stroke and stronger than the picture's noise: what is narrower than `width` next to the
    strokes (grain, the ripples of a JPEG), and what is on the paper a little farther away. A clean
    picture has neither, and loses nothing.

    Args:
        ink: In greys, at least 0.
        strength: The ink of a stroke.
        distance: From the strokes, 1 where their soft edges end at the latest.
        width: Of the narrowest part of a stroke, in pixels.
    """
    wide = ndimage.grey_opening(ink, (width, width))
    narrow = ink - wide
    noise = max(
        _percentile(narrow[(distance > 0) & (distance <= 1)], 99),
        _percentile(wide[(distance > 1) & (distance <= 2)], 90),
    )
    return (ink >= _EDGE * strength) | (wide >= 0.01 * strength + 1.5 * noise)


def _percentile(values: np.ndarray, share: int) -> float:
    """Return a percentile; that of no values is 0."""
    return float(np.percentile(values, share)) if values.size else 0.0


def centered(ink: Float[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "28 28"]:
    """Scale a cropped drawing to 20 pixels and place its centre of mass in the middle of 28x28.

    Args:
        ink: Strength of the ink, 0 for paper, with ink in the outermost rows and columns.

    Returns:
        The image; its strongest pixel is 255.
    """
    scale = 20 / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    resized = Image.fromarray(ink.astype(np.float32)).resize(
        (width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    )
    small = np.clip(np.asarray(resized), 0, 1)
    small *= 255 / small.max()
    mass = small.sum()
    # In MNIST the centre of mass is within half a pixel of the middle of pixel (14, 14).
    row = _nearest(14 - float((small.sum(axis=1) * np.arange(height)).sum() / mass))
    column = _nearest(14 - float((small.sum(axis=0) * np.arange(width)).sum() / mass))
    row, column = np.clip(row, 0, 28 - height), np.clip(column, 0, 28 - width)
    digit = np.zeros((28, 28), np.uint8)
    digit[row : row + height, column : column + width] = small.round()
    return digit


def _nearest(place: float) -> int:
    """Round to a pixel; rounding noise does not decide where a symmetric drawing is placed."""
    return round(round(place, 3))


def _without_dark_edge(picture: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Cut off a band along all four edges that is no paper, as scanners and tables leave it."""
    widest = min(picture.shape[:2]) // 12
    if widest < 2:
        return picture, ()
    cuts = []
    for turned in (picture, picture[::-1], picture.swapaxes(0, 1), picture[:, ::-1].swapaxes(0, 1)):
        rows = np.median(turned[: 2 * widest], axis=1).mean(axis=1)
        other = np.abs(rows - rows[-1]) > max(FAINTEST_INK, 0.3 * rows[-1])
        if not other[0] or other[widest:].any():
            return picture, ()
        cuts.append(int(np.flatnonzero(other)[-1]) + 1)
    top, bottom, left, right = cuts
    height, width = picture.shape[:2]
    return picture[top : height - bottom, left : width - right], ("a band along the edges",)


def _without_lines(ink: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Remove thin straight lines that run across the whole page, except where strokes cross."""
    mask = ink >= FAINTEST_INK / 2
    gone = np.zeros_like(mask)
    for turned, out in ((mask, gone), (mask.T, gone.T)):
        height, width = turned.shape
        if width < 40:
            continue
        # A line of a frame ends before the edges of the page.
        whole = turned[:, :2].any(axis=1) & turned[:, -2:].any(axis=1)
        filled = whole & (turned.mean(axis=1) > 0.85)
        thickest = max(2, height // 40)
        for (band,) in ndimage.find_objects(_labels(filled, np.ones(3, bool))):
            if band.stop - band.start > thickest:
                continue
            wide = slice(max(0, band.start - 1), band.stop + 1)
            above = turned[max(0, wide.start - 2) : wide.start].any(axis=0)
            below = turned[wide.stop : wide.stop + 2].any(axis=0)
            out[wide] |= ~(above | below)
    return np.where(gone, 0, ink), ("lines across the page",) if gone.any() else ()


def _digit(ink: np.ndarray, name: str) -> tuple[Bool[np.ndarray, "height width"], tuple[str, ...]]:
    """Choose the marks of the digit."""
    # The heaviest mark of all that is darker than grain decides what strong ink is.
    rough = _marks(ink >= FAINTEST_INK)
    if not len(rough.areas):
        raise InputError(f"{name} shows no digit: there are only lines across the page")
    mass = ndimage.sum_labels(ink, rough.labels, np.arange(1, len(rough.areas) + 1))
    heaviest = rough.labels == 1 + int(np.argmax(mass))
    strength = np.percentile(ink[heaviest], 95)
    marks = _marks(ink >= _CORE * strength)
    _refuse_noise(ink, marks, name)
    marks, left_out = _without_frames(marks)
    main = int(np.argmax(marks.areas * _inside(marks)))
    core = marks.labels == main + 1
    distance = _depth(~core)
    size = _size(marks.boxes[main])
    others = 0
    for index, area in enumerate(marks.areas):
        share = area / marks.areas[main]
        if index == main or share < 0.015:
            continue
        mark = marks.labels == index + 1
        if np.percentile(ink[mark], 90) < 0.65 * strength:
            continue  # What is left of a shadow's edge.
        gap = distance[mark].min() / size
        # Strokes of one digit are next to one another, or one above the other; digits are side by
        # side.
        above = _shared_columns(marks.boxes[index], marks.boxes[main]) > 0.4
        if gap < 0.08 or (gap < (0.35 if above else 0.2) and share > 0.06):
            core |= mark
        elif share > 0.25 and _size(marks.boxes[index]) > 0.5 * size and not _at_edge(marks, index):
            others += 1
    if others > 4:
        raise InputError(f"{name} shows no digit: there are marks all over it")
    if others:
        raise InputError(
            f"{name} shows {others + 1} separate drawings of about one size; crop it to one digit"
        )
    return core, left_out


def _marks(mask: np.ndarray) -> _Marks:
    labels = _labels(mask, _EIGHT)
    areas = np.bincount(labels.ravel(), minlength=1)[1:]
    return _Marks(labels, areas, ndimage.find_objects(labels))


def _labels(mask: np.ndarray, structure: np.ndarray) -> np.ndarray:
    """Number the connected parts of a mask 1, 2 ...; 0 is outside it."""
    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, structure, output=labels)
    return labels


def _depth(mask: np.ndarray) -> np.ndarray:
    """Return each pixel's distance to the nearest pixel outside the mask."""
    return np.asarray(ndimage.distance_transform_edt(mask))


def _size(box: tuple[slice, slice]) -> int:
    return max(side.stop - side.start for side in box)


def _shared_columns(one: tuple[slice, slice], other: tuple[slice, slice]) -> float:
    """Return the share of the narrower box's columns that the other has too."""
    (_, a), (_, b) = one, other
    return (min(a.stop, b.stop) - max(a.start, b.start)) / min(a.stop - a.start, b.stop - b.start)


def _at_edge(marks: _Marks, index: int) -> bool:
    return any(
        side.start == 0 or side.stop == length
        for side, length in zip(marks.boxes[index], marks.labels.shape, strict=True)
    )


def _inside(marks: _Marks) -> np.ndarray:
    """Weigh marks at the picture's edge less: a shadow, a table, the next digit cut off."""
    return np.array([0.2 if _at_edge(marks, index) else 1.0 for index in range(len(marks.areas))])


def _without_frames(marks: _Marks) -> tuple[_Marks, tuple[str, ...]]:
    """Drop the marks that enclose another of at least a third of their size."""
    order = sorted(range(len(marks.areas)), key=lambda index: -_size(marks.boxes[index]))
    kept = marks.labels
    found = False
    for outer in order[:3]:
        box = marks.boxes[outer]
        hole = np.asarray(ndimage.binary_fill_holes(marks.labels[box] == outer + 1))
        within = np.bincount(marks.labels[box][hole], minlength=len(marks.areas) + 1)[1:]
        if any(
            index != outer
            and within[index] == marks.areas[index]
            and _size(marks.boxes[index]) > 0.3 * _size(box)
            for index in range(len(marks.areas))
        ):
            kept = np.where(kept == outer + 1, 0, kept)
            found = True
    if not found:
        return marks, ()
    return _marks(kept > 0), ("a frame around the digit",)


def _refuse_noise(ink: np.ndarray, marks: _Marks, name: str) -> None:
    covered = (marks.labels > 0).mean()
    grain = np.abs(ink - ndimage.median_filter(ink, 3, mode="nearest")).mean()
    spread = np.abs(ink - np.median(ink)).mean()
    if covered > 0.3 and grain > 0.75 * spread:
        raise InputError(f"{name} shows no digit: its pixels are noise")
