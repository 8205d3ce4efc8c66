"""Start two commands that write to one folder, and fill its disk while a command writes there."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attack_commands import (
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
    sweep_words,
    train_words,
)

_DISK = 4 << 20
"""Bytes of the disk that is filled."""
_ROOM = 700_000
"""At most so many are left on it: a run has somewhat fewer."""


def attack_writers(seconds: float, number: int, place: Path) -> Mapping[str, Any]:
    """Start pairs of commands for a while.

    Args:
        seconds: How long.
        number: The seed.
        place: Where the sound folders are, and the attacked one.

    Returns:
        The inputs by kind, what came of them, and the findings.
    """
    drawn, tally = random.Random(number), Tally()
    kinds = ("train/train", "resume/resume", "sweep/sweep", "overwrite/resume")
    for kind in in_turns(kinds, drawn, seconds):
        _write_twice(kind, drawn, tally, place)
    return tally.result()


def _write_twice(kind: str, drawn: random.Random, tally: Tally, place: Path) -> None:
    whole = sound(place, "whole")
    references, folder = (whole,), fresh(place)
    if kind == "train/train":
        references = (whole, sound(place, "other"))
        commands = [train_words(place, folder, seed=seed) for seed in (0, 1)]
    elif kind == "resume/resume":
        folder = fresh(place, "begun")
        commands = [resume_words(folder)] * 2
    elif kind == "sweep/sweep":
        references = (sound(place, "sweep"),)
        commands = [sweep_words(place, folder)] * 2
    else:
        references = (whole, sound(place, "other"))
        folder = fresh(place, "begun")
        commands = [[*train_words(place, folder, seed=1), "--overwrite"], resume_words(folder)]
    # Most often near one another; also when the first one is over.
    seconds = drawn.choice((0.0, drawn.uniform(0, 0.5), drawn.uniform(0, 12)))
    is_killed = drawn.random() < 0.3
    first = start(commands[0], place)
    time.sleep(seconds)
    second = start(commands[1], place)
    with killed_at_end(first, second):
        if is_killed:
            time.sleep(drawn.uniform(0, 10))
            first.kill()
        ended = [end_of(first), end_of(second)]
    given = f"{kind}, the second {seconds:.3f} s after the first{', which is killed' * is_killed}"
    tally.count(kind, " and ".join(f"status {each.status}" for each in ended))
    for each in ended:
        allowed = (0, 2, -signal.SIGKILL) if is_killed else (0, 2)
        tally.find(kind, fault_of(each, *allowed), given)
    if not is_killed:
        if all(each.status for each in ended):
            tally.find(kind, f"neither was let in: {ended[0].err} {ended[1].err}", given)
        tally.find(kind, left(folder), given)
    if kind != "sweep/sweep":
        had_run = kind != "train/train"
        tally.find(kind, lost(folder, *references, had_run=had_run), given)
    tally.find(kind, resumed(place, folder, *references), given)


# ------------------------------------------------------------------------------- full disks


def attack_disks(seconds: float, number: int, place: Path) -> Mapping[str, Any]:
    """Fill a small disk, and limit the size of files, for a while; the arguments are as before.

    Where no disk can be mounted, that kind is skipped, and the result has the reason.
    """
    drawn, tally, end = random.Random(number), Tally(), time.monotonic() + seconds
    commands = ("train", "resume", "overwrite", "sweep")
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(_small_disk(place / "disk"))
        except (OSError, subprocess.CalledProcessError) as error:
            disk, tally.skipped["full disk"] = None, f"no tmpfs can be mounted: {error}"
        kinds = [("limit on files", each) for each in commands]
        kinds += [("full disk", each) for each in commands] if disk else []
        for how, what in in_turns(kinds, drawn, end - time.monotonic()):
            _fill(how, what, drawn, tally, place, disk)
    return tally.result()


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(
    how: str, what: str, drawn: random.Random, tally: Tally, place: Path, disk: Path | None
) -> None:
    at = disk if disk and how == "full disk" else place
    folder, references = at / "attacked", (sound(place, "whole"),)
    shutil.rmtree(folder, ignore_errors=True)
    if what == "train":
        words = train_words(place, folder)
    elif what == "sweep":
        references, words = (sound(place, "sweep"),), sweep_words(place, folder)
    elif what == "resume":
        shutil.copytree(sound(place, "begun"), folder)
        words = resume_words(folder)
    else:
        references = (*references, sound(place, "other"))
        shutil.copytree(sound(place, "other"), folder)
        words = [*train_words(place, folder), "--overwrite"]
    room = drawn.choice((drawn.randrange(_ROOM), drawn.randrange(_ROOM // 20)))
    if how == "full disk":
        _leave_room(at, room)
    process = start(words, place, room if how == "limit on files" else None)
    with killed_at_end(process):
        ended = end_of(process)
    (at / "filler").unlink(missing_ok=True)
    kind, given = f"{how}: {what}", f"{how}, {room} bytes, of jaxmnist {' '.join(map(str, words))}"
    tally.count(kind, f"status {ended.status}")
    tally.find(kind, fault_of(ended, 0, 1, 2), given)
    if ended.status:
        ended_well = None if has(folder, "superseded") else left(folder)
        tally.find(kind, ended_well, given)
    else:
        tally.find(kind, differs(folder, references[0]), given)
    if what != "sweep":
        had_run = what in ("resume", "overwrite")
        tally.find(kind, lost(folder, *references, had_run=had_run), given)
    if what == "overwrite" and ended.status and not has(folder, "config.json"):
        tally.find(kind, "the old run is gone", given)
    tally.find(kind, resumed(place, folder, *references), given)


def _leave_room(disk: Path, room: int) -> None:
    """Fill a disk but for some bytes."""
    about = os.statvfs(disk)
    size = about.f_bavail * about.f_frsize - room
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))
