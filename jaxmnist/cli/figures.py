"""`jaxmnist figures`: make the tutorial's pictures."""

from pathlib import Path

from tyro.conf import Positional

from jaxmnist.cli.console import make_console, progress, say
from jaxmnist.errors import InputError, nearest


def figures(
    names: Positional[tuple[str, ...]] = (), out: Path = Path("figures"), redraw: bool = False
) -> None:
    """Make the tutorial's pictures: compute each one's numbers, save them as JSON, and draw.

    Args:
        names: The pictures to make; all of them by default.
        out: The folder to write to.
        redraw: Compute nothing: draw from the JSON files in the folder.
    """
    from jaxmnist import figures as making

    for name in names:
        if name not in making.PICTURES:
            raise InputError(
                f"there is no picture {name!r}; choose from {', '.join(making.PICTURES)}"
                f"{nearest(name, making.PICTURES)}"
            )
    pictures = [making.PICTURES[name] for name in names or making.PICTURES]
    try:
        if not redraw:
            out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror}") from error
    screen = make_console()
    with progress(screen, "drawing" if redraw else "computing") as (bar, task):
        bar.update(task, total=len(pictures))
        for index, picture in enumerate(pictures):
            bar.update(task, description=picture.name, completed=index)
            if redraw:
                written = making.redraw(picture, out)
            else:
                written = making.make(
                    picture,
                    out,
                    lambda share, done=index: bar.update(task, completed=done + share),
                )
            say(screen, f"wrote: {', '.join(map(str, written))}")
