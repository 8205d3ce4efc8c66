"""A run's checkpoints: everything that the next epoch needs, written and restored by Orbax."""

import inspect
import json
import sys
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmnist.atomic import write_whole
from jaxmnist.errors import InputError
from jaxmnist.runs.folder import CHECKPOINTS, METRICS, SUMMARY, read_metrics, write_config
from jaxmnist.runs.named_arrays import from_named_arrays, named_arrays, shapes_by_name
from jaxmnist.runs.run import Run
from jaxmnist.runs.weights import MODEL, save_model, state_shapes
from jaxmnist.tasks.value import Batch
from jaxmnist.training import History, TrainState
from jaxmnist.training.state import Metered


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
    try:
        place.mkdir(exist_ok=True)
        with _manager(run) as manager:
            manager.save(done, args=args.StandardSave(_content(run, state)))
    except OSError as error:
        raise InputError(f"cannot write {place / str(done)}: {error.strerror}") from error
    except ValueError as error:  # What the storage library makes of a full disk.
        raise InputError(f"cannot write {place / str(done)}: {_first_line(error)}") from error


def rewind(run: Run, sample: Batch | None = None) -> tuple[int, TrainState | None, Metered | None]:
    """Take the folder back to its newest complete checkpoint, to resume the run from there.

    Metrics of later epochs are dropped; the pictures are drawn again at the end. A run that was
    stopped before its first checkpoint goes back to the start. The configuration is written anew,
    so that a run may be resumed with more epochs than it was started with.

    Args:
        run: The run as it is to be resumed.
        sample: A batch of its training data, for the shapes of its state; the tutorial's task
            needs none.

    Returns:
        How many epochs are trained, the state after them (None before the first), and their
        metrics (None before the first of a task of one's own, whose names are not known yet).

    Raises:
        InputError: There are no checkpoints where there should be, or the newest is damaged.
    """
    place = run.path / CHECKPOINTS
    if not run.checkpoint_every:
        raise InputError(f"{run.path} has no checkpoints: it was trained with --checkpoint-every 0")
    lines = read_metrics(run)
    epoch, state = 0, None
    if place.exists():
        with _manager(run) as manager:
            complete = manager.all_steps()
            epoch = max((step for step in complete if step <= len(lines)), default=0)
            state = _restore(run, epoch, manager, sample) if epoch else None
            for later in complete:
                if later > epoch:
                    manager.delete(later)
    # The first checkpoint is written after its epoch's metrics.
    if not epoch and len(lines) > run.checkpoint_every:
        raise InputError(
            f"{place} has no whole checkpoint, though {len(lines)} epochs were trained: "
            "restore what was deleted, or train again with --overwrite"
        )

    write_config(_trained_until(run, epoch))
    for name in SUMMARY:
        (run.path / name).unlink(missing_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines[:epoch])
    write_whole(run.path / METRICS, text.encode())
    if state is None:
        (run.path / MODEL).unlink(missing_ok=True)
    else:
        save_model(run, state.model)
    return epoch, state, _history(run, lines[:epoch])


def _trained_until(run: Run, epoch: int) -> Run:
    """Return the run, whose earlier texts of the task's file trained no more epochs than these."""
    if run.task_file is None:
        return run
    earlier = tuple((text, min(epochs, epoch)) for text, epochs in run.task_file.earlier)
    return replace(run, task_file=replace(run.task_file, earlier=earlier))


def _history(run: Run, lines: list[dict[str, Any]]) -> Metered | None:
    if run.task_file is not None and not lines:
        return None
    names = [name for name in lines[0] if name != "epoch"] if lines else History._fields
    columns = {name: jnp.array([line[name] for line in lines], float) for name in names}
    return History(**columns) if columns.keys() == {*History._fields} else columns


def _content(run: Run, state: TrainState) -> Any:
    """Return what a checkpoint is made of: of a task of one's own, arrays by name.

    So a state of any structure can be stored, whatever Orbax makes of its types.
    """
    if run.task_file is None:
        return jax.device_get(_Tutorial(state.params, state.opt_state))
    return named_arrays(state)


def _manager(run: Run) -> Any:
    """Open the run's checkpoints; of several processes only the first does so."""
    from orbax import checkpoint as ocp

    return ocp.CheckpointManager(
        (run.path / CHECKPOINTS).absolute(),
        options=ocp.CheckpointManagerOptions(
            max_to_keep=run.keep,
            create=False,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=False,
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}
            ),
        ),
    )


def _restore(run: Run, step: int, manager: Any, sample: Batch | None) -> TrainState:
    from orbax.checkpoint import args

    place = run.path / CHECKPOINTS / str(step)
    images = np.zeros((1, 28, 28), np.uint8)
    like = state_shapes(run, images if sample is None else sample)
    shapes = _Tutorial(like.params, like.opt_state)
    content = shapes if run.task_file is None else shapes_by_name(like)
    shown = sys.unraisablehook

    def show(noise: Any) -> None:
        # The first damaged array ends Orbax's event loop, and the others' readers find it closed:
        # noise on stderr, and some of it later than the error itself.
        late = str(noise.exc_value) == "Event loop is closed" or inspect.iscoroutine(noise.object)
        if not late:
            shown(noise)

    sys.unraisablehook = show
    try:
        restored = manager.restore(step, args=args.StandardRestore(_on_first_device(content)))
    except Exception as error:  # Whatever the storage library meets in a damaged file.
        raise InputError(
            f"{place} cannot be read ({_first_line(error)}); without that folder the run resumes "
            "from the checkpoint before it"
        ) from error
    sys.unraisablehook = shown
    if run.task_file is None:
        return TrainState(*restored)
    return from_named_arrays(restored, like, str(place))


def _on_first_device(shapes: Any) -> Any:
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), shapes
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0]
