"""Measure jaxmnist and PyTorch on one GPU: one run, and up to 4,096 runs at once.

- Kernels: what the device launches for a training step, counted in the compiled program.
- One run: an epoch of jaxmnist, of PyTorch eager, in CUDA graphs, and under torch.compile, each
  with its data on the device. Their losses are compared first, as in `benchmark.py`.
- Many runs: an epoch of a quarter of the images under ``jax.vmap``, under ``torch.func.vmap``, and
  in PyTorch with all weights stacked by hand.

    python scripts/benchmark_gpu.py --out figures/benchmark_gpu.json

Needs a GPU, the extra `test`, `jax[cuda12]` or its like, and PyTorch's build for the GPU. Within
eight minutes on one card: what no time is left for is in the JSON with that reason. Products are in
float32 in both frameworks, without TF32. `--device cpu` tries everything but CUDA graphs on a few
images.
"""

import functools
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

# Both frameworks ask for the device: JAX must not take all of its memory at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import torch
import tyro
from benchmarks import curves, kernels, many_torch, peers, torch_device
from benchmarks.parts.epoch import epoch_of, to_ours
from benchmarks.parts.growth import fewer
from benchmarks.parts.models import vmap_worker
from benchmarks.peers import OURS
from benchmarks.peers.ours import config_of
from benchmarks.problem import Peer, Problem, load, share
from benchmarks.rounds import Program, in_turns, ratios, summary, timed

import jaxmnist as jm
from jaxmnist import provenance
from jaxmnist.atomic import write_whole

COUNTS = (1, 4, 16, 64, 256, 1024, 4096)
VMAP = "jaxmnist under vmap"
PAUSE = 0.1
ONE: Mapping[str, Callable[[Problem, torch.device], Peer]] = {
    "PyTorch eager": torch_device.eager,
    "PyTorch in CUDA graphs": torch_device.graphs,
    "torch.compile": torch_device.compiled,
}
MANY: Mapping[str, Callable[[Problem, int, torch.device], Callable[[], Any]]] = {
    "torch.func.vmap": many_torch.mapped,
    "PyTorch, stacked": many_torch.stacked,
}


def main(
    out: Path | None = None,
    device: Literal["gpu", "cpu"] = "gpu",
    rounds: int = 3,
    counts: tuple[int, ...] = (),
    images: int = 0,
    minutes: float = 8.0,
) -> None:
    """Measure and write.

    Args:
        out: The JSON file.
        device: Where everything runs; cpu is for trying the script out.
        rounds: How often each program is timed after its warm-up.
        counts: Numbers of runs at once; by default 1 to 4,096, on a CPU 1 and 2.
        images: The first so many training images; by default all, on a CPU 640.
        minutes: Nothing new is begun when three quarters of them are over.
    """
    ends = time.monotonic() + 0.75 * 60 * minutes
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif reason := no_gpu():
        sys.exit(f"{reason}, or pass --device cpu to try the script out")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_default_matmul_precision", "highest")
    on = torch.device("cuda" if device == "gpu" else "cpu")
    problem = load(images or (60_000 if device == "gpu" else 640))
    counts = counts or (COUNTS if device == "gpu" else (1, 2))
    typed = ["python", "scripts/benchmark_gpu.py", *sys.argv[1:]]
    about: dict[str, Any] = {
        **provenance.record(" ".join(typed), "jaxlib", "torch", "jax-cuda12-plugin", "python"),
        "devices": {
            "jax": jax.devices()[0].device_kind,
            "torch": torch.cuda.get_device_name() if on.type == "cuda" else "cpu",
        },
        "training_images": len(problem.train_labels),
        "kernels_per_step": {name: kernels_per_step(problem, name) for name in ("sgd", "adam")},
    }
    print(json.dumps(about["kernels_per_step"]), flush=True)

    def keep(part: str, found: dict[str, Any]) -> None:
        about[part] = found
        if out is not None:
            write_whole(out, json.dumps(about, indent=2).encode() + b"\n")

    keep("one_run", one_run(problem, on, rounds))
    keep("many_runs", many_runs(share(problem, 1 / 4), on, rounds, counts, ends))


def no_gpu() -> str | None:
    """Return why one of the two frameworks has no GPU, and what to install."""
    try:
        backend = jax.default_backend()
    except RuntimeError as error:
        backend = f"nothing ({str(error).splitlines()[0]})"
    if backend != "gpu":
        return f"JAX computes on {backend} here; this needs a GPU and jax[cuda12]"
    if not torch.cuda.is_available():
        return "PyTorch sees no GPU here; this needs its build for CUDA or ROCm"
    return None


def kernels_per_step(problem: Problem, optimizer: str) -> dict[str, int]:
    """Compile a run of a few batches, and count what a turn of its training loop launches."""
    few = fewer(problem, 4 * problem.batch_size)
    config = config_of(few, optimizer=optimizer, learning_rate=None)
    part = few.train_images, few.train_labels
    arguments = jax.random.key(0), jm.default_hyper(config), (part, part)
    text = jax.jit(jm.make_train(config)).lower(*arguments).compile().as_text()
    counted = kernels.of_step(text or "")
    return {"all": sum(counted.values()), **dict(counted.most_common())}


def one_run(problem: Problem, device: torch.device, rounds: int) -> dict[str, Any]:
    """Check the losses of every program for one run, and let them take turns."""
    steps = min(curves.STEPS, len(problem.train_labels) // problem.batch_size - 1)
    curve = curves.reference(problem, steps)
    found: dict[str, Peer] = {OURS: peers.build(OURS, problem)}
    left_out: dict[str, str] = {}
    for name, build in ONE.items():
        if build is torch_device.graphs and device.type != "cuda":
            left_out[name] = "there is no GPU"
        elif build is torch_device.compiled and peers.missing("torch.compile"):
            left_out[name] = str(peers.missing("torch.compile"))
        else:
            found[name] = build(problem, device)
    deviations = {name: round(curves.check(name, peer, curve), 4) for name, peer in found.items()}
    programs = {name: epoch_of(peer) for name, peer in found.items()}
    measured = in_turns(programs, rounds, PAUSE)
    whole = {
        name: [math.fsum(pair) for pair in zip(*values.values(), strict=True)]
        for name, values in measured.items()
    }
    return {
        "left_out": left_out,
        "largest_deviation_as_a_share_of_the_allowed": deviations,
        "seconds": {
            name: {what: summary(x) for what, x in values.items()}
            for name, values in measured.items()
        },
        "ratios": {"epoch / jaxmnist's": to_ours(whole)},
    }


def many_runs(
    problem: Problem, device: torch.device, rounds: int, counts: tuple[int, ...], ends: float
) -> dict[str, Any]:
    """Let the programs for many runs take turns at every number of them."""
    by_count: dict[int, dict[str, Any]] = {}
    train = vmap_worker(problem)
    single = in_turns(
        {
            name: epoch_of(peer)
            for name, peer in (
                (OURS, peers.build(OURS, problem)),
                ("PyTorch eager", torch_device.eager(problem, device)),
            )
        },
        rounds,
        PAUSE,
    )
    alone = {
        name: summary([math.fsum(pair) for pair in zip(*values.values(), strict=True)])
        for name, values in single.items()
    }
    for count in counts:
        if time.monotonic() > ends:
            by_count[count] = {"left_out": "there was no time left"}
            continue
        print(f"{count} runs:", flush=True)
        by_count[count] = at_count(problem, device, rounds, count, train)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    rates = {
        count: count / found["seconds"][VMAP]["median"]
        for count, found in by_count.items()
        if VMAP in found.get("seconds", {})
    }
    return {
        "training_images": len(problem.train_labels),
        "one_run_alone": alone,
        "by_count": by_count,
        "runs_per_second_under_vmap": {count: round(rate, 3) for count, rate in rates.items()},
        **crossings(rates, alone[OURS]["median"]),
    }


def at_count(
    problem: Problem,
    device: torch.device,
    rounds: int,
    count: int,
    train: Callable[[int], float],
) -> dict[str, Any]:
    """Time every program for so many runs; one that the device's memory does not hold is named."""
    programs: dict[str, Program] = {}
    left_out = {}
    for name in (VMAP, *MANY):
        try:
            if name == VMAP:
                function: Callable[[], Any] = functools.partial(train, count)
                function()
            else:
                function = MANY[name](problem, count, device)
                many_torch.check_first(name, function(), problem)
        except (torch.cuda.OutOfMemoryError, jax.errors.JaxRuntimeError) as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE" not in str(error):
                raise
            left_out[name] = f"out of memory: {str(error).splitlines()[0][:200]}"
            continue
        programs[name] = timed(function)
    seconds = {name: x["seconds"] for name, x in in_turns(programs, rounds, PAUSE).items()}
    return {
        "left_out": left_out,
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "ratios_to_vmap": {
            name: summary(ratios(values, seconds[VMAP]))
            for name, values in seconds.items()
            if name != VMAP and VMAP in seconds
        },
    }


def crossings(rates: Mapping[int, float], alone: float) -> dict[str, int | None]:
    """Find where mapping over runs begins to pay, and where the device is full.

    Args:
        rates: Runs per second by their number.
        alone: Seconds of a run that is not mapped.

    Returns:
        ``pays_from``: the smallest number of runs that take less time together than one after the
        other. ``full_from``: the smallest with 90 % of the highest rate.

    >>> crossings({1: 0.8, 4: 3.0, 16: 9.5, 64: 10.0}, alone=1.0)
    {'pays_from': 4, 'full_from': 16}
    """
    paying = [count for count, rate in rates.items() if rate > 1 / alone]
    full = [count for count, rate in rates.items() if rate >= 0.9 * max(rates.values())]
    return {"pays_from": min(paying, default=None), "full_from": min(full, default=None)}


if __name__ == "__main__":
    tyro.cli(main)
