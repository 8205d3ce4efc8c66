"""What a run is: its folder and its configuration, to and from what JSON can hold."""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxmnist.config import Config
from jaxmnist.errors import InputError
from jaxmnist.model import MLP
from jaxmnist.runs.task_file import SIZES, TaskFile, as_tuples
from jaxmnist.tasks import Task, tutorial_task


@dataclass(frozen=True)
class Run:
    """A run's folder and the content of its `config.json`.

    Attributes:
        path: The folder.
        config: The run's configuration; of a run with a task's file only its epochs, batch sizes
            and seed are the run's.
        num_classes: Number of logits of the tutorial's network.
        dataset: The data set's name or path, as `load_dataset` takes it, or `load_arrays` for a
            task's file; None if the file has data of its own.
        data_dir: The folder of prepared data sets; None for the default one.
        checkpoint_every: Epochs between checkpoints; the last epoch has one too. 0 for none.
        keep: How many checkpoints to keep, the newest.
        task_file: The file of the task; None for the tutorial's.
        data_sha256: The SHA-256 of what it is trained on, as `digests.of_data` returns it; None
            if it is not known.
        machines: Where and how it was trained: for each machine, in order, ``epoch``, the first
            epoch trained on it, what `jaxmnist.provenance.machine` returned, and what is not as
            `jaxmnist.runs.machines.HOW` has it.
        class_names: A name for each class of its data, or none where they are numbers.

    Two runs that differ in ``data_sha256`` and ``machines`` only are equal: those describe how it
    was trained.

    Raises:
        InputError: ``checkpoint_every`` or ``keep`` is a value that no run can have.
    """

    path: Path
    config: Config
    num_classes: int
    dataset: str | None = "mnist"
    data_dir: str | None = None
    checkpoint_every: int = 0
    keep: int = 1
    task_file: TaskFile | None = None
    data_sha256: str | None = field(default=None, compare=False)
    machines: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("checkpoint_every", 0), ("keep", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(
                    f"{name} is {value!r}; it must be a whole number of at least {least}"
                )

    @property
    def model(self) -> MLP:
        """The network of a run of the tutorial's task."""
        return MLP(self.config.hidden, self.num_classes, self.config.dtype)

    def class_name(self, label: int) -> str:
        """Return what a class is called: its name, or its number.

        Args:
            label: The number, from 0.
        """
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)

    @property
    def options(self) -> dict[str, Any]:
        """What it was started with, by name: of a task's file its path and its own options too."""
        config = asdict(self.config)
        if self.task_file is None:
            return {"dataset": self.dataset, **config}
        sizes = {name: config[name] for name in SIZES}
        file = self.task_file
        return {"dataset": self.dataset, "task": file.path, **sizes, **file.options}

    @functools.cached_property
    def task(self) -> Task:
        """What the run trains."""
        if self.task_file is None:
            return tutorial_task(self.config, self.num_classes)
        return self.task_file.task(self.config)

    def data(self, load: Callable[[str, str | None], Any]) -> Any:
        """Return what the run is trained on.

        Args:
            load: ``load(dataset, data_dir)``, for a run without data of its own.

        Returns:
            The data, as `jaxmnist.fit` takes them.

        Raises:
            InputError: They cannot be read.
        """
        if self.dataset is None and self.task_file is not None:
            return self.task_file.data(self.config)
        return load(self.dataset or "mnist", self.data_dir)


def about(run: Run) -> dict[str, Any]:
    """Describe a run in what JSON can hold.

    Args:
        run: The run.

    Returns:
        All of it but its path.
    """
    schedule = {"checkpoint_every": run.checkpoint_every, "keep": run.keep}
    where = {"dataset": run.dataset, "data_dir": run.data_dir}
    how = {"data_sha256": run.data_sha256, "machines": [dict(each) for each in run.machines]}
    how |= {"class_names": list(run.class_names)}
    schedule |= {name: value for name, value in how.items() if value}
    if run.task_file is None:
        return {
            **where,
            "num_classes": run.num_classes,
            "config": asdict(run.config),
            **schedule,
        }
    file = run.task_file
    return {
        **where,
        "task": {
            "file": file.path,
            "sha256": file.sha256,
            "options": dict(file.options),
            "earlier": [list(each) for each in file.earlier],
        },
        "config": {name: getattr(run.config, name) for name in SIZES},
        **schedule,
    }


def from_about(path: Path, about: dict[str, Any], task_text: str = "") -> Run:
    """Return the run that `about` described.

    Args:
        path: The run's folder.
        about: What `about` returned; it may have more entries.
        task_text: The text of the task's file, if the run has one.

    Returns:
        The run.

    Raises:
        ValueError: A value is one that no run can have, or the text is not the one that was
            described.
        TypeError: A value is of another type.
        KeyError: An entry is missing.
    """
    # The first runs have none of these.
    schedule = about.get("checkpoint_every", 0), about.get("keep", 1)
    how = {"data_sha256": _digest(about), "machines": _machines(about)}
    how |= {"class_names": tuple(about.get("class_names", ()))}
    if "task" in about:
        return replace(_with_file(path, about, schedule, task_text), **how)
    config = Config(**{**about["config"], "hidden": tuple(about["config"]["hidden"])})
    where = about["dataset"], about["data_dir"]
    run = Run(path, config, about["num_classes"], *where, *schedule, **how)
    if not isinstance(run.dataset, str) or not isinstance(run.data_dir, str | None):
        raise TypeError(f"dataset is {run.dataset!r} and data_dir {run.data_dir!r}")
    model = MLP(config.hidden, run.num_classes)  # Its shapes need no dtype.
    # Without an array: JAX must not start before the processes of a run have met.
    jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 28, 28))))
    return run


def _digest(about: dict[str, Any]) -> str | None:
    digest = about.get("data_sha256")
    if digest is not None and not (
        isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
    ):
        raise ValueError(f"data_sha256 is {ascii(digest)[:80]}")
    return digest


def _machines(about: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    machines = about.get("machines", [])
    if not isinstance(machines, list) or not all(
        isinstance(each, dict) and type(each.get("epoch")) is int for each in machines
    ):
        raise TypeError(f"machines is {ascii(machines)[:80]}")
    return tuple(machines)


def _with_file(path: Path, about: dict[str, Any], schedule: tuple[int, int], text: str) -> Run:
    described = about["task"]
    options = {name: as_tuples(value) for name, value in described["options"].items()}
    earlier = as_tuples(described["earlier"])
    file = TaskFile(described["file"], text, options, earlier)
    if file.sha256 != described["sha256"]:
        raise ValueError(
            f"the task's text has the SHA-256 {file.sha256}, and {described['sha256']} is recorded"
        )
    config = Config(**about["config"])
    run = Run(path, config, 10, about["dataset"], about["data_dir"], *schedule, file)
    if not isinstance(run.dataset, str | None) or not isinstance(run.data_dir, str | None):
        raise TypeError(f"dataset is {run.dataset!r} and data_dir {run.data_dir!r}")
    return run
