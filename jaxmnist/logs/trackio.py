"""A run's log for Trackio, in Trackio's own place (TRACKIO_DIR)."""

import contextlib
import io
import secrets
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
    import trackio

    # Trackio knows a run by its name, which two folders may have.
    name = key or f"{shortened(folder.absolute().name)}-{secrets.token_hex(4)}"
    with contextlib.redirect_stdout(io.StringIO()):
        run = trackio.init(
            project=PROJECT,
            name=name,
            config=dict(options),
            resume="never" if key is None else "allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def write(epoch: int, metrics: Mapping[str, float]) -> None:
        run.log(dict(metrics), step=epoch)

    def close() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()  # The run alone would be finished again when the process ends.

    return Log(name, written, write, close)
