"""Stop commands by signals at random moments: train, resume, overwrite, sweep, and two processes.

A moment is a time since the start, or a change in the folder that the command writes, so that many
signals arrive while files are being written. SIGINT is sent from when the program handles signals;
before that Python itself answers it, with a traceback.
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attack_commands import (
    EPOCHS,
    MOST_SECONDS,
    Tally,
    differs,
    end_of,
    fault_of,
    fresh,
    has,
    in_turns,
    killed_at_end,
    left,
    lost,
    resume_words,
    resumed,
    sound,
    start,
    stream_words,
    sweep_words,
    train_words,
)

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_LONGEST = 12.0
"""Seconds after the start within which a moment is drawn."""
_CHANGES = 80
"""More than the changes that a command makes in a folder."""


def attack_signals(seconds: float, number: int, place: Path) -> Mapping[str, Any]:
    """Stop single commands for a while.

    Args:
        seconds: How long.
        number: The seed.
        place: Where the sound folders are, and the attacked one.

    Returns:
        The inputs by kind, what came of them, and the findings.
    """
    drawn, tally = random.Random(number), Tally()
    kinds = [
        (what, which)
        for what in ("train", "resume", "overwrite", "sweep", "stream")
        for which in SIGNALS
    ]
    for what, which in in_turns(kinds, drawn, seconds):
        _stop_one(what, which, drawn, tally, place)
    return tally.result()


def attack_processes(seconds: float, number: int, place: Path) -> Mapping[str, Any]:
    """Stop one or both of two processes of a run, for a while; the arguments are as before."""
    end = time.monotonic() + seconds
    drawn, tally = random.Random(number), Tally()
    reference = place / "sound" / "two"
    if not reference.exists():
        (place / "sound").mkdir(exist_ok=True)
        ended = [end_of(each) for each in _pair(train_words(place, place / "two"), place)]
        if any(each.status for each in ended):
            raise RuntimeError(f"no sound run of two processes can be made: {ended}")
        (place / "two").rename(reference)
    for which in in_turns(SIGNALS, drawn, end - time.monotonic()):
        _stop_two(which, drawn, tally, place, reference)
    return tally.result()


def statuses(which: signal.Signals) -> tuple[int, ...]:
    """Return the statuses that a command may have that was sent a signal, which may come too late.

    Args:
        which: The signal.
    """
    return (0, -which, *(() if which == signal.SIGKILL else (128 + which,)))


def _stop_one(
    what: str, which: signal.Signals, drawn: random.Random, tally: Tally, place: Path
) -> None:
    references = (sound(place, "whole"),)
    if what == "train":
        folder = fresh(place)
        words = train_words(place, folder)
    elif what == "stream":
        references = (sound(place, "stream"),)
        folder = fresh(place)
        words = stream_words(place, folder)
    elif what == "resume":
        folder = fresh(place, "begun")
        words = resume_words(folder)
    elif what == "overwrite":
        references = (*references, sound(place, "other"))
        folder = fresh(place, "other")
        words = [*train_words(place, folder), "--overwrite"]
    else:
        references = (sound(place, "sweep"),)
        folder = fresh(place)
        words = sweep_words(place, folder)
    process = start(words, place)
    with killed_at_end(process):
        moment = _wait([process], folder, which, drawn)
        process.send_signal(which)
        ended = end_of(process)
    kind, given = f"{what} {which.name}", f"{which.name} {moment} of jaxmnist {_shown(words)}"
    tally.count(kind, f"status {ended.status}")
    tally.find(kind, fault_of(ended, *statuses(which)), given)
    if ended.status >= 0 and folder.exists():
        tally.find(kind, None if has(folder, "superseded") else left(folder), given)
    if what != "sweep":
        had_run = what in ("resume", "overwrite")
        tally.find(kind, lost(folder, *references, had_run=had_run), given)
    again = words if what == "stream" and not has(folder, "config.json") else None
    tally.find(kind, resumed(place, folder, *references, words=again), given)


def _wait(
    processes: Sequence[subprocess.Popen[str]],
    folder: Path,
    which: signal.Signals,
    drawn: random.Random,
) -> str:
    """Wait for a random moment in the life of some commands; return it in words."""
    if drawn.random() < 0.4:
        seconds = drawn.uniform(0, _LONGEST)
        moment, reached = f"after {seconds:.3f} s", _after(seconds)
    else:
        changes = drawn.randint(1, _CHANGES)
        moment, reached = f"at change {changes} of the folder", _at_change(folder, changes)
    limit = time.monotonic() + MOST_SECONDS
    while not reached() or (which == signal.SIGINT and not all(map(_handles, processes))):
        if all(each.poll() is not None for each in processes) or time.monotonic() > limit:
            break
        time.sleep(0.0005)
    return moment


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _at_change(folder: Path, changes: int) -> Callable[[], bool]:
    seen, count = _names(folder), 0

    def reached() -> bool:
        nonlocal seen, count
        if (now := _names(folder)) != seen:
            seen, count = now, count + 1
        return count >= changes

    return reached


def _names(folder: Path) -> set[str]:
    """Return the names and sizes in a folder, at any depth."""
    found = set()
    for place, _, names in os.walk(folder):
        found.add(place)
        for name in names:
            try:
                found.add(f"{place}/{name} {os.lstat(f'{place}/{name}').st_size}")
            except OSError:  # It has just been renamed.
                found.add(f"{place}/{name}")
    return found


def _handles(process: subprocess.Popen[str]) -> bool:
    """Return whether a process handles SIGTERM, as the program does from its beginning on."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return True  # It has ended.
    caught = re.search(r"SigCgt:\s*([0-9a-f]+)", status)
    return caught is None or bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


# ------------------------------------------------------------------------------- two processes


def _pair(words: Sequence[object], place: Path) -> list[subprocess.Popen[str]]:
    """Start two processes of one run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    joining = ["--distributed", "--coordinator-address", address, "--num-processes", 2]
    # A process that is gone before they meet is waited for no longer than this.
    joining += ["--start-timeout", 60, "--heartbeat-timeout", 10]
    return [start([*words, *joining, "--process-id", index], place) for index in range(2)]


def _stop_two(
    which: signal.Signals, drawn: random.Random, tally: Tally, place: Path, reference: Path
) -> None:
    is_resumed = drawn.random() < 0.5
    folder = fresh(place)
    words = train_words(place, folder)
    if is_resumed:
        begun = place / "sound" / "two begun"
        if not begun.exists():
            command = train_words(place, begun, epochs=EPOCHS // 2)
            [end_of(each) for each in _pair(command, place)]
        shutil.copytree(begun, folder)
        words = resume_words(folder)
    stopped = drawn.choice(((0,), (1,), (0, 1)))
    pair = _pair(words, place)
    with killed_at_end(*pair):
        moment = _wait(pair, folder, which, drawn)
        for index in stopped:
            pair[index].send_signal(which)
        ended = [end_of(each) for each in pair]
    what = "two resume" if is_resumed else "two train"
    kind = f"{what} {which.name}"
    given = f"{which.name} {moment} to {stopped} of two jaxmnist {_shown(words)}"
    tally.count(kind, " and ".join(f"status {each.status}" for each in ended))
    for index, each in enumerate(ended):
        # 1: the other is lost; 2: the other never came.
        tally.find(kind, fault_of(each, *statuses(which), 1, 2), f"{given}; process {index}")
    tally.find(kind, lost(folder, reference), given)
    words = resume_words(folder) if has(folder, "config.json") else train_words(place, folder)
    ended = [end_of(each) for each in _pair(words, place)]
    for each in ended:
        fault = fault_of(each, 0)
        tally.find(kind, fault and f"the resumption: {fault}", given)
    tally.find(kind, differs(folder, reference), given)


def _shown(words: Sequence[object]) -> str:
    return " ".join(map(str, words))
