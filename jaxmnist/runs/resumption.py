"""Read a run that is to be resumed, and refuse what it was not started with."""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jaxmnist.errors import InputError
from jaxmnist.runs import folder
from jaxmnist.runs.metrics import read_metrics
from jaxmnist.runs.names import TASK
from jaxmnist.runs.run import Run, about
from jaxmnist.runs.task_file import TaskFile, own_options


def reopen(
    path: Path,
    options: Mapping[str, Any],
    task_file: TaskFile | None = None,
    accept_changed_task: bool = False,
) -> Run:
    """Read a run that is to be resumed.

    The text of the task's file that the run recorded is the truth: it is what a run is resumed
    with where the file is gone.

    Args:
        path: The run's folder.
        options: What was asked for, by the names of `Config`'s and `Run`'s fields and of the
            task's own: each as it is in the run, except that ``epochs`` may be more.
        task_file: The task's file, if one was given; otherwise the one that the run recorded, if
            it is still there.
        accept_changed_task: Whether the file may have another text than the run recorded, which
            is then taken.

    Returns:
        The run as it is to be resumed.

    Raises:
        InputError: The folder holds no run, or an option or the task's file differs from the
            run's.
    """
    run = folder.read(path)
    own = {**about(run), **asdict(run.config)}
    if run.task_file is not None:
        own |= run.task_file.options
        run = replace(run, task_file=_reopened(run, run.task_file, task_file, accept_changed_task))
    elif task_file is not None:
        raise InputError(
            f"the run in {path} is of the tutorial's task: omit {Path(task_file.path).name}"
        )
    for name, value in options.items():
        if name == "epochs" and value >= run.config.epochs:
            continue
        if value != own[name]:
            more = ", or more" if name == "epochs" else ""
            raise InputError(
                f"{name} is {shown(value)}; the run in {path} has {shown(own[name])}, and a "
                f"resumed run keeps that{more}: omit --{name.replace('_', '-')}"
            )
    return replace(run, config=replace(run.config, epochs=options.get("epochs", own["epochs"])))


def _reopened(run: Run, recorded: TaskFile, given: TaskFile | None, accept: bool) -> TaskFile:
    """Return the task's file that a run is resumed with: the recorded text, or an accepted one."""
    text, path = recorded.text, recorded.path
    if given is not None:
        text, path = given.text, given.path
    else:
        with contextlib.suppress(OSError, UnicodeDecodeError):  # A file that is gone.
            text = Path(path).read_text(encoding="utf-8")
    if text == recorded.text:
        return recorded
    copy = run.path / TASK
    if not accept:
        raise InputError(
            f"{path} has changed since the run in {run.path} began; jaxmnist train {copy} --resume "
            f"{run.path} resumes with the recorded text, and --accept-changed-task with the new one"
        )
    changed = recorded.sha256, len(read_metrics(run).rows)
    file = replace(recorded, path=path, text=text, earlier=(*recorded.earlier, changed))
    # Fields that are new have their defaults.
    return replace(file, options=own_options(file.module, file.config(run.config)))


def shown(value: Any) -> str:
    """Return an option's value as it is typed.

    Args:
        value: The value.

    >>> shown((128, 64))
    '128 64'
    """
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
