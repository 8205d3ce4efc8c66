"""The models of the checkpoints that a run kept, to look at; nothing in its folder is changed."""

from collections.abc import Callable, Iterator

from jaxmnist.errors import InputError
from jaxmnist.runs.checkpoints import restore
from jaxmnist.runs.names import CHECKPOINTS
from jaxmnist.runs.run import Run
from jaxmnist.tasks import Model
from jaxmnist.tasks.value import Batch


def kept_models(
    run: Run, sample: Batch | None = None, say: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[int, Model]]:
    """Read the model of every checkpoint that is whole, from the oldest on.

    Args:
        run: The run; another process may be training it.
        sample: A batch of its training data, for the shapes of its state; the tutorial's task
            needs none.
        say: Called with a line on each checkpoint that is left out because it is damaged.

    Yields:
        After how many epochs, and the model.
    """
    place = run.path / CHECKPOINTS
    found = place.iterdir() if place.is_dir() else ()
    for step in sorted(int(each.name) for each in found if each.name.isdecimal()):
        try:
            yield step, restore(run, step, sample).model
        except InputError:  # Its message has all that the storage library says, over many lines.
            if (place / str(step)).exists():  # A newer one may have replaced it.
                say(f"{place / str(step)} is damaged and was left out")
