"""How the runs of one group are made one program, and how many of them go into it at once."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Key

from jaxmnist.config import Config, Hyper, default_hyper
from jaxmnist.data.dataset import Arrays
from jaxmnist.training import History, init, make_train

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


def plan(
    config: Config,
    num_classes: int,
    samples: int,
    count: int,
    devices: Sequence[Device],
    chunk: int | None = None,
) -> Plan:
    """Decide where and how many models are trained at once.

    A CPU's core is filled by one model, and several in lockstep only evict each other from its
    cache: one after the other on every device. An accelerator is filled by many small models in
    lockstep: as many as fit in half of its memory.

    Args:
        config: What the group's runs share.
        num_classes: Number of logits.
        samples: Training images.
        count: Runs in the group.
        devices: All of one kind.
        chunk: How many at once at most; None for what the machine suggests.

    Returns:
        The plan, the same however many of the runs are left to do.

    >>> plan(Config(), 10, 60_000, count=5, devices=jax.devices("cpu")[:1])
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
        each = max(1, min(each, int(room // bytes_of_model(config, num_classes, samples))))
    return Plan(used, vectorized, each * len(used))


def bytes_of_model(config: Config, num_classes: int, samples: int) -> int:
    """Estimate the memory that one model takes while it is trained among others.

    The state, the gradients, the updates and the new state are there at once; so are the words
    that an epoch's order is sorted by; and an evaluation batch's pixels and activations.

    Args:
        config: The run.
        num_classes: Number of logits.
        samples: Training images.

    Returns:
        Bytes; for the tutorial's network about 7 million.
    """
    state = jax.eval_shape(
        lambda key: init(key, default_hyper(config), config, num_classes), jax.random.key(0)
    )
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    batch = max(config.batch_size, config.eval_batch_size)
    activations = 4 * batch * (2 * 784 + 3 * sum(config.hidden) + 3 * num_classes)
    return 4 * state_bytes + 4 * 6 * samples + activations


@functools.lru_cache(maxsize=64)
def program(
    config: Config, num_classes: int, devices: tuple[Device, ...], vectorized: bool
) -> Callable[[Key[Array, " models"], Hyper, Arrays], History]:
    """Build the one program of a group: every model's metrics from its key and its numbers.

    Args:
        config: What the group's runs share.
        num_classes: Number of logits.
        devices: As in `Plan`.
        vectorized: As in `Plan`.

    Returns:
        A jitted ``history(keys, hypers, data)``, mapped over the first axis of keys and hypers;
        each array of the history is ``[models, epochs]``.
    """
    train = make_train(config, num_classes)

    def history(key: Key[Array, ""], hyper: Hyper, data: Arrays) -> History:
        return train(key, hyper, data)[1]

    def on_one_device(keys: Key[Array, " models"], hypers: Hyper, data: Arrays) -> History:
        if vectorized:
            return jax.vmap(history, in_axes=(0, 0, None))(keys, hypers, data)
        return jax.lax.map(lambda model: history(model[0], model[1], data), (keys, hypers))

    mapped = jax.shard_map(
        on_one_device,
        mesh=_mesh(devices),
        in_specs=(P("models"), P("models"), P()),
        out_specs=P("models"),
        # The devices do not communicate; the check would need annotations inside training.
        check_vma=False,
    )
    return jax.jit(mapped)


def replicate(data: Arrays, devices: tuple[Device, ...]) -> Arrays:
    """Copy the data to every device."""
    return jax.device_put(data, NamedSharding(_mesh(devices), P()))


def stack(hypers: Sequence[Hyper]) -> dict[str, Any]:
    """Put each number of all models into one array; what a model has none of is left out."""
    return {
        name: np.array([each[name] for each in hypers], dtype=jax.dtypes.canonicalize_dtype(float))
        for name, value in hypers[0].items()
        if value is not None
    }


def keys(seeds: Sequence[int]) -> Key[Array, " models"]:
    """Make each run's key from its own seed, as a single run does."""
    return jax.vmap(jax.random.key)(np.array(seeds, dtype=np.uint32))


def _mesh(devices: tuple[Device, ...]) -> Mesh:
    return Mesh(np.array(devices), ("models",))
