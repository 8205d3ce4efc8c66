"""The names of what is in a run's folder."""

from typing import Final

from jaxmnist.logs.installed import RECORD

CONFIG: Final = "config.json"
TASK: Final = "task.py"
"""The text of a task's file; the tutorial's task has none."""
METRICS: Final = "metrics.jsonl"
MODEL: Final = "model.safetensors"
PREDICTIONS: Final = "predictions.csv"
CURVES: Final = "curves.png"
"""Of a run with a task's file this is what is written last."""
PICTURES: Final = (
    CURVES,
    "predictions.png",
    "train_accuracy.png",
    "train_loss.png",
    "eval_accuracy.png",
    "eval_loss.png",
)
SUMMARY: Final = (PREDICTIONS, *PICTURES)
"""Written at the end, the table last: a run of the tutorial's that has it has everything."""
RESULTS: Final = (METRICS, MODEL, *SUMMARY)
CHECKPOINTS: Final = "checkpoints"
LOGS: Final = RECORD
"""By what a run's logs elsewhere are continued; most runs have none."""
OWN: Final = (CONFIG, TASK, *RESULTS, CHECKPOINTS, LOGS)
"""What a new run replaces."""

SUPERSEDED: Final = "superseded"
"""What a resumed run was further with, until it is as far again."""
NEW: Final = ".new"
"""A run that is to replace the folder's, until its first epoch is whole."""
REPLACING: Final = ".replacing"
"""The same while its files take the other's place."""
OLD: Final = ".old"
"""The other's files, until all of them have been moved; put back if one cannot be."""
REMOVED: Final = ".removed"
"""The beginning of the name of what could not be removed; it is tried again later."""

LARGEST_TEXT: Final = 1 << 26
"""Bytes of the largest configuration, or text of a task's file, that is read."""
