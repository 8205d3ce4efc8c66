"""Parts C and D of the document: where descent stays, and races (D15, D16, D21, D27)."""

import functools
import io
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import landscapes, optim, plots
from jaxmnist.atomic import write_whole
from jaxmnist.conventions import hyperparameters
from jaxmnist.errors import InputError
from jaxmnist.figures import animation
from jaxmnist.figures.picture import Data, Picture, Report
from jaxmnist.landscapes import SURFACES, Race, Surface
from jaxmnist.plots import style

STEPS: Final[Mapping[str, int]] = {"saddle": 60, "monkey_saddle": 60}
"""How long a race is where 100 steps would be too many."""

TOLERANCE: Final = 0.01
"""How near a minimum counts as there, in diagonals of the surface's box."""


# ------------------------------------------------------------------------------- races


def race_data(
    name: str,
    optimizers: tuple[str, ...] = optim.NAMES,
    steps: int | None = None,
    learning_rates: Any = landscapes.LEARNING_RATES,
    points: int = 121,
) -> dict[str, Any]:
    """Race over a named surface, and say all that a picture of it needs.

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
        "ground": _ground(surface, points),
        "optimizers": optimizers,
        "race": {field: np.asarray(part) for field, part in result._asdict().items()},
        "arrivals": arrivals,
    }


def draw_race(data: Data) -> Figure:
    """Draw what `race_data` found, from above and from the side."""
    result = _race(data)
    rule = plots.RULE
    if len(result.learning_rates) == 1:
        rule = f"One learning rate for all: {result.learning_rates[0]:g}"
    title = f"{_wrapped(_outcome(data))}\n{_wrapped(rule)}"
    return plots.race(_terrain(data), data["optimizers"], result, title)


def race_frames(data: Data) -> Iterator[np.ndarray]:
    """Draw what `race_data` found as it happens, in about 75 frames."""
    result = _race(data)
    every = _frame_steps(result.loss.shape[1] - 1)
    title = f"{data['title']}: each optimizer at its best learning rate (beside its name)"
    if len(result.learning_rates) == 1:
        title = f"{data['title']}: all at learning rate {result.learning_rates[0]:g}"
    return plots.race_frames(_terrain(data), data["optimizers"], result, title, every=every)


def race_rows(data: Data) -> Iterator[tuple[str, ...]]:
    """What `race_data` found as text, a row for each optimizer: name, rate, loss, steps, end."""
    result = _race(data)
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
        raise InputError(f"cannot write {path}: a race is written as .png, .gif or .mp4")
    try:
        writable = path.parent.is_dir() and not path.is_dir()
    except OSError:  # Such as a name that is too long.
        writable = False
    if not writable:
        raise InputError(f"cannot write {path}: it must be a file in a folder that exists")
    if path.suffix == ".mp4" and not animation.has_ffmpeg():
        raise InputError(f"cannot write {path}: an .mp4 needs ffmpeg, which is not installed")


def save_race(
    data: Data, path: Path, on_frame: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write what `race_data` found as a picture, or as an animation.

    Args:
        data: The race.
        path: A .png, .gif or .mp4.
        on_frame: Told after each frame how many are done, and of how many.

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


def _frame_steps(steps: int) -> int:
    """How many steps pass between frames, for about 75 of them."""
    return max(1, round(steps / 75))


def _animate_race(data: Data) -> Mapping[str, bytes]:
    frames = list(race_frames(data))
    animations = {"gif": animation.gif(frames)}
    if animation.has_ffmpeg():
        animations["mp4"] = animation.mp4(frames)
    return animations


def _compute_race(name: str, report: Report) -> Mapping[str, Any]:
    del report
    return race_data(name)


def _compute_races(report: Report) -> Mapping[str, Any]:
    names = [name for name in SURFACES if name not in ("valley", "saddle")]
    races = {}
    for index, name in enumerate(names):
        races[name] = race_data(name, points=81)
        report((index + 1) / len(names))
    return {"races": races}


def _draw_races(data: Data) -> Figure:
    races = data["races"].values()
    lengths = [len(race["race"]["loss"][0]) - 1 for race in races]
    return plots.races(
        {race["title"]: _terrain(race) for race in races},
        next(iter(races))["optimizers"],
        {race["title"]: _race(race) for race in races},
        f"The same race on {len(lengths)} other surfaces, {min(lengths)} to {max(lengths)} steps; "
        f"a cross is a minimum\n{_wrapped(plots.RULE)}",
    )


def _outcome(data: Data) -> str:
    """Who reached a minimum, and when, as a sentence."""
    steps = len(data["race"]["loss"][0]) - 1
    arrivals = dict(zip(data["optimizers"], data["arrivals"], strict=True))
    there = sorted((count, name) for name, count in arrivals.items() if count >= 0)
    parts = [f"{style.OPTIMIZERS[name].label} after {count}" for count, name in there]
    rest = [style.OPTIMIZERS[name].label for name, count in arrivals.items() if count < 0]
    text = f"{data['title']}, {steps} steps. "
    text += f"At a minimum for good: {', '.join(parts)}" if parts else "None is at a minimum"
    return f"{text}; not: {', '.join(rest)}" if parts and rest else text


def _wrapped(text: str) -> str:
    """A title in lines that fit a picture ten inches wide."""
    return textwrap.fill(text, 118)


# ------------------------------------------------------------------------------- D15

STARTS: Final = np.linspace(-4.4, 3.4, 79)
RATES: Final = np.geomspace(0.02, 4, 60)
SAMPLES, BATCH_SIZE, EPOCHS, KEYS = 64, 4, 20, 16
PASS: Final = -1.0104719
"""Where between its two minima the surface with the dent is highest, on the line through both."""


def _compute_local_minimum(report: Report) -> Mapping[str, Any]:
    function = SURFACES["local_minimum"].function
    tilts = landscapes.tilts(jax.random.key(0), SAMPLES, 1.5)

    @functools.partial(jax.jit, static_argnums=3)
    def shares(keys, starts, rates, batch_size):
        def escapes(key, x, rate):
            end = landscapes.descend(
                key,
                jnp.stack([x, jnp.zeros_like(x)]),
                rate,
                tilts,
                function=function,
                batch_size=batch_size,
                epochs=EPOCHS * batch_size // BATCH_SIZE,
            )[-1]
            return end[0] > PASS

        over_starts = jax.vmap(escapes, in_axes=(None, 0, None))
        over_rates = jax.vmap(over_starts, in_axes=(None, None, 0))
        return jax.vmap(over_rates, in_axes=(0, None, None))(keys, starts, rates).mean(axis=0)

    starts, rates = jnp.asarray(STARTS), jnp.asarray(RATES)
    full = shares(jax.random.split(jax.random.key(1), 1), starts, rates, SAMPLES)
    report(0.3)
    keys = jax.random.split(jax.random.key(1), KEYS)
    batches = shares(keys, starts, rates, BATCH_SIZE)

    walks = []
    for rate, batch_size in ((0.1, SAMPLES), (1.2, SAMPLES), (0.4, BATCH_SIZE)):
        path = landscapes.descend(
            keys[0],
            jnp.array([-3.0, 0.0]),
            rate,
            tilts,
            function=function,
            batch_size=batch_size,
            epochs=60 * batch_size // SAMPLES,
        )
        walk = {"learning_rate": rate, "batch_size": batch_size}
        walks.append(
            {**walk, "path": path, "loss": jax.vmap(function)(path * jnp.array([[1.0, 0.0]]))}
        )
    x = jnp.linspace(-4.5, 3.5, 400)
    height = jax.vmap(lambda x: function(jnp.stack([x, jnp.zeros_like(x)])))(x)
    return {
        "profile": [x, height],
        "walks": walks,
        "starts": STARTS,
        "learning_rates": RATES,
        "full": full,
        "batches": batches,
        "batch_size": BATCH_SIZE,
        "samples": SAMPLES,
        "keys": KEYS,
        "steps": EPOCHS * SAMPLES // BATCH_SIZE,
    }


def _draw_local_minimum(data: Data) -> Figure:
    starts, rates = np.array(data["starts"]), np.array(data["learning_rates"])
    full, batches = np.array(data["full"]), np.array(data["batches"])
    walks = {}
    for walk in data["walks"]:
        everything = walk["batch_size"] == data["samples"]
        how = "Full gradient" if everything else f"Batches of {walk['batch_size']}"
        x = np.array(walk["path"])[:, 0]
        fate = "escapes" if x[-1] > PASS else "stays"
        walks[f"{how}, rate {walk['learning_rate']:g}: {fate}"] = np.stack([x, walk["loss"]])
    # Of the runs that begin left of the pass, which rates bring out more than half.
    trapped = starts < PASS
    least = [rates[(share[:, trapped].mean(axis=1) > 0.5).argmax()] for share in (full, batches)]
    return plots.local_minimum(
        np.array(data["profile"]),
        PASS,
        walks,
        starts,
        rates,
        {
            "Full gradient": full,
            f"Mini-batches of {data['batch_size']} of {data['samples']} samples, "
            f"{data['keys']} orders": batches,
        },
        f"From the left of a local minimum most runs escape in {data['steps']} steps at rates from "
        f"{least[0]:.2f} with the full\ngradient, which overshoots, and from {least[1]:.2f} with "
        "mini-batches, whose noise shakes them out (and, far above, back in)",
    )


# ------------------------------------------------------------------------------- D16

OFFSETS: Final = 10.0 ** np.linspace(-12, -1, 56)
LEFT: Final = 0.5
"""How far beside the ridge the saddle has been left."""
PATIENCE: Final = 20_000
"""Steps after which it never will be."""


def _compute_saddle(report: Report) -> Mapping[str, Any]:
    surface = SURFACES["saddle"]
    data = race_data("saddle")
    defaults = [hyperparameters(name)["learning_rate"] or 1.0 for name in optim.NAMES]
    rates = {"race": jnp.asarray(data["race"]["learning_rate"]), "document": jnp.asarray(defaults)}
    starts = jnp.stack([jnp.full(len(OFFSETS) + 1, surface.start[0]), jnp.append(OFFSETS, 0.0)], 1)

    @jax.jit
    def leave(rates):
        paths = landscapes.trajectories(
            surface.function, optim.NAMES, rates[:, None], starts, PATIENCE
        )
        return landscapes.first_step(jnp.abs(paths[:, 0, :, :, 1]) > LEFT)

    counts = {}
    for index, (choice, chosen) in enumerate(rates.items()):
        counts[choice] = {"learning_rates": chosen, "steps": leave(chosen)}
        report((index + 1) / 2)
    return {
        **data,
        "offsets": OFFSETS,
        "choices": counts,
        "patience": PATIENCE,
        "hessian": jax.hessian(surface.function)(jnp.zeros(2)),
        "eigenvalues": jnp.linalg.eigvalsh(jax.hessian(surface.function)(jnp.zeros(2))),
    }


def _draw_saddle(data: Data) -> Figure:
    result, names = _race(data), data["optimizers"]
    seen = slice(0, 24)  # Until all have left; later they would only circle the minimum.
    choices = {}
    for title, choice in (("Rates as in the race", "race"), ("The document's rates", "document")):
        counts = np.array(data["choices"][choice]["steps"], float)[:, :-1]
        counts[counts < 0] = np.nan
        choices[title] = dict(zip(names, counts, strict=True))
    start = SURFACES["saddle"].start[1]
    race = choices["Rates as in the race"]
    column = int(np.abs(np.log(np.array(data["offsets"]) / start)).argmin())
    far, near = ([race[name][at] for name in ("sgd", "adam")] for at in (column, 0))
    return plots.saddle(
        _terrain(data),
        dict(zip(names, np.asarray(result.path)[:, seen], strict=True)),
        dict(zip(names, np.asarray(result.loss)[:, seen], strict=True)),
        np.array(data["eigenvalues"])[::-1],
        np.array(data["offsets"]),
        choices,
        f"At a saddle the gradient is 0 and the Hessian's eigenvalues are {_pair(data)}. From "
        f"{start:g} off the ridge SGD leaves\nit after {far[0]:g} steps and Adam after {far[1]:g}, "
        f"from {data['offsets'][0]:g} after {near[0]:g} and {near[1]:g}; from on the ridge none "
        "ever leaves",
    )


def _pair(data: Data) -> str:
    """The two eigenvalues, the positive one first."""
    low, high = sorted(data["eigenvalues"])
    return f"{high:+g} and {low:+g}"


def _saddle_table(data: Data) -> str:
    offsets = [1e-1, 1e-3, 1e-6, 1e-9, 1e-12]
    columns = [int(np.abs(np.log(data["offsets"]) - np.log(offset)).argmin()) for offset in offsets]
    lines = [
        "| optimizer | learning rate | "
        + " | ".join(f"from {o:g}" for o in offsets)
        + " | from 0 |",
        "|---" * (len(offsets) + 3) + "|",
    ]
    for choice in data["choices"].values():
        rows = zip(data["optimizers"], choice["learning_rates"], choice["steps"], strict=True)
        for name, rate, steps in rows:
            cells = [steps[column] for column in [*columns, -1]]
            shown = " | ".join("never" if count < 0 else str(count) for count in cells)
            lines.append(f"| {style.OPTIMIZERS[name].label} | {rate:.3g} | {shown} |")
    return (
        f"Steps until |y| > {LEFT} on the saddle x² - y² + y⁴/4, from (-1.2, offset); never means "
        f"not in {data['patience']}. Above, the race's learning rates; below, the document's "
        "(Adadelta has none, which is 1).\n\n" + "\n".join(lines) + "\n"
    )


# ------------------------------------------------------------------------------- D21


def _compute_valley_momentum(report: Report) -> Mapping[str, Any]:
    del report
    surface = SURFACES["valley"]
    rate, steps = 0.095, 100
    paths, speeds = {}, {}
    for decay in (0.0, 0.5, 0.9):
        optimizer = optim.momentum(rate, decay)
        paths[decay] = landscapes.trajectory(
            surface.function, optimizer, jnp.array(surface.start), steps
        )
        slope = landscapes.trajectory(lambda w: w[0], optimizer, jnp.zeros(2), 50)
        speeds[decay] = -jnp.diff(slope[:, 0]) / rate
    return {
        "ground": _ground(surface, 121),
        "learning_rate": rate,
        "decays": list(paths),
        "paths": list(paths.values()),
        "speeds": list(speeds.values()),
    }


def _draw_valley_momentum(data: Data) -> Figure:
    names = ["SGD" if decay == 0 else f"Momentum {decay:g}" for decay in data["decays"]]
    paths = [np.array(path) for path in data["paths"]]
    halfway = [int((np.abs(path[:, 0]) < np.abs(path[0, 0]) / 2).argmax()) for path in paths]
    # The last time that the path is farther than that, and one more.
    across = [int(np.flatnonzero(np.abs(path[:, 1]) >= 0.01)[-1]) + 1 for path in paths]
    return plots.valley_momentum(
        _terrain(data),
        dict(zip(names, paths, strict=True)),
        dict(zip(names, map(np.array, data["speeds"]), strict=True)),
        f"At one learning rate, {data['learning_rate']:g}: half the way along the valley takes SGD "
        f"{halfway[0]} steps, momentum 0.5 {halfway[1]}, and momentum 0.9 {halfway[2]};\n"
        f"to be within 0.01 of the middle across it takes {across[0]}, {across[1]} and "
        f"{across[2]}. On a constant slope steps grow to 1/(1 - momentum) times SGD's",
    )


# ------------------------------------------------------------------------------- JSON


def _ground(surface: Surface, points: int) -> dict[str, Any]:
    """A surface's heights, to the four digits that a picture needs."""
    x, y, height = landscapes.heights(surface, points, points)
    return {
        "x": x,
        "y": y,
        "height": [[float(f"{value:.4g}") for value in row] for row in np.asarray(height)],
        "minima": surface.minima,
        "relief": surface.relief,
        "view": surface.view,
    }


def _terrain(data: Data) -> plots.Terrain:
    ground = data["ground"]
    x, y, height, minima = (np.array(ground[key], float) for key in ("x", "y", "height", "minima"))
    return plots.Terrain(x, y, height, minima, ground["relief"], tuple(ground["view"]))


def _race(data: Data) -> Race:
    """The race, with the infinities back that JSON has no word for."""
    parts = {name: np.array(data["race"][name], float) for name in Race._fields}
    parts["scores"] = np.nan_to_num(parts["scores"], nan=np.inf, posinf=np.inf)
    return Race(**{name: jnp.asarray(part, float) for name, part in parts.items()})


PICTURES: Final = (
    Picture("local_minimum", "D15", _compute_local_minimum, _draw_local_minimum),
    Picture("saddle", "D16", _compute_saddle, _draw_saddle, _saddle_table),
    Picture("valley_momentum", "D21", _compute_valley_momentum, _draw_valley_momentum),
    Picture(
        "race_valley",
        "D27",
        functools.partial(_compute_race, "valley"),
        draw_race,
        animate=_animate_race,
    ),
    Picture(
        "race_saddle",
        "D27",
        functools.partial(_compute_race, "saddle"),
        draw_race,
        animate=_animate_race,
    ),
    Picture("races", "D27", _compute_races, _draw_races),
)
