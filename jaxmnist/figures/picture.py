"""A picture in two steps: numbers, stored as JSON, and what is drawn from them."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from jaxmnist import provenance
from jaxmnist.atomic import write_whole
from jaxmnist.errors import InputError
from jaxmnist.forms import Form, check_form
from jaxmnist.plots import style
from jaxmnist.plots.save import encoded
from jaxmnist.reading import read_json

Data = Mapping[str, Any]
"""What a picture is drawn from, as read from JSON: arrays are nested lists of numbers."""

OnProgress = Callable[[float], None]
"""Called now and then with the share of a computation that is done, from 0 to 1."""


class Picture(NamedTuple):
    """One picture of the tutorial's walk-through."""

    name: str
    """Of its files, without ending."""
    rows: str
    """The tutorial's rows that it shows, such as "D8, D9"."""
    compute: Callable[[OnProgress], Mapping[str, Any]]
    """The numbers, arrays and text to draw; this may take minutes."""
    draw: Callable[[Data], Figure]
    """The picture, from these; this takes a second."""
    table: Callable[[Data], str] | None = None
    """The same as a table in Markdown, if it has one."""
    animate: Callable[[Data], Mapping[str, bytes]] | None = None
    """Animations by the ending of their file, such as "gif", if it has any."""
    themes: tuple[style.Theme, ...] = ("light",)
    """Both for a picture that the README shows."""
    form: Form = MappingProxyType({})
    """What `draw` needs of the stored numbers, as `jaxmnist.forms.check_form` takes it."""

    @property
    def rows_shown(self) -> tuple[int, ...]:
        """The rows' numbers."""
        return tuple(int(row.removeprefix("D")) for row in self.rows.split(", "))


def make(picture: Picture, out: Path, on_progress: OnProgress = lambda _: None) -> list[Path]:
    """Compute a picture's numbers, store them as JSON, and draw from them.

    Args:
        picture: The picture.
        out: The folder, which exists.
        on_progress: Called with the share of the computation that is done, from 0 to 1.

    Returns:
        The files written, the JSON first.

    Raises:
        InputError: A file cannot be written.
    """
    about = {
        "picture": picture.name,
        "rows": picture.rows,
        **provenance.record(f"jaxmnist figures {picture.name}"),
        "data": plain(picture.compute(on_progress)),
    }
    path = out / f"{picture.name}.json"
    write_whole(path, (json.dumps(about, allow_nan=False) + "\n").encode())
    return [path, *redraw(picture, out)]


def redraw(picture: Picture, out: Path) -> list[Path]:
    """Draw a picture from the numbers that an earlier `make` stored.

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
        about = read_json(path)
        check_form(about, {"data": picture.form}, picture.name)
        data = about["data"]
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); `{command}` makes it") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); `{command}` makes it again") from error
    contents: dict[str, bytes] = {}
    try:
        # NumPy's and matplotlib's warnings would come before the one line of an error.
        with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
            for name in picture.themes:
                stem = picture.name if name == "light" else f"{picture.name}-{name}"
                with style.theme(name):
                    figure = picture.draw(data)
                    for suffix in ("png", "svg"):
                        contents[f"{stem}.{suffix}"] = encoded(figure, suffix)
            if picture.table is not None:
                contents[f"{picture.name}.md"] = picture.table(data).encode()
            if picture.animate is not None:
                with style.theme("light"):
                    for suffix, animation in picture.animate(data).items():
                        contents[f"{picture.name}.{suffix}"] = animation
    except (InputError, MemoryError):
        raise
    # Numbers of the right form may still be ones that no picture can be drawn of, such as an axis
    # from 1e300 to -1e300; what matplotlib then raises has many types.
    except Exception as error:
        raise InputError(
            f"{path} has numbers that cannot be drawn ({type(error).__name__}: {error}); "
            f"`{command}` makes it again"
        ) from error
    # Only now: of numbers that cannot be drawn no picture is replaced.
    for name, content in contents.items():
        write_whole(out / name, content)
    return [out / name for name in contents]


def plain(value: Any) -> Any:
    """Turn arrays into lists and floats into nine significant digits, which hold all of float32.

    Args:
        value: Mappings, sequences, arrays, numbers and text, nested as they may be.

    Returns:
        The same as JSON can hold it; None for infinity and NaN.

    >>> plain({"x": np.array([1 / 3, np.inf])})
    {'x': [0.333333333, None]}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, str | bool | int) or value is None:
        return value
    array = np.asarray(value)
    if array.ndim:
        return [plain(part) for part in array]
    if np.issubdtype(array.dtype, np.floating):
        # JSON has no NaN and no infinity; NumPy reads None as NaN again.
        return float(f"{array:.9g}") if np.isfinite(array) else None
    return array.item()


def as_arrays(data: Data, *names: str) -> dict[str, np.ndarray]:
    """Return some of a picture's data as float arrays.

    Args:
        data: The picture's data.
        *names: Keys of lists of numbers.

    Returns:
        The arrays by name, with NaN where JSON has None.

    >>> as_arrays({"x": [1, None], "y": 2}, "x")
    {'x': array([ 1., nan])}
    """
    return {name: np.array(data[name], float) for name in names}
