"""`jaxmnist train FILE`: the command for a task's file, whose own options are options of it."""

import dataclasses
import inspect
import time
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from jaxmnist.cli.precision import in_its_precision
from jaxmnist.cli.train import train, train_run
from jaxmnist.config import Config
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from jaxmnist.runs import Run, TaskFile

_SIZES = {
    "epochs": "Passes over the training data.",
    "batch_size": "Samples in a training batch; the last, shorter batch is kept.",
    "eval_batch_size": "Samples in a test batch; the last, shorter batch is kept.",
    "seed": "Determines the run's key: its start, every epoch's order, and what is random in it.",
}
_DATASET = (
    "An .npz of any shapes, a folder of class-named folders of images, or a data set of the "
    "tutorial's form, such as mnist."
)
_ACCEPT = "With --resume: take the task's file though it has changed since the run began."


def for_task_file(words: Sequence[str]) -> tuple[Callable[..., None], list[str]]:
    """Choose the command that `train` with some words means.

    A task's file comes first of them. Without one, `--resume` of a run with a task's file takes
    its options from the text that the run recorded.

    Args:
        words: What follows `train`.

    Returns:
        `train`, or the command for a task's file; and the words without the file.

    Raises:
        InputError: The file cannot be used, or there is no such run.
    """
    file = Path(words[0]) if words and not words[0].startswith("-") else None
    folder = _resumed(words)
    has_record = folder is not None and (folder / "task.py").is_file()
    if file is None and not has_record:
        return train, list(words)
    if file is not None and file.suffix != ".py":
        raise InputError(
            f"train takes no {str(file)!r}; give the file of a task, a .py, before the options, or "
            "options only; see jaxmnist train --help"
        )
    started = time.perf_counter()  # JAX is loaded from here on.
    from jaxmnist.runs import read
    from jaxmnist.runs.task_file import TaskFile, read_text

    run = read(folder) if folder is not None and has_record else None
    if file is not None:
        task_file = TaskFile(str(file.absolute()), read_text(file))
        return _command(task_file, run, started=started, is_recorded=False), list(words[1:])
    assert run is not None
    assert run.task_file is not None
    return _command(run.task_file, run, started=started, is_recorded=True), list(words)


def _resumed(words: Sequence[str]) -> Path | None:
    """Return the folder after `--resume`."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--resume="):
            return Path(word.removeprefix("--resume="))
        if word == "--resume" and following:
            return Path(following)
    return None


def _command(
    file: "TaskFile", run: "Run | None", started: float, is_recorded: bool
) -> Callable[..., None]:
    """Return the command for a file; `run` is the one to resume, whose options are defaults."""
    from jaxmnist.runs.task_file import SIZES, config_class, own_options

    kind = config_class(file.module)
    own = [field.name for field in dataclasses.fields(kind)]
    parameters = dict(inspect.signature(train).parameters)
    hints = typing.get_type_hints(train, include_extras=True)
    hints["dataset"] = Annotated[str, arg(help=_DATASET)]
    if file.has_data:
        for name in ("dataset", "data_dir", "stream"):
            del parameters[name]
    _check_names(file, own, parameters)

    def command(config: Any, sizes: Any, joining: Any, **settings: Any) -> None:
        chosen = {name: getattr(config if name in own else sizes, name) for name in SIZES}
        options = own_options(file.module, config)
        train_run(
            Config(**chosen),
            joining,
            dataclasses.replace(file, options=options),
            started=started,
            is_recorded=is_recorded,
            **{"dataset": None, "data_dir": None, "stream": False, **settings},
        )

    added = [
        (name, Annotated[int, arg(help=text)], dataclasses.field(default=getattr(Config(), name)))
        for name, text in _SIZES.items()
        if name not in own
    ]
    sizes = dataclasses.make_dataclass("Sizes", added, frozen=True)
    chosen = [
        inspect.Parameter("config", _KEYWORD, annotation=Annotated[kind, arg(name="")]),
        inspect.Parameter("sizes", _KEYWORD, annotation=Annotated[sizes, arg(name="")]),
        *(each.replace(kind=_KEYWORD) for name, each in parameters.items() if name != "config"),
        inspect.Parameter(
            "accept_changed_task",
            _KEYWORD,
            default=False,
            annotation=Annotated[bool, arg(help=_ACCEPT)],
        ),
    ]
    if run is not None and run.task_file is not None:
        defaults = dataclasses.replace(file, options=run.task_file.options).config(run.config)
        chosen[0] = chosen[0].replace(default=defaults)
    made = in_its_precision(command)
    annotations = {each.name: hints.get(each.name, each.annotation) for each in chosen}
    annotations |= {each.name: each.annotation for each in chosen[:2]}
    layer: Any = made
    while layer is not None:  # The parser looks below wrappers.
        layer.__signature__, layer.__annotations__ = inspect.Signature(chosen), annotations
        layer = getattr(layer, "__wrapped__", None)
    made.__doc__ = _described(file, train.__doc__ or "")
    return made


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _check_names(file: "TaskFile", own: Sequence[str], parameters: dict[str, Any]) -> None:
    from jaxmnist.distributed.processes import Processes

    taken = {*parameters, *(field.name for field in dataclasses.fields(Processes)), "help"}
    taken |= {"accept_changed_task", "dataset", "data_dir", "stream"}
    taken -= {"config", "joining", "given"}  # These are no options.
    if clash := [name for name in own if name in taken]:
        raise InputError(
            f"{file.path}: Config has a field {clash[0]}, which is the name of an option of "
            "jaxmnist train; rename it"
        )


def _described(file: "TaskFile", of_train: str) -> str:
    """Return the docstring of a file's command: the file's own first line, and train's options."""
    first = (file.module.__doc__ or f"Train the task of {Path(file.path).name}.").strip()
    return first.split("\n")[0] + of_train[of_train.index("\n") :]
