"""The shape of a learning rate over the steps: its pieces, each a formula that was found to hold.

A curve is cut, from its first step on, into the longest pieces that one formula describes. A piece
counts only where it has at least two steps more than its formula has numbers, so that it says what
was not put in.
"""

from typing import Final, NamedTuple

import numpy as np

from jaxmnist.verify.identify.curves import CURVES

_SHORT: Final = 3
"""Steps at the end that are too few to tell what they are the beginning of."""

_FEW: Final = 6
"""Steps of a staircase that are listed."""


class Piece(NamedTuple):
    """A run of steps that follow one formula."""

    form: str
    """A key of `CURVES`."""
    first: int
    last: int
    start: float
    """The rate at the first step."""
    end: float
    """The rate at the last step, or at the bottom of a cosine, which may be later."""
    steps: float
    """From the first to the last, or to the bottom of a cosine."""
    text: str
    """The formula, with t counted from the first step of the whole curve."""


def pieces(rates: np.ndarray, tolerance: float = 1e-9) -> list[Piece] | None:
    """Cut a curve into pieces.

    Args:
        rates: One of each step.
        tolerance: The error of a rate that is none, relative to the largest.

    Returns:
        The pieces, one after another; None where a part follows no known formula.

    >>> [piece.form for piece in pieces(np.array([4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]))]
    ['linear', 'constant']
    """
    room = tolerance * float(np.abs(rates).max())
    found: list[Piece] = []
    first = 0
    while first < len(rates) - 1:
        longest = _longest(rates, first, room)
        if longest is None and found and len(rates) - first <= _SHORT:
            break
        if longest is None:
            return None
        found.append(longest)
        first = longest.last
        # A join belongs to both pieces where the curve is continuous, and else to the later one.
        joined, apart = (_longest(rates, step, room) for step in (first, first + 1))
        if apart is not None and (joined is None or apart.last > joined.last):
            first += 1
    return found


def formula(rates: np.ndarray) -> str | None:
    """Describe a curve by one formula, if it has one and is not constant.

    Args:
        rates: One of each step.

    Returns:
        The formula, with t = 0 at the first step; or None.

    >>> formula(0.1 / (1 + 0.5 * np.arange(9)))
    '0.1 / (1 + 0.5 t)'
    """
    whole = pieces(rates, 1e-7)
    return whole[0].text if whole and len(whole) == 1 and whole[0].form != "constant" else None


def stairs(rates: np.ndarray, tolerance: float) -> tuple[list[int], list[float]] | None:
    """Take a curve as a staircase.

    Args:
        rates: One of each step.
        tolerance: As for `pieces`.

    Returns:
        The steps at which it changes, and the factor of each change; None if it never does, or at
        two steps in turn.
    """
    jumps = np.abs(np.diff(rates)) > tolerance * np.abs(rates).max()
    changes = (np.flatnonzero(jumps) + 1).tolist()
    if not changes or np.diff([0, *changes]).min() < 2:
        return None
    with np.errstate(all="ignore"):
        return changes, [float(rates[step] / rates[step - 1]) for step in changes]


def difference(here: np.ndarray, there: np.ndarray, tolerance: float) -> str | None:
    """Say in what the shapes of two curves differ.

    Args:
        here: Our rates.
        there: PyTorch's.
        tolerance: As for `pieces`.

    Returns:
        The first difference in words; None where a curve has no known shape, or both the same.
    """
    steps = [stairs(rates, tolerance) for rates in (here, there)]
    ours, theirs = (pieces(rates, tolerance) for rates in (here, there))
    if steps[0] and steps[1]:
        return _of_stairs(steps[0], steps[1], here, there)
    if ours is None or theirs is None:
        return None
    texts = [
        f"a staircase, {_stairs_text(stair)}" if stair else found[0].text
        for stair, found in zip(steps, (ours, theirs), strict=True)
    ]
    for place, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        what = _differing(mine, other, tolerance * float(np.abs([here, there]).max()))
        if what is None:
            continue
        mine_text, other_text = texts if place == 0 else (mine.text, other.text)
        count = ""
        if len(ours) != len(theirs) and not any(steps):
            count = f"; within these steps {len(ours)} phases here, {len(theirs)} in PyTorch"
        if what == "how long it goes on":
            return f"{what}: to step {mine.last} here, to step {other.last} in PyTorch"
        return f"{what}: {mine_text} here, {other_text} in PyTorch{count}"
    return None


def _longest(rates: np.ndarray, first: int, room: float) -> Piece | None:
    if len(rates) - first < 2:
        return None
    found = (_piece(form, rates, first, room) for form in CURVES)
    return max((piece for piece in found if piece), key=lambda piece: piece.last, default=None)


def _piece(form: str, rates: np.ndarray, first: int, room: float) -> Piece | None:
    """The longest piece of a form that begins at a step, or None."""
    curve = CURVES[form]
    lengths = curve.ends(rates[first:], room) if curve.ends else None
    if lengths is None:
        lengths = range(curve.numbers + 2, len(rates) - first + 1)
    if form == "constant" and len(rates) - first == 2:
        lengths = [2]  # What is left at the end is too short to tell, but for a constant.
    # The shortest first: if that does not fit, none does. Then the longest by bisection.
    if not lengths or curve.fit(rates[first : first + lengths[0]], room) is None:
        return None
    low, high = 0, len(lengths) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if curve.fit(rates[first : first + lengths[middle]], room) is None:
            high = middle - 1
        else:
            low = middle
    count = lengths[low]
    fitted = curve.fit(rates[first : first + count], room)
    if fitted is None:
        return None
    last = first + count - 1
    return Piece(
        form,
        first,
        last,
        float(rates[first]),
        float(rates[last]) if fitted.end is None else fitted.end,
        float(count - 1) if fitted.steps is None else fitted.steps,
        fitted.text(first),
    )


def _differing(mine: Piece, other: Piece, room: float) -> str | None:
    """In what two pieces differ, or None."""
    if mine.form != other.form:
        return "the shape"
    if abs(mine.start - other.start) > room:
        return "where it starts"
    if mine.first != other.first:
        return "when a phase begins"
    if _follow_one_law(mine, other, room):
        return None if mine.last == other.last else "how long it goes on"
    # Pieces that both go on to the end of what was compared may be longer than that.
    told = mine.form == "cosine" or mine.last != other.last
    if told and abs(mine.steps - other.steps) > 1e-3 * mine.steps:
        return "how long a phase is"
    return "where it ends" if abs(mine.end - other.end) > 10 * room else None


def _follow_one_law(mine: Piece, other: Piece, room: float) -> bool:
    """Whether two pieces of one form with the same start are the same but for their length."""
    if mine.form == "constant":
        return True
    if mine.form == "linear":
        slopes = [(piece.end - piece.start) / piece.steps for piece in (mine, other)]
        return abs(slopes[0] - slopes[1]) * max(mine.steps, other.steps) <= 10 * room
    if mine.form == "cosine":
        near = abs(mine.steps - other.steps) <= 1e-3 * mine.steps
        return near and abs(mine.end - other.end) <= 10 * room
    return mine.text == other.text


def _of_stairs(
    ours: tuple[list[int], list[float]],
    theirs: tuple[list[int], list[float]],
    here: np.ndarray,
    there: np.ndarray,
) -> str | None:
    texts = f"{_stairs_text(ours)} here, {_stairs_text(theirs)} in PyTorch"
    if ours[0] != theirs[0]:
        return f"the steps at which it changes: {texts}"
    if not np.allclose(ours[1], theirs[1], rtol=1e-5):
        return f"the factors by which it changes: {texts}"
    return f"where it starts: {here[0]:.6g} here, {there[0]:.6g} in PyTorch"


def _stairs_text(found: tuple[list[int], list[float]]) -> str:
    steps, factors = found
    every = np.diff([0, *steps])
    by = f"by {factors[0]:.6g} " if np.ptp(factors) <= 1e-5 * abs(factors[0]) else ""
    if len(steps) > 1 and np.ptp(every) == 0:
        return f"{by}every {every[0]} steps"
    more = " …" if len(steps) > _FEW else ""
    listed = ", ".join(str(step) for step in steps[:_FEW])
    return f"{by}at step{'s' if len(steps) > 1 else ''} {listed}{more}"
