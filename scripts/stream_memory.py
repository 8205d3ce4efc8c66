"""Show that training on ten million images takes no more memory at its end than at its start.

Generates a prepared set of as many images in a temporary folder, MNIST's records over and over
(ten million take 3.84 GB of disk, and are deleted afterwards), and trains an epoch of the default
run on it from disk, shuffled over all of it. The process's resident memory (VmRSS and its peak,
VmHWM, from /proc/self/status) is sampled along the way. The same is done first with 60,000
images, so that what ten million add can be seen. At the end, epochs of 60,000 images in memory and
from disk take turns, for the ratio of their times.

    python scripts/stream_memory.py --out figures/stream_memory.json

Linux only. The JSON is brought up to date with every sample, so that a run that is stopped leaves
what it saw; `--stop-after` ends the epoch early, and the shuffle is over the whole set all the
same.

Result on two x86-64 cores that much other work shared (50 minutes, the generation included): after
all of the ten million images (7.8 GB in memory) 726 MiB resident; medians of 774 MiB in the
first quarter of the epoch and 780 in the last; 417 after the 60,000. The peak, 1.9 GB, is the
shuffle's before the first batch: random tags for every image. An epoch from disk, of which
nothing was kept, took 3.4 to 3.8 times one in memory; `streaming_rate.py` measures what it takes
today.
"""

import contextlib
import json
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tyro

import jaxmnist as jm
from jaxmnist import provenance
from jaxmnist.data import open_stream, prepare
from jaxmnist.data.tfds import open_tfds

SHARDS = 8
SAMPLES = 200


class StoppedError(Exception):
    """Ends an epoch early."""


def main(
    images: int = 10_000_000,
    stop_after: int | None = None,
    rounds: int = 3,
    folder: Path | None = None,
    out: Path | None = None,
) -> None:
    """Generate, measure, write.

    Args:
        images: Training images of the generated set.
        stop_after: End the epoch after so many images.
        rounds: Epochs in memory and from disk for the ratio.
        folder: Where to make the temporary folder.
        out: The JSON file.
    """
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {
        **provenance.record(
            " ".join(["python", "scripts/stream_memory.py", *sys.argv[1:]]),
            *("grain", "array-record", "python"),
        ),
        "images": images,
        "bytes_in_memory_they_would_take": images * 28 * 28,
        "unit": "MiB; resident is VmRSS, peak is VmHWM since the process began",
    }
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        small, large = Path(temporary, "small"), Path(temporary, "large")
        # In a process of its own, so that what it needs is not in the way of the measurement.
        generating = multiprocessing.get_context("spawn").Process(
            target=generate, args=(small, large, images)
        )
        generating.start()
        generating.join()
        if generating.exitcode:
            sys.exit("the set could not be generated")
        about["bytes_on_disk"] = sum(path.stat().st_size for path in large.rglob("*-of-*"))

        about["small"] = {"images": 60_000, **measure(small, None, lambda _: None)}

        def keep(measured: dict[str, Any]) -> None:
            about["large"] = measured
            if out is not None:
                out.write_text(json.dumps(about) + "\n")

        keep(measure(large, stop_after, keep))
        about["time_from_disk_to_in_memory"] = ratios(small, rounds)
        if out is not None:
            out.write_text(json.dumps(about) + "\n")
        print(json.dumps({key: value for key, value in about["large"].items() if key != "samples"}))


def generate(small: Path, large: Path, images: int) -> None:
    """Prepare MNIST, and a set of the same records over and over."""
    from array_record.python.array_record_module import ArrayRecordWriter

    source = prepare("mnist", data_dir=small)
    mnist = open_tfds("mnist", small).train
    records = mnist.__getitems__(range(len(mnist)))  # type: ignore[attr-defined]
    target = large / source.relative_to(small)
    target.mkdir(parents=True)
    for path in source.iterdir():
        if "-train." not in path.name:
            shutil.copy(path, target)
    lengths = [images // SHARDS + (shard < images % SHARDS) for shard in range(SHARDS)]
    written = 0
    for shard, length in enumerate(lengths):
        name = f"mnist-train.array_record-{shard:05}-of-{SHARDS:05}"
        writer = ArrayRecordWriter(str(target / name), "group_size:1")
        for _ in range(length):
            writer.write(records[written % len(records)])
            written += 1
        writer.close()
        print(f"generated {written} of {images} images", flush=True)
    info = json.loads((target / "dataset_info.json").read_text())
    (train,) = (split for split in info["splits"] if split["name"] == "train")
    train["shardLengths"] = [str(length) for length in lengths]
    (target / "dataset_info.json").write_text(json.dumps(info))


def measure(data_dir: Path, stop_after: int | None, keep: Any) -> dict[str, Any]:
    """Train an epoch from disk; the memory before it, after compiling, along the way, after it."""
    measured: dict[str, Any] = {"before": memory(), "images_trained": 0, "samples": []}
    stream = open_stream("tfds:mnist", data_dir)
    total = len(stream.train)
    last = min(total, stop_after or total)

    def sample(epochs: float) -> None:
        done = round(epochs * total)
        if done >= (len(measured["samples"]) * last) // SAMPLES:
            measured["images_trained"] = done
            measured["samples"].append({"images": done, **memory()})
            summarise(measured)
            keep(measured)
            if len(measured["samples"]) % 10 == 1:
                print(measured["samples"][-1], flush=True)
        if last <= done < total:
            raise StoppedError

    def compiled() -> None:
        measured["compiled"] = memory()

    with contextlib.suppress(StoppedError):
        jm.fit(jm.Config(epochs=1), stream, on_compiled=compiled, on_progress=sample)
    measured["after"] = memory()
    return measured


def summarise(measured: dict[str, Any]) -> None:
    """Compare the last quarter of the samples with the first, leaving the first tenth out."""
    resident = [sample["resident"] for sample in measured["samples"]]
    settled = resident[len(resident) // 10 :]
    quarter = max(1, len(settled) // 4)
    measured["median_of_first_quarter"] = statistics.median(settled[:quarter])
    measured["median_of_last_quarter"] = statistics.median(settled[-quarter:])
    measured["smallest"], measured["largest"] = min(settled), max(settled)


def memory() -> dict[str, float]:
    """The resident memory of this process and its peak so far, in MiB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    kibibytes = {"resident": status["VmRSS"], "peak": status["VmHWM"]}
    return {name: round(int(text.split()[0]) / 1024, 1) for name, text in kibibytes.items()}


def ratios(data_dir: Path, rounds: int) -> list[float]:
    """Let epochs of 60,000 images from disk and in memory take turns: the ratio of their times."""
    stream = open_stream("tfds:mnist", data_dir)
    in_memory = jm.load_dataset("mnist")
    clock = 0.0

    def start_clock() -> None:
        nonlocal clock
        clock = time.perf_counter()

    found = []
    for _ in range(rounds):
        seconds = []
        for dataset in (stream, in_memory):
            jm.fit(jm.Config(epochs=1), dataset, on_compiled=start_clock)
            seconds.append(time.perf_counter() - clock)
        found.append(round(seconds[0] / seconds[1], 2))
    return found


if __name__ == "__main__":
    tyro.cli(main)
