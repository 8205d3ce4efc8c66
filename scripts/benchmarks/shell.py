"""Run commands as a shell does, and note when their lines appear, or how much memory they take."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import OURS

PROGRAM = Path(__file__).with_name("program.py")
EPOCH = re.compile(r"epoch: (\d+), .*Eval Acc: ([\d.]+)")
IMPORTS = (sys.executable, "-c", "import jax, flax.linen, optax")


class Ran(NamedTuple):
    """What a command took."""

    seconds: float
    """From its start to the line that was waited for, or to its end."""
    accuracies: list[float]
    """The test accuracy of every epoch that it printed."""


def command(name: str, epochs: int, folder: Path, seed: int = 0, images: int = 60_000) -> list[str]:
    """Return how a peer is started from the shell.

    Args:
        name: One of `peers.PEERS`; ours is the command `jaxmnist train`.
        epochs: How long it trains.
        folder: Where ours writes its run.
        seed: Of the weights and the order.
        images: The first so many training images, which our command has no option for.

    Returns:
        The command.
    """
    options = ["--epochs", str(epochs), "--seed", str(seed)]
    if name == OURS:
        out = ["--out", str(folder / "run"), "--overwrite"]
        return [sys.executable, "-m", "jaxmnist", "train", *options, *out]
    return [sys.executable, str(PROGRAM), "--name", name, *options, "--images", str(images)]


def run(
    typed: Sequence[str],
    until: Callable[[list[float]], bool] | None = None,
    cache: Path | None = None,
) -> Ran:
    """Run a command to its end, or until it has printed enough epochs.

    Args:
        typed: The command.
        until: Told the test accuracies so far after each epoch's line: whether that is enough. The
            command is then killed. None runs it to its end.
        cache: The user's cache folder, where ours keeps compiled programs; an empty one makes a
            cold start. None leaves the shell's own.

    Returns:
        What it took.

    Raises:
        RuntimeError: It failed, or ended without having printed enough.
    """
    with tempfile.TemporaryFile("w+") as errors:
        clock = time.perf_counter()
        process = subprocess.Popen(
            typed,
            env=_variables(cache),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        accuracies: list[float] = []
        seconds = None
        for line in process.stdout:
            if match := EPOCH.match(line):
                accuracies.append(float(match.group(2)))
                if until is not None and until(accuracies):
                    seconds = time.perf_counter() - clock
                    process.kill()
                    break
        process.wait()
        ended = time.perf_counter() - clock
        process.stdout.close()
        errors.seek(0)
        if seconds is None and (process.returncode or until is not None):
            raise RuntimeError(
                f"{' '.join(typed)} ended with status {process.returncode} after "
                f"{len(accuracies)} epochs: {errors.read()[-2000:]}"
            )
    return Ran(seconds or ended, accuracies)


def peak_memory(typed: Sequence[str], cache: Path) -> float:
    """Run a command to its end and measure its memory.

    A small process starts it, since Linux counts the memory of who starts a process as its own.

    Args:
        typed: The command.
        cache: As in `run`.

    Returns:
        The most memory that was resident, in MiB.

    Raises:
        RuntimeError: It failed.
    """
    typed = [sys.executable, "-c", _MEASURED, *typed]
    done = subprocess.run(typed, env=_variables(cache), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(typed)} failed: {done.stderr[-2000:]}")
    # Linux counts in KiB, macOS in bytes.
    return round(int(done.stdout) / (2**20 if sys.platform == "darwin" else 2**10), 1)


_MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def inherited() -> dict[str, str]:
    """Return this process's variables without what most shells have not: a program sets its own."""
    # As there, Python keeps the bytecode of what it imports.
    left_out = ("XLA_FLAGS", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if key not in left_out}


def _variables(cache: Path | None) -> dict[str, str]:
    own = {} if cache is None else {"XDG_CACHE_HOME": str(cache)}
    return {**inherited(), **own, "PYTHONUNBUFFERED": "1"}


def environment() -> Mapping[str, str]:
    """Return the variables that set how many threads a framework has."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "XLA_FLAGS")
    return {name: os.environ[name] for name in names if name in os.environ}
