"""A sweep on disk: what it is, a line for each finished run, and at the end its tables.

A sweep's folder has `sweep.json` (config, axes, data, versions, command), `cells.jsonl` (a line
per finished run with its own SHA-256, added when its chunk ends), and once all are there
`results.csv` and `results.json` (a row per cell and epoch) and `summary.md`. One process at a time
writes to it; where several share the sweep, each has a folder in `processes` with a `cells.jsonl`
of its own.
"""

import csv
import io
import json
import math
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from jaxmnist import locks, provenance
from jaxmnist.atomic import append as append_whole
from jaxmnist.atomic import read_whole, remove_partial, write_whole
from jaxmnist.config import Config
from jaxmnist.data.dataset import Dataset
from jaxmnist.errors import InputError, printable
from jaxmnist.reading import read_json
from jaxmnist.sweep import results
from jaxmnist.sweep.axes import Axes
from jaxmnist.sweep.records import digest, parse_cell
from jaxmnist.training import History, by_name, split_pair

_ABOUT: Final = "sweep.json"
_CELLS: Final = "cells.jsonl"
PROCESSES: Final = "processes"
"""The folder of the folders of the processes that share a sweep."""
_LARGEST: Final = 1 << 32
"""Bytes of the largest file of a sweep that is read."""


def enter(
    path: Path, config: Config | Mapping[str, Any], axes: Axes, data: Any, command: str
) -> dict[int, Any]:
    """Begin a sweep in a folder, or find what an earlier start of the same sweep finished.

    Args:
        path: The folder; it is made if it is not there, and its lock is taken.
        config: Everything that is no axis: a config, or of a task its sizes and hyperparameters.
        axes: The values by the axis's name.
        data: A `Dataset`, or a pair of training and test data.
        command: The command that started it, to be recorded.

    Returns:
        The history ``[epochs]`` of each finished cell by its index.

    Raises:
        InputError: The folder has another sweep, a file in it is damaged, another process holds
            its lock, or it cannot be written.
    """
    about = describe(config, axes, data)
    try:
        path.mkdir(parents=True, exist_ok=True)
        locks.take(path)
        remove_partial(path)
        if not (path / _ABOUT).exists():
            if (path / _CELLS).exists():
                raise InputError(f"{path} has a {_CELLS} but no {_ABOUT}; choose another --out")
            _write_about(path, about, command)
            return {}
        _check_same(path, about)
        return _take_over(path, axes, epochs_of(config))
    except OSError as error:
        raise InputError(f"cannot write a sweep to {path}: {error.strerror}") from error


def describe(config: Config | Mapping[str, Any], axes: Axes, data: Any) -> dict[str, Any]:
    """Return what tells one sweep from another, in JSON's types.

    Args:
        config: As in `enter`; so are the next two.
        axes: The values by the axis's name.
        data: A `Dataset`, or a pair of training and test data.

    Returns:
        ``config`` without what is an axis, ``axes``, and ``data``: what they are, and checksums.
    """
    fixed = asdict(config) if isinstance(config, Config) else config
    about = {
        "config": {name: value for name, value in fixed.items() if name not in axes},
        "axes": axes,
        "data": _identity(data),
    }
    # A task's hyperparameters may be arrays.
    return json.loads(json.dumps(about, default=lambda value: np.asarray(value).tolist()))


def epochs_of(config: Config | Mapping[str, Any]) -> int:
    """Return how many epochs every run of a sweep has."""
    return config.epochs if isinstance(config, Config) else config["epochs"]


def read_finished(path: Path, axes: Axes, epochs: int) -> dict[int, Any]:
    """Return the finished cells that a folder of a sweep, or of one of its processes, lists.

    Args:
        path: The folder.
        axes: The values by the axis's name.
        epochs: How many every run has.

    Returns:
        The history ``[epochs]`` of each by the cell's index, in the order of the lines.

    Raises:
        InputError: A line is damaged.
        OSError: The file cannot be read.
    """
    return _read_cells(path / _CELLS, math.prod(map(len, axes.values())), epochs)


def count_finished(path: Path) -> int:
    """Return how many cells the folder of a process lists, which may be adding more."""
    try:
        return read_whole(path / _CELLS, _LARGEST).count(b"\n")
    except OSError:
        return 0


def rewrite(path: Path, finished: Mapping[int, Any]) -> None:
    """Replace the lines of all finished cells.

    Args:
        path: A folder that `enter` accepted.
        finished: Histories ``[epochs]`` by the cell's index, in the order of the lines.

    Raises:
        InputError: The file cannot be written.
    """
    lines = [_line(index, history) for index, history in finished.items()]
    write_whole(path / _CELLS, "".join(lines).encode())


def append(path: Path, finished: Mapping[int, Any]) -> None:
    """Add a line for each run that a chunk finished.

    Args:
        path: A folder that `enter` accepted.
        finished: Histories ``[epochs]`` by the cell's index.

    Raises:
        InputError: The file cannot be written.
    """
    lines = [_line(index, history) for index, history in finished.items()]
    append_whole(path / _CELLS, "".join(lines).encode())


def write_results(path: Path, sweep: results.Sweep) -> list[Path]:
    """Write the tables of a whole sweep.

    Args:
        path: A folder that `enter` accepted.
        sweep: Its results.

    Returns:
        The files written.

    Raises:
        InputError: They cannot be written.
    """
    rows, summary = results.rows(sweep), results.summary(sweep)
    about = json.loads(read_whole(path / _ABOUT))
    whole = {**about, "confidence": results.CONFIDENCE, "summary": summary, "rows": rows}
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    head, *body = results.table(summary)
    markdown = [
        "| " + " | ".join(printable(cell).replace("|", r"\|") for cell in line) + " |"
        for line in (head, ["---"] * len(head), *body)
    ]
    contents = {
        "results.csv": lines.getvalue(),
        "results.json": _records(whole),
        "summary.md": "\n".join([_sentence(results.LEGEND), "", *markdown]) + "\n",
    }
    for name, content in contents.items():
        write_whole(path / name, content.encode())
    return [path / name for name in contents]


def _take_over(path: Path, axes: Axes, epochs: int) -> dict[int, Any]:
    """Return the finished cells, with those of the processes of an earlier start."""
    shared = path / PROCESSES
    places = sorted(each for each in shared.iterdir() if each.is_dir()) if shared.is_dir() else []
    for place in places:
        locks.take(place)  # One of them may be training still.
    finished = read_finished(path, axes, epochs)
    for place in places:
        found = read_finished(place, axes, epochs)
        if new := {index: found[index] for index in found if index not in finished}:
            append(path, new)
            finished |= new
        locks.release(place)
    for left in (shared, *path.glob(f".{PROCESSES}.*")):
        shutil.rmtree(left, ignore_errors=True)
    return finished


def _write_about(path: Path, about: Mapping[str, Any], command: str) -> None:
    written = {**about, **provenance.record(command, "scipy")}
    write_whole(path / _ABOUT, (json.dumps(written, indent=2) + "\n").encode())


def _check_same(path: Path, about: Mapping[str, Any]) -> None:
    try:
        kept = read_json(path / _ABOUT)
        parts = {part: kept[part].items() for part in about}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path / _ABOUT} is no sweep's description: {error!r}") from error
    for part, entries in parts.items():
        there, here = dict(entries), about[part]
        for name in dict.fromkeys((*there, *here)):
            if there.get(name) != here.get(name):
                what = f"the axis {name}" if part == "axes" else f"{part}: {name}"
                raise InputError(
                    f"{path} has another sweep: {what} is {_shown(there, name)} there, "
                    f"and {_shown(here, name)} here; choose another --out"
                )
    if list(parts["axes"]) != list(about["axes"].items()):
        raise InputError(
            f"{path} has another sweep: its axes are in the order "
            f"{', '.join(kept['axes'])}; choose another --out"
        )


def _read_cells(path: Path, cells: int, epochs: int) -> dict[int, Any]:
    if not path.exists():
        return {}
    content = read_whole(path, _LARGEST)
    whole = content[: content.rfind(b"\n") + 1]
    finished = {}
    # Split at line feeds alone: other ends of lines may be damage.
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        try:
            index, history = parse_cell(line, cells, epochs)
            if index in finished:
                raise ValueError(f"cell {index} is there twice")
        except ValueError as error:
            raise InputError(
                f"{path} is damaged in line {number}: {error}; remove that line, and its run is "
                "done again"
            ) from error
        finished[index] = history
    if len(whole) < len(content):
        # The process was killed while it wrote: that run is done again.
        write_whole(path, whole)
    return finished


def _line(index: int, history: Any) -> str:
    at = int(results.diverged_at(history))
    metrics = by_name(history)
    kept = {
        "cell": index,
        "diverged": None if at < 0 else at,
        "dtype": str(metrics["train_loss"].dtype),
        **({} if isinstance(history, History) else {"task": True}),
        "history": {
            name: [results.number(value) for value in values] for name, values in metrics.items()
        },
    }
    return json.dumps({**kept, "sha256": digest(kept)}, allow_nan=False) + "\n"


def _identity(data: Any) -> dict[str, Any]:
    if isinstance(data, Dataset):
        named = ("train_images", "train_labels", "test_images", "test_labels")
        arrays = {name: getattr(data, name) for name in named}
        about: dict[str, Any] = {"name": data.name, "num_classes": data.num_classes}
    else:
        parts = dict(zip(("train", "test"), split_pair(data), strict=True))
        arrays = {
            jax.tree_util.keystr(path, simple=True, separator="_"): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(parts)
        }
        about = {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}
    checksums = {name: zlib.crc32(np.ascontiguousarray(a).data) for name, a in arrays.items()}
    return {**about, **{f"{name}_crc32": value for name, value in checksums.items()}}


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name]) if name in values else "missing"


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _records(whole: dict[str, Any]) -> str:
    """JSON with one line for each entry of `summary` and `rows`."""
    text = json.dumps({**whole, "summary": "@summary", "rows": "@rows"}, indent=2)
    for name in ("summary", "rows"):
        lines = ",\n".join(f"    {json.dumps(row, allow_nan=False)}" for row in whole[name])
        text = text.replace(f'"@{name}"', f"[\n{lines}\n  ]")
    return text + "\n"
