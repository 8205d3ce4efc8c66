"""`jaxmnist data`: list, prepare and look at data sets."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from jaxmnist.cli.console import make_console, progress, say
from jaxmnist.errors import printable, shortened

_MOST = 100


def data_list(data_dir: str | None = None) -> None:
    """List the named data sets and their locations.

    Args:
        data_dir: The folder of prepared sets, if not TFDS's own.
    """
    from rich.table import Table
    from rich.text import Text

    from jaxmnist.data import available

    table = Table("name", "source", "location")
    for row in available(data_dir):
        place = f"not here: jaxmnist data prepare {row.name}" if row.path is None else row.path
        table.add_row(row.name, row.source, Text(printable(str(place)), overflow="fold"))
    make_console().print(table)


def data_prepare(
    name: Positional[str],
    source: Annotated[Path | None, arg(name="from")] = None,
    data_dir: str | None = None,
) -> None:
    """Prepare a data set in TFDS's format, readable by any TFDS, without TensorFlow.

    Args:
        name: Such as fashion_mnist, kmnist, emnist/digits.
        source: A folder with the set's IDX files; without it they are downloaded.
        data_dir: The folder to write to, if not TFDS's own.
    """
    from jaxmnist.data import prepare, prepared_directory

    screen = make_console()
    if (present := prepared_directory(name, data_dir)) is not None:
        say(screen, f"already prepared: {present}")
        return
    with progress(screen, f"preparing {name}"):
        path = prepare(name, source, data_dir)
    say(screen, f"prepared: {path}")


def data_show(
    name: Positional[str] = "mnist", out: Path | None = None, data_dir: str | None = None
) -> None:
    """Describe a data set, and draw its first 64 images with their labels.

    Args:
        name: A data set as `train --dataset` takes it.
        out: The picture to write, a .png.
        data_dir: The folder of prepared sets, if not TFDS's own.
    """
    from jaxmnist.data import load_dataset

    images = load_dataset(name, data_dir)
    screen = make_console()
    say(
        screen,
        f"{images.name}: {len(images.train_labels)} training and {len(images.test_labels)} test "
        f"images, {images.num_classes} classes",
    )
    if images.class_names:
        names = [f"{label} {shortened(name)}" for label, name in enumerate(images.class_names)]
        say(screen, f"classes: {', '.join(names[:_MOST])}{', …' if len(names) > _MOST else ''}")
    if images.note:
        say(screen, images.note)
    if out is not None:
        from jaxmnist import plots
        from jaxmnist.plots.save import write_picture
        from jaxmnist.plots.style import literal

        first = images.train_images[:64], images.train_labels[:64]
        title = literal(images.name)
        with plots.theme():
            write_picture(plots.digits(*first, title=title, names=images.class_names), out)
        say(screen, f"wrote: {out}")
