"""Count images per second: reading, decoding and training from disk, and training in memory.

Each of these goes through a prepared set once, the training split shuffled and the test split in
order, and all of them take turns in every round, after a round that is not counted:

- "records": the records are read, and not decoded;
- "decoded": they are read and decoded, as an epoch does that finds nothing decoded;
- "kept": the samples are read from the file of those that were decoded before;
- "trained, nothing kept": an epoch on what is decoded meanwhile, where no file can be kept;
- "trained, first epoch": the same, and the file is written;
- "trained, kept": an epoch on the samples of that file, as every later one is;
- "trained in memory": an epoch on arrays.

An epoch is one of the tutorial's run, with its evaluation; its clock starts when the programs are
compiled. All must end in the same weights, to the last bit. The file of decoded samples lies in a
temporary folder. Written are each one's rates, their median and spread, and the paired ratios to
the rate in memory: machines are noisy, and only the ratios hold.

    python scripts/streaming_rate.py --out figures/streaming_rate.json

By default MNIST is prepared in a temporary folder first; any other prepared set of 28x28 grey
images is measured by its name, such as `--dataset fashion_mnist`.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from benchmarks.rounds import Program, in_turns, ratios, summary

import jaxmnist as jm
from jaxmnist import provenance
from jaxmnist.data import PreparedSet, load_dataset, open_stream, prepare
from jaxmnist.data.kept import KeptSamples
from jaxmnist.data.stream import pieces

PIECE = 4096
CONFIG = jm.Config(epochs=1)


def main(
    dataset: str = "tfds:mnist",
    data_dir: Path | None = None,
    rounds: int = 7,
    out: Path | None = None,
) -> None:
    """Measure in turns, print the medians, write the JSON.

    Args:
        dataset: A prepared set, as `jaxmnist train --stream` takes it.
        data_dir: TFDS's data directory, if not its own.
        rounds: How often each is timed after its warm-up.
        out: The JSON file.
    """
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        if dataset == "tfds:mnist" and data_dir is None:
            data_dir = Path(temporary)
            prepare("mnist", data_dir=data_dir)
        about = measure(dataset, data_dir, rounds, Path(temporary))
    command = " ".join(["python", "scripts/streaming_rate.py", *sys.argv[1:]])
    packages = "grain", "array-record", "pillow", "python"
    about = {**provenance.record(command, *packages), "load": os.getloadavg(), **about}
    for name, rate in about["images_per_second"].items():
        print(f"{name:24} {rate['median']:10,.0f} images/s, {rate['of_in_memory']['median']:.2f}")
    if out is not None:
        out.write_text(json.dumps(about) + "\n")


def measure(name: str, data_dir: Path | None, rounds: int, folder: Path) -> dict[str, Any]:
    """Return the rates of each, of so many rounds."""
    number = 0
    with cached_in(folder / "kept"):
        stream = open_stream(name, data_dir)
        in_memory = load_dataset(name, data_dir)
    images = len(stream.train) + len(stream.test)

    def first_epoch() -> float:
        nonlocal number
        number += 1
        with cached_in(folder / f"first {number}"):
            return trained(stream._replace(kept=KeptSamples(stream)))

    programs: dict[str, Callable[[], float]] = {
        "records": lambda: read_records(stream),
        "decoded": lambda: read_samples(stream._replace(kept=None)),
        "kept": lambda: read_samples(stream),
        "trained, nothing kept": lambda: trained(stream._replace(kept=None)),
        "trained, first epoch": first_epoch,
        "trained, kept": lambda: trained(stream),
        "trained in memory": lambda: trained(in_memory),
    }
    weights: Any = None

    def trained(data: Any) -> float:
        nonlocal weights
        seconds, params = epoch(data)
        weights = params if weights is None else weights
        for one, other in zip(jax.tree.leaves(params), jax.tree.leaves(weights), strict=True):
            if np.asarray(one).tobytes() != np.asarray(other).tobytes():
                sys.exit("the weights differ from those of the epoch before")
        return seconds

    def timed(program: Callable[[], float]) -> Program:
        return lambda: {"seconds": program()}

    turns = in_turns({each: timed(program) for each, program in programs.items()}, rounds, pause=0)
    seconds = {each: found["seconds"] for each, found in turns.items()}
    reference = seconds["trained in memory"]
    return {
        "dataset": name,
        "images": images,
        "rounds": rounds,
        "images_per_second": {
            each: {
                **summary([images / each_took for each_took in took]),
                "of_in_memory": summary(ratios(reference, took)),
            }
            for each, took in seconds.items()
        },
    }


@contextlib.contextmanager
def cached_in(folder: Path) -> Iterator[None]:
    """Let decoded samples be kept in a folder."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        del os.environ["XDG_CACHE_HOME"]
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


def read_records(stream: PreparedSet) -> float:
    """Read every record, still encoded."""
    begun = time.perf_counter()
    for records, rows in ((stream.train, shuffled(stream)), (stream.test, range(len(stream.test)))):
        for start in range(0, len(rows), PIECE):
            some = [int(row) for row in rows[start : start + PIECE]]
            records.__getitems__(some)  # type: ignore[attr-defined]
    return time.perf_counter() - begun


def read_samples(stream: PreparedSet) -> float:
    """Read every sample, as an epoch does."""
    begun = time.perf_counter()
    for _ in pieces(stream, "train", shuffled(stream), PIECE):
        pass
    for _ in pieces(stream, "test", range(len(stream.test)), PIECE):
        pass
    return time.perf_counter() - begun


def shuffled(stream: PreparedSet) -> np.ndarray:
    """Return an order of the training split."""
    return np.random.default_rng(0).permutation(len(stream.train))


def epoch(data: Any) -> tuple[float, Any]:
    """Train an epoch: its seconds without the compiling, and the weights."""
    begun = 0.0

    def start_clock() -> None:
        nonlocal begun
        begun = time.perf_counter()

    state, _ = jm.fit(CONFIG, data, on_compiled=start_clock)
    params = jax.block_until_ready(state.params)
    return time.perf_counter() - begun, params


if __name__ == "__main__":
    tyro.cli(main)
