"""Run commands as a shell does, and note when their lines appear and how much memory they take."""

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
    mebibytes: float
    """The most memory that was resident, of a command that ran to its end."""
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
    own = {} if cache is None else {"XDG_CACHE_HOME": str(cache)}
    inherited = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    with tempfile.TemporaryFile("w+") as errors:
        clock = time.perf_counter()
        process = subprocess.Popen(
            typed,
            env={**inherited, **own, "PYTHONUNBUFFERED": "1"},
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
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.perf_counter() - clock
        process.stdout.close()
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if seconds is None and (process.returncode or until is not None):
            raise RuntimeError(
                f"{' '.join(typed)} ended with status {process.returncode} after "
                f"{len(accuracies)} epochs: {errors.read()[-2000:]}"
            )
    # Linux counts in KiB, macOS in bytes.
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return Ran(seconds or ended, round(peak, 1), accuracies)


def environment() -> Mapping[str, str]:
    """Return the variables that set how many threads a framework has."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "XLA_FLAGS")
    return {name: os.environ[name] for name in names if name in os.environ}
