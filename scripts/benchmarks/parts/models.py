"""The cost of a model where 1 to 64 are trained together, and of one by one.

- "vmap": `jaxmnist`'s training of all models in lockstep, as on a GPU.
- "sweep": `jaxmnist.sweep` on a CPU, one model after the other on every core.
- "jaxmnist.fit" and "PyTorch in memory": a run of its own, the program of the part `epoch`.
- "PyTorch, stacked" and "torch.func.vmap": all models in lockstep in PyTorch.

They need different settings of their process, so each has one of its own, which waits for its turn.
"""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import peers, problem, shell
from benchmarks.problem import Problem, share
from benchmarks.rounds import Program, in_turns, ratios, summary
from jaxmnist import provenance

COUNTS = (1, 4, 16, 64)
SHARE = 1 / 8
"""Of the images: 64 models of all images would take a minute in every round."""
SOLO = "jaxmnist.fit"
IN_LOCKSTEP = ("vmap", "sweep", "PyTorch, stacked", "torch.func.vmap")
ALONE = (SOLO, "PyTorch in memory")


def measure(problem: Problem, rounds: int, counts: tuple[int, ...] = COUNTS) -> dict[str, Any]:
    """Let all programs take turns at every number of models.

    Args:
        problem: The data, of which an eighth is used.
        rounds: How many are counted.
        counts: Numbers of models.

    Returns:
        Seconds for a model, and ratios to a run of its own.
    """
    images, used = len(problem.train_labels), share(problem, SHARE)
    torch_missing = peers.missing("PyTorch in memory")
    names = [name for name in (*IN_LOCKSTEP, *ALONE) if not (torch_missing and "orch" in name)]
    processes = {name: start(name, images) for name in names}
    programs: dict[str, Program] = {}
    for name in names:
        for count in (1,) if name in ALONE else counts:
            programs[f"{name}, {count}"] = functools.partial(ask, processes[name], count)
    try:
        measured = in_turns(programs, rounds)
    finally:
        for process in processes.values():
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
    seconds = {name: found["seconds"] for name, found in measured.items()}
    return {
        "images": [len(used.train_labels), len(used.test_labels)],
        "settings": {name: settings(name) for name in names},
        "seconds_per_model": {name: summary(values) for name, values in seconds.items()},
        "ratios": {
            f"a model's / a run of its own, {base}": {
                name: summary(ratios(values, seconds[f"{base}, 1"]))
                for name, values in seconds.items()
                if name.rpartition(", ")[0] in IN_LOCKSTEP
            }
            for base in ALONE
            if base in names
        },
    }


def settings(name: str) -> dict[str, str]:
    """The variables of a program's process: a sweep has a device of one thread for every core."""
    cores = provenance.cores()
    if name == "sweep":
        flags = f"--xla_force_host_platform_device_count={cores} --xla_cpu_multi_thread_eigen=false"
        return {"XLA_FLAGS": flags}
    return {"OMP_NUM_THREADS": str(cores)} if "orch" in name else {}


def start(name: str, images: int) -> subprocess.Popen:
    """Start a process that trains when it is asked to."""
    return subprocess.Popen(
        [sys.executable, __file__, name, str(images)],
        env={**shell.inherited(), **settings(name)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process: subprocess.Popen, count: int) -> Mapping[str, float]:
    """Have so many models trained; the seconds are those of one."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args} ended with status {process.wait()}")
    return {"seconds": float(line) / count}


def serve(name: str, images: int) -> None:
    """Train as many models for an epoch as each line of the input tells."""
    train = WORKERS[name](share(problem.load(images), SHARE))
    for line in sys.stdin:
        print(train(int(line)), flush=True)


def vmap_worker(given: Problem) -> Callable[[int], float]:
    """`jaxmnist.make_train` under ``jax.vmap`` over keys."""
    import jax

    import jaxmnist as jm
    from benchmarks.peers.ours import config_of
    from jaxmnist.sweep.programs import keys

    config = config_of(given)
    run = jax.jit(jax.vmap(jm.make_train(config), in_axes=(0, None, None)))
    hyper, data = jm.default_hyper(config), jax.device_put(pair(given))

    def train(count: int) -> float:
        many = keys(range(count))
        compiled = compile_once(count, many)
        clock = time.perf_counter()
        _, history = jax.block_until_ready(compiled(many, hyper, data))
        seconds = time.perf_counter() - clock
        assert np.isfinite(history.eval_loss).all()
        return seconds

    compiled_for: dict[int, Any] = {}

    def compile_once(count: int, many: Any) -> Any:
        if count not in compiled_for:
            compiled_for[count] = run.lower(many, hyper, data).compile()
        return compiled_for[count]

    return train


def sweep_worker(given: Problem) -> Callable[[int], float]:
    """A sweep over seeds, from its first chunk to its results."""
    import jaxmnist as jm
    from benchmarks.peers.ours import config_of

    config, data = config_of(given), pair(given)

    def train(count: int) -> float:
        clock = 0.0

        def on_chunk(done: int, total: int) -> None:
            nonlocal clock
            del total
            clock = clock if done else time.perf_counter()

        # As a task, whose data may be any pair.
        jm.sweep.run(
            jm.tutorial_task(config),
            {"seed": range(count)},
            data,
            epochs=1,
            batch_size=given.batch_size,
            eval_batch_size=given.eval_batch_size,
            on_chunk=on_chunk,
        )
        return time.perf_counter() - clock

    return train


def alone_worker(given: Problem, name: str) -> Callable[[int], float]:
    """A peer's epoch, with its evaluation."""
    peer = peers.build(name, given)

    def train(count: int) -> float:
        clock = time.perf_counter()
        for _ in range(count):
            peer.train(None)
            peer.evaluate()
        return time.perf_counter() - clock

    return train


def torch_worker(given: Problem, function: str) -> Callable[[int], float]:
    """Many networks in PyTorch, checked against one alone."""
    import torch

    from benchmarks import many_torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    epochs: dict[int, Callable[[], Any]] = {}

    def train(count: int) -> float:
        if count not in epochs:
            epochs[count] = getattr(many_torch, function)(given, count, torch.device("cpu"))
            many_torch.check_first(function, epochs[count](), given)
        clock = time.perf_counter()
        epochs[count]()
        return time.perf_counter() - clock

    return train


def pair(given: Problem) -> Any:
    """The data as `jaxmnist` takes them."""
    return (given.train_images, given.train_labels), (given.test_images, given.test_labels)


WORKERS: Mapping[str, Callable[[Problem], Callable[[int], float]]] = {
    "vmap": vmap_worker,
    "sweep": sweep_worker,
    SOLO: functools.partial(alone_worker, name=peers.OURS),
    "PyTorch in memory": functools.partial(alone_worker, name="PyTorch in memory"),
    "PyTorch, stacked": functools.partial(torch_worker, function="stacked"),
    "torch.func.vmap": functools.partial(torch_worker, function="mapped"),
}


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
