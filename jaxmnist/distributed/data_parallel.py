"""One run on many devices: each takes its share of every batch, and all keep the same weights.

The program is the single device's. Two annotations make it a parallel one: the parameters, the
optimizer's state and the data lie on every device (replicated), and the rows of a batch are laid
out along the mesh's axis ``"data"``. From these the compiler derives the rest.

With n devices and a batch of B, device k has the rows ``k ceil(B/n) ... (k+1) ceil(B/n) - 1``,
where they exist. The loss stays the mean over the *whole* batch, so its gradient is the sum over
the devices of ``1/B sum_i grad l_i`` over their own rows: one all-reduce. That is the number a
single device computes, in another order of summation; it is not a mean of the devices' means, so
a short last batch, or one that n does not divide, needs no care.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, UInt32

from jaxmnist import training
from jaxmnist.config import Config, Hyper
from jaxmnist.data.stream import Stream
from jaxmnist.distributed import processes
from jaxmnist.errors import InputError
from jaxmnist.tasks.value import Batch, Task
from jaxmnist.training import ApplyFn, BatchSizes, OnEpoch, TrainState


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Lay devices out along one axis, ``"data"``.

    Args:
        devices: Which; None for all there are, on all hosts.

    Returns:
        The mesh.

    >>> dict(data_mesh(jax.devices()[:1]).shape)
    {'data': 1}
    """
    found = np.array(jax.devices() if devices is None else devices)
    # Automatic: the compiler derives the layouts from the two annotations.
    return Mesh(found, ("data",), axis_types=(AxisType.Auto,))


def shard_batches(apply_fn: ApplyFn, mesh: Mesh) -> ApplyFn:
    """Have each device apply the model to its own rows of a batch.

    Args:
        apply_fn: ``apply_fn(params, x) -> logits``, each row of the batch on its own.
        mesh: With an axis ``"data"``.

    Returns:
        The same function of the same numbers, for use under ``jit``. Pass it to
        `jaxmnist.training.train_step` or `train_epoch` with replicated parameters, and the step
        is data parallel.

    >>> import jax.numpy as jnp
    >>> apply_fn = shard_batches(lambda w, x: x @ w, data_mesh(jax.devices()[:1]))
    >>> print(jax.jit(apply_fn)(jnp.ones((3, 2)), jnp.ones((4, 3)))[0])
    [3. 3.]
    """
    rows = NamedSharding(mesh, PartitionSpec("data"))

    def sharded(params: Any, x: Any) -> Any:
        return apply_fn(params, jax.lax.with_sharding_constraint(x, rows))

    return sharded


def fit(
    task: Config | Task,
    data: Any,
    mesh: Mesh,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    eval_batch_size: int | None = None,
    seed: int = 0,
    hyper: Hyper | None = None,
    state: TrainState | None = None,
    epoch: int = 0,
    on_compiled: Callable[[], None] = lambda: None,
    on_epoch: OnEpoch = lambda *_: None,
) -> tuple[TrainState, Any]:
    """Run `jaxmnist.fit` on all devices of a mesh, with the same numbers to rounding.

    In a mesh over several hosts every process calls this with the same arguments, its own copy
    of the data included, and gets the same results; the start is process 0's. No array that
    spans processes leaves it: states and metrics are each process's own copy, on its first
    device.

    Args:
        task: A config or a task, as `jaxmnist.fit` takes it.
        data: In memory, as `jaxmnist.fit` takes it; every device has a copy of all of it.
        mesh: With an axis ``"data"``.
        epochs: As in `jaxmnist.fit`; so are all that follow.
        batch_size: The whole batch's, shared by all devices.
        eval_batch_size: The same of the test data.
        seed: As in `jaxmnist.fit`.
        hyper: As in `jaxmnist.fit`.
        state: As in `jaxmnist.fit`.
        epoch: As in `jaxmnist.fit`.
        on_compiled: As in `jaxmnist.fit`.
        on_epoch: As in `jaxmnist.fit`.

    Returns:
        The final state, and the history with one entry per epoch that was run.

    Raises:
        InputError: A batch is larger than the data, or they are on disk.
        DivergedError: A loss is NaN or infinite; it has the state and the history before it.
        LostProcessError: Another process stopped.
    """
    if isinstance(data, Stream):
        raise InputError(
            "data on disk are read for one device; give jaxmnist.fit such data, or load them into "
            "memory"
        )
    run = training.plan_run(task, data, epochs, batch_size, eval_batch_size, seed, hyper)
    parts = training.split_pair(data)
    begun = state or training.start(run.key, run.hyper, run.task, training.first_rows(parts[0]))
    if jax.process_count() > 1:
        begun = processes.broadcast(begun)

    replicated = NamedSharding(mesh, PartitionSpec())

    def to_all(tree: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(replicated, np.asarray(leaf)), tree
        )

    key_data = to_all(jax.random.key_data(run.key))
    constants = (run.task.program(), run.batches, mesh, key_data, run.hyper, to_all(parts))

    def run_epoch(index: int, state: TrainState) -> tuple[TrainState, Any, Any]:
        try:
            results = jax.block_until_ready(_jitted_epoch(*constants, index, to_all(state)))
        except (RuntimeError, ValueError) as error:  # What the sum over the devices raises.
            processes.lost(error)
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), results)

    lowered = _jitted_epoch.lower(*constants, 0, to_all(begun))
    lowered.compile()
    on_compiled()
    indices = range(epoch, run.epochs)
    return training.run_epochs(run_epoch, begun, indices, on_epoch, lowered.out_info[1])


def _epoch(
    task: Task,
    batches: BatchSizes,
    mesh: Mesh,
    key_data: UInt32[Array, " words"],
    hyper: Hyper,
    parts: tuple[Batch, Batch],
    index: Int[Array, ""] | int,
    state: TrainState,
) -> tuple[TrainState, Any, Float[Array, " steps"]]:
    key = jax.random.wrap_key_data(key_data)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    results = training.train_and_evaluate(
        task,
        batches,
        key,
        hyper,
        parts,
        index,
        state,
        place=lambda batch: jax.lax.with_sharding_constraint(batch, rows),
    )
    return jax.lax.with_sharding_constraint(results, NamedSharding(mesh, PartitionSpec()))


_jitted_epoch = jax.jit(_epoch, static_argnums=(0, 1, 2))
