"""Write a picture to a file; everything else in this package only draws."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from jaxmnist.atomic import write_whole
from jaxmnist.errors import InputError

_FORMATS = ("png", "jpg", "jpeg", "webp", "pdf", "svg")


def write_picture(figure: Figure, path: Path) -> None:
    """Write a picture in the format of its name's ending, inside the theme it was drawn in.

    Args:
        figure: The picture.
        path: The file, such as `digits.png`; replaced only when the new one is complete.

    Raises:
        InputError: The format is unknown, or the file cannot be written.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in _FORMATS:
        raise InputError(f"cannot write {path}: its name must end in .{', .'.join(_FORMATS)}")
    write_whole(path, encoded(figure, suffix))


def encoded(figure: Figure, suffix: str) -> bytes:
    """Return a picture as the content of a file, inside the theme it was drawn in.

    Args:
        figure: The picture.
        suffix: The format, such as "png".

    Returns:
        The same bytes for the same picture.
    """
    content = io.BytesIO()
    undated = {"Date": None} if suffix == "svg" else None
    figure.savefig(content, format=suffix, dpi=150, metadata=undated)
    return content.getvalue()
