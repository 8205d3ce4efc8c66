"""Give every reader of the package damaged files and hostile names, and watch what becomes of it.

A reader may return, or raise `InputError` with a message of one short line that can be printed. All
else is a finding: another exception, a warning, more than `MOST_MEMORY` of memory, more than
`MOST_SECONDS`, or a file that was changed.
"""

import contextlib
import hashlib
import io
import os
import resource
import shutil
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attack_damage import NAMES, NUMBERS
from attack_sound import Reader, sound_readers
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from jaxmnist import cli, sweep
from jaxmnist.data import load_arrays, load_dataset
from jaxmnist.errors import LONGEST, InputError

MOST_MEMORY = 512 * 2**20
"""By how much one input may raise the process's largest resident size."""
MOST_SECONDS = 10.0
_AT_ONCE = 25
"""Inputs of one kind before the next kind's turn."""


def attack_readers(seconds: float, number: int, place: Path) -> Mapping[str, Any]:
    """Damage files and names for a while.

    Args:
        seconds: How long.
        number: The seed.
        place: Where files are written.

    Returns:
        The inputs by kind, what came of them, and the findings, each kind of finding once.
    """
    end = time.monotonic() + seconds
    counts: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    findings: dict[tuple[str, str], dict[str, str]] = {}
    os.environ["XDG_CACHE_HOME"] = os.environ["TFDS_DATA_DIR"] = str(place / "none")
    readers = sound_readers(place)
    for reader in readers:  # Whatever is sound is read, or the attack shows nothing.
        reader.read(reader.folder)
    spent = dict.fromkeys([reader.name for reader in readers] + ["names"], 0.0)
    for turn in range(10**9):
        name = min(spent, key=lambda each: spent[each])
        begun = time.monotonic()
        if begun > end:
            break
        inputs = _names(place) if name == "names" else _damaged(
            next(each for each in readers if each.name == name), place
        )  # fmt: skip
        count = 2 if name == "figure" else _AT_ONCE  # A picture takes seconds to draw.
        for what, call in _drawn(inputs, number + turn, count):
            counts[name] += 1
            outcome, finding = _watched(call)
            outcomes[outcome] += 1
            if finding is not None:
                key = (name, finding.split("\n")[0][:80])
                findings.setdefault(key, {"kind": name, "what": finding, "input": what})
            if time.monotonic() > end:
                break
        spent[name] += time.monotonic() - begun
    return {
        "inputs": dict(counts),
        "milliseconds_of_one": {name: round(1e3 * spent[name] / counts[name]) for name in counts},
        "outcomes": dict(outcomes),
        "findings": list(findings.values()),
    }


Input = tuple[str, Callable[[], object]]
"""What is given, to be shown; and the call that gives it."""


def _drawn(inputs: st.SearchStrategy[Input], number: int, count: int) -> Iterator[Input]:
    """Draw some inputs, each used before the next is drawn."""
    drawn: list[Input] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(inputs)
    def collect(each: Input) -> None:
        drawn.append(each)

    collect()
    yield from drawn


def _damaged(reader: Reader, place: Path) -> st.SearchStrategy[Input]:
    folder = place / "damaged" / reader.folder.name
    sound = {file: (reader.folder / file).read_bytes() for file in reader.files}

    def prepared(file: str, content: bytes) -> Input:
        def call() -> None:
            if not folder.exists():
                shutil.copytree(reader.folder, folder)
            (folder / file).write_bytes(content)
            before = _digests(folder)
            try:
                reader.read(folder)
            finally:
                after = _digests(folder)
                (folder / file).write_bytes(sound[file])
                if before != after:
                    shutil.rmtree(folder)
            if reader.keeps and before != after:
                changed = sorted(set(before.items()) ^ set(after.items()))
                raise AssertionError(f"reading changed {changed[0][0]}")

        return f"{reader.name}: {file} is {content[:300]!r} ({len(content)} bytes)", call

    def damage(file: str) -> st.SearchStrategy[Input]:
        return reader.damage(sound[file]).map(lambda content: prepared(file, content))

    return st.sampled_from(reader.files).flatmap(damage)


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _watched(call: Callable[[], object]) -> tuple[str, str | None]:
    """Return what came of a call in a word, and what was wrong with that."""
    before, begun = _largest_size(), time.process_time()
    said = io.StringIO()
    with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stderr(said):
        warnings.simplefilter("always")
        try:
            call()
            outcome, finding = "read", None
        except InputError as error:
            outcome, finding = "refused", _fault_of(str(error))
        except (Exception, SystemExit) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            outcome, finding = "raised", f"{type(error).__name__} at {where}: {error!s:.300}"
    if finding is None and warned:
        finding = f"warned: {warned[0].category.__name__}: {warned[0].message!s:.300}"
    if finding is None and said.getvalue():
        finding = f"said on stderr: {said.getvalue()[:300]}"
    if finding is None and _largest_size() - before > MOST_MEMORY:
        finding = f"took {(_largest_size() - before) / 2**20:.0f} MiB"
    if finding is None and time.process_time() - begun > MOST_SECONDS:
        finding = f"took {time.process_time() - begun:.0f} s of the processor"
    return outcome, finding


def _fault_of(message: str) -> str | None:
    if "\n" in message or "\x1b" in message:
        return f"a message of several lines: {message!r:.300}"
    if len(message) > LONGEST:
        return f"a message of {len(message)} characters: {message:.300}"
    try:
        message.encode()
    except UnicodeEncodeError:
        return f"a message that cannot be printed: {message!r:.300}"
    return None


def _largest_size() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# ------------------------------------------------------------------------------- names


def _names(place: Path) -> st.SearchStrategy[Input]:
    """Names of data and words of a command line that stand for none."""
    here = str(place / "none")
    odd = st.one_of(st.sampled_from(NAMES), st.text(max_size=20), st.sampled_from(NUMBERS))
    axis = st.sampled_from(("learning_rate", "seed", "hidden", "batch_size", "b1"))
    ranges = st.one_of(odd, st.builds("{}..{}:{}".format, odd, odd, odd))

    def refused_in_one_line(*words: str) -> None:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                cli.main(list(words))
        except SystemExit as stopped:
            lines = said.getvalue()
            if stopped.code not in (0, None, 2) or lines.count("\n") > 1:
                raise AssertionError(f"status {stopped.code}: {lines[:300]!r}") from None
            lines.encode()

    commands = (
        lambda odd: ("evaluate", odd),
        lambda odd: ("data", "show", "./none/" + odd),
        lambda odd: ("predict", here, "--images", odd),
        lambda odd: ("train", odd, "--resume", here),
        lambda odd: ("race", "valley", "--optimizers", odd),
        lambda odd: ("figures", odd),
        lambda odd: ("race", "--max-bytes", odd, "--steps", "999999999"),
        lambda odd: ("sweep", "--learning-rate", odd, "--dataset", here, "--out", here),
    )
    return st.one_of(
        odd.map(lambda name: (f"load_dataset({name!r:.200})", lambda: load_dataset(name, here))),
        odd.map(lambda name: (f"load_arrays({name!r:.200})", lambda: load_arrays(name, here))),
        st.tuples(axis, ranges).map(
            lambda pair: (f"sweep.parse{pair!r:.200}", lambda: sweep.parse(pair[0], [pair[1]]))
        ),
        st.tuples(st.sampled_from(commands), odd).map(
            lambda pair: (
                f"jaxmnist {pair[0](pair[1])!r:.200}",
                lambda: refused_in_one_line(*pair[0](pair[1])),
            )
        ),
    )
