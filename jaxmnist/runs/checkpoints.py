"""A run's checkpoints: everything that the next epoch needs, written and restored by Orbax."""

import contextlib
import glob
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.atomic import read_whole, remove_partial, write_whole
from jaxmnist.errors import InputError
from jaxmnist.runs import digests, storage_noise
from jaxmnist.runs.folder import write_config
from jaxmnist.runs.machines import trained_until
from jaxmnist.runs.metrics import Epochs, read_metrics, way_out
from jaxmnist.runs.named_arrays import from_named_arrays, named_arrays, shapes_by_name
from jaxmnist.runs.names import CHECKPOINTS, CONFIG, METRICS, MODEL, OWN
from jaxmnist.runs.run import Run, about
from jaxmnist.runs.superseded import set_aside
from jaxmnist.runs.weights import save_model, state_shapes
from jaxmnist.tasks.value import Batch
from jaxmnist.training import History, TrainState
from jaxmnist.training.state import Metered

_RECORD: Final = "record"
"""What a checkpoint was written with: digests of its arrays and metrics, and the configuration."""


class _Tutorial(NamedTuple):
    """What a checkpoint of the tutorial's task holds, in this version and in those before."""

    params: Any
    opt_state: Any


def save_checkpoint(run: Run, epoch: int, state: TrainState) -> None:
    """Save the state after an epoch, if a checkpoint is due, and delete the oldest.

    Orbax writes it under a temporary name and renames it when it is complete.

    Args:
        run: A run whose metrics up to this epoch `append_epoch` has written.
        epoch: The epoch's index, from 0.
        state: The state after it.

    Raises:
        InputError: It cannot be written.
    """
    done = epoch + 1
    if not run.checkpoint_every or (done % run.checkpoint_every and done < run.config.epochs):
        return
    from orbax.checkpoint import args

    place = run.path / CHECKPOINTS
    content = _content(run, state)
    written = read_metrics(run).lines[:done]
    record = {
        "arrays": digests.of_arrays(named_arrays(content)),
        METRICS: _digest(written),
        "config": _lasting(run),
    }
    record["sha256"] = _own_digest(record)
    try:
        place.mkdir(exist_ok=True)
        with storage_noise.left_out(), _manager(run) as manager:
            manager.save(
                done,
                args=args.Composite(
                    default=args.StandardSave(content), **{_RECORD: args.JsonSave(record)}
                ),
            )
    except OSError as error:
        _remove_unfinished(run)
        raise InputError(f"cannot write {place / str(done)}: {error.strerror}") from error
    except (ValueError, RuntimeError) as error:  # What the storage library makes of a full disk.
        _remove_unfinished(run)
        number = re.search(r"os_error_code='(\d+)'", str(error))
        reason = os.strerror(int(number[1])) if number else _first_line(error)
        raise InputError(f"cannot write {place / str(done)}: {reason}") from error
    write_whole(place / str(done) / METRICS, _text(written))


def _remove_unfinished(run: Run) -> None:
    """Remove a checkpoint that could not be written: it may be what fills the disk."""
    for _ in range(20):  # The library's threads may still be writing to it.
        if not (left := list((run.path / CHECKPOINTS).glob("*.orbax-checkpoint-tmp*"))):
            return
        for each in left:
            shutil.rmtree(each, ignore_errors=True)
        time.sleep(0.05)


def rewind(
    run: Run,
    sample: Batch | None = None,
    say: Callable[[str], None] = lambda _: None,
    how: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[int, TrainState | None, Metered | None]:
    """Take the folder back to its newest whole checkpoint, to resume the run from there.

    A checkpoint that is damaged is passed over for the one before it. Nothing is changed before a
    checkpoint is found whole and the metrics up to it are known to be those that were written;
    what is beyond it is set aside until the run is as far again (`superseded`). A run that was
    stopped before its first checkpoint goes back to the start. The configuration is written anew,
    so that a run may be resumed with more epochs than it was started with.

    Args:
        run: The run as it is to be resumed; its folder's lock is held.
        sample: A batch of its training data, for the shapes of its state; the tutorial's task
            needs none.
        say: Called with a line on each thing that is not as it was.
        how: How it is trained from here on, as `jaxmnist.runs.open_run` takes it.

    Returns:
        How many epochs are trained, the state after them (None before the first), and their
        metrics (None before the first of a task of one's own, whose names are not known yet).

    Raises:
        InputError: There are no checkpoints where there should be, or none is whole, or the
            metrics or the configuration are not those that were written. Nothing is changed.
    """
    if not run.checkpoint_every:
        raise InputError(f"{run.path} has no checkpoints: it was trained with --checkpoint-every 0")
    epochs = read_metrics(run)
    epoch, state, others = _newest_whole(run, epochs, sample, say)

    set_aside(run, epoch, epochs, others)
    write_config(trained_until(run, epoch, say, how))
    write_whole(run.path / METRICS, _text(epochs.lines[:epoch]))
    if state is not None and len(epochs.lines) == epoch:
        save_model(run, state.model)
    remove_partial(run.path)
    for name in OWN:  # As earlier versions left them.
        (run.path / f"{name}.partial").unlink(missing_ok=True)
    return epoch, state, _history(run, epochs.rows[:epoch])


def _newest_whole(
    run: Run, epochs: Epochs, sample: Batch | None, say: Callable[[str], None]
) -> tuple[int, TrainState | None, list[int]]:
    """Return the step of the newest whole checkpoint, its state, and the checkpoints after it."""
    place = run.path / CHECKPOINTS
    steps = _steps(run)
    failures: list[InputError] = []
    for step in (step for step in reversed(steps) if step <= len(epochs.lines)):
        _check_record(run, step, epochs)
        try:
            state = restore(run, step, sample)
        except InputError as error:
            failures.append(error)
            continue
        for failure in failures:
            say(f"{failure}: passed over for the checkpoint before it")
        return step, state, [other for other in steps if other > step]
    if failures:
        raise InputError(
            f"{failures[0]}, and there is no whole checkpoint before it: restore one from a copy, "
            "or train again with --overwrite; nothing was changed"
        )
    if steps or (not epochs.lines and (run.path / MODEL).exists()):
        newest = f"checkpoints from epoch {steps[0]} on" if steps else "a model"
        raise InputError(
            f"{run.path / METRICS} has {len(epochs.lines)} epochs, and the run has {newest}: "
            f"{way_out(run, len(epochs.lines))}"
        )
    # The first checkpoint is written after its epoch's metrics.
    if len(epochs.lines) > run.checkpoint_every:
        raise InputError(
            f"{place} has no whole checkpoint, though {len(epochs.lines)} epochs were trained: "
            "restore what was deleted, or train again with --overwrite"
        )
    return 0, None, []


def _check_record(run: Run, step: int, epochs: Epochs) -> None:
    """Refuse a configuration or metrics that are not those that a checkpoint was written with."""
    record = _record_of(run, step)
    known, present = record.get("config", {}), _lasting(run)
    for name in known if isinstance(known, dict) else ():
        if name in present and present[name] != known[name]:
            raise InputError(
                f"{run.path / CONFIG} is not what it was: {name} is {present[name]}, and the "
                f"checkpoint of epoch {step} was written with {known[name]}: put that back; "
                "nothing was changed"
            )
    if record.get(METRICS, _digest(epochs.lines[:step])) != _digest(epochs.lines[:step]):
        trusted = [
            earlier
            for earlier in _steps(run)
            if _record_of(run, earlier).get(METRICS) == _digest(epochs.lines[:earlier])
        ]
        raise InputError(
            f"{run.path / METRICS} is not what it was when the checkpoint of epoch {step} was "
            f"written: {way_out(run, max(trusted, default=0))}"
        )


def _record_of(run: Run, step: int) -> dict[str, Any]:
    """Return what a checkpoint was written with; nothing for one of earlier versions.

    If the record itself is damaged, its arrays cannot be checked, and `restore` refuses it.
    """
    path = run.path / CHECKPOINTS / str(step) / _RECORD / "metadata"
    try:
        record = json.loads(read_whole(path))
    except (OSError, ValueError, RecursionError):
        return {}
    is_whole = isinstance(record, dict) and record.pop("sha256", None) == _own_digest(record)
    return record if is_whole else {}


def _own_digest(record: dict[str, Any]) -> str:
    return digests.of_bytes(json.dumps(record, sort_keys=True).encode())


def _steps(run: Run) -> list[int]:
    """Return the complete checkpoints, from the oldest on."""
    if not (run.path / CHECKPOINTS).exists():
        return []
    with _manager(run) as manager:
        return sorted(manager.all_steps())


def _lasting(run: Run) -> dict[str, Any]:
    """Return what of a configuration a resumed run keeps, as JSON has it."""
    config = json.loads(json.dumps(about(run)["config"]))
    return {name: value for name, value in config.items() if name != "epochs"}


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _digest(lines: list[str]) -> str:
    return digests.of_bytes(_text(lines))


def _history(run: Run, lines: list[dict[str, Any]]) -> Metered | None:
    if run.task_file is not None and not lines:
        return None
    names = [name for name in lines[0] if name != "epoch"] if lines else History._fields
    columns = {name: jnp.array([line[name] for line in lines], float) for name in names}
    return History(**columns) if columns.keys() == {*History._fields} else columns


def _content(run: Run, state: TrainState) -> Any:
    """Return what a checkpoint is made of: arrays by name, if the task is one of the user's own."""
    if run.task_file is None:
        return jax.device_get(_Tutorial(state.params, state.opt_state))
    return jax.device_get(named_arrays(state))


@contextlib.contextmanager
def _manager(run: Run, clean: bool = True) -> Iterator[Any]:
    """Open the run's checkpoints, without what a writer left or, if another writes now, with it.

    Of several processes only the first does so, which Orbax's v1 interface (0.12.8) cannot: its
    `Checkpointer` refuses `active_processes`, and its `save` waits for the other processes.
    """
    from orbax import checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        max_to_keep=run.keep,
        create=False,
        cleanup_tmp_directories=clean,
        enable_async_checkpointing=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes={0}
        ),
    )
    with (
        _literally((run.path / CHECKPOINTS).absolute()) as place,
        ocp.CheckpointManager(place, options=options) as manager,
    ):
        yield manager


@contextlib.contextmanager
def _literally(place: Path) -> Iterator[Path]:
    """Name a folder so that Orbax finds it, which takes [, ? and * for patterns: by a link."""
    if glob.escape(str(place)) == str(place):
        yield place
        return
    with tempfile.TemporaryDirectory() as around:
        link = Path(around, CHECKPOINTS)
        link.symlink_to(place, target_is_directory=True)
        yield link


def restore(run: Run, step: int, sample: Batch | None) -> TrainState:
    """Read a checkpoint; nothing in the folder is changed.

    Args:
        run: The run.
        step: After how many epochs.
        sample: As in `rewind`.

    Raises:
        InputError: It is damaged.
    """
    from orbax.checkpoint import args

    place = run.path / CHECKPOINTS / str(step)
    like = state_shapes(run, np.zeros((1, 28, 28), np.uint8) if sample is None else sample)
    tutorial = _Tutorial(like.params, like.opt_state)
    content = tutorial if run.task_file is None else shapes_by_name(like)
    try:
        with storage_noise.left_out(), _manager(run, clean=False) as manager:
            read = manager.restore(step, args=args.StandardRestore(_in_numpy(content)))
    except Exception as error:  # Whatever the storage library meets in a damaged file.
        raise InputError(f"{place} cannot be read ({_first_line(error)})") from error
    _check_digests(run, step, read)
    restored = jax.device_put(read, jax.local_devices()[0])
    if run.task_file is None:
        return TrainState(*restored)
    return from_named_arrays(restored, like, str(place))


def _check_digests(run: Run, step: int, restored: Any) -> None:
    place = run.path / CHECKPOINTS / str(step)
    if not (place / _RECORD).exists():  # Of an earlier version.
        return
    expected = _record_of(run, step).get("arrays")
    if not isinstance(expected, dict):
        raise InputError(f"{place} cannot be read (its digests are damaged)")
    digests.check_arrays(named_arrays(restored), expected, str(place))


def _in_numpy(shapes: Any) -> Any:
    """Return NumPy arrays of some shapes, which take no memory, so that Orbax returns such too.

    In a notebook's event loop Orbax works in a thread of its own, where `with jax.enable_x64(True)`
    does not hold: JAX's arrays of float64 would come back as float32.
    """
    return jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), shapes)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0]
