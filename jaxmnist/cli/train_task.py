"""`jaxmnist train FILE`: the command for a task's file, whose own options are options of it."""

import dataclasses
import inspect
import itertools
import time
import typing
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from jaxmnist.cli.config_file import Options, check_types, read_options
from jaxmnist.cli.precision import in_its_precision
from jaxmnist.cli.train import train, train_run
from jaxmnist.config import Config
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from jaxmnist.runs import Run, TaskFile

SIZES_HELP = {
    "epochs": "Passes over the training data.",
    "batch_size": "Samples in a training batch; the last, shorter batch is kept.",
    "eval_batch_size": "Samples in a test batch; the last, shorter batch is kept.",
    "seed": "Determines the run's key: its start, every epoch's order, and what is random in it.",
}
DATASET_HELP = (
    "An .npz of any shapes, a folder of class-named folders of images, tfds:NAME for a prepared "
    "set of images of one size, or a data set of the tutorial's form, such as mnist."
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
    file = file_among(words, "train")
    folder, config_file = _after(words, "--resume"), _after(words, "--config")
    if folder is not None and config_file is not None:
        raise InputError(f"--resume takes its options from {folder}: omit --config")
    options = None if config_file is None else read_options(config_file)
    rest = list(words if file is None else words[1:])
    if file is not None and options is not None and options.task_file is None:
        raise InputError(f"{config_file} is of the tutorial's task: omit {file}")
    if file is None and options is not None:
        file = options.task_file
    has_record = folder is not None and (folder / "task.py").is_file()
    if file is None and not has_record:
        return (train if options is None else _with_defaults(options)), rest
    started = time.perf_counter()  # JAX is loaded from here on.
    from jaxmnist.runs import read
    from jaxmnist.runs.python_file import read_text
    from jaxmnist.runs.task_file import TaskFile

    run = read(folder) if folder is not None and has_record else None
    if file is not None:
        task_file = TaskFile(str(file.absolute()), read_text(file, "the file of a task"))
        found = run if options is None else options
        return _command(task_file, found, config_file, started, is_recorded=False), rest
    assert run is not None
    assert run.task_file is not None
    return _command(run.task_file, run, None, started, is_recorded=True), rest


def file_among(words: Sequence[str], command: str) -> Path | None:
    """Return the task's file that comes first of the words of a command, or None."""
    file = Path(words[0]) if words and not words[0].startswith("-") else None
    if file is not None and file.suffix != ".py":
        raise InputError(
            f"{command} takes no {str(file)!r}; give the file of a task, a .py, before the "
            f"options, or options only; see jaxmnist {command} --help"
        )
    return file


def _after(words: Sequence[str], option: str) -> Path | None:
    """Return the path after an option."""
    for word, following in itertools.pairwise([*words, ""]):
        if word.startswith(f"{option}="):
            return Path(word.removeprefix(f"{option}="))
        if word == option and following:
            return Path(following)
    return None


def _with_defaults(options: Options) -> Callable[..., None]:
    """Return `train` with other defaults."""

    def command(**settings: Any) -> None:
        train(**settings)

    hints = typing.get_type_hints(train, include_extras=True)
    defaults = {"config": options.config, **options.settings}
    parameters = [
        each.replace(
            kind=_KEYWORD, annotation=hints[name], default=defaults.get(name, each.default)
        )
        for name, each in inspect.signature(train).parameters.items()
    ]
    command.__doc__ = train.__doc__
    return signed(command, parameters)


def _command(
    file: "TaskFile",
    earlier: "Run | Options | None",
    config_file: Path | None,
    started: float,
    is_recorded: bool,
) -> Callable[..., None]:
    """Return the command for a file; the options of a run to resume, or of a file, are defaults."""
    from jaxmnist.distributed.processes import Processes
    from jaxmnist.runs.task_file import SIZES, config_class, own_options

    kind = config_class(file.module)
    own = [field.name for field in dataclasses.fields(kind)]
    parameters = dict(inspect.signature(train).parameters)
    hints = typing.get_type_hints(train, include_extras=True)
    hints["dataset"] = Annotated[str, arg(help=DATASET_HELP)]
    if file.has_data:
        for name in ("dataset", "data_dir"):
            del parameters[name]
    taken = {
        "config",
        *parameters,
        *(field.name for field in dataclasses.fields(Processes)),
        *_TAKEN,
    }
    # These are no options.
    check_names(file, own, taken - {"config_file", "joining", "given"}, "train")

    def command(config: Any, sizes: Any, joining: Any, **settings: Any) -> None:
        del settings["config_file"]
        chosen = {name: getattr(config if name in own else sizes, name) for name in SIZES}
        options = own_options(file.module, config)
        train_run(
            Config(**chosen),
            joining,
            dataclasses.replace(file, options=options),
            started=started,
            is_recorded=is_recorded,
            **{"dataset": None, "data_dir": None, **settings},
        )

    sizes = sizes_class([name for name in SIZES if name not in own])
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
    if earlier is not None:
        chosen = [*_of_earlier(chosen, file, earlier, config_file), chosen[-1]]
    typed = [
        each if each.name in ("config", "sizes") else each.replace(annotation=hints[each.name])
        for each in chosen[:-1]
    ]
    made = signed(in_its_precision(command), [*typed, chosen[-1]])
    made.__doc__ = described(file, train.__doc__ or "")
    return made


def _of_earlier(
    parameters: Sequence[inspect.Parameter],
    file: "TaskFile",
    earlier: "Run | Options",
    config_file: Path | None,
) -> list[inspect.Parameter]:
    """Return all parameters but the last with the options of an earlier run as defaults."""
    from jaxmnist.runs.task_file import as_tuples

    if not isinstance(earlier, Options):
        options = earlier.task_file.options if earlier.task_file else {}
        defaults = {"config": dataclasses.replace(file, options=options).config(earlier.config)}
    else:
        options = {name: as_tuples(value) for name, value in earlier.task_options.items()}
        config = dataclasses.replace(file, options=options).config(earlier.config)
        check_types(config, config_file or Path())
        sizes = typing.get_args(parameters[1].annotation)[0]
        known = {
            each.name: getattr(earlier.config, each.name) for each in dataclasses.fields(sizes)
        }
        defaults = {"config": config, "sizes": sizes(**known), **earlier.settings}
    return [each.replace(default=defaults.get(each.name, each.default)) for each in parameters[:-1]]


_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_TAKEN = ("help", "accept_changed_task", "dataset", "data_dir", "stream")


def sizes_class(names: Sequence[str]) -> type:
    """Return a dataclass of those of a run's sizes that a file's ``Config`` lacks."""
    fields = [
        (
            name,
            Annotated[int, arg(help=SIZES_HELP[name])],
            dataclasses.field(default=getattr(Config(), name)),
        )
        for name in SIZES_HELP
        if name in names
    ]
    return dataclasses.make_dataclass("Sizes", fields, frozen=True)


def signed(
    command: Callable[..., None], parameters: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    """Give a command the parameters that the parser is to see."""
    layer: Any = command
    while layer is not None:  # The parser looks below wrappers.
        layer.__signature__ = inspect.Signature(parameters)
        layer.__annotations__ = {each.name: each.annotation for each in parameters}
        layer = getattr(layer, "__wrapped__", None)
    return command


def check_names(file: "TaskFile", own: Sequence[str], taken: Collection[str], command: str) -> None:
    """Refuse a field of a file's ``Config`` that has the name of an option of the command."""
    if clash := [name for name in own if name in taken]:
        raise InputError(
            f"{file.path}: Config has a field {clash[0]}, which is the name of an option of "
            f"jaxmnist {command}; rename it"
        )


def described(file: "TaskFile", docstring: str) -> str:
    """Return the docstring of a file's command: the file's own first line, then the command's."""
    first = (file.module.__doc__ or f"The task of {Path(file.path).name}.").strip()
    return first.split("\n")[0] + docstring[docstring.index("\n") :]
