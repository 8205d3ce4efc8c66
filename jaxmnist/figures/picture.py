"""A picture in two steps: numbers, kept as JSON, and what is drawn from them."""

import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxmnist import __version__
from jaxmnist.atomic import write_whole
from jaxmnist.errors import InputError
from jaxmnist.plots import style
from jaxmnist.plots.save import write_picture

Data = Mapping[str, Any]
"""What a picture is drawn from: as it is read from JSON, so arrays are nested lists of numbers."""

Report = Callable[[float], None]
"""Told now and then which share of a computation is done, from 0 to 1."""


class Picture(NamedTuple):
    """One picture of the document's walk-through."""

    name: str
    """Of its files, without ending."""
    rows: str
    """The document's rows that it shows, such as "D8, D9"."""
    compute: Callable[[Report], Mapping[str, Any]]
    """The numbers, arrays and text to draw; this may take minutes."""
    draw: Callable[[Data], Figure]
    """The picture, from these; this takes a second."""
    table: Callable[[Data], str] | None = None
    """The same as a table in Markdown, if it has one."""
    animate: Callable[[Data], Mapping[str, bytes]] | None = None
    """Animations by the ending of their file, such as "gif", if it has any."""
    themes: tuple[style.Theme, ...] = ("light",)
    """Both for a picture that the README shows."""

    @property
    def rows_shown(self) -> tuple[int, ...]:
        """The rows' numbers."""
        return tuple(int(row.removeprefix("D")) for row in self.rows.split(", "))


def make(picture: Picture, out: Path, report: Report = lambda _: None) -> list[Path]:
    """Compute a picture's numbers, keep them, and draw from them.

    Args:
        picture: The picture.
        out: The folder, which exists.
        report: Told the share of the computation that is done.

    Returns:
        The files written, the JSON first.

    Raises:
        InputError: A file cannot be written.
    """
    about = {
        "picture": picture.name,
        "rows": picture.rows,
        "command": f"jaxmnist figures {picture.name}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {jax.default_backend()}",
        "versions": {"jaxmnist": __version__, "jax": jax.__version__, "numpy": np.__version__},
        "data": _plain(picture.compute(report)),
    }
    path = out / f"{picture.name}.json"
    write_whole(path, (json.dumps(about, allow_nan=False) + "\n").encode())
    return [path, *redraw(picture, out)]


def redraw(picture: Picture, out: Path) -> list[Path]:
    """Draw a picture from the numbers that an earlier `make` kept.

    Args:
        picture: The picture.
        out: The folder with its JSON.

    Returns:
        The files written.

    Raises:
        InputError: There is no such JSON, it is damaged, or a file cannot be written.
    """
    path = out / f"{picture.name}.json"
    command = f"jaxmnist figures {picture.name} --out {out}"
    try:
        data = json.loads(path.read_text())["data"]
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); `{command}` makes it") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error!r}); `{command}` makes it again") from error
    written = []
    for name in picture.themes:
        stem = picture.name if name == "light" else f"{picture.name}-{name}"
        with style.theme(name):
            figure = picture.draw(data)
            for suffix in ("png", "svg"):
                written.append(out / f"{stem}.{suffix}")
                write_picture(figure, written[-1])
    if picture.table is not None:
        written.append(out / f"{picture.name}.md")
        write_whole(written[-1], picture.table(data).encode())
    if picture.animate is not None:
        with style.theme("light"):
            for suffix, animation in picture.animate(data).items():
                written.append(out / f"{picture.name}.{suffix}")
                write_whole(written[-1], animation)
    return written


def _plain(value: Any) -> Any:
    """Turn arrays into lists and numbers into nine significant digits, all of float32's."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, str | bool | int) or value is None:
        return value
    array = np.asarray(value)
    if array.ndim:
        return [_plain(part) for part in array]
    if np.issubdtype(array.dtype, np.floating):
        # JSON has no NaN and no infinity; NumPy reads None as NaN again.
        return float(f"{array:.9g}") if np.isfinite(array) else None
    return array.item()
