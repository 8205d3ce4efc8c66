"""Time a model of a sweep against a run of its own, and against PyTorch with tensors in memory.

Every round trains 8 models in a sweep, 32 models in a sweep, one run of its own (`jaxmnist.fit`),
and PyTorch's loop, in turns; of each only the training and evaluating is timed, in seconds per
model and epoch. Ratios are taken within a round, so that a change in the machine's speed touches
both. The three need other settings of their process, so each has one of its own, which waits for
its turn: the sweep a device for every core, each with one thread; the others the defaults, and
PyTorch as many threads as there are cores.

    python scripts/benchmark_sweep.py --rounds 7 --out figures/benchmark_sweep.json

Needs the extra `test`. A round takes about half a minute on two idle cores.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tyro

import jaxmnist as jm
from jaxmnist import provenance

SIZES = (8, 32)
GOALS = {"solo": 1 / 0.78, "in memory": 2.7}
"""What a sweep's model must be faster by: its cost is at most 0.78 of a solo run's."""


def main(rounds: int = 7, epochs: int = 1, out: Path | None = None, worker: str = "") -> None:
    """Run the rounds and print the ratios.

    Args:
        rounds: How often everything is timed.
        epochs: Of every run.
        out: Where to write the results as JSON.
        worker: Be one of the timed processes; the script starts them itself.
    """
    if worker:
        serve(WORKERS[worker](epochs))
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    one_per_core = (
        f"--xla_force_host_platform_device_count={cores} --xla_cpu_multi_thread_eigen=false"
    )
    settings = {
        "sweep": {"XLA_FLAGS": one_per_core},
        "solo": {},
        "in memory": {"OMP_NUM_THREADS": str(cores)},
    }
    processes = {name: start(name, epochs, more) for name, more in settings.items()}
    turns = [*(("sweep", size) for size in SIZES), ("solo", 1), ("in memory", 1)]
    measured: list[dict[str, float]] = []
    # Round 0 compiles and warms up, and is not counted.
    for number in range(rounds + 1):
        row = {}
        for name, size in turns:
            time.sleep(0.5)  # The other process's threads spin for a moment after their last work.
            label = f"sweep of {size}" if name == "sweep" else name
            row[label] = ask(processes[name], size) / size / epochs
        print(f"round {number}: " + ", ".join(f"{k} {v:.3f} s" for k, v in row.items()), flush=True)
        if number:
            measured.append(row)
    for process in processes.values():
        assert process.stdin is not None
        process.stdin.close()
        process.wait()

    ratios = {
        f"{other} / sweep of {size}": [row[other] / row[f"sweep of {size}"] for row in measured]
        for other in GOALS
        for size in SIZES
    }
    for name, values in ratios.items():
        goal = GOALS[name.split(" / ")[0]]
        print(
            f"{name}: median {statistics.median(values):.3f}, {min(values):.3f} to "
            f"{max(values):.3f} over {rounds} rounds; the goal is {goal:.3f}"
        )
    for size in SIZES:
        cost = statistics.median(1 / value for value in ratios[f"solo / sweep of {size}"])
        print(f"a model of {size} costs {cost:.3f} of a solo run's; the goal is 0.78")
    if out is not None:
        about = {
            **provenance.record(
                f"python scripts/benchmark_sweep.py --rounds {rounds} --epochs {epochs}", "torch"
            ),
            "settings": settings,
            "goals": GOALS,
            "median": {name: round(statistics.median(r), 3) for name, r in ratios.items()},
            "ratios": {name: [round(value, 3) for value in r] for name, r in ratios.items()},
            "seconds_per_model_and_epoch": [
                {name: round(value, 4) for name, value in row.items()} for row in measured
            ],
        }
        out.write_text(json.dumps(about, indent=2) + "\n")


def start(name: str, epochs: int, more: dict[str, str]) -> subprocess.Popen:
    """Start a process that trains when it is asked to."""
    inherited = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    return subprocess.Popen(
        [sys.executable, __file__, "--worker", name, "--epochs", str(epochs)],
        env={**inherited, **more},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process: subprocess.Popen, size: int) -> float:
    """Have so many models trained, and return the seconds that took."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{size}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{process.args} ended with status {process.wait()}")
    return float(line)


def serve(train: Callable[[int], float]) -> None:
    """Train as many models as each line of the input says."""
    for line in sys.stdin:
        print(train(int(line)), flush=True)


def sweep_worker(epochs: int) -> Callable[[int], float]:
    """A sweep over seeds, from its first chunk to its results."""
    mnist, clock = jm.load_dataset("mnist"), Clock()

    def train(size: int) -> float:
        def on_chunk(done: int, total: int) -> None:
            del total
            if not done:
                clock.start()

        jm.sweep.run(jm.Config(epochs=epochs), {"seed": range(size)}, mnist, on_chunk=on_chunk)
        return clock.seconds()

    return train


def solo_worker(epochs: int) -> Callable[[int], float]:
    """`jaxmnist.fit`, from its first epoch to its last."""
    mnist, clock = jm.load_dataset("mnist"), Clock()

    def train(size: int) -> float:
        del size
        jm.fit(jm.Config(epochs=epochs), mnist, on_compiled=clock.start)
        return clock.seconds()

    return train


def torch_worker(epochs: int) -> Callable[[int], float]:
    """The tutorial's loop on tensors that are normalised beforehand."""
    import torch
    from benchmark import in_memory_batches, torch_program

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    clock = Clock()
    run_epoch = torch_program(*in_memory_batches(jm.load_dataset("mnist")))

    def train(size: int) -> float:
        del size
        clock.start()
        for _ in range(epochs):
            run_epoch()
        return clock.seconds()

    return train


class Clock:
    """A stopwatch."""

    def start(self) -> None:
        """Begin to count."""
        self.started = time.perf_counter()

    def seconds(self) -> float:
        """Return what has passed since the start."""
        return time.perf_counter() - self.started


WORKERS = {"sweep": sweep_worker, "solo": solo_worker, "in memory": torch_worker}


if __name__ == "__main__":
    tyro.cli(main)
