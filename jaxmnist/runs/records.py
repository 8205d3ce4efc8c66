"""What a run's `config.json` and `metrics.jsonl` must be like, checked as they are parsed."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jaxmnist.data.dataset import MAX_CLASSES
from jaxmnist.forms import Numbers, check_form
from jaxmnist.reading import parse_json, read_json

_COUNT = Numbers(least=0, most=2**31 - 1, whole=True)


def read_about(path: Path) -> dict[str, Any]:
    """Read what `jaxmnist.runs.about` described.

    Args:
        path: A run's `config.json`.

    Returns:
        Its entries; those of ``config`` are for `Config` to check.

    Raises:
        ValueError: It is no JSON, too large or too deeply nested; or an entry is missing, of
            another type or out of range.
        OSError: It cannot be read.
    """
    about = read_json(path)
    check_form(about, {"config": {}}, "config.json")
    for name in ("dataset", "data_dir"):
        if name not in about or not isinstance(about[name], str | None):
            raise ValueError(f"{name} is {about.get(name)!r:.60}; it must be a string or null")
        if "\0" in (about[name] or ""):
            raise ValueError(f"{name} has a null character")
    for name in ("checkpoint_every", "keep"):
        check_form(about.get(name, 1), _COUNT, name)  # The first runs have none.
    if "task" in about:
        _check_task(about["task"])
    else:
        check_form(about, {"dataset": str, "config": {"hidden": []}}, "config.json")
        classes = Numbers(least=1, most=MAX_CLASSES, whole=True)
        check_form(about.get("num_classes"), classes, "num_classes")
    return about


def _check_task(task: Any) -> None:
    check_form(task, {"file": str, "sha256": str}, "task")
    if not isinstance(task.get("options"), dict):
        raise ValueError("task.options must be an object")
    earlier = task.get("earlier")
    if not isinstance(earlier, list):
        raise ValueError("task.earlier must be a list")
    for entry in earlier:
        if not isinstance(entry, list) or len(entry) != 2:
            raise ValueError("task.earlier must be a list of pairs")
        check_form(entry[0], str, "task.earlier")
        check_form(entry[1], _COUNT, "task.earlier")


def parse_metrics(line: str, epoch: int, names: Collection[str] | None) -> dict[str, Any]:
    """Parse a line of `metrics.jsonl`.

    Args:
        line: The line.
        epoch: The epoch that it must be of, from 0.
        names: The names that it must have, ``epoch`` among them; None for any.

    Returns:
        Numbers by name. Those of a task's own metrics may be NaN or infinite.

    Raises:
        ValueError: It is no JSON, or of another form.

    >>> parse_metrics('{"epoch": 0, "eval_loss": 0.5}', 0, None)
    {'epoch': 0, 'eval_loss': 0.5}
    """
    row = parse_json(line, finite=False)
    if not isinstance(row, Mapping):
        raise ValueError("it is no object")
    if names is not None and row.keys() != set(names):
        raise ValueError(f"it has {', '.join(row)[:200]}; it must have {', '.join(names)}")
    if type(row.get("epoch")) is not int or row["epoch"] != epoch:
        raise ValueError(f"its epoch is {row.get('epoch')!r:.40}; it must be {epoch}")
    if odd := [name for name, value in row.items() if type(value) not in (int, float)]:
        raise ValueError(f"{odd[0][:40]} is {row[odd[0]]!r:.40}; it must be a number")
    return dict(row)
