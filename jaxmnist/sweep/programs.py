"""How the runs of one group are made one program, and how many of them go into it at once."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Key

from jaxmnist.config import Config, Hyper
from jaxmnist.tasks import Batch, Task
from jaxmnist.training import BatchSizes, as_task, make_train, samples_in, start
from jaxmnist.training.state import Metered

_SHARE_OF_MEMORY: Final = 0.5  # The allocator and the compiler want some of the rest.


Device = Any  # `jax.Device` is no type to a type checker.


class Plan(NamedTuple):
    """Where and how the runs of a group are trained."""

    devices: tuple[Device, ...]
    """Each trains as many models of a chunk as the others."""
    vectorized: bool
    """Whether a device trains its models in lockstep (``vmap``), or one after the other."""
    chunk: int
    """Models in one call of the program, a multiple of the number of devices."""


class Group(NamedTuple):
    """What the runs that one compiled program serves have in common."""

    task: Task
    """What is trained, without the hyperparameters' values."""
    epochs: int
    """Passes over the training data."""
    batches: BatchSizes
    """The batch sizes."""


def group_of(task: Config | Task, shared: Any, num_classes: int = 10) -> Group:
    """Return what the cells of a group have in common.

    Args:
        task: What the sweep was given.
        shared: What the cells' configs have in common, from `axes.groups`.
        num_classes: Number of logits, for a config.

    Returns:
        The task, its epochs and its batch sizes.
    """
    if isinstance(task, Config):
        found, epochs, batches = as_task(shared, num_classes, None, None, None)
        return Group(found.program(), epochs, batches)
    return Group(
        task.program(), shared.epochs, BatchSizes(shared.batch_size, shared.eval_batch_size)
    )


def plan(
    count: int,
    devices: Sequence[Device],
    bytes_of_each: Callable[[], int],
    chunk: int | None = None,
) -> Plan:
    """Decide where and how many models are trained at once.

    A CPU's core is filled by one model, and several in lockstep only evict each other from its
    cache: one after the other on every device. An accelerator is filled by many small models in
    lockstep: as many as half of its memory holds.

    Args:
        count: Runs in the group.
        devices: All of one kind.
        bytes_of_each: Estimates the memory of one run; called for accelerators only.
        chunk: How many at once at most; None for what the machine suggests.

    Returns:
        The plan, the same however many of the runs are left to do.

    >>> plan(5, jax.devices("cpu")[:1], lambda: 7_000_000)
    Plan(devices=(CpuDevice(id=0),), vectorized=False, chunk=1)
    """
    used = tuple(devices[:count])
    vectorized = used[0].platform != "cpu"
    each = -(-count // len(used))
    if chunk is not None:
        each = min(each, -(-chunk // len(used)))
    elif not vectorized:
        each = 1
    if vectorized and (statistics := used[0].memory_stats()):
        room = _SHARE_OF_MEMORY * statistics["bytes_limit"]
        each = max(1, min(each, int(room // bytes_of_each())))
    return Plan(used, vectorized, each * len(used))


def bytes_of_model(group: Group, hyper: Hyper, parts: tuple[Batch, Batch]) -> int:
    """Estimate the memory that one model takes while it is trained among others.

    The state, the gradients, the updates and the new state are there at once; so are the words
    that an epoch's order is sorted by; and what an evaluation of the largest batch computes.

    Args:
        group: What is run.
        hyper: The hyperparameters of one of its runs.
        parts: The training and the test data.

    Returns:
        Bytes; for the tutorial's network about 8 million.
    """
    key = jax.random.key(0)
    state = jax.eval_shape(lambda: start(key, hyper, group.task, parts[0]))
    largest = max(group.batches)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((largest, *leaf.shape[1:]), leaf.dtype), parts[1]
    )
    measured = jax.make_jaxpr(group.task.measure, static_argnums=3)(state.model, batch, key, False)
    computed = [out.aval for each in measured.eqns for out in each.outvars]
    held = _bytes(jax.tree.leaves(state))
    return 4 * held + 4 * 6 * samples_in(parts[0]) + _bytes(computed)


def _bytes(arrays: Iterable[Any]) -> int:
    """Add up the sizes of arrays, of which only shapes and dtypes are used."""
    return sum(each.size * jnp.dtype(each.dtype).itemsize for each in arrays if _is_plain(each))


def _is_plain(array: Any) -> bool:
    return hasattr(array, "size") and not jnp.issubdtype(array.dtype, jax.dtypes.extended)


@functools.lru_cache(maxsize=64)
def program(
    group: Group, devices: tuple[Device, ...], vectorized: bool
) -> Callable[[Key[Array, " models"], Hyper, tuple[Batch, Batch]], Metered]:
    """Build the one program of a group: every model's metrics from its key and its numbers.

    Args:
        group: What the group's runs share.
        devices: As in `Plan`.
        vectorized: As in `Plan`.

    Returns:
        A jitted ``metrics(keys, hypers, data)``, mapped over the first axis of keys and hypers;
        each array of the history is ``[models, epochs]``.
    """
    sizes = group.batches._asdict()
    train = make_train(group.task, epochs=group.epochs, **sizes)

    def metrics(key: Key[Array, ""], hyper: Hyper, data: tuple[Batch, Batch]) -> Metered:
        return train(key, hyper, data)[1]

    def on_one_device(
        keys: Key[Array, " models"], hypers: Hyper, data: tuple[Batch, Batch]
    ) -> Metered:
        if vectorized:
            return jax.vmap(metrics, in_axes=(0, 0, None))(keys, hypers, data)
        return jax.lax.map(lambda model: metrics(model[0], model[1], data), (keys, hypers))

    mapped = jax.shard_map(
        on_one_device,
        mesh=_mesh(devices),
        in_specs=(P("models"), P("models"), P()),
        out_specs=P("models"),
        # The devices say nothing to each other; the check would ask for marks inside training.
        check_vma=False,
    )
    return jax.jit(mapped)


def replicate(data: tuple[Batch, Batch], devices: tuple[Device, ...]) -> tuple[Batch, Batch]:
    """Copy the data to every device."""
    return jax.device_put(data, NamedSharding(_mesh(devices), P()))


def stack(hypers: Sequence[Hyper]) -> dict[str, Any]:
    """Put each number of all models into one array; what a model has none of is left out."""
    return {
        name: _numbers([each[name] for each in hypers])
        for name, value in hypers[0].items()
        if value is not None
    }


def _numbers(values: Sequence[Any]) -> np.ndarray:
    array = np.array(values)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))


def keys(seeds: Sequence[int]) -> Key[Array, " models"]:
    """Make each run's key from its own seed, as a single run does."""
    return jax.vmap(jax.random.key)(np.array(seeds, dtype=np.uint32))


def _mesh(devices: tuple[Device, ...]) -> Mesh:
    return Mesh(np.array(devices), ("models",), axis_types=(AxisType.Auto,))
