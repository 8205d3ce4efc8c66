"""What a run's `config.json` must be like, checked as it is parsed."""

from pathlib import Path
from typing import Any

from jaxmnist.data.dataset import MAX_CLASSES
from jaxmnist.forms import Numbers, check_form
from jaxmnist.reading import read_json

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
    names = about.get("class_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("class_names must be a list of strings")
    if len(names) > MAX_CLASSES:
        raise ValueError(f"class_names has {len(names)} names; at most {MAX_CLASSES} are allowed")
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
