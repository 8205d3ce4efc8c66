"""A task in a Python file: its text, its own options, and the task and the data it defines.

The file has a function ``task(config) -> jaxmnist.Task``. It may have a frozen dataclass
``Config``, the options that the command shows, and a function ``data(config) -> (train, test)``.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from jaxmnist.errors import InputError
from jaxmnist.runs.python_file import called, check_function, run_text
from jaxmnist.tasks import Task
from jaxmnist.training import split_pair

SIZES = ("epochs", "batch_size", "eval_batch_size", "seed")
"""The run's sizes: those that a file's ``Config`` has too are given to both."""


@dataclasses.dataclass(frozen=True)
class TaskFile:
    """A task's file as it was when the run began, and the values of its own options.

    Attributes:
        path: Where it was, absolute.
        text: All of it; this, and not what is at the path later, is what the run trains.
        options: The fields of its ``Config`` by name, except the run's sizes.
        earlier: The SHA-256 of texts that the run was resumed without, each with the number of
            epochs that were trained when it was replaced.
    """

    path: str
    text: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    earlier: tuple[tuple[str, int], ...] = ()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text, in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def module(self) -> ModuleType:
        """The file, run."""
        return _module(self.text, self.path)

    def config(self, sizes: Any) -> Any:
        """Return the file's own ``Config``; the sizes are the run's `jaxmnist.Config`."""
        kind = config_class(self.module)
        values = dict(self.options)
        names = [field.name for field in dataclasses.fields(kind)]
        if unknown := [name for name in values if name not in names]:
            raise InputError(
                f"{self.path}: Config has no {unknown[0]}, which the run has; give it such a field"
            )
        values |= {name: getattr(sizes, name) for name in SIZES if name in names}
        return called(self.path, "Config", functools.partial(kind, **values))

    def task(self, sizes: Any) -> Task:
        """Build the file's task.

        Args:
            sizes: The run's `jaxmnist.Config`.

        Returns:
            The task.

        Raises:
            InputError: The file cannot be run, has no function ``task``, or that raises or returns
                something else.
        """
        made = called(self.path, "task", functools.partial(self._task, self.config(sizes)))
        if not isinstance(made, Task):
            raise InputError(
                f"{self.path}: task returned a {type(made).__name__}; it must return a "
                "jaxmnist.Task, such as jaxmnist.task(model, optimizer, loss)"
            )
        return made

    def _task(self, config: Any) -> Any:
        return self.module.task(config)

    @property
    def has_data(self) -> bool:
        """Whether the file has data of its own."""
        return hasattr(self.module, "data")

    def data(self, sizes: Any) -> Any:
        """Return the file's own data.

        Args:
            sizes: The run's `jaxmnist.Config`.

        Returns:
            A pair ``(train, test)`` of pytrees of arrays with a leading sample axis.

        Raises:
            InputError: The function ``data`` raises or returns something else.
        """
        config = self.config(sizes)
        made = called(self.path, "data", lambda: self.module.data(config))
        try:
            return split_pair(made)
        except InputError as error:
            raise InputError(f"{self.path}: what data returned cannot be used: {error}") from error


def _module(text: str, path: str) -> ModuleType:
    """Run a task's file, which must have a function ``task``."""
    module = run_text(text, path)
    check_function(module, "task(config)", "a jaxmnist.Task")
    return module


def config_class(module: ModuleType) -> type:
    """Return the class of a file's own options.

    Args:
        module: The file, run.

    Returns:
        Its ``Config``, or a dataclass without fields.

    Raises:
        InputError: Its ``Config`` is no frozen dataclass.
    """
    kind = getattr(module, "Config", None)
    if kind is None:
        return dataclasses.make_dataclass("Config", [], frozen=True)
    is_dataclass = isinstance(kind, type) and dataclasses.is_dataclass(kind)
    if not is_dataclass or not kind.__dataclass_params__.frozen:  # pyright: ignore
        raise InputError(
            f"{module.__file__}: Config must be a frozen dataclass: write "
            "@dataclasses.dataclass(frozen=True) above it"
        )
    return kind


def own_options(module: ModuleType, config: Any) -> dict[str, Any]:
    """Return the values of a file's own options, which JSON must be able to hold.

    Args:
        module: The file, run.
        config: A value of its ``Config``.

    Returns:
        Values by name, without the run's sizes.

    Raises:
        InputError: A value is not made of numbers, strings, booleans, None and tuples of those.
    """
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name, value in values.items():
        if not _is_plain(value):
            raise InputError(
                f"{module.__file__}: Config.{name} is {value!r}; a run can record numbers, "
                "strings, booleans, None and tuples of those"
            )
    return {name: value for name, value in values.items() if name not in SIZES}


def as_tuples(value: Any) -> Any:
    """Return a value as `own_options` had it, from what JSON made of it: lists are tuples.

    >>> as_tuples([1, [2.0, "x"]])
    (1, (2.0, 'x'))
    """
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple) and type(value) is tuple:
        return all(map(_is_plain, value))
    return type(value) in (bool, int, float, str, type(None))
