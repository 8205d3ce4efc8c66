"""A run's log for MLflow, where MLFLOW_TRACKING_URI says, or in MLflow's own place."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxmnist.errors import shortened
from jaxmnist.logs.log import Log

EXPERIMENT = "jaxmnist"


def open_log(
    folder: Path, options: Mapping[str, Any], key: str | None, written: int, epoch: int
) -> Log:
    """Open the log, as `jaxmnist.logs.log.Open` describes it."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient()
    if key is None:
        found = client.get_experiment_by_name(EXPERIMENT)
        place = client.create_experiment(EXPERIMENT) if found is None else found.experiment_id
        run = client.create_run(place, run_name=shortened(folder.absolute().name))
        key = str(run.info.run_id)
        params = [Param(name, str(value)[:500]) for name, value in options.items()]
        client.log_batch(key, params=params)
    else:
        client.update_run(key, status="RUNNING")
    known = key

    def write(epoch: int, metrics: Mapping[str, float]) -> None:
        now = time.time_ns() // 1_000_000
        rows = [Metric(_allowed(name), value, now, epoch) for name, value in metrics.items()]
        client.log_batch(known, metrics=rows)

    return Log(known, written, write, lambda: client.set_terminated(known))


def _allowed(name: str) -> str:
    """Return a metric's name with _ for each character that MLflow refuses."""
    return re.sub(r"[^\w./ -]", "_", name)[:250]
