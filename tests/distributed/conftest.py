"""Real processes of one run on this machine, each of which may send itself a signal.

Every process listens and talks on 127.0.0.1 only, and is killed and reaped when its test ends.
"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

LIMIT = 240
"""Seconds that any process may take, on a busy machine too."""

# The command, in a process that sends itself a signal when its third epoch is over.
SIGNALLED = """
import os, signal
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # As the program does, before JAX is loaded.
from jaxmnist import training
from jaxmnist.__main__ import main
run_epochs = training.run_epochs

def stopping(run_epoch, state, indices, on_epoch, shapes):
    def then_stop(index, *reached):
        on_epoch(index, *reached)
        if index == 2:
            os.kill(os.getpid(), signal.{})
    return run_epochs(run_epoch, state, indices, then_stop, shapes)

training.run_epochs = stopping
main()
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def _running(
    words: list,
    places: list[dict],
    stops: dict[int, str] | None = None,
    command: str = "train",
    signalled: str = SIGNALLED,
) -> Iterator[list[subprocess.Popen]]:
    """Start `jaxmnist train --distributed` once for each place; none outlives the block.

    A place is options (``--name``) and environment variables; ``stops`` has a process send itself
    a signal, which ``signalled`` is the code of. Another command may be started in the same way.
    """
    started = []
    try:
        for index, place in enumerate(places):
            own = [word for name in place if name[:2] == "--" for word in (name, place[name])]
            variables = {name: str(place[name]) for name in place if name[:2] != "--"}
            code = signalled.format(stops[index]) if stops and index in stops else ""
            program = ["-c", code] if code else ["-m", "jaxmnist"]
            started.append(
                subprocess.Popen(
                    # A task's file comes first of the words.
                    [sys.executable, *program, command, *map(str, [*words, *own]), "--distributed"],
                    env={**os.environ, **variables},
                    cwd=variables.get("PWD"),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _by_options(count: int, **more: object) -> list[dict]:
    address = f"127.0.0.1:{_free_port()}"
    return [
        {
            "--coordinator-address": address,
            "--num-processes": count,
            "--process-id": index,
            **{f"--{name.replace('_', '-')}": value for name, value in more.items()},
        }
        for index in range(count)
    ]


def _by_environment(count: int) -> list[dict]:
    address = f"127.0.0.1:{_free_port()}"
    return [
        {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_NUM_PROCESSES": count,
            "JAX_PROCESS_ID": index,
        }
        for index in range(count)
    ]


def _by_slurm(count: int) -> list[dict]:
    port = _free_port()
    return [
        {
            "SLURM_JOB_ID": 7,
            "SLURM_STEP_NODELIST": "127.0.0.1",
            "SLURM_NTASKS": count,
            "SLURM_STEP_NUM_NODES": 1,
            "SLURM_PROCID": index,
            "SLURM_LOCALID": index,
            "JAX_COORDINATOR_PORT": port,
            # SLURM's hosts are not known to be this one: without this, all its doors are open.
            "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
        }
        for index in range(count)
    ]


def _ended(process: subprocess.Popen) -> tuple[int, list[str], str]:
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out.splitlines(), err


@pytest.fixture(scope="session")
def limit() -> int:
    """Seconds that any process may take, on a busy machine too."""
    return LIMIT


@pytest.fixture(scope="session")
def running() -> Callable[..., Any]:
    """`_running`: starts the processes of a run for the length of a block."""
    return _running


@pytest.fixture(scope="session")
def ended() -> Callable[..., Any]:
    """A function that waits for a process, and returns its status, its lines and its errors."""
    return _ended


@pytest.fixture(scope="session")
def by_options() -> Callable[..., Any]:
    """A function that returns places for `running`, which are told to processes by options."""
    return _by_options


@pytest.fixture(scope="session")
def by_environment() -> Callable[..., Any]:
    """The same, by JAX's variables."""
    return _by_environment


@pytest.fixture(scope="session")
def by_slurm() -> Callable[..., Any]:
    """The same, by SLURM's."""
    return _by_slurm
