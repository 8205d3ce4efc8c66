"""Several processes that make one run: how they connect, agree, and end together.

JAX's coordination service, in process 0, connects and monitors them. A process that dies closes
its connections, and the others' next sum over the devices fails at once; one that does not respond,
because its machine or the network is down, is given up after the heartbeat timeout. Either way
the others end: no run continues without a share of its batch.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from jaxmnist import signals
from jaxmnist.distributed import addresses
from jaxmnist.distributed.abort import OnAbort, end_after
from jaxmnist.distributed.abort import hush as hush
from jaxmnist.errors import InputError

LOST = "another process of this run stopped or cannot be reached, so this one stops too"


_LONGEST = 4096
"""Bytes of the longest objection to a run that is told to the other processes."""


class LostProcessError(RuntimeError):
    """Another process stopped, and its share of every batch is missing."""


@dataclass(frozen=True)
class Processes:
    """How the processes of a run connect; what is None comes from the environment.

    That is JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, and otherwise what
    JAX itself detects: SLURM, Open MPI, Kubernetes, TPU pods.

    Attributes:
        coordinator_address: HOST:PORT of process 0, which listens there; of localhost, in any
            spelling, at the loopback interface alone.
        num_processes: How many there are.
        process_id: Which this is, from 0.
        start_timeout: Seconds to wait for all of them to connect.
        heartbeat_timeout: Seconds without a response after which a process is given up.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    start_timeout: int = 300
    heartbeat_timeout: int = 30

    def __post_init__(self) -> None:
        for name, least in (
            ("num_processes", 1),
            ("process_id", 0),
            ("start_timeout", 1),
            ("heartbeat_timeout", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(
                    f"{name} is {value}; it must be a whole number of at least {least}"
                )
        count, own = self.num_processes, self.process_id
        if count is not None and own is not None and own >= count:
            raise InputError(
                f"process_id is {own}; with num_processes {count} it must be a whole number from "
                f"0 to {count - 1}"
            )
        if self.coordinator_address is not None:
            addresses.host_and_port(self.coordinator_address)


def join(processes: Processes, on_abort: OnAbort | None = None) -> None:
    """Connect to the run's other processes; call it before anything else of JAX.

    Args:
        processes: How to find them.
        on_abort: Called with the message and the exit status if the runtime ends this process from
            here on, what `hush` returned; then this process also ends by itself, with status 2,
            if not all of them connect in time.

    Raises:
        InputError: Their address or number is unknown, the port is taken, this machine's own name
            has no address, or not all of them connect in time.
    """
    begun = time.monotonic()
    processes = with_environment(processes)
    addresses.check_own_name()
    # The service logs at length when it ends; this and `hush` make it one line.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    given = address = processes.coordinator_address
    is_local = False
    if address is not None:
        host, port = addresses.host_and_port(address)
        if is_local := addresses.is_this_machine(host):
            host, address = addresses.LOOPBACK, f"{addresses.LOOPBACK}:{port}"
        if processes.process_id == 0:
            addresses.check_port(address, host, port)
    count = "all" if processes.num_processes is None else f"all {processes.num_processes}"
    not_met = (
        f"not {count} processes met at {given or 'process 0'} within {processes.start_timeout} "
        "s: check --num-processes, that each has a --process-id of its own, and that the address "
        "can be reached"
    )
    limit = None
    if on_abort is not None:
        on_abort(not_met, 2)
        # JAX itself gives up five seconds later than it is asked to.
        left = processes.start_timeout - (time.monotonic() - begun)
        limit = end_after(left, not_met, 2)
    import jax

    try:
        jax.distributed.initialize(
            address,
            processes.num_processes,
            processes.process_id,
            initialization_timeout=processes.start_timeout,
            heartbeat_timeout_seconds=processes.heartbeat_timeout,
            # Processes of one machine need not listen on the network.
            coordinator_bind_address=address if is_local else None,
        )
    except ValueError as error:
        raise InputError(
            f"the run's processes are not known ({error}); give --coordinator-address HOST:PORT, "
            "--num-processes and --process-id, or start them by SLURM or Open MPI"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        raise InputError(not_met) from error
    finally:
        if limit is not None:
            limit.cancel()
    if is_local:
        _sum_over_loopback()
    signals.take_over()  # JAX handles SIGTERM from here on, and does not stop.
    if on_abort is not None:
        on_abort(LOST, 1)


def _sum_over_loopback() -> None:
    """Have Gloo, which sums over CPUs, listen at the loopback interface alone."""
    import jax

    # JAX has no option for the address, which is by default that of the machine's own name.
    from jax._src import distributed, xla_bridge
    from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage]
    from jax.extend.backend import register_backend_factory

    def make_client() -> Any:
        gloo = _jax.make_gloo_tcp_collectives(
            distributed_client=distributed.global_state.client, hostname=addresses.LOOPBACK
        )
        return xla_bridge.make_cpu_client(gloo)

    if jax.config.values["jax_cpu_collectives_implementation"] == "gloo":
        register_backend_factory("cpu", make_client, priority=0, fail_quietly=False)


def is_beside_first(processes: Processes) -> bool:
    """Return whether this process is on process 0's machine, as far as can be told before it joins.

    Args:
        processes: How the processes connect.

    Raises:
        InputError: A variable of the environment has an impossible value.
    """
    processes = with_environment(processes)
    address = processes.coordinator_address
    return processes.process_id == 0 or (
        address is not None and addresses.is_this_machine(addresses.host_and_port(address)[0])
    )


def joined() -> bool:
    """Return whether this process is one of several that make a run."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def is_first() -> bool:
    """Return whether this process writes and prints: process 0 does, and a single one."""
    if not joined():
        return True
    import jax

    return jax.process_index() == 0


def from_first(decide: Callable[[], Any]) -> Any:
    """Call a function in process 0 and return its result in every process.

    Args:
        decide: Called in process 0 only. Returns a value of JSON's types, or raises InputError.

    Returns:
        What it returned, in every process.

    Raises:
        InputError: In every process, if process 0 raised one.
        LostProcessError: Another process stopped.
    """
    if not joined():
        return decide()
    import numpy as np

    sent = {}
    if is_first():
        try:
            sent = {"decided": decide()}
        except InputError as error:
            sent = {"error": str(error)}
    content = np.frombuffer(json.dumps(sent).encode(), np.uint8)
    size = int(broadcast(np.int32(content.size)))
    content = content if is_first() else np.zeros(size, np.uint8)
    received = json.loads(bytes(broadcast(content)))
    if "error" in received:
        leave()
        raise InputError(received["error"])
    return received["decided"]


def agree(objection: str | None) -> None:
    """Go on if no process objects, and otherwise end in all of them with the same error.

    Args:
        objection: What this process has against going on, to follow "process N"; None for nothing.

    Raises:
        InputError: In every process, if one objected: with the objection of the first that did.
        LostProcessError: Another process stopped.
    """
    if not joined():
        if objection is not None:
            raise InputError(f"this process {objection}")
        return
    import numpy as np
    from jax.experimental import multihost_utils

    content = (objection or "").encode()[:_LONGEST]
    padded = np.frombuffer(content.ljust(_LONGEST, b"\0"), np.uint8)
    try:
        gathered = np.asarray(multihost_utils.process_allgather(padded))
    except (RuntimeError, ValueError) as error:
        lost(error)
    for index, row in enumerate(gathered.reshape(-1, _LONGEST)):
        if text := bytes(row).rstrip(b"\0").decode(errors="replace"):
            leave()
            raise InputError(f"process {index} {text}")


def broadcast(tree: Any) -> Any:
    """Copy the arrays of process 0 to every process.

    Args:
        tree: Arrays, of the same shapes and dtypes in every process.

    Returns:
        NumPy arrays with the values of process 0.

    Raises:
        LostProcessError: Another process stopped.
    """
    from jax.experimental import multihost_utils

    try:
        return multihost_utils.broadcast_one_to_all(tree)
    except (RuntimeError, ValueError) as error:
        lost(error)


def largest(value: int) -> int:
    """Return the largest of the values of all processes, which agree on it.

    Args:
        value: This process's own.

    Raises:
        LostProcessError: Another process stopped.
    """
    if not joined():
        return value
    import numpy as np
    from jax.experimental import multihost_utils

    try:
        return int(np.max(multihost_utils.process_allgather(np.int32(value))))
    except (RuntimeError, ValueError) as error:
        lost(error)


def lost(error: Exception) -> NoReturn:
    """Raise the error of a program that several processes ran together."""
    if not joined():
        raise error
    raise LostProcessError(f"{LOST} ({str(error).splitlines()[0]})") from error


def leave() -> None:
    """Wait for the run's other processes to end as well, and disconnect."""
    if joined():
        import jax

        jax.distributed.shutdown()


def with_environment(processes: Processes) -> Processes:
    """Return how to connect, with what JAX's environment variables say of it.

    Args:
        processes: Whose values count before them.

    Raises:
        InputError: A variable's value is impossible.
    """
    found = {}
    for name in ("coordinator_address", "num_processes", "process_id"):
        text = os.environ.get(f"JAX_{name.upper()}")
        if getattr(processes, name) is None and text:
            if name != "coordinator_address" and not text.isdigit():
                raise InputError(f"JAX_{name.upper()} is {text!r}; it must be a whole number")
            found[name] = text if name == "coordinator_address" else int(text)
    return replace(processes, **found)
