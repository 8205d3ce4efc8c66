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
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, UInt32

from jaxmnist import training
from jaxmnist.config import Config, Hyper, default_hyper
from jaxmnist.data.dataset import Arrays, Dataset
from jaxmnist.distributed import processes
from jaxmnist.training import ApplyFn, History, TrainState


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Lay devices out along one axis, ``"data"``.

    Args:
        devices: Which; None for all there are, on all hosts.

    Returns:
        The mesh.

    >>> dict(data_mesh(jax.devices()[:1]).shape)
    {'data': 1}
    """
    return Mesh(np.array(jax.devices() if devices is None else devices), ("data",))


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
    config: Config,
    dataset: Dataset,
    mesh: Mesh,
    *,
    state: TrainState | None = None,
    epoch: int = 0,
    on_compiled: Callable[[], None] = lambda: None,
    on_epoch: Callable[[int, TrainState, History], None] = lambda *_: None,
) -> tuple[TrainState, History]:
    """Run `jaxmnist.fit` on all devices of a mesh, with the same numbers to rounding.

    In a mesh over several hosts every process calls this with the same arguments, its own copy
    of the data included, and gets the same results; the start is process 0's. No array that
    spans processes leaves it: states and metrics are each process's own copy, on its first
    device.

    Args:
        config: The run. ``batch_size`` is the whole batch's, shared by all devices.
        dataset: The images; every device has a copy of all of them.
        mesh: With an axis ``"data"``.
        state: The state to start from; None for a new one.
        epoch: The first epoch to run, from 0: how many were trained before ``state``.
        on_compiled: Called once, when the program is ready and the first epoch begins.
        on_epoch: Called after each epoch with its index from 0, the state, and its metrics.

    Returns:
        The final state, and the history with one entry per epoch that was run.

    Raises:
        InputError: A batch is larger than the data.
        DivergedError: A loss is NaN or infinite; it has the state and the history before it.
        LostProcessError: Another process stopped.
    """
    training.check_batches_fit(config, dataset)
    key = jax.random.key(config.seed)
    start = state or training.init(key, default_hyper(config), config, dataset.num_classes)
    if jax.process_count() > 1:
        start = processes.broadcast(start)

    replicated = NamedSharding(mesh, PartitionSpec())

    def to_all(tree: Any) -> Any:
        return jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(replicated, np.asarray(leaf)), tree
        )

    data = to_all(dataset.arrays())
    # An epoch's program does not depend on their number: the next fit finds it compiled.
    program = replace(config, epochs=1).program()
    key_data = to_all(jax.random.key_data(key))
    constants = (program, dataset.num_classes, mesh, key_data, default_hyper(config), data)

    def run_epoch(index: int, state: TrainState) -> tuple[TrainState, History, Any]:
        try:
            results = jax.block_until_ready(_jitted_epoch(*constants, index, to_all(state)))
        except (RuntimeError, ValueError) as error:  # What the sum over the devices raises.
            processes.lost(error)
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), results)

    _jitted_epoch.lower(*constants, 0, to_all(start)).compile()
    on_compiled()
    return training.run_epochs(run_epoch, start, range(epoch, config.epochs), on_epoch)


def _epoch(
    config: Config,
    num_classes: int,
    mesh: Mesh,
    key_data: UInt32[Array, " words"],
    hyper: Hyper,
    data: Arrays,
    index: Int[Array, ""] | int,
    state: TrainState,
) -> tuple[TrainState, History, Float[Array, " steps"]]:
    key = jax.random.wrap_key_data(key_data)
    results = training.train_and_evaluate(
        config,
        num_classes,
        key,
        hyper,
        data,
        index,
        state,
        place=lambda apply_fn: shard_batches(apply_fn, mesh),
    )
    return jax.lax.with_sharding_constraint(results, NamedSharding(mesh, PartitionSpec()))


_jitted_epoch = jax.jit(_epoch, static_argnums=(0, 1, 2))
