"""How processes find one another: at JAX's coordination service, in process 0, which monitors them.

It ends every process that is still connected when another one dies.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxmnist import signals
from jaxmnist.distributed import addresses
from jaxmnist.distributed.abort import OnAbort, end_after
from jaxmnist.errors import InputError

LOST = "another process of this run stopped or cannot be reached, so this one stops too"


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


def connect(
    processes: Processes, initialize: Callable[..., None], on_abort: OnAbort | None = None
) -> bool:
    """Connect to JAX's coordination service, which process 0 starts.

    Args:
        processes: How to find the other processes.
        initialize: Connects, with the arguments of `jax.distributed.initialize`.
        on_abort: Called with the message and the exit status if the runtime ends this process from
            here on, what `hush` returned; then this process also ends by itself, with status 2,
            if not all of them connect in time.

    Returns:
        Whether all processes are known to be on this machine.

    Raises:
        InputError: Their address or number is unknown, the port is taken, or not all of them
            connect in time.
    """
    begun = time.monotonic()
    processes = with_environment(processes)
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
        initialize(
            coordinator_address=address,
            num_processes=processes.num_processes,
            process_id=processes.process_id,
            initialization_timeout=processes.start_timeout,
            heartbeat_timeout_seconds=processes.heartbeat_timeout,
            # Processes of one machine need not listen on the network.
            coordinator_bind_address=address if is_local else None,
        )
    except InputError:
        raise
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
    signals.take_over()  # JAX handles SIGTERM from here on, and does not stop.
    if on_abort is not None:
        on_abort(LOST, 1)
    return is_local


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
