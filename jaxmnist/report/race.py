"""The race of the optimizers as a page, on which a person sets it up and lets it run."""

from collections.abc import Sequence
from typing import Any

from jaxmnist import conventions
from jaxmnist.figures.race import STEPS, TOLERANCE
from jaxmnist.landscapes import LEARNING_RATES, SURFACES, surface
from jaxmnist.landscapes.race import FLOOR
from jaxmnist.plots.style import OPTIMIZERS
from jaxmnist.report.template import page

_USUAL_STEPS = 100


def race_page(
    name: str,
    optimizers: Sequence[str] = conventions.NAMES,
    steps: int | None = None,
    learning_rate: float | None = None,
) -> str:
    """Make the page of the race, which can be run on every surface.

    Args:
        name: The surface that is shown first, a key of `jaxmnist.landscapes.SURFACES`.
        optimizers: Which ones race at first.
        steps: How many steps each takes at first; None for as many as suit the surface.
        learning_rate: That of all of them at first; None for each one's best.

    Returns:
        The HTML.

    Raises:
        InputError: There is no such surface.
    """
    begun = surface(name)
    data: dict[str, Any] = {
        "surfaces": {
            each: {
                "title": found.title,
                "bounds": found.bounds,
                "start": found.start,
                "minima": found.minima,
                "relief": found.relief,
                "steps": STEPS.get(each, _USUAL_STEPS),
            }
            for each, found in SURFACES.items()
        },
        "conventions": {each: dict(conventions.TABLE[each]) for each in conventions.NAMES},
        "looks": {
            each: {"label": look.label, "color": look.color, "marker": look.marker,
                   "dash": _dash(look.dash)}
            for each, look in OPTIMIZERS.items()
        },
        "rates": LEARNING_RATES.tolist(),
        "floor": FLOOR,
        "tolerance": TOLERANCE,
        "first": {
            "surface": name,
            "optimizers": list(optimizers),
            "steps": steps,
            "rate": learning_rate,
        },
    }  # fmt: skip
    return page("race", f"{begun.title}: six optimizers - jaxmnist", data)


def _dash(dash: Any) -> str | None:
    """Return matplotlib's dash as SVG has it, for a line of two pixels."""
    return None if dash == "-" else " ".join(f"{2 * length:g}" for length in dash[1])
