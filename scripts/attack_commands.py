"""Sound runs and sweeps to attack, commands in processes of their own, and what must be true then.

A command ends with a status that is allowed, without a traceback, and with one line on stderr at
most. What a run's folder has is a beginning of what an undisturbed run wrote, and its resumption
ends with the same bytes.
"""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from attack_sound import prepared_set

from jaxmnist import runs
from jaxmnist.data import load_dataset
from jaxmnist.errors import InputError

EPOCHS = 4
"""Of a whole run; one that is resumed was begun with half of them."""
MOST_SECONDS = 300
"""How long a command may take on a slow machine."""
RESULTS = ("metrics.jsonl", "model.safetensors", "predictions.csv")
"""What a run must have to the byte, whatever happened to it."""
_LEFT = ("*.partial", "*.orbax-checkpoint-tmp*", ".new", ".replacing", "superseded")
"""What no folder has after a run that ended in order."""


Kind = TypeVar("Kind")


class Ended(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str


class Tally:
    """The inputs of an attack by kind, what came of them, and each kind of finding once."""

    def __init__(self) -> None:
        self.inputs: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self._findings: dict[tuple[str, str], dict[str, str]] = {}
        self.skipped: dict[str, str] = {}

    def count(self, kind: str, outcome: str) -> None:
        """Add an input of a kind, and what came of it in a word."""
        self.inputs[kind] += 1
        self.outcomes[outcome] += 1

    def find(self, kind: str, what: str | None, given: str) -> None:
        """Add a finding, if there is one, with the input that gave it."""
        if what is not None:
            found = {"kind": kind, "what": what, "input": given}
            self._findings.setdefault((kind, what[:60]), found)

    def result(self) -> Mapping[str, Any]:
        """Return what `attack.py` shows and writes."""
        skipped = {"skipped": self.skipped} if self.skipped else {}
        return {
            "inputs": dict(self.inputs),
            "outcomes": dict(self.outcomes),
            "findings": list(self._findings.values()),
            **skipped,
        }


def in_turns(kinds: Sequence[Kind], drawn: random.Random, seconds: float) -> Iterator[Kind]:
    """Yield every kind of input in a random order, again and again, until the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for kind in drawn.sample(kinds, len(kinds)):
            yield kind
            if time.monotonic() > end:
                return


# ------------------------------------------------------------------------------- commands


def start(words: Sequence[object], place: Path, most: int | None = None) -> subprocess.Popen[str]:
    """Start a command in a process of its own, with signals as a terminal has them.

    Args:
        words: The command line without the program's name.
        place: Where it runs.
        most: Bytes of the largest file that it may write; None for any.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # What is ignored is inherited.
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxmnist", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place,
        errors="replace",
        env=os.environ | {"TFDS_DATA_DIR": str(place / "none")},
    )
    if most is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
    return process


def end_of(process: subprocess.Popen[str]) -> Ended:
    """Wait for a command, and kill it if it takes too long."""
    try:
        out, err = process.communicate(timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return Ended(process.returncode, out, f"{err}it did not end in {MOST_SECONDS} s")
    return Ended(process.returncode, out, err)


def fault_of(ended: Ended, *allowed: int) -> str | None:
    """Return what is wrong with how a command ended, or None.

    Args:
        ended: The command.
        allowed: The statuses that it may have; -N of one that signal N killed.
    """
    lines = ended.err.splitlines()
    if "Traceback" in ended.err or "Traceback" in ended.out:
        return f"a traceback: {lines[-1] if lines else ended.out[-300:]}"
    if ended.status not in allowed:
        return f"status {ended.status}: {ended.err[-300:]}"
    if len(lines) > 1:
        return f"{len(lines)} lines on stderr: {ended.err[:600]}"
    if lines and not lines[0].startswith("jaxmnist: "):
        return f"stderr has {lines[0][:300]}"
    return None


# ------------------------------------------------------------------------------- sound folders


def data(place: Path) -> Path:
    """Return a file of 200 training and 60 test digits."""
    path = place / "digits.npz"
    if not path.exists():
        mnist = load_dataset("mnist")
        arrays = {
            "x_train": mnist.train_images[:200],
            "y_train": mnist.train_labels[:200],
            "x_test": mnist.test_images[:60],
            "y_test": mnist.test_labels[:60],
        }
        np.savez(path, allow_pickle=False, **arrays)
    return path


def train_words(place: Path, out: Path, *, epochs: int = EPOCHS, seed: int = 0) -> list[object]:
    """Return the command that trains a run."""
    words = ["train", "--dataset", data(place), "--out", out, "--hidden", 8]
    words += ["--optimizer", "adam", "--eval-batch-size", 60, "--checkpoint-every", 1]
    return [*words, "--epochs", epochs, "--seed", seed]


def resume_words(out: Path) -> list[object]:
    """Return the command that resumes a run until its last epoch."""
    return ["train", "--resume", out, "--epochs", EPOCHS]


def stream_words(place: Path, out: Path) -> list[object]:
    """Return the command that trains a run from a prepared set on disk."""
    root = place / "prepared"
    if not root.exists():
        digits = np.load(data(place))
        made = place / "making prepared"
        prepared_set(made, digits["x_train"], digits["y_train"])
        made.rename(root)
    words = ["train", "--dataset", "kmnist", "--data-dir", root, "--stream", "--out", out]
    words += ["--hidden", 8, "--optimizer", "adam", "--eval-batch-size", 3]
    return [*words, "--checkpoint-every", 1, "--epochs", EPOCHS]


def sweep_words(place: Path, out: Path) -> list[object]:
    """Return the command of a sweep of three programs."""
    words = ["sweep", "--dataset", data(place), "--out", out, "--hidden", "none", 4]
    words += ["--optimizer", "sgd", "--learning-rate", "0.1", "0.2", "--seed", "0..2"]
    return [*words, "--batch-size", 32, 64, "--epochs", 2, "--eval-batch-size", 60]


def sound(place: Path, name: str) -> Path:
    """Return a folder that an undisturbed command wrote; it is made when it is first asked for.

    Args:
        place: Where these folders are.
        name: whole, a run; begun, one with half of the epochs; other, a whole run of another seed;
            stream, a whole one that was streamed; sweep.
    """
    folder = place / "sound" / name
    if not folder.exists():
        made = place / "making" / name
        words = {
            "whole": lambda: train_words(place, made),
            "other": lambda: train_words(place, made, seed=1),
            "begun": lambda: train_words(place, made, epochs=EPOCHS // 2),
            "sweep": lambda: sweep_words(place, made),
            "stream": lambda: stream_words(place, made),
        }[name]()
        ended = end_of(start(words, place))
        if ended.status or ended.err:
            raise RuntimeError(f"a sound {name} cannot be made: {ended}")
        folder.parent.mkdir(exist_ok=True)
        made.rename(folder)
    return folder


def fresh(place: Path, name: str | None = None) -> Path:
    """Return a folder to attack: a copy of a sound one, or none yet."""
    folder = place / "attacked"
    shutil.rmtree(folder, ignore_errors=True)
    if name is not None:
        shutil.copytree(sound(place, name), folder)
    return folder


# ------------------------------------------------------------------------------- what must be true


def results(folder: Path) -> dict[str, bytes]:
    """Return the bytes that no disturbance may change: a run's, or a sweep's."""
    if (folder / "sweep.json").exists():
        cells = (folder / "cells.jsonl").read_bytes().splitlines()
        return {
            "cells.jsonl": b"\n".join(sorted(cells)),
            "results.csv": (folder / "results.csv").read_bytes(),
        }
    return {name: (folder / name).read_bytes() for name in RESULTS}


def lost(folder: Path, *references: Path, had_run: bool = False) -> str | None:
    """Return what a disturbed run's folder lacks that it should have, or None.

    Args:
        folder: The folder.
        references: Undisturbed runs, one of which this must be the beginning of.
        had_run: Whether it held a run before, which it must then hold still: to read one ends a
            replacement in which a process died, though at that moment no file is in its place.
    """
    if not had_run and not (folder / "config.json").exists():
        return None
    try:
        run = runs.read(folder)
        epochs = (folder / "metrics.jsonl").read_bytes() if has(folder, "metrics.jsonl") else b""
        if has(folder, "model.safetensors"):
            runs.load(folder)
    except InputError as error:
        return f"the run cannot be read: {error}"
    wholes = [each for each in references if runs.read(each).config.seed == run.config.seed]
    if not wholes:
        return f"the run is another: {run.config}"
    if not (wholes[0] / "metrics.jsonl").read_bytes().startswith(epochs):
        return f"the metrics are not those of an undisturbed run: {epochs[-300:]!r}"
    return None


def has(folder: Path, name: str) -> bool:
    """Return whether a folder has a file."""
    return (folder / name).exists()


def left(folder: Path) -> str | None:
    """Return what a command left in a folder that it should have removed, or None."""
    found = [each.relative_to(folder) for name in _LEFT for each in folder.rglob(name)]
    return f"left {found[0]}" if found else None


def differs(folder: Path, reference: Path) -> str | None:
    """Return in what a run or a sweep differs from an undisturbed one, or None."""
    try:
        here, there = results(folder), results(reference)
    except OSError as error:
        return f"the results lack {Path(error.filename).name}"
    wrong = [name for name in there if here.get(name) != there[name]]
    if wrong:
        return f"{wrong[0]} has other bytes than that of an undisturbed run"
    return left(folder)


def resumed(
    place: Path, folder: Path, *references: Path, words: list[object] | None = None
) -> str | None:
    """Take up what was disturbed, and return what is wrong with that or its results, or None.

    Args:
        place: Where commands run.
        folder: The run's or the sweep's folder, whatever is in it.
        references: Undisturbed ones, of one of which it must have the results.
        words: The command that does so; by default what the folder's content asks for.
    """
    words = words or _taking_up(place, folder, is_sweep=has(references[0], "sweep.json"))
    ended = end_of(start(words, place))
    fault = fault_of(ended, 0)
    if fault is None and ended.err:
        fault = f"stderr has {ended.err[:300]}"
    if fault is not None:
        return f"the resumption: {fault}"
    if has(folder, "config.json") and _seed(folder) != _seed(references[0]):
        # The old run, which is finished: the new one next to it stays until another is begun.
        shutil.rmtree(folder / ".new", ignore_errors=True)
        return differs(folder, references[1])
    return differs(folder, references[0])


def _taking_up(place: Path, folder: Path, *, is_sweep: bool) -> list[object]:
    if is_sweep:
        return sweep_words(place, folder)
    return resume_words(folder) if has(folder, "config.json") else train_words(place, folder)


def _seed(folder: Path) -> int:
    return json.loads((folder / "config.json").read_text())["config"]["seed"]


@contextlib.contextmanager
def killed_at_end(*processes: subprocess.Popen[str]) -> Any:
    """Kill what still runs when the block ends, so that no process is left."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
