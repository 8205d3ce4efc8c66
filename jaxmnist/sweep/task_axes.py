"""The axes of a sweep of any task: its seed, its batch size, and its hyperparameters by name."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from jaxmnist.config import Hyper
from jaxmnist.conventions import plain_number
from jaxmnist.errors import InputError, nearest
from jaxmnist.sweep.axes import WHOLE, Axes, Cell, check_axes
from jaxmnist.tasks import Batch, Task
from jaxmnist.training import start


class TaskRun(NamedTuple):
    """What a run of a task has besides its task and its hyperparameters."""

    seed: int
    """The run's key is ``jax.random.key(seed)``."""
    epochs: int
    """Passes over the training data."""
    batch_size: int
    """Samples in a full training batch."""
    eval_batch_size: int
    """Samples in a full test batch."""

    def program(self) -> "TaskRun":
        """Return the part that a compiled program depends on."""
        return self._replace(seed=0)


def task_cells(task: Task, run: TaskRun, axes: Mapping[str, Any]) -> tuple[Axes, tuple[Cell, ...]]:
    """Make every combination of the axes' values, the last axis fastest.

    Args:
        task: What is trained.
        run: What is no axis.
        axes: Lists of values by name: ``seed``, ``batch_size``, and what ``task.hyper`` has.

    Returns:
        The axes with plain Python values, and one cell per combination.

    Raises:
        InputError: There is no axis, one has an unknown name, no values, a value twice or of a
            wrong kind.

    >>> task = Task(lambda: 0, lambda: 0, lambda hyper: 0, {"rate": 0.5, "decay": 0.0})
    >>> axes, cells = task_cells(task, TaskRun(0, 1, 8, 8), {"rate": [0.1, 0.2], "seed": range(2)})
    >>> [(cell.hyper, cell.config.seed) for cell in cells[:2]]
    [({'rate': 0.1, 'decay': 0.0}, 0), ({'rate': 0.1, 'decay': 0.0}, 1)]
    """
    known = ("seed", "batch_size", *task.hyper)
    checked = check_axes(axes, known, whole_axes(task))
    cells = []
    for values in itertools.product(*checked.values()):
        named = dict(zip(checked, values, strict=True))
        own = {name: value for name, value in named.items() if name in TaskRun._fields}
        hyper = {name: value for name, value in named.items() if name not in own}
        cells.append(Cell(named, run._replace(**own), {**task.hyper, **hyper}))
    return checked, tuple(cells)


def whole_axes(task: Task) -> tuple[str, ...]:
    """Return the axes of a task that take whole numbers: those whose default is one, and two more.

    >>> whole_axes(Task(lambda: 0, lambda: 0, lambda hyper: 0, {"rate": 0.5, "warmup": 100}))
    ('batch_size', 'seed', 'warmup')
    """
    numbers = {name: plain_number(value) for name, value in task.hyper.items()}
    return (*WHOLE, *(name for name, number in numbers.items() if type(number) is int))


def check_read(task: Task, names: set[str], hyper: Hyper, train: Batch) -> None:
    """Refuse to sweep a hyperparameter that the task never reads.

    Args:
        task: What is trained.
        names: The hyperparameters that are swept.
        hyper: Values of all of them.
        train: The training data, of which only the shapes are used.

    Raises:
        InputError: Neither the task's optimizer nor its ``init`` reads one of the names.
    """
    read = Recorded(hyper)

    def begin(key: Array) -> Any:
        return start(key, read, task, train)  # pyright: ignore[reportArgumentType]

    jax.eval_shape(begin, jax.random.key(0))
    if ignored := sorted(names - read.names):
        raise InputError(
            f"the task ignores {ignored[0]}: neither its optimizer nor its init reads it from "
            f"hyper, so that every run of the sweep would be the same; they read "
            f"{', '.join(sorted(read.names)) or 'nothing'}{nearest(ignored[0], read.names)}"
        )


class Recorded(Mapping[str, Any]):
    """A mapping that records which of its entries were read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values_by_name, self.names = dict(values), set[str]()

    def __getitem__(self, name: str) -> Any:
        value = self.values_by_name[name]
        self.names.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)
