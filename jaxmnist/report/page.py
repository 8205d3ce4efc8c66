"""The page of one run or several: what they were, how they did, and the network itself."""

import base64
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmnist import runs
from jaxmnist.errors import InputError, printable
from jaxmnist.reading import read_json
from jaxmnist.report import outputs, record, selection
from jaxmnist.report.template import page
from jaxmnist.runs.metrics import read_metrics
from jaxmnist.runs.names import CONFIG


def run_page(paths: Sequence[Path], say: Callable[[str], None] = lambda _: None) -> str:
    """Make the page of one run or several.

    Args:
        paths: The runs' folders.
        say: Called with a line on each thing that is left out of the page.

    Returns:
        The HTML.

    Raises:
        InputError: A folder holds no run, or one that is damaged or has no whole epoch.
    """
    found = [runs.read(path) for path in paths]
    names = record.names_of(found)
    described = [_described(run, name, say) for run, name in zip(found, names, strict=True)]
    title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    return page("report", f"{title} - jaxmnist", {"runs": described})


def _described(run: runs.Run, name: str, say: Callable[[str], None]) -> dict[str, Any]:
    is_double = run.config.dtype == "float64" or (
        run.task_file is not None and run.task_file.options.get("dtype") == "float64"
    )
    about = read_json(run.path / CONFIG)
    with jax.enable_x64(is_double):
        metrics = read_metrics(run).rows
        if not metrics:
            raise InputError(f"{run.path} has no whole epoch yet; wait for its first")
        trained = outputs.load(run)
        network = outputs.network(trained)
        if network is None:
            say(f"{run.path}: the page has no drawing: {_why_no_network(run)}")
        return {
            "name": name,
            "rows": record.rows(run, about, len(metrics)),
            "metrics": [{key: _finite(value) for key, value in row.items()} for row in metrics],
            "network": network,
            "whyNoNetwork": "" if network else _why_no_network(run),
            "layers": outputs.layers(trained),
            "measured": outputs.MEASURED,
            "test": _test(trained, say),
        }


def _why_no_network(run: runs.Run) -> str:
    if run.task_file is not None:
        return "its network is that of a task's file, which JavaScript cannot run"
    return f"its network has more than {outputs.MOST_WEIGHTS:,} weights"


def _test(trained: outputs.Trained, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Return what the network made of the test images, with those that are shown."""
    run, images, labels = trained.run, trained.images, trained.labels
    if images is None or labels is None:
        return None
    each, classes = [], 1
    for epochs, made in outputs.outputs(trained, say):
        each.append(selection.guesses(epochs, made, labels))
        classes = made.shape[1]
    last = each[-1]
    groups = {
        "worst": selection.worst(last),
        "confident": selection.confidently_wrong(last, labels),
    }
    in_cells = selection.cells(each, labels)
    shown = sorted(
        {sample for group in groups.values() for sample in group}
        | {sample for some in in_cells for row in some.values() for sample in row}
    )
    position = {sample: index for index, sample in enumerate(shown)}
    return {
        "samples": len(labels),
        "classes": [printable(run.class_name(label)) for label in range(classes)],
        "images": {
            "pixels": base64.b64encode(zlib.compress(images[shown].tobytes(), 9)).decode(),
            "index": shown,
            "label": labels[shown].tolist(),
        },
        "groups": {
            name: [position[sample] for sample in group] for name, group in groups.items()
        },
        "snapshots": [
            _snapshot(guess, labels, classes, shown, {
                f"{label},{prediction}": [position[sample] for sample in row]
                for (label, prediction), row in some.items()
            })
            for guess, some in zip(each, in_cells, strict=True)
        ],
    }  # fmt: skip


def _snapshot(
    guess: selection.Guesses,
    labels: np.ndarray,
    classes: int,
    shown: list[int],
    images: dict[str, list[int]],
) -> dict[str, Any]:
    counts = selection.confusion(labels, guess.predictions)
    return {
        "epochs": guess.epochs,
        "right": int((labels == guess.predictions).sum()),
        "counts": selection.as_matrix(counts, classes),
        "frequent": selection.most_frequent(counts),
        "cells": images,
        "prediction": guess.predictions[shown].tolist(),
        "confidence": [round(float(value), 4) for value in guess.confidence[shown]],
        "loss": [_finite(round(float(value), 4)) for value in guess.loss[shown]],
    }


def _finite(value: Any) -> Any:
    return value if isinstance(value, int) or math.isfinite(value) else None
