"""The same race on the other surfaces (D27)."""

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.figure import Figure

from jaxmnist import plots
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.figures.race import RACE, as_race, as_terrain, race_data, wrapped
from jaxmnist.forms import Each
from jaxmnist.landscapes import SURFACES


def _compute(on_progress: OnProgress) -> Mapping[str, Any]:
    names = [name for name in SURFACES if name not in ("valley", "saddle")]
    races = {}
    for index, name in enumerate(names):
        races[name] = race_data(name, points=81)
        on_progress((index + 1) / len(names))
    return {"races": races}


def _draw(data: Data) -> Figure:
    races = data["races"].values()
    lengths = [len(race["race"]["loss"][0]) - 1 for race in races]
    return plots.races(
        {race["title"]: as_terrain(race) for race in races},
        next(iter(races))["optimizers"],
        {race["title"]: as_race(race) for race in races},
        f"The same race on {len(lengths)} other surfaces, {min(lengths)} to {max(lengths)} steps; "
        f"a cross is a minimum\n{wrapped(plots.RULE)}",
    )


_FORM: Final = {"races": Each(RACE)}

PICTURE: Final = Picture("races", "D27", _compute, _draw, form=_FORM)
