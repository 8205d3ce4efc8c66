"""`jaxmnist race`: race optimizers over a surface of two parameters."""

from pathlib import Path

from tyro.conf import Positional

from jaxmnist.cli.console import make_console, progress, say
from jaxmnist.conventions import NAMES, check_arguments


def race(
    surface: Positional[str] = "valley",
    optimizers: tuple[str, ...] = NAMES,
    steps: int | None = None,
    learning_rate: float | None = None,
    out: Path | None = None,
) -> None:
    """Race optimizers over a surface of two parameters, and draw it.

    Args:
        surface: Such as valley, saddle, rosenbrock, beale, himmelblau.
        optimizers: The optimizers to race; by default all.
        steps: How many steps each takes; by default 100, and 60 on saddles; as many
            as fit in 4 GiB of memory, about 390,000 for all six, or in --max-bytes.
        learning_rate: The step size of all of them; by default, each one's best on a common grid.
        out: The picture to write: a .png, or a moving .gif or .mp4; or an .html, a page on which
            the race can be set up and played.
    """
    given = {} if learning_rate is None else {"learning_rate": learning_rate}
    for name in optimizers:
        check_arguments(name, **given)
    from rich.table import Table

    from jaxmnist import landscapes, report
    from jaxmnist.atomic import write_whole
    from jaxmnist.figures import race as pictures

    is_page = out is not None and out.suffix.lower() == ".html"
    if out is not None:
        (report.check_out if is_page else pictures.check_out)(out)
    rates = list(given.values()) or landscapes.LEARNING_RATES
    screen = make_console()
    with progress(screen, f"racing on {surface}") as (bar, task):
        data = pictures.race_data(surface, tuple(dict.fromkeys(optimizers)), steps, rates)
        if out is not None and is_page:
            page = report.race_page(surface, data["optimizers"], steps, learning_rate)
            write_whole(out, page.encode())
        elif out is not None:

            def on_frame(done: int, total: int) -> None:
                bar.update(task, description="drawing", completed=done, total=total)

            pictures.save_race(data, out, on_frame)
    columns = ("optimizer", "learning rate", "final loss", "steps to a minimum", "end point")
    table = Table(*columns, title=f"{data['title']}, from {landscapes.surface(surface).start}")
    for row in pictures.race_rows(data):
        table.add_row(*row)
    screen.print(table)
    if out is not None:
        say(screen, f"wrote: {out}")
