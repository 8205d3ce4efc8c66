"""A run's `metrics.jsonl`: a line for each epoch, whole and in order, or the file is refused."""

import math
import shlex
from typing import Any, Final, NamedTuple

from jaxmnist.atomic import read_whole
from jaxmnist.errors import InputError
from jaxmnist.reading import parse_json
from jaxmnist.runs.names import CHECKPOINTS, METRICS
from jaxmnist.runs.run import Run
from jaxmnist.training import History

LARGEST: Final = 1 << 30
"""Bytes of the largest file that is read."""


class Epochs(NamedTuple):
    """The whole lines of a run's metrics."""

    lines: list[str]
    """Their text, without ends of line."""
    rows: list[dict[str, Any]]
    """What they say, by name, with ``epoch``."""


def read_metrics(run: Run) -> Epochs:
    """Read the lines of `metrics.jsonl`; the last may have been cut off, and is then left out.

    Args:
        run: A run.

    Returns:
        The lines of epochs 0, 1, ...; none if there is no file.

    Raises:
        InputError: The file cannot be read, or a whole line is not what was written there: it
            belongs to another epoch, lacks a metric or has another, or has something that is no
            number.
    """
    path = run.path / METRICS
    try:
        text = read_whole(path, LARGEST).decode()
    except FileNotFoundError:
        return Epochs([], [])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: {error}; {way_out(run, 0)}") from error
    names = {"epoch", *History._fields} if run.task_file is None else None
    lines = text.split("\n")[:-1]
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        names = names or set(row or ())  # A task's own metrics are those of its first epoch.
        if wrong := _wrong(row, names, len(rows)):
            raise InputError(
                f"{path} is damaged in line {number}: {wrong}; {way_out(run, len(rows))}"
            )
        rows.append(row or {})
    if len(rows) > run.config.epochs:
        raise InputError(
            f"{path} has {len(rows)} epochs, and by config.json the run has {run.config.epochs}; "
            f"{way_out(run, run.config.epochs)}"
        )
    return Epochs(lines, rows)


def _row(line: str) -> Any:
    try:
        return parse_json(line, finite=False)
    except ValueError:
        return None


def _wrong(row: Any, names: set[str], epoch: int) -> str:
    """Return what is wrong with a line, or ""."""
    if not isinstance(row, dict):
        return "it is no JSON object"
    if type(row.get("epoch")) is not int or row["epoch"] != epoch:
        return f"its epoch is {ascii(row.get('epoch'))[:40]}; it must be {epoch}"
    for name in sorted({*names, *row, "train_loss", "eval_loss"}):
        if name not in row:
            return f"it has no {name}"
        if name not in names:
            return f"it has {ascii(name)[:40]}, which no other line has"
        is_number = type(row[name]) in (int, float) and abs(row[name]) < 2**1024
        is_nan = type(row[name]) is float and not math.isfinite(row[name])
        if not (is_number or is_nan) or (is_nan and name in ("train_loss", "eval_loss")):
            return f"its {name} is {ascii(row[name])[:40]}; it must be a number"
    return ""


def way_out(run: Run, epochs: int) -> str:
    """Return what a person can do about metrics that cannot be trusted.

    Args:
        run: The run.
        epochs: How many of its lines can be trusted.

    Returns:
        The end of an error message: the copy in the newest checkpoint, or the lines to keep.
    """
    place = run.path / CHECKPOINTS
    steps = sorted(int(each.name) for each in place.glob("*") if each.name.isdecimal())
    copies = [copy for step in steps if (copy := place / str(step) / METRICS).is_file()]
    ways = []
    if copies:
        ways.append(
            "put back what was written up to that checkpoint: "
            + shlex.join(["cp", str(copies[-1]), str(run.path)])
        )
    if useful := [step for step in steps if step <= epochs]:
        ways.append(
            f"keep its first {epochs} lines only, and the run resumes after epoch {useful[-1]}"
        )
    if not ways:
        ways.append("restore it from a copy")
    return f"{', or '.join(ways)}, or train again with --overwrite; nothing was changed"
