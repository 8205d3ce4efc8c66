"""Numbers that one of two equal optimizers has in float32, inside a float64 run.

Optax computes several schedules from an int32 count, and so in float32 whatever the parameters
are; a constant may have been rounded on its way. Then both follow the same rule, and their steps
differ from the eighth digit on.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from jaxmnist.verify.identify.causes import Cause
from jaxmnist.verify.identify.fit import fit
from jaxmnist.verify.identify.probe import Probe, at_zero
from jaxmnist.verify.identify.recurrence import FittedRule
from jaxmnist.verify.identify.words import number_name

_KNOWN: Final = 1e-9
"""The relative error of a number fitted to steps from zero; float32 rounds by up to 6e-8."""

_FAR: Final = 1e-5
"""The relative difference that several operations in float32 may come to."""

_ROUNDED: Final = "computed in float32 inside a float64 run"
_EXACT: Final = "in float64"


def find_rounded(
    here: FittedRule, there: FittedRule, probe: Probe, reference: Probe
) -> Iterator[Cause]:
    """Find the numbers that are those of the other side in float32.

    Args:
        here: The optimizer, recognised as the same rule as
        there: the reference.
        probe: The optimizer's steps.
        reference: The reference's steps.

    Yields:
        A cause for each such number, and for the learning rate.
    """
    with np.errstate(all="ignore"):
        mine, theirs = (
            fit(rule.spec, rule.numbers, at_zero(each))
            for rule, each in ((here, probe), (there, reference))
        )
    pairs: list[tuple[str, Any, Any]] = [
        (number_name(name, here.spec), mine.numbers[name], theirs.numbers[name])
        for name in mine.numbers
        if name in theirs.numbers and name != "initial"
    ]
    for what, a, b in [*pairs, ("the learning rate", mine.rates, theirs.rates)]:
        a, b = np.broadcast_arrays(np.atleast_1d(a), np.atleast_1d(b))
        largest = np.abs(b).max()
        error = np.abs(a - b)
        effect = float(error.max() / largest)
        if not _KNOWN < effect < _FAR:
            continue
        singles = tuple(_is_single(x) for x in (a, b))
        if singles in ((True, False), (False, True)):
            words = (_ROUNDED, _EXACT) if singles[0] else (_EXACT, _ROUNDED)
            yield Cause(f"the precision of {what}", *words, effect)


def _is_single(x: np.ndarray) -> bool:
    """Whether all are float32 numbers, to what is known of them."""
    distance = np.abs(x - x.astype(np.float32).astype(np.float64))
    return bool((distance <= _KNOWN * np.abs(x) + 1e-12 * np.abs(x).max()).all())
