"""A run's log at Weights & Biases; without a network where WANDB_MODE=offline says so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxmnist.errors import shortened
from jaxmnist.logs.log import Log

PROJECT = "jaxmnist"


def open_log(
    folder: Path, options: Mapping[str, Any], key: str | None, written: int, epoch: int
) -> Log:
    """Open the log, as `jaxmnist.logs.log.Open` describes it."""
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=PROJECT,
        name=shortened(folder.absolute().name),
        id=key,
        resume=None if key is None else "allow",
        dir=str(folder),
        config=dict(options),
        settings=wandb.Settings(console="off", silent=True),
    )

    def write(epoch: int, metrics: Mapping[str, float]) -> None:
        run.log(dict(metrics), step=epoch)

    return Log(run.id, written, write, run.finish)
