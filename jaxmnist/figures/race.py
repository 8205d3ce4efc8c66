"""Races of optimizers over a surface: computed, drawn, animated and written to a file (D27)."""

import functools
import io
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import landscapes, optim, plots
from jaxmnist.atomic import check_writable, write_whole
from jaxmnist.errors import InputError
from jaxmnist.figures import animation
from jaxmnist.figures.picture import Data, OnProgress, Picture
from jaxmnist.forms import Among, Form, Numbers
from jaxmnist.landscapes import Race, Surface
from jaxmnist.plots import style

STEPS: Final[Mapping[str, int]] = {"saddle": 60, "monkey_saddle": 60}
"""How long a race is where 100 steps would be too many."""
TOLERANCE: Final = 0.01
"""How near a minimum counts as there, in diagonals of the surface's box."""


GROUND: Final[Mapping[str, Form]] = {
    "x": Numbers("x"),
    "y": Numbers("y"),
    "height": Numbers("y x", none=True),
    "minima": Numbers("minima 2"),
    "relief": Numbers(),
    "view": Numbers("2"),
}
"""What `ground_data` returns, as JSON has it."""
RACE: Final[Mapping[str, Form]] = {
    "title": str,
    "ground": GROUND,
    "optimizers": [Among(optim.NAMES)],
    "race": {
        "learning_rates": Numbers("rates"),
        **dict.fromkeys(("scores", "final_losses"), Numbers("optimizers rates", none=True)),
        "learning_rate": Numbers("optimizers"),
        "path": Numbers("optimizers points 2", none=True),
        "loss": Numbers("optimizers points", none=True),
    },
    "arrivals": Numbers("optimizers", least=-1, whole=True),
}
"""What `race_data` returns, as JSON has it."""


def race_data(
    name: str,
    optimizers: tuple[str, ...] = optim.NAMES,
    steps: int | None = None,
    learning_rates: Any = landscapes.LEARNING_RATES,
    points: int = 121,
) -> dict[str, Any]:
    """Race over a named surface, and return all that a picture of it needs.

    Args:
        name: A key of `landscapes.SURFACES`.
        optimizers: Names of `optim.NAMES`.
        steps: How many; None for as many as suit the surface.
        learning_rates: The grid that each optimizer's rate is chosen from.
        points: How many heights to draw the surface from in each direction.

    Returns:
        The surface's heights, the race, and how many steps each optimizer took to a minimum, -1
        for those that are not near one at the end.

    Raises:
        InputError: The surface or an optimizer is unknown, or there are no steps.
    """
    surface = landscapes.surface(name)
    result = landscapes.race(
        surface, optimizers, STEPS.get(name, 100) if steps is None else steps, learning_rates
    )
    tolerance = float(TOLERANCE * np.hypot(*np.ptp(surface.bounds, axis=1)))
    minima = jnp.asarray(surface.minima)
    arrivals = [landscapes.arrival(path, minima, tolerance) for path in result.path]
    return {
        "surface": name,
        "title": surface.title,
        "ground": ground_data(surface, points),
        "optimizers": optimizers,
        "race": {field: np.asarray(part) for field, part in result._asdict().items()},
        "arrivals": arrivals,
    }


def draw_race(data: Data) -> Figure:
    """Draw what `race_data` found, from above and from the side."""
    result = as_race(data)
    rule = plots.RULE
    if len(result.learning_rates) == 1:
        rule = f"One learning rate for all: {result.learning_rates[0]:g}"
    title = f"{wrapped(_outcome(data))}\n{wrapped(rule)}"
    return plots.race(as_terrain(data), data["optimizers"], result, title)


def race_frames(data: Data) -> Iterator[np.ndarray]:
    """Draw what `race_data` found as it happens, in about 75 frames."""
    result = as_race(data)
    every = _frame_steps(result.loss.shape[1] - 1)
    title = f"{data['title']}: each optimizer at its best learning rate (beside its name)"
    if len(result.learning_rates) == 1:
        title = f"{data['title']}: all at learning rate {result.learning_rates[0]:g}"
    return plots.race_frames(as_terrain(data), data["optimizers"], result, title, every=every)


def race_rows(data: Data) -> Iterator[tuple[str, ...]]:
    """Yield what `race_data` found as text, a row an optimizer: name, rate, loss, steps, end."""
    result = as_race(data)
    for index, name in enumerate(data["optimizers"]):
        steps = int(data["arrivals"][index])
        x, y = result.path[index, -1]
        yield (
            style.OPTIMIZERS[name].label,
            f"{result.learning_rate[index]:.4g}",
            f"{result.loss[index, -1]:.4g}",
            "not there" if steps < 0 else str(steps),
            f"({x:.4g}, {y:.4g})",
        )


def check_out(path: Path) -> None:
    """Refuse a file that `save_race` could not write.

    Args:
        path: The file.

    Raises:
        InputError: Its ending is none of a picture's, its folder is none, or it is a folder
            itself, or ffmpeg is wanted and not installed.
    """
    if path.suffix not in (".png", ".gif", ".mp4"):
        raise InputError(
            f"cannot write {path}: a race is written as .png, .gif or .mp4, or as a page, .html"
        )
    check_writable(path)
    if path.suffix == ".mp4" and not animation.has_ffmpeg():
        raise InputError(f"cannot write {path}: an .mp4 needs ffmpeg, which is not installed")


def save_race(
    data: Data, path: Path, on_frame: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write what `race_data` found as a picture, or as an animation.

    Args:
        data: The race.
        path: A .png, .gif or .mp4.
        on_frame: Called after each frame with how many are done, and of how many.

    Raises:
        InputError: As `check_out`, or the file cannot be written.
    """
    check_out(path)
    with style.theme("light"):
        if path.suffix == ".png":
            content = io.BytesIO()
            draw_race(data).savefig(content, format="png", dpi=150)
            write_whole(path, content.getvalue())
            return
        frames = []
        steps = len(data["race"]["loss"][0]) - 1
        total = len(range(0, steps, _frame_steps(steps))) + 1
        for frame in race_frames(data):
            frames.append(frame)
            on_frame(len(frames), total)
    encode = animation.gif if path.suffix == ".gif" else animation.mp4
    write_whole(path, encode(frames))


def ground_data(surface: Surface, points: int) -> dict[str, Any]:
    """Return a surface's heights, to the four digits that a picture needs."""
    x, y, height = landscapes.heights(surface, points, points)
    return {
        "x": x,
        "y": y,
        "height": [[float(f"{value:.4g}") for value in row] for row in np.asarray(height)],
        "minima": surface.minima,
        "relief": surface.relief,
        "view": surface.view,
    }


def as_terrain(data: Data) -> plots.Terrain:
    """Return the surface that a picture's data hold, to be drawn."""
    ground = data["ground"]
    x, y, height, minima = (np.array(ground[key], float) for key in ("x", "y", "height", "minima"))
    return plots.Terrain(x, y, height, minima, ground["relief"], tuple(ground["view"]))


def as_race(data: Data) -> Race:
    """Return the race that a picture's data hold, with infinities where JSON has None."""
    parts = {name: np.array(data["race"][name], float) for name in Race._fields}
    parts["scores"] = np.nan_to_num(parts["scores"], nan=np.inf, posinf=np.inf)
    return Race(**{name: jnp.asarray(part, float) for name, part in parts.items()})


def wrapped(text: str) -> str:
    """Break a title into lines that fit a picture ten inches wide."""
    return textwrap.fill(text, 118)


def _outcome(data: Data) -> str:
    """Return who reached a minimum, and when, as a sentence."""
    steps = len(data["race"]["loss"][0]) - 1
    arrivals = dict(zip(data["optimizers"], data["arrivals"], strict=True))
    there = sorted((count, name) for name, count in arrivals.items() if count >= 0)
    parts = [f"{style.OPTIMIZERS[name].label} after {count}" for count, name in there]
    rest = [style.OPTIMIZERS[name].label for name, count in arrivals.items() if count < 0]
    text = f"{data['title']}, {steps} steps. "
    text += f"At a minimum, staying there: {', '.join(parts)}" if parts else "None is at a minimum"
    return f"{text}; not: {', '.join(rest)}" if parts and rest else text


def _frame_steps(steps: int) -> int:
    """How many steps pass between frames, for about 75 of them."""
    return max(1, round(steps / 75))


def _animate(data: Data) -> Mapping[str, bytes]:
    frames = list(race_frames(data))
    animations = {"gif": animation.gif(frames)}
    if animation.has_ffmpeg():
        animations["mp4"] = animation.mp4(frames)
    return animations


def _compute(name: str, on_progress: OnProgress) -> Mapping[str, Any]:
    del on_progress
    return race_data(name)


PICTURES: Final = (
    Picture(
        "race_valley",
        "D27",
        functools.partial(_compute, "valley"),
        draw_race,
        animate=_animate,
        form=RACE,
    ),
    Picture(
        "race_saddle",
        "D27",
        functools.partial(_compute, "saddle"),
        draw_race,
        animate=_animate,
        form=RACE,
    ),
)
