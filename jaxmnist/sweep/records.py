"""A line of a sweep's `cells.jsonl`: one finished run, checked as it is parsed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxmnist.config import DTYPES
from jaxmnist.forms import Among, Each, Numbers, check_form
from jaxmnist.reading import parse_json
from jaxmnist.training import History


def parse_cell(line: bytes, cells: int, epochs: int) -> tuple[int, Any]:
    """Parse the line of a finished run.

    Args:
        line: The line.
        cells: How many runs the sweep has.
        epochs: How many epochs each has.

    Returns:
        The run's index, and its metrics ``[epochs]``: a `History`, or of a task a mapping.

    Raises:
        ValueError: It is no JSON, or not of a run that the sweep has.
    """
    kept = parse_json(line)
    # Lines of earlier versions have none.
    if isinstance(kept, dict) and "sha256" in kept and kept["sha256"] != digest(kept):
        raise ValueError("its SHA-256 is another")
    check_form(
        kept,
        {
            "cell": Numbers(least=0, most=cells - 1, whole=True),
            "dtype": Among(DTYPES),
            "history": Each(Numbers(str(epochs), none=True)),
        },
        "the line",
    )
    metrics: dict[str, Any] = {
        name: np.array(values, kept["dtype"]) for name, values in kept["history"].items()
    }
    if kept.get("task", False) is True:
        if missing := sorted({"train_loss", "eval_loss"} - metrics.keys()):
            raise ValueError(f"the line has no {missing[0]}")
        return kept["cell"], metrics
    if metrics.keys() != set(History._fields):
        raise ValueError(f"the line's history must be of {', '.join(History._fields)}")
    return kept["cell"], History(**metrics)


def digest(kept: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a line without its own.

    Args:
        kept: The line's entries.
    """
    rest = {name: value for name, value in kept.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()
