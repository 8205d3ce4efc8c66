"""Several processes that make one run: how they connect, agree, and end together.

JAX's coordination service, in process 0, connects and monitors them. A process that dies closes
its connections, and the others' next sum over the devices fails at once; one that does not respond,
because its machine or the network is down, is given up after the heartbeat timeout. Either way
the others end: no run continues without a share of its batch.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

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
        coordinator_address: HOST:PORT of process 0, which listens there.
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
        address = self.coordinator_address
        if address is not None:
            host, _, port = address.rpartition(":")
            if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise InputError(
                    f"coordinator_address is {address!r}; it must be HOST:PORT, such as "
                    "10.0.0.1:12345"
                )


def join(processes: Processes, on_abort: Callable[[str], None] = lambda _: None) -> None:
    """Connect to the run's other processes; call it before anything else of JAX.

    Args:
        processes: How to find them.
        on_abort: Called with the message to print if the runtime ends this process from here on;
            what `hush` returned.

    Raises:
        InputError: Their address or number is unknown, the port is taken, this machine's own name
            has no address, JAX was used before, or not all of them connect in time.
    """
    processes = _with_environment(processes)
    _check_own_name()
    # The service logs at length when it ends; this and `hush` make it one line.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    address = processes.coordinator_address
    host = (address or "").rpartition(":")[0]
    local = host == "localhost" or host.startswith("127.")
    if address and processes.process_id == 0:
        _check_port(address, local)
    count = "all" if processes.num_processes is None else f"all {processes.num_processes}"
    not_met = (
        f"not {count} processes met at {address or 'process 0'} within {processes.start_timeout} "
        "s: check --num-processes, that each has a --process-id of its own, and that the address "
        "can be reached"
    )
    on_abort(not_met)
    try:
        jax.distributed.initialize(
            address,
            processes.num_processes,
            processes.process_id,
            initialization_timeout=processes.start_timeout,
            heartbeat_timeout_seconds=processes.heartbeat_timeout,
            # Processes of one machine need not listen on the network.
            coordinator_bind_address=address if local else None,
        )
    except ValueError as error:
        raise InputError(
            f"the run's processes are not known ({error}); give --coordinator-address HOST:PORT, "
            "--num-processes and --process-id, or start them by SLURM or Open MPI"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        raise InputError(not_met) from error
    except RuntimeError as error:  # The backend is there already, and knows one process only.
        raise InputError(
            "JAX was used before the run's processes were connected; where a task's file computes "
            "with it, it must do so in functions: move such lines into task or data"
        ) from error
    on_abort(LOST)


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


def hush() -> Callable[[str], None]:
    """Reduce to one line what the runtime prints when another process stops.

    The coordination service ends the process from C++, with a stack trace on stderr that no option
    turns off; and Gloo prints a line on stdout. So both streams of the *process* go through a
    filter, a separate process that outlives it, while Python's stdout bypasses it.

    Returns:
        A function that sets the message to print if the service ends this process.
    """
    sys.stdout.flush()
    sys.stdout = os.fdopen(
        os.dup(1), "w", buffering=1, encoding=sys.stdout.encoding, errors=sys.stdout.errors
    )
    # In a session of its own, the filter is not ended by Ctrl-C before the process it filters.
    filtering = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _FILTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert filtering.stdin is not None
    for stream in (1, 2):
        os.dup2(filtering.stdin.fileno(), stream)
    filtering.stdin.close()

    def set_message(text: str) -> None:
        sys.stderr.write(f"\0{text}\n")
        sys.stderr.flush()

    return set_message


# It copies its input, up to this package's own last message or the service's.
_FILTER = """
import sys
meaning, said = b"", False
for line in sys.stdin.buffer:
    if line.startswith(b"\\0"):
        meaning = line[1:]
        continue
    if b"JAX distributed service detected fatal errors" in line:
        line = b"jaxmnist: " + meaning
    if not said and not line.startswith(b"[Gloo] "):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
    said = said or line.startswith(b"jaxmnist: ")
"""


def _with_environment(processes: Processes) -> Processes:
    """Fill in the values of JAX's environment variables."""
    found = {}
    for name in ("coordinator_address", "num_processes", "process_id"):
        text = os.environ.get(f"JAX_{name.upper()}")
        if getattr(processes, name) is None and text:
            if name != "coordinator_address" and not text.isdigit():
                raise InputError(f"JAX_{name.upper()} is {text!r}; it must be a whole number")
            found[name] = text if name == "coordinator_address" else int(text)
    return replace(processes, **found)


def _check_own_name() -> None:
    """Refuse a machine whose name has no address: the sums between processes listen at it."""
    import socket

    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"this machine's own name, {name!r}, has no address, and a process of a run listens at "
            f"it; add the line '127.0.0.1 {name}' to /etc/hosts if all of them are on this "
            "machine, and otherwise one with its address in the network in place of 127.0.0.1"
        ) from error


def _check_port(address: str, local: bool) -> None:
    """Refuse an address that process 0 cannot listen at; the service itself would wait for it."""
    import socket

    host, _, port = address.rpartition(":")
    try:
        family = socket.AF_INET if local or not socket.has_ipv6 else socket.AF_INET6
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host if local else "", int(port)))
    except OSError as error:
        raise InputError(
            f"process 0 cannot listen at {address}: {error.strerror}; choose another port"
        ) from error
