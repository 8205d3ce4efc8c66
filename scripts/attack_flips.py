"""Flip bits in every kind of file of a run and of a sweep, and take them up again.

The command that takes up a damaged folder either ends with the bytes of an undisturbed one, or
refuses it in a line and changes nothing. Damage in the newest checkpoint alone never stops it: it
is passed over. The commands run in this process, one after the other, for many more of them.
"""

import contextlib
import hashlib
import logging
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from attack_commands import (
    EPOCHS,
    Ended,
    Tally,
    data,
    differs,
    fault_of,
    resume_words,
    sweep_words,
    train_words,
)

from jaxmnist import cli

# The sums of the tutorial's network, as a task of one's own.
_TASK = """
import jaxmnist as jm


def task(config):
    return jm.tutorial_task(jm.Config(hidden=(8,), optimizer="adam"))
"""
_NEWEST = f"checkpoints/{EPOCHS // 2}/"
_KINDS: Mapping[str, tuple[str, ...]] = {
    "config.json": ("config.json",),
    "metrics": ("metrics.jsonl",),
    "model": ("model.safetensors",),
    "predictions": ("predictions.csv",),
    "pictures": ("*.png",),
    "checkpoint's arrays": (f"{_NEWEST}default/**/d/*", f"{_NEWEST}default/**/manifest.ocdbt"),
    "checkpoint's metadata": (
        *(f"{_NEWEST}{name}" for name in ("*", "default/_*", "default/*.txt", "record/*")),
    ),
    "task.py": ("task.py",),
}
_SWEEP = {"cells": ("cells.jsonl",), "sweep.json": ("sweep.json",), "tables": ("results.*", "*.md")}
_READERS = {
    "evaluate": (),
    "predict": ("--indices", "0", "1"),
    "export": ("--format", "safetensors", "--out", "x.safetensors"),
}


def attack_flips(seconds: float, number: int, place: Path) -> Mapping[str, Any]:
    """Damage files for a while.

    Args:
        seconds: How long.
        number: The seed.
        place: Where commands run and folders are.

    Returns:
        The inputs by kind, what came of them, and the findings.
    """
    logging.disable(logging.CRITICAL)  # As the program does.
    os.chdir(place)
    drawn, tally, end = random.Random(number), Tally(), time.monotonic() + seconds
    sound = _sound_here(place)
    kinds = [("run", name) for name in _KINDS if name != "task.py"]
    kinds += [("task", name) for name in ("task.py", "config.json", "checkpoint's arrays")]
    kinds += [("sweep", name) for name in _SWEEP]
    for turn in range(10**9):
        for what, name in drawn.sample(kinds, len(kinds)):
            if time.monotonic() > end and turn:
                return tally.result()
            _damage_one(what, name, sound, drawn, tally, place / "flipped")
        jax.clear_caches()
        if time.monotonic() > end:
            break
    return tally.result()


def _sound_here(place: Path) -> dict[str, tuple[Path, list[object], Path]]:
    """Return what is damaged, what takes it up, and what it must be like then, by kind."""
    here = place / "here"
    here.mkdir()
    (here / "mine.py").write_text(_TASK)
    words = train_words(place, here / "whole")
    task = ["train", here / "mine.py", "--dataset", data(place), "--checkpoint-every", 1]
    task += ["--eval-batch-size", 60]
    made = {
        "whole": words,
        "begun": train_words(place, here / "begun", epochs=EPOCHS // 2),
        "task": [*task, "--epochs", EPOCHS, "--out", here / "task"],
        "begun task": [*task, "--epochs", EPOCHS // 2, "--out", here / "begun task"],
        "sweep": sweep_words(place, here / "sweep"),
    }
    for name, command in made.items():
        ended = _run_here(command)
        if ended.status or ended.err:
            raise RuntimeError(f"a sound {name} cannot be made: {ended}")
    flipped = place / "flipped"
    return {
        "run": (here / "begun", resume_words(flipped), here / "whole"),
        "task": (here / "begun task", resume_words(flipped), here / "task"),
        "sweep": (here / "sweep", sweep_words(place, flipped), here / "sweep"),
    }


def _damage_one(
    what: str,
    name: str,
    sound: Mapping[str, tuple[Path, list[object], Path]],
    drawn: random.Random,
    tally: Tally,
    folder: Path,
) -> None:
    begun, words, reference = sound[what]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(begun, folder)
    patterns = (_SWEEP if what == "sweep" else _KINDS)[name]
    files = sorted({path for each in patterns for path in folder.glob(each) if path.is_file()})
    file = drawn.choice(files)
    how = _damage(file, drawn)
    kind, given = f"{what}: {name}", f"{file.relative_to(folder)}: {how}"
    before = _digests(folder)
    if what == "run" and drawn.random() < 0.3:
        reader = drawn.choice(list(_READERS))
        ended = _run_here([reader, folder, *_READERS[reader]])
        tally.count(f"{kind} ({reader})", f"status {ended.status}")
        tally.find(kind, fault_of(ended, 0, 2), f"{given}, {reader}")
        if _digests(folder) != before:
            tally.find(kind, "a reader changed a file", f"{given}, {reader}")
        return
    ended = _run_here(words)
    tally.count(kind, f"status {ended.status}")
    tally.find(kind, fault_of(ended, 0, 2), given)
    if ended.status == 0:
        wrong = differs(folder, reference)
        # Nothing reads the tables and pictures of a sweep or a run; they are written anew.
        tally.find(kind, wrong, given)
    elif _digests(folder) != before:
        tally.find(kind, "a refusal changed a file", given)
    elif name.startswith("checkpoint"):
        tally.find(kind, f"not passed over: {ended.err[:500]}", given)


def _damage(file: Path, drawn: random.Random) -> str:
    """Damage a file; return how."""
    content = bytearray(file.read_bytes())
    how = drawn.choice(("flip", "flip", "flip", "flip", "flip", "cut", "zeros", "remove"))
    if how == "remove":
        file.unlink()
        return "removed"
    if not content:
        file.write_bytes(b"\0")
        return "a byte more"
    at = drawn.randrange(len(content))
    if how == "cut":
        file.write_bytes(content[:at])
        return f"cut at {at} of {len(content)}"
    if how == "zeros":
        content[at : at + 512] = bytes(len(content[at : at + 512]))
        file.write_bytes(content)
        return f"zeros from {at} of {len(content)}"
    bits = [drawn.randrange(8 * len(content)) for _ in range(drawn.randint(1, 3))]
    for bit in bits:
        content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    return f"bits {bits} of {8 * len(content)}"


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def _run_here(words: Sequence[object]) -> Ended:
    """Run a command in this process, as the program would."""
    status = 0
    with _captured() as said:
        try:
            cli.main([str(word) for word in words])
        except SystemExit as stopped:
            status = stopped.code if isinstance(stopped.code, int) else 0
        except Exception:
            status = 1
            traceback.print_exc()
    return Ended(status, *said)


@contextlib.contextmanager
def _captured() -> Iterator[list[str]]:
    """Take what the process writes to stdout and stderr, from C++ too; known at the block's end."""
    kept = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        for number, file in ((1, out), (2, err)):
            os.dup2(file.fileno(), number)
        said: list[str] = []
        try:
            yield said
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in enumerate(kept, start=1):
                os.dup2(copy, number)
                os.close(copy)
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode(errors="replace"))
