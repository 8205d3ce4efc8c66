"""Several processes that make one run: how they connect, agree, and end together.

JAX's coordination service, in process 0, connects and monitors them. A process that dies closes
its connections, and the others' next sum over the devices fails at once; one that does not respond,
because its machine or the network is down, is given up after the heartbeat timeout. Either way
the others end: no run continues without a share of its batch.
"""

import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from jaxmnist.distributed import addresses
from jaxmnist.distributed.abort import OnAbort
from jaxmnist.distributed.abort import hush as hush
from jaxmnist.distributed.connection import LOST as LOST
from jaxmnist.distributed.connection import LostProcessError as LostProcessError
from jaxmnist.distributed.connection import Processes as Processes
from jaxmnist.distributed.connection import connect, with_environment
from jaxmnist.distributed.connection import is_beside_first as is_beside_first
from jaxmnist.errors import InputError

_LONGEST = 4096
"""Bytes of the longest objection to a run that is told to the other processes."""


def join(processes: Processes, on_abort: OnAbort | None = None) -> None:
    """Connect to the run's other processes; call it before anything else of JAX.

    Args:
        processes: How to find them.
        on_abort: As `connect` takes it.

    Raises:
        InputError: What `connect` raises; or this machine's own name has no address, or JAX was
            used before.
    """

    def initialize(**settings: Any) -> None:
        import jax

        try:
            jax.distributed.initialize(**settings)
        except jax.errors.JaxRuntimeError:
            raise
        except RuntimeError as error:  # The backend is there already, and knows one process only.
            raise InputError(
                "JAX was used before the run's processes were connected; where a task's file "
                "computes with it, it must do so in functions: move such lines into task or data"
            ) from error

    processes = with_environment(processes)
    addresses.check_own_name()
    if connect(processes, initialize, on_abort):
        _sum_over_loopback()


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
