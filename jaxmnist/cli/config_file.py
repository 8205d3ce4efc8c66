"""`train --config FILE`: the options in the `config.json` of another run, as defaults."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from jaxmnist.config import Config
from jaxmnist.errors import InputError, nearest
from jaxmnist.reading import read_json

SIZES: Final = ("epochs", "batch_size", "eval_batch_size", "seed")
_TASK: Final = ("file", "sha256", "options", "earlier")
_OPTIONS: Final = ("dataset", "data_dir", "checkpoint_every", "keep")
_NO_OPTIONS: Final = (
    *("num_classes", "class_names", "data_sha256", "model_sha256", "machines"),
    *("versions", "device", "xla_flags", "git"),
)
"""What a run writes of itself too, and a new one finds for itself."""


class Options(NamedTuple):
    """The options of a run, to start another with."""

    config: Config
    """For a task's file only the sizes count."""
    settings: Mapping[str, Any]
    """Its data set and its checkpoints, as far as the file has them."""
    task_file: Path | None
    """The file of its task; None for the tutorial's task."""
    task_options: Mapping[str, Any]
    """The task's own options."""


def read_options(path: Path) -> Options:
    """Read the options of a run.

    Args:
        path: Its `config.json`, or its folder.

    Returns:
        The options; what the file lacks has its default.

    Raises:
        InputError: The file cannot be read, or has a key that no run has, or a value that none
            can have.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        about = read_json(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is no run's configuration: {error}") from error
    _check_keys(about, ("config", "task", *_OPTIONS, *_NO_OPTIONS), path, "it")
    task = about.get("task")
    fields = [field.name for field in dataclasses.fields(Config)]
    config = about.get("config", {})
    _check_keys(config, fields if task is None else SIZES, path, "config")
    settings = {name: about[name] for name in _OPTIONS if name in about}
    _check_settings(settings, path)
    try:
        hidden = {"hidden": tuple(config["hidden"])} if "hidden" in config else {}
        made = Config(**{**config, **hidden})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except TypeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: config has a value of another type: {reason}") from error
    if task is None:
        return Options(made, settings, None, {})
    _check_keys(task, _TASK, path, "task")
    options = task.get("options", {})
    if not isinstance(options, dict) or not isinstance(task.get("file"), str):
        raise InputError(f"{path}: task must have a file and options")
    file, copy = Path(task["file"]), path.parent / "task.py"
    return Options(made, settings, copy if copy.exists() and not file.exists() else file, options)


def _check_keys(found: Any, known: Any, path: Path, what: str) -> None:
    """Refuse what is no object, or has a key that no run has."""
    if not isinstance(found, dict):
        raise InputError(f"{path} is no run's configuration: {what} is no object")
    for name in found:
        if name not in known:
            raise InputError(
                f"{path} is no run's configuration: {what} has {name!r:.60}, which no run has"
                f"{nearest(name, known)}"
            )


def _check_settings(settings: Mapping[str, Any], path: Path) -> None:
    """Refuse values of another type; `train` checks what they are."""
    for name, value in settings.items():
        is_text = name in ("dataset", "data_dir")
        is_right = isinstance(value, str | None) if is_text else type(value) is int
        if not is_right or "\0" in str(value):
            wanted = "a string or null" if is_text else "a whole number"
            raise InputError(f"{path}: {name} is {value!r:.60}; it must be {wanted}")


def check_types(defaults: Any, path: Path) -> None:
    """Refuse a task's options that are of another type than the defaults of its ``Config``.

    Args:
        defaults: A ``Config`` with the file's values.
        path: The `config.json` that they are from.

    Raises:
        InputError: A value is of another type.
    """
    for field in dataclasses.fields(defaults):
        value, usual = getattr(defaults, field.name), field.default
        if usual is dataclasses.MISSING or usual is None or value is None:
            continue
        is_number = type(usual) is float and type(value) is int
        if type(value) is not type(usual) and not is_number:
            raise InputError(
                f"{path}: {field.name} is {value!r:.60}; the task's file has a "
                f"{type(usual).__name__} there, such as {usual!r:.60}"
            )
