"""A run's log for TensorBoard, in the folder `tensorboard` of the run's."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxmnist.logs.log import Log

FOLDER = "tensorboard"


def open_log(
    folder: Path, options: Mapping[str, Any], key: str | None, written: int, epoch: int
) -> Log:
    """Open the log, as `jaxmnist.logs.log.Open` describes it.

    A continued log begins a file of its own, before which TensorBoard drops all epochs from the
    last one that both have: a process may have died between counting and writing it.
    """
    from tensorboardX import SummaryWriter

    first = 0 if key is None else max(0, min(written, epoch) - 1)
    writer = SummaryWriter(
        str(folder / FOLDER),
        purge_step=first,
        # Two files of one second would have one name, and TensorBoard reads them in its order.
        filename_suffix=f".{time.time_ns()}",
    )
    if first == 0:
        text = json.dumps(options, indent=4, default=str)
        writer.add_text("options", "".join(f"    {line}\n" for line in text.splitlines()), 0)

    def write(epoch: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    return Log(FOLDER, first, write, writer.close)
