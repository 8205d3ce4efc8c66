"""The axes of a sweep of any task: its seed, its batch size, and its hyperparameters by name."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from jaxmnist.config import Hyper
from jaxmnist.conventions import plain_number
from jaxmnist.errors import InputError, nearest
from jaxmnist.sweep.axes import MAX_CELLS, WHOLE, Axes, Cell, check_axes
from jaxmnist.tasks import Batch, Task
from jaxmnist.training import start
from jaxmnist.training.step import update


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


def task_cells(
    task: Task, run: TaskRun, axes: Mapping[str, Any], max_cells: int = MAX_CELLS
) -> tuple[Axes, tuple[Cell, ...]]:
    """Make every combination of the axes' values, the last axis fastest.

    Args:
        task: What is trained.
        run: What is no axis.
        axes: Lists of values by name: ``seed``, ``batch_size``, and what ``task.hyper`` has.
        max_cells: The most combinations.

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
    checked = check_axes(axes, known, whole_axes(task), max_cells)
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


def check_read(task: Task, names: set[str], hyper: Hyper, batch: Batch) -> None:
    """Refuse to sweep a hyperparameter that the task never reads.

    A start and one step are traced: a schedule reads its peak when the optimizer is made or when
    it steps.

    Args:
        task: What is trained.
        names: The hyperparameters that are swept.
        hyper: Values of all of them.
        batch: Some training data, of which only the shapes are used.

    Raises:
        InputError: Neither the task's optimizer nor its ``init`` reads one of the names.

    >>> import numpy as np, optax
    >>> from jaxmnist.tasks import Model
    >>> task = Task(lambda *_: Model(0.0, {}), None, lambda hyper: optax.sgd(0.1), {"rate": 0.1})
    >>> task = task._replace(measure=lambda model, *_: ({"loss": model.params * np.ones(2)}, {}))
    >>> check_read(task, {"rate"}, task.hyper, np.ones(2))
    Traceback (most recent call last):
    jaxmnist.errors.InputError: the task ignores rate: ... they read nothing
    """
    found: set[str] = set()

    def begin(key: Array, hyper: Hyper) -> Any:
        read = Recorded(hyper, found)
        state = start(key, read, task, batch)
        return update(state, batch, key, measure=task.measure, tx=task.optimizer(read))

    jax.eval_shape(begin, jax.random.key(0), dict(hyper))
    if ignored := sorted(names - found):
        raise InputError(
            f"the task ignores {ignored[0]}: neither its optimizer nor its init reads it from "
            f"hyper, so that every run of the sweep would be the same; they read "
            f"{', '.join(sorted(found)) or 'nothing'}{nearest(ignored[0], found)}"
        )


class Recorded(dict[str, Any]):
    """A dict that adds the names of the entries that are read to a set.

    >>> names = set()
    >>> hyper = Recorded({"a": 1, "b": 2, "c": 3, "d": 4}, names)
    >>> hyper["a"], hyper.get("b"), "c" in hyper, sorted(names)
    (1, 2, True, ['a', 'b'])
    >>> jax.jit(lambda values: values["a"] + values["b"])(hyper).item()
    3
    >>> {**hyper} == dict(hyper) == jax.tree.map(lambda leaf: leaf, hyper), len(names)
    (True, 4)
    """

    def __init__(self, values: Mapping[str, Any], names: set[str]) -> None:
        super().__init__(values)
        self.names = names

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        self.names.add(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry, or the default."""
        if name not in self:
            return default
        return self[name]

    def __iter__(self) -> Iterator[str]:  # With it, `**` and `dict` read by `__getitem__`.
        return super().__iter__()

    def copy(self) -> dict[str, Any]:
        """Return a plain dict."""
        return {name: self[name] for name in self}

    def values(self) -> Any:
        """Return what the plain dict does."""
        return self.copy().values()

    def items(self) -> Any:
        """Return what the plain dict does."""
        return self.copy().items()

    def __or__(self, other: Any) -> Any:
        return self.copy() | other


def _flatten(recorded: Recorded) -> tuple[list[Any], tuple[str, ...]]:
    names = tuple(sorted(recorded))
    return [recorded[name] for name in names], names


def _unflatten(names: Any, leaves: Any) -> Any:
    return dict(zip(names, leaves, strict=True))


# To `jax.tree.map` it is a dict, and not a leaf.
jax.tree_util.register_pytree_node(Recorded, _flatten, _unflatten)
