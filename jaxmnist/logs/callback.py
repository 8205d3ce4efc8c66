"""The callback that writes each epoch's metrics to one or more logs."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from jaxmnist.atomic import write_whole
from jaxmnist.errors import InputError
from jaxmnist.logs import mlflow, tensorboard, trackio, wandb
from jaxmnist.logs.installed import LIBRARIES, RECORD, check_installed
from jaxmnist.logs.log import Log, Open
from jaxmnist.reading import read_json
from jaxmnist.training.state import Metered, OnEpoch, TrainState, by_name

KINDS: Final = tuple(LIBRARIES)
"""The kinds of log: tensorboard, wandb, mlflow and trackio."""

_OPEN: Final[Mapping[str, Open]] = {
    "tensorboard": tensorboard.open_log,
    "wandb": wandb.open_log,
    "mlflow": mlflow.open_log,
    "trackio": trackio.open_log,
}


@contextlib.contextmanager
def opened(
    kinds: Sequence[str],
    folder: Path,
    options: Mapping[str, Any] = MappingProxyType({}),
    *,
    past: Metered | None = None,
    resumed: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[OnEpoch]:
    """Open logs of a run, and close them at the end of the block.

    An epoch is written once: a resumed run continues the logs that it had, whose keys and lengths
    are in the folder's `logs.json`. A log that fails later on does not stop the training.

    Args:
        kinds: Some of `KINDS`, whose libraries are installed.
        folder: The run's; its name is the run's in the logs.
        options: What the run was started with, in what JSON can hold.
        past: The metrics of the epochs before, which a log that lacks them is given.
        resumed: Whether the logs in the folder are continued, rather than begun anew.
        say: Called with a line on a log that failed.

    Yields:
        The callback for ``jaxmnist.fit(…, on_epoch=…)``.

    Raises:
        InputError: A library is not installed, or a log cannot be opened.

    >>> with opened([], Path("a-run")) as on_epoch:
    ...     on_epoch(0, TrainState({}, ()), {"eval_loss": 0.5})
    """
    check_installed(kinds)
    record = read_record(folder) if resumed else {}
    history = {} if past is None else by_name(past)
    trained = len(next(iter(history.values()))) if history else 0
    with contextlib.ExitStack() as closing:
        logs: dict[str, Log] = {}
        for kind in dict.fromkeys(kinds):
            key, written = record.get(kind, (None, 0))
            logs[kind] = _opened(kind, folder, options, key, written, trained)
            closing.callback(_close, kind, logs[kind], say)
        reached = {kind: log.first for kind, log in logs.items()}

        def write(epoch: int, metrics: Mapping[str, Any]) -> None:
            due = [kind for kind, log in logs.items() if reached[kind] <= epoch]
            if not due:
                return
            reached.update(dict.fromkeys(due, epoch + 1))
            # Counted first: a process that dies in between has no epoch twice.
            for kind, log in logs.items():
                record[kind] = log.key, max(reached[kind], record.get(kind, (None, 0))[1])
            write_whole(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())
            values = {name: float(value) for name, value in metrics.items()}
            for kind in due:
                try:
                    logs[kind].write(epoch, values)
                except Exception as error:  # Whatever a library or a server may meet.
                    say(f"{kind} is not written to any more: {_line(error)}")
                    del logs[kind]

        for epoch in range(trained):
            write(epoch, {name: values[epoch] for name, values in history.items()})

        def on_epoch(epoch: int, state: TrainState, metrics: Metered) -> None:
            del state
            write(epoch, by_name(metrics))

        yield on_epoch


def read_record(folder: Path) -> dict[str, tuple[str, int]]:
    """Read which logs a run has.

    Args:
        folder: The run's.

    Returns:
        For each kind of log its key and how many epochs it was given; nothing without logs.

    Raises:
        InputError: The file is damaged.
    """
    path = folder / RECORD
    try:
        found = read_json(path)
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        for kind, entry in found.items():
            if kind not in KINDS:
                raise ValueError(f"there is no log {kind!r:.40}")
            key, written = entry
            if not isinstance(key, str) or type(written) is not int or written < 0:
                raise ValueError(f"{kind} is {entry!r:.80}")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path} is no record of logs: {error}; delete it to begin new ones"
        ) from error
    return {kind: (key, written) for kind, (key, written) in found.items()}


def _opened(
    kind: str,
    folder: Path,
    options: Mapping[str, Any],
    key: str | None,
    written: int,
    trained: int,
) -> Log:
    try:
        return _OPEN[kind](folder, options, key, written, trained)
    except Exception as error:
        raise InputError(f"the log {kind} cannot be opened: {_line(error)}") from error


def _close(kind: str, log: Log, say: Callable[[str], None]) -> None:
    try:
        log.close()
    except Exception as error:
        say(f"{kind} cannot be closed: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
