"""`jaxmnist sweep FILE`: the command for a task's file, whose hyperparameters are its axes."""

import dataclasses
import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Suppress, arg

from jaxmnist.cli.joining import check_given, without_joining
from jaxmnist.cli.precision import in_its_precision
from jaxmnist.cli.sweep import make_cores_devices, run_sweep, sweep
from jaxmnist.cli.train_task import (
    DATASET_HELP,
    SIZES_HELP,
    check_names,
    described,
    file_among,
    signed,
    sizes_class,
)
from jaxmnist.config import Config
from jaxmnist.conventions import plain_number
from jaxmnist.distributed.processes import Processes
from jaxmnist.errors import InputError

if TYPE_CHECKING:
    from jaxmnist.runs import TaskFile

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_JOINING = tuple(field.name for field in dataclasses.fields(Processes))
_TAKEN = ("dataset", "data_dir", "max_cells", "distributed", "out", "help", "given", *_JOINING)
_OPTIONS = ("epochs", "eval_batch_size", *_TAKEN)


def for_swept_file(words: Sequence[str]) -> tuple[Callable[..., None], list[str]]:
    """Choose the command that `sweep` with some words means.

    Args:
        words: What follows `sweep`; a task's file comes first of them.

    Returns:
        `sweep`, or the command for a task's file; and the words without the file.

    Raises:
        InputError: The file cannot be used.
    """
    path = file_among(words, "sweep")
    if path is None:
        return sweep, list(words)
    make_cores_devices()  # JAX is loaded from here on.
    from jaxmnist.runs.python_file import read_text
    from jaxmnist.runs.task_file import TaskFile

    file = TaskFile(str(path.absolute()), read_text(path, "the file of a task"))
    return _command(file, shlex.join(["jaxmnist", "sweep", *without_joining(words)])), list(
        words[1:]
    )


def _command(file: "TaskFile", line: str) -> Callable[..., None]:
    """Return the command for a file; `line` is what a person typed, to be recorded."""
    from jaxmnist.runs.task_file import config_class

    kind = config_class(file.module)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    check_names(file, list(fields), _TAKEN, "sweep")
    axes = _axes_of(file, fields)

    def command(
        config: Any,
        sizes: Any,
        joining: Processes,
        out: Path,
        dataset: str | None = None,
        data_dir: str | None = None,
        max_cells: int = 100_000,
        distributed: bool = False,
        given: frozenset[str] = frozenset(),
    ) -> None:
        check_given(given, distributed)
        chosen = {**vars(config), **vars(sizes)}
        found = joining if distributed else None
        _sweep_file(file, line, axes, chosen, (dataset, data_dir), out, max_cells, found)

    options = dataclasses.make_dataclass(
        "Options",
        [(name, _values_of(name, default), ()) for name, default in axes.items()],
        bases=(kind,),
        frozen=True,
        namespace={"__post_init__": lambda self: None},  # Config's own sees no axes.
    )
    sizes = sizes_class([name for name in ("epochs", "eval_batch_size") if name not in fields])
    where = [
        inspect.Parameter(
            "dataset", _KEYWORD, default="mnist", annotation=Annotated[str, arg(help=DATASET_HELP)]
        ),
        inspect.Parameter("data_dir", _KEYWORD, default=None, annotation=str | None),
    ]
    parameters = [
        inspect.Parameter("config", _KEYWORD, annotation=Annotated[options, arg(name="")]),
        inspect.Parameter("sizes", _KEYWORD, annotation=Annotated[sizes, arg(name="")]),
        inspect.Parameter("joining", _KEYWORD, annotation=Annotated[Processes, arg(name="")]),
        *([] if file.has_data else where),
        inspect.Parameter("max_cells", _KEYWORD, default=100_000, annotation=int),
        inspect.Parameter("distributed", _KEYWORD, default=False, annotation=bool),
        inspect.Parameter("out", _KEYWORD, annotation=Path),
        inspect.Parameter(
            "given", _KEYWORD, default=frozenset(), annotation=Suppress[frozenset[str]]
        ),
    ]
    made = signed(in_its_precision(command), parameters)
    made.__doc__ = described(file, sweep.__doc__ or "")
    return made


def _axes_of(file: "TaskFile", fields: Mapping[str, dataclasses.Field]) -> dict[str, Any]:
    """Return the names that a sweep of a file may vary, each with its default."""
    for name, field in fields.items():
        if field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(
                f"{file.path}: Config.{name} has no default; give it one: jaxmnist sweep builds "
                "the task from the defaults to learn which hyperparameters it has"
            )
    own: dict[str, Any] = {name: fields[name].default for name in SIZES_HELP if name in fields}
    usual = Config(
        **{name: value for name, value in own.items() if plain_number(value) is not None}
    )
    hyper: dict[str, Any] = {}

    @in_its_precision
    def build(config: Any) -> None:
        del config  # Only its dtype counts.
        hyper.update(file.task(usual).hyper)

    build(file.config(usual))
    names = [name for name, value in hyper.items() if plain_number(value) is not None]
    for name in names:
        if name in (*SIZES_HELP, *_OPTIONS) or not name.isidentifier():
            raise InputError(
                f"{file.path}: the hyperparameter {name!r} cannot be an option of jaxmnist sweep; "
                "rename it to an identifier that is none of its options"
            )
    return {
        **{name: hyper[name] for name in names},
        "seed": usual.seed,
        "batch_size": usual.batch_size,
    }


def _values_of(name: str, default: Any) -> Any:
    help_of = {**SIZES_HELP, "seed": "Such as 0..3; the table shows the seeds' medians."}
    hint = f"(default: {default})"
    shown = arg(metavar="VALUES", help=help_of.get(name), help_behavior_hint=hint)
    return Annotated[tuple[str, ...], shown]


def _sweep_file(
    file: "TaskFile",
    line: str,
    axes: Mapping[str, Any],
    given: Mapping[str, Any],
    where: tuple[str | None, str | None],
    out: Path,
    max_cells: int,
    joining: Processes | None,
) -> None:
    """Run the sweep that the options, by name in `given`, ask for."""
    from jaxmnist import sweep as sweeping
    from jaxmnist.data import load_arrays
    from jaxmnist.runs import Run
    from jaxmnist.runs.task_file import SIZES, config_class, own_options
    from jaxmnist.runs.weights import check_trains
    from jaxmnist.training import check_batches_fit

    own = [field.name for field in dataclasses.fields(config_class(file.module))]
    whole = [name for name, default in axes.items() if isinstance(plain_number(default), int)]
    values = {
        name: sweeping.parse(name, given[name], whole)
        for name in given
        if name in axes and given[name]
    }
    for name in ("seed", "batch_size"):
        if name in own and len(values.get(name, ())) > 1:
            raise InputError(
                f"{name} has {len(values[name])} values, and the task is built from Config.{name}: "
                f"give one, or take {name} out of Config"
            )
    # A batch size of several values is no field of Config; one of one value is no axis.
    sizes = Config(
        epochs=given["epochs"],
        eval_batch_size=given["eval_batch_size"],
        **{name: values.get(name, (axes[name],))[0] for name in ("seed", "batch_size")},
    )
    if len(values.get("batch_size", ())) == 1:
        del values["batch_size"]
    chosen = {name: given[name] for name in own if name not in axes and name not in SIZES}
    options = own_options(file.module, dataclasses.replace(file, options=chosen).config(sizes))
    file = dataclasses.replace(file, options={name: options[name] for name in chosen})
    run = Run(out, sizes, 10, *where, task_file=file)
    data = run.data(load_arrays)
    check_batches_fit(sizes, data)
    check_trains(run, data)  # A task that cannot be trained leaves no folder.
    run_sweep(
        run.task,
        values,
        data,
        out,
        text=file.text,
        joining=joining,
        epochs=sizes.epochs,
        batch_size=sizes.batch_size,
        eval_batch_size=sizes.eval_batch_size,
        seed=sizes.seed,
        command=line,
        max_cells=max_cells,
        recorded={"task_sha256": file.sha256, **file.options},
    )
