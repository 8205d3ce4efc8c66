"""Several processes that agree on what they are about to do, and then go on each by itself.

They connect to JAX's coordination service, exchange texts through it, and disconnect. JAX itself
is not told of it: in each process it has that process's own devices alone, and no process ends
because another one does.
"""

import json
from collections.abc import Callable
from typing import Any

from jaxmnist.distributed.connection import LostProcessError, Processes, connect
from jaxmnist.distributed.processes import hush
from jaxmnist.errors import InputError

LOST = "another process stopped before all of them had agreed, so this one stops too"

_open: "set[Meeting]" = set()


class Meeting:
    """The processes that `meet` connected; every one calls the same methods in the same order.

    Attributes:
        index: Which process this is, from 0.
        count: How many there are.
    """

    def __init__(self, state: Any, seconds: int) -> None:
        self.index: int = state.process_id
        self.count: int = state.num_processes
        self._state = state
        self._seconds = seconds
        self._rounds = 0
        _open.add(self)

    def from_first(self, decide: Callable[[], Any]) -> Any:
        """Call a function in process 0 and return its result in every process.

        Args:
            decide: Called in process 0 only. Returns a value of JSON's types, or raises
                InputError.

        Returns:
            What it returned, in every process.

        Raises:
            InputError: In every process, if process 0 raised one.
            LostProcessError: Another process stopped.
        """
        sent = {}
        if self.index == 0:
            try:
                sent = {"decided": decide()}
            except InputError as error:
                sent = {"error": str(error)}
        (received,) = self._exchange(json.dumps(sent), senders=1)
        decided = json.loads(received)
        if "error" in decided:
            self.leave()
            raise InputError(decided["error"])
        return decided["decided"]

    def agree(self, objection: str | None) -> None:
        """Go on if no process objects, and otherwise end in all of them with the same error.

        Args:
            objection: What this process has against going on, to follow "process N"; None for
                nothing.

        Raises:
            InputError: In every process, if one objected: with the objection of the first that
                did.
            LostProcessError: Another process stopped.
        """
        for index, text in enumerate(self._exchange(objection or "", senders=self.count)):
            if text:
                self.leave()
                raise InputError(f"process {index} {text}")

    def leave(self) -> None:
        """Wait until all processes leave, and disconnect.

        Raises:
            LostProcessError: Another process stopped.
        """
        import jax

        try:
            self._state.shutdown()
        except jax.errors.JaxRuntimeError as error:
            raise LostProcessError(LOST) from error
        _open.discard(self)

    def _exchange(self, text: str, senders: int) -> list[str]:
        """Send this process's text, if it is among the first ones, and return the texts of all."""
        import jax

        client, round_ = self._state.client, f"jaxmnist/{self._rounds}"
        self._rounds += 1
        try:
            if self.index < senders:
                # A text has at least one character.
                client.key_value_set(f"{round_}/{self.index}", f".{text}")
            keys = [f"{round_}/{index}" for index in range(senders)]
            limit = 1000 * self._seconds
            return [client.blocking_key_value_get(key, limit)[1:] for key in keys]
        except jax.errors.JaxRuntimeError as error:
            raise LostProcessError(LOST) from error


def is_open() -> bool:
    """Return whether this process has met others and not left: its normal end would await them."""
    return bool(_open)


def meet(processes: Processes) -> Meeting:
    """Connect to the other processes; JAX may have been used before.

    What JAX detects of a GPU of this process's own counts only where it was not.

    Args:
        processes: How to find them.

    Returns:
        The processes, until one calls `Meeting.leave`.

    Raises:
        InputError: They cannot connect, as in `jaxmnist.distributed.connection.connect`.
    """
    on_abort = hush()
    from jax._src import distributed

    # Not the state that JAX has of the process, as `jax.distributed.initialize` would make its
    # devices and programs those of all processes.
    state = distributed.State()
    connect(processes, state.initialize, on_abort)
    on_abort(LOST, 1)
    return Meeting(state, processes.start_timeout)
